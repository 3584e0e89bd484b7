//! The socket's door: TCP, TLS, HTTP/1.1 and HTTP/2 by actix, upgraded connections by hyper.
//!
//! actix knows WebSocket as the only upgrade, and kubectl speaks SPDY too; so a connection whose first request asks to
//! be upgraded is recognized by its first bytes and served by hyper, which hands the bare stream out.
//!
//! Invariants: nothing behind the door knows which of the two it was; a client that sends too slowly, too much or not
//! at all is dropped without costing more than its connection.

mod connection;
mod http1;
mod relay;
mod upgrade;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpService, KeepAlive, Protocol};
use actix_service::{Service, ServiceFactory, fn_factory, fn_service};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use self::connection::{Connection, Kind};
use crate::server::{ApiServer, Peer};

const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// How long a request's head may take to arrive.
const HEAD_PATIENCE: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_secs(120);
/// Connections per worker that are open at once.
const MAX_CONNECTIONS: usize = 25_000;
/// Handshakes per worker that run at once: each costs a signature.
const MAX_HANDSHAKES: usize = 256;
/// Large windows: lists are megabytes.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// A stream of bytes both ways.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Where a handler that answers 101 puts the stream it wants to be joined with the client's.
#[derive(Clone, Default)]
pub struct UpgradeSlot(Arc<Mutex<Option<Box<dyn Io>>>>);

impl UpgradeSlot {
    pub fn put(&self, io: impl Io + 'static) {
        *self.0.lock() = Some(Box::new(io));
    }
    fn take(&self) -> Option<Box<dyn Io>> {
        self.0.lock().take()
    }
}

/// Serves the API on these addresses until `shutdown`; returns when every connection has ended or the grace is over.
///
/// # Errors
/// When an address cannot be bound.
pub async fn serve(
    api: ApiServer,
    addresses: &[SocketAddr],
    tls: Arc<rustls::ServerConfig>,
    workers: usize,
    shutdown: CancellationToken,
) -> io::Result<()> {
    serve_listeners(api, listeners(addresses)?, tls, workers, shutdown).await
}

fn listeners(addresses: &[SocketAddr]) -> io::Result<Vec<std::net::TcpListener>> {
    let bind = |address: &SocketAddr| {
        let listener = std::net::TcpListener::bind(address)
            .map_err(|error| io::Error::new(error.kind(), format!("listening on {address}: {error}")))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    addresses.iter().map(bind).collect()
}

/// [`serve`] on listeners that are bound already.
/// Boxed: an `async fn` is compiled where it is first polled, and that should be this crate.
pub fn serve_listeners(
    api: ApiServer,
    listeners: Vec<std::net::TcpListener>,
    tls: Arc<rustls::ServerConfig>,
    workers: usize,
    shutdown: CancellationToken,
) -> BoxFuture<'static, io::Result<()>> {
    Box::pin(work(api, listeners, tls, workers, shutdown))
}

async fn work(
    api: ApiServer,
    listeners: Vec<std::net::TcpListener>,
    tls: Arc<rustls::ServerConfig>,
    workers: usize,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let mut tls = (*tls).clone();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let mut builder = actix_server::Server::build()
        .workers(workers)
        .max_concurrent_connections(MAX_CONNECTIONS)
        .shutdown_timeout(5)
        .disable_signals();
    for (index, listener) in listeners.into_iter().enumerate() {
        let (api, acceptor) = (api.clone(), acceptor.clone());
        builder =
            builder.listen(format!("api-{index}"), listener, move || connections(api.clone(), acceptor.clone()))?;
    }
    let server = builder.run();
    let handle = server.handle();
    let running = tokio::spawn(server);
    shutdown.cancelled().await;
    handle.stop(true).await;
    running.await.map_err(io::Error::other)?
}

/// What a worker does with each TCP connection.
fn connections(
    api: ApiServer,
    acceptor: TlsAcceptor,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = (), InitError = ()> {
    fn_factory(move || {
        let (api, acceptor) = (api.clone(), acceptor.clone());
        async move {
            let plain_api = api.clone();
            let http = HttpService::build()
                .keep_alive(KeepAlive::Timeout(IDLE))
                .client_request_timeout(HEAD_PATIENCE)
                .client_disconnect_timeout(Duration::from_secs(1))
                .h2_initial_window_size(STREAM_WINDOW)
                .h2_initial_connection_window_size(CONNECTION_WINDOW)
                .secure()
                .on_connect_ext(|connection: &Connection, extensions| {
                    extensions.insert(connection.peer().clone());
                })
                .finish(fn_service(move |request| http1::handle(plain_api.clone(), request)))
                .new_service(())
                .await?;
            let http = std::rc::Rc::new(http);
            let handshakes = std::rc::Rc::new(tokio::sync::Semaphore::new(MAX_HANDSHAKES));
            Ok(fn_service(move |tcp: TcpStream| {
                let (api, acceptor, http) = (api.clone(), acceptor.clone(), std::rc::Rc::clone(&http));
                let handshakes = std::rc::Rc::clone(&handshakes);
                async move {
                    let address = tcp.peer_addr().ok();
                    let accepted = {
                        let _turn = handshakes.acquire().await;
                        timeout(HANDSHAKE_PATIENCE, accept(tcp, &acceptor, address.map(|a| a.ip()))).await
                    };
                    let connection = match accepted {
                        Ok(Ok(connection)) => connection,
                        Ok(Err(error)) => {
                            debug!(?address, %error, "connection refused");
                            return Ok(());
                        }
                        Err(_) => return Ok(()),
                    };
                    match connection.kind() {
                        Kind::Upgrade => upgrade::serve(api, connection).await,
                        Kind::Http1 | Kind::Http2 => {
                            let protocol =
                                if connection.kind() == Kind::Http2 { Protocol::Http2 } else { Protocol::Http1 };
                            if let Err(error) = http.call((connection, protocol, address)).await {
                                debug!(?address, ?error, "connection ended");
                            }
                        }
                    }
                    Ok(())
                }
            }))
        }
    })
}

async fn accept(tcp: TcpStream, acceptor: &TlsAcceptor, address: Option<IpAddr>) -> io::Result<Connection> {
    tcp.set_nodelay(true)?;
    let tls = acceptor.accept(tcp).await?;
    let (_, session) = tls.get_ref();
    let certificate = session.peer_certificates().and_then(|chain| chain.first()).map(AsRef::as_ref);
    let h2 = session.alpn_protocol() == Some(b"h2");
    let peer = Peer::new(certificate, address);
    Connection::new(tls, peer, h2).await
}
