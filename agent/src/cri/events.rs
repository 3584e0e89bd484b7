//! containerd's own event stream: an exit is seen within milliseconds.
//! Source: containerd's `api/services/events/v1/events.proto` (only what is read here).

use tonic::client::Grpc;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use super::changes::Changes;

#[derive(Clone, PartialEq, prost::Message)]
struct SubscribeRequest {
    #[prost(string, repeated, tag = "1")]
    filters: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Envelope {
    #[prost(string, tag = "3")]
    topic: String,
}

/// Rings at each exit for as long as the stream lasts.
pub(super) async fn listen(channel: Channel, changes: &Changes) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = http::uri::PathAndQuery::from_static("/containerd.services.events.v1.Events/Subscribe");
    let filters = ["/tasks/exit", "/tasks/oom"].map(|topic| format!("topic==\"{topic}\"")).to_vec();
    let codec = ProstCodec::<SubscribeRequest, Envelope>::default();
    let request = Request::new(SubscribeRequest { filters });
    let mut events = grpc.server_streaming(request, path, codec).await?.into_inner();
    changes.tells(true);
    while events.message().await?.is_some() {
        changes.ring();
    }
    Ok(())
}
