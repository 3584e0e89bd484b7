//! containerd's own event stream: an exit is seen within milliseconds instead of at the next relisting.
//! Source: containerd's `api/services/events/v1/events.proto` (only what is read here).
//!
//! Invariant: an event is a hint to look, never a fact; a runtime without this service is looked at once a second.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::Request;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;
use tracing::debug;

const RETRY: Duration = Duration::from_secs(2);
/// The service is not there (another runtime): ask again seldom.
const ABSENT_RETRY: Duration = Duration::from_secs(300);

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

async fn listen(socket: &Path, changed: &Notify) -> Result<(), tonic::Status> {
    let mut grpc = Grpc::new(super::client::channel(socket));
    grpc.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let path = http::uri::PathAndQuery::from_static("/containerd.services.events.v1.Events/Subscribe");
    let filters = ["/tasks/exit", "/tasks/oom"].map(|topic| format!("topic==\"{topic}\"")).to_vec();
    let codec = ProstCodec::<SubscribeRequest, Envelope>::default();
    let request = Request::new(SubscribeRequest { filters });
    let mut events = grpc.server_streaming(request, path, codec).await?.into_inner();
    while events.message().await?.is_some() {
        changed.notify_one();
    }
    Ok(())
}

/// Notifies `changed` when a task has exited, until `shutdown`.
pub async fn run(socket: &Path, changed: Arc<Notify>, shutdown: CancellationToken) {
    loop {
        let end = tokio::select! {
            end = listen(socket, &changed) => end,
            () = shutdown.cancelled() => return,
        };
        let absent = matches!(&end, Err(status) if status.code() == tonic::Code::Unimplemented);
        debug!(?end, "the runtime's event stream ended");
        tokio::select! {
            () = tokio::time::sleep(if absent { ABSENT_RETRY } else { RETRY }) => {}
            () = shutdown.cancelled() => return,
        }
    }
}
