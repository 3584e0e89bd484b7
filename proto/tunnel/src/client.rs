//! The agent's side: attaches, stays attached, answers dials.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tracing::{debug, info, warn};

use crate::stream::pair;
use crate::wire::tunnel_client::TunnelClient;
use crate::wire::{Chunk, Hello};
use crate::{
    CONNECTION_WINDOW, HANDSHAKE_PATIENCE, HEARTBEAT, HEARTBEAT_PATIENCE, MAX_MESSAGE, STREAM_WINDOW, TunnelStream,
};

const CHUNK_QUEUE: usize = 2;
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Where the backend is, and how to prove who we are.
#[derive(Clone)]
pub struct Dialer {
    /// `host:port` of the backend's tunnel.
    pub address: String,
    /// What the backend's certificate must be for; usually the host of `address`.
    pub server_name: ServerName<'static>,
    /// Asked for each attempt, so that a renewed certificate is used. The protocol list is set here.
    pub tls: Arc<dyn Fn() -> Arc<rustls::ClientConfig> + Send + Sync>,
    /// Our own version, for the backend's log.
    pub version: String,
}

/// Stays attached to the backend until `shutdown`, and gives each stream it asks for to `serve`.
pub async fn connect(dialer: Dialer, serve: impl Fn(TunnelStream) + Send + Sync, shutdown: CancellationToken) {
    let mut delay = FIRST_RETRY;
    loop {
        let begun = Instant::now();
        let end = tokio::select! {
            end = attach(&dialer, &serve, &shutdown) => end,
            () = shutdown.cancelled() => return,
        };
        match end {
            Ok(()) => info!(address = dialer.address, "the backend closed the tunnel"),
            Err(error) => warn!(address = dialer.address, %error, "the tunnel is down"),
        }
        // What held for a while was a good connection: try again quickly.
        delay = if begun.elapsed() > LAST_RETRY { FIRST_RETRY } else { delay };
        tokio::select! {
            () = tokio::time::sleep(delay.mul_f64(rand::random_range(0.75..1.25))) => {}
            () = shutdown.cancelled() => return,
        }
        delay = (delay * 2).min(LAST_RETRY);
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{}", Chain(.0))]
    Transport(#[from] tonic::transport::Error),
    #[error("{}: {}", .0.code(), .0.message())]
    Status(#[from] tonic::Status),
}

/// tonic says "transport error" and keeps the cause to itself.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            write!(f, ": {error}")?;
            next = error.source();
        }
        Ok(())
    }
}

async fn attach(
    dialer: &Dialer,
    serve: &(impl Fn(TunnelStream) + Send + Sync),
    shutdown: &CancellationToken,
) -> Result<(), Error> {
    let channel = open(dialer).await?;
    let mut client = TunnelClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
    let mut dials = client.attach(Hello { version: dialer.version.clone() }).await?.into_inner();
    info!(address = dialer.address, "attached to the backend");
    // Streams end with the connection they came by.
    let connection = shutdown.child_token();
    let _end = connection.clone().drop_guard();
    while let Some(dial) = dials.message().await? {
        let (outer, inner) = pair();
        serve(outer);
        let (mut client, connection) = (client.clone(), connection.clone());
        tokio::spawn(async move {
            let carry = async {
                let (outgoing, chunks) = mpsc::channel(CHUNK_QUEUE);
                let name = Chunk { stream: dial.stream, ..Chunk::default() };
                // The queue is new and has room.
                let _ = outgoing.try_send(name);
                let incoming = client.carry(ReceiverStream::new(chunks)).await?.into_inner();
                inner.pump(incoming, outgoing).await;
                Ok::<_, tonic::Status>(())
            };
            tokio::select! {
                end = carry => if let Err(error) = end {
                    debug!(%error, "a stream of the tunnel was not taken");
                },
                () = connection.cancelled() => {}
            }
        });
    }
    Ok(())
}

async fn open(dialer: &Dialer) -> Result<Channel, tonic::transport::Error> {
    let mut tls = (*(dialer.tls)()).clone();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let (address, name) = (dialer.address.clone(), dialer.server_name.clone());
    let connector = TlsConnector::from(Arc::new(tls));
    let connect = tower::service_fn(move |_: tonic::transport::Uri| {
        let (address, name, connector) = (address.clone(), name.clone(), connector.clone());
        async move {
            let socket = TcpStream::connect(&address).await?;
            socket.set_nodelay(true)?;
            connector.connect(name, socket).await.map(TokioIo::new)
        }
    });
    // The address is the connector's business; this one only fills the request's authority.
    Endpoint::from_static("http://tunnel.pilothouse")
        .connect_timeout(HANDSHAKE_PATIENCE)
        .http2_keep_alive_interval(HEARTBEAT)
        .keep_alive_timeout(HEARTBEAT_PATIENCE)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .connect_with_connector(connect)
        .await
}
