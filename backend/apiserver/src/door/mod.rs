//! The socket: actix-web over TLS, HTTP/1.1 and HTTP/2.
//!
//! ```text
//! accept ─► TLS (client certificate, ALPN) ─► h2 ───────────────────────────► actix ─┐
//!                                          └► h1 ─► first head says SPDY? no ► actix ─┤► ApiServer
//!                                                                         yes ► hyper ─┘
//! ```
//!
//! actix hands over the raw connection for `Upgrade: websocket` only; kubectl before 1.31 (and every fallback) asks for
//! `SPDY/3.1`, always on a connection of its own. So the first head of a connection that may be such a stream is looked
//! at, and hyper serves that one connection.
//!
//! Invariants: a head, a body's pause and a handshake have a time limit, and connections a maximum; a body is never
//! copied on its way in or out. Where a request carries an [`UpgradeSlot`], its body is what the client sends after the
//! head, and the body of a 101 answer is what the client gets: handlers of streams see no difference between sockets.

mod connection;
mod convert;
mod peek;
mod raw;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::server::ApiServer;

/// Connections of one worker; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 10_000;
/// Every worker is a thread with an event loop of its own.
const MAX_WORKERS: usize = 8;
/// How long requests may go on after the end was asked for.
const GRACE: Duration = Duration::from_secs(10);

/// Marks a request whose connection can be handed over: see the module's head.
#[derive(Clone, Copy, Debug)]
pub struct UpgradeSlot;

/// Serves `api` on all `listeners` until `shutdown`. `tls` decides about client certificates (see
/// `pilothouse_access::pki::server_config`); its protocols are set here.
///
/// # Errors
/// When a listener cannot be used.
pub async fn serve(
    api: ApiServer,
    listeners: Vec<TcpListener>,
    tls: Arc<rustls::ServerConfig>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let mut tls = (*tls).clone();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
    let workers = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, MAX_WORKERS);
    let mut builder = actix_server::Server::build()
        .workers(workers)
        .max_concurrent_connections(MAX_CONNECTIONS)
        .shutdown_timeout(GRACE.as_secs())
        .disable_signals();
    for listener in listeners {
        let address = listener.local_addr()?;
        info!(%address, "the API listens");
        listener.set_nonblocking(true)?;
        let (api, tls, shutdown) = (api.clone(), tls.clone(), shutdown.clone());
        builder = builder.listen(format!("api-{address}"), listener, move || {
            connection::factory(api.clone(), tls.clone(), address, shutdown.clone())
        })?;
    }
    let server = builder.run();
    let handle = server.handle();
    let stop = async move {
        shutdown.cancelled().await;
        handle.stop(true).await;
    };
    let (served, ()) = tokio::join!(server, stop);
    served
}
