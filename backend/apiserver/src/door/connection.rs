//! One connection: its handshake, who is at the other end, which protocol it speaks.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpService, KeepAlive, Protocol};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, fn_factory, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::{App, web};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::peek::Peeked;
use super::{convert, raw};
use crate::server::{ApiServer, Peer};

const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// A request's head must be there within this time.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// Idle connections are closed after this; Go's clients keep theirs for 90 seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(120);
const DISCONNECT_PATIENCE: Duration = Duration::from_secs(3);
/// What lies unread in one HTTP/2 stream and connection, at most.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

pub type Io = Peeked<TlsStream<TcpStream>>;

/// Makes the service of one worker.
pub fn factory(
    api: ApiServer,
    tls: TlsAcceptor,
    address: SocketAddr,
    shutdown: CancellationToken,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = (), InitError = ()> {
    fn_factory(move || {
        let (api, tls, shutdown) = (api.clone(), tls.clone(), shutdown.clone());
        let handler_api = api.clone();
        let app = App::new()
            .default_service(web::to(move |request, payload| convert::handle(handler_api.clone(), request, payload)));
        let app = app.into_factory().map_err(|error: actix_web::Error| error.error_response());
        let http = HttpService::build()
            .keep_alive(KeepAlive::Timeout(KEEP_ALIVE))
            .client_request_timeout(HEAD_PATIENCE)
            .client_disconnect_timeout(DISCONNECT_PATIENCE)
            .h2_initial_window_size(STREAM_WINDOW)
            .h2_initial_connection_window_size(CONNECTION_WINDOW)
            .local_addr(address)
            .secure()
            .on_connect_ext(|io: &Io, extensions: &mut actix_http::Extensions| {
                extensions.insert(peer(io));
            })
            .finish(map_config(app, |()| AppConfig::default()));
        let http = http.new_service(());
        async move {
            let http = Rc::new(http.await?);
            Ok::<_, ()>(fn_service(move |socket: TcpStream| {
                let (http, api, tls, shutdown) = (Rc::clone(&http), api.clone(), tls.clone(), shutdown.clone());
                async move {
                    let remote = socket.peer_addr().ok();
                    // Without it the last packet of every answer waits for the client's delayed acknowledgement.
                    let _ = socket.set_nodelay(true);
                    let stream = match tokio::time::timeout(HANDSHAKE_PATIENCE, tls.accept(socket)).await {
                        Ok(Ok(stream)) => stream,
                        Ok(Err(error)) => {
                            debug!(?remote, %error, "a TLS handshake failed");
                            return Ok(());
                        }
                        Err(_) => {
                            debug!(?remote, "a TLS handshake took too long");
                            return Ok(());
                        }
                    };
                    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let mut io = Peeked::new(stream);
                    let protocol = if h2 { Protocol::Http2 } else { Protocol::Http1 };
                    if !h2 {
                        match io.is_spdy().await {
                            Ok(true) => {
                                let peer = peer(&io);
                                raw::serve(api, io, peer, shutdown).await;
                                return Ok(());
                            }
                            Ok(false) => {}
                            Err(error) => {
                                debug!(?remote, %error, "a connection ended before its first request");
                                return Ok(());
                            }
                        }
                    }
                    if let Err(error) = http.call((io, protocol, remote)).await {
                        debug!(?remote, %error, "a connection ended");
                    }
                    Ok::<_, ()>(())
                }
            }))
        }
    })
}

/// The client certificate that TLS verified, and the address.
fn peer(io: &Io) -> Peer {
    let (socket, session) = io.io.get_ref();
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    Peer {
        certificate: certificate.map(|der| Arc::from(der.as_ref())),
        address: socket.peer_addr().ok().map(|address| address.ip()),
    }
}
