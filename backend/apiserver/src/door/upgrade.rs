//! Connections that become something else: exec, attach, port-forward and proxied WebSockets.

use std::convert::Infallible;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::copy_bidirectional;
use tracing::debug;

use super::connection::Connection;
use super::{HEAD_PATIENCE, UpgradeSlot};
use crate::body;
use crate::server::ApiServer;

/// Largest head of a request (actix's own limit is the same).
const MAX_HEAD_BYTES: usize = 128 * 1024;

pub async fn serve(api: ApiServer, connection: Connection) {
    let peer = connection.peer().clone();
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        let (api, peer) = (api.clone(), peer.clone());
        async move {
            let upgraded = hyper::upgrade::on(&mut request);
            let slot = UpgradeSlot::default();
            let mut request = request.map(body::boxed);
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(slot.clone());
            let response = api.handle(request).await;
            if let Some(mut inner) = slot.take() {
                tokio::spawn(async move {
                    match upgraded.await {
                        Ok(client) => {
                            // Either side's end ends both; what went wrong is theirs to say.
                            let _ = copy_bidirectional(&mut TokioIo::new(client), &mut inner).await;
                        }
                        Err(error) => debug!(%error, "a connection was not upgraded"),
                    }
                });
            }
            Ok::<_, Infallible>(response)
        }
    });
    let outcome = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(connection), service)
        .with_upgrades()
        .await;
    if let Err(error) = outcome {
        debug!(%error, "connection ended");
    }
}
