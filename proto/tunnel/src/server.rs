//! The backend's side: agents attach, [`Tunnels::dial`] opens streams to them.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::{TcpConnectInfo, TlsConnectInfo};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, info, warn};

use crate::stream::{Inner, pair};
use crate::wire::tunnel_server::{Tunnel, TunnelServer};
use crate::wire::{Chunk, Dial, Hello};
use crate::{
    CONNECTION_WINDOW, Error, HANDSHAKE_PATIENCE, HEARTBEAT, HEARTBEAT_PATIENCE, MAX_MESSAGE, MAX_STREAMS,
    STREAM_WINDOW, TunnelStream, node_name,
};

/// Dials that wait for one agent's connection to take them.
const DIAL_QUEUE: usize = 64;
const DIAL_PATIENCE: Duration = Duration::from_secs(10);
/// Chunks on their way into one call.
const CHUNK_QUEUE: usize = 2;
/// Connections in their TLS handshake at once.
const HANDSHAKES: usize = 128;
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The agents attached to this backend. Cheap to clone.
#[derive(Clone, Default)]
pub struct Tunnels {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    next: AtomicU64,
    agents: Mutex<HashMap<String, Agent>>,
    /// Dialled streams that no agent has taken yet. The node is part of the key: no node can take another's.
    waiting: Mutex<HashMap<(String, u64), oneshot::Sender<TunnelStream>>>,
}

struct Agent {
    session: u64,
    dials: mpsc::Sender<Dial>,
}

impl Tunnels {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves agents on `listener` until `shutdown`. `tls` must demand client certificates of the cluster's CA; the
    /// protocol list is set here.
    ///
    /// # Errors
    /// When the gRPC server fails as a whole; single connections that fail are logged.
    /// Boxed: an `async fn` is compiled where it is first polled, and that should be this crate.
    pub fn serve(
        &self,
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        shutdown: CancellationToken,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
        let tunnels = self.clone();
        Box::pin(async move { tunnels.serve_all(listener, tls, shutdown).await })
    }

    async fn serve_all(
        &self,
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let mut tls = (*tls).clone();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let (connections, accepted) = mpsc::channel(16);
        tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(tls)), connections, shutdown.clone()));
        let service = TunnelServer::new(Service { shared: Arc::clone(&self.shared), shutdown: shutdown.clone() })
            .max_decoding_message_size(MAX_MESSAGE);
        Server::builder()
            .http2_keepalive_interval(Some(HEARTBEAT))
            .http2_keepalive_timeout(Some(HEARTBEAT_PATIENCE))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(MAX_STREAMS)
            .add_service(service)
            .serve_with_incoming_shutdown(
                ReceiverStream::new(accepted).map(Ok::<_, std::io::Error>),
                shutdown.cancelled_owned(),
            )
            .await?;
        Ok(())
    }

    /// Opens a byte stream to the node's agent.
    ///
    /// # Errors
    /// [`Error::NotConnected`] at once when no agent of that node is attached here, [`Error::TimedOut`] when it does
    /// not take the stream within ten seconds.
    pub async fn dial(&self, node: &str) -> Result<TunnelStream, Error> {
        let absent = || Error::NotConnected(node.to_owned());
        let dials = self.shared.agents.lock().get(node).map(|agent| agent.dials.clone()).ok_or_else(absent)?;
        let key = (node.to_owned(), self.shared.next.fetch_add(1, Ordering::Relaxed));
        let (taken, stream) = oneshot::channel();
        self.shared.waiting.lock().insert(key.clone(), taken);
        let _forget = Forget { shared: &self.shared, key: &key };
        let opened = async {
            dials.send(Dial { stream: key.1 }).await.map_err(|_| absent())?;
            stream.await.map_err(|_| absent())
        };
        let late = |_| Error::TimedOut(node.to_owned(), DIAL_PATIENCE);
        tokio::time::timeout(DIAL_PATIENCE, opened).await.map_err(late)?
    }

    #[must_use]
    pub fn is_connected(&self, node: &str) -> bool {
        self.shared.agents.lock().contains_key(node)
    }

    /// The names of the attached nodes, sorted.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        let mut nodes: Vec<String> = self.shared.agents.lock().keys().cloned().collect();
        nodes.sort_unstable();
        nodes
    }
}

/// A dial that was given up, or answered, waits no longer.
struct Forget<'a> {
    shared: &'a Shared,
    key: &'a (String, u64),
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.waiting.lock().remove(self.key);
    }
}

async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    connections: mpsc::Sender<TlsStream<TcpStream>>,
    shutdown: CancellationToken,
) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "the tunnel's listener cannot accept");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await else { return };
        let (tls, connections) = (tls.clone(), connections.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let _ = socket.set_nodelay(true);
            match tokio::time::timeout(HANDSHAKE_PATIENCE, tls.accept(socket)).await {
                Ok(Ok(stream)) => drop(connections.send(stream).await),
                Ok(Err(error)) => debug!(%peer, %error, "a TLS handshake on the tunnel failed"),
                Err(_) => debug!(%peer, "a TLS handshake on the tunnel took too long"),
            }
        });
    }
}

struct Service {
    shared: Arc<Shared>,
    shutdown: CancellationToken,
}

fn caller<T>(request: &Request<T>) -> Result<String, Status> {
    let info = request.extensions().get::<TlsConnectInfo<TcpConnectInfo>>();
    let certificates = info.and_then(TlsConnectInfo::peer_certs);
    certificates
        .as_deref()
        .and_then(|chain| node_name(chain.first()?))
        .ok_or_else(|| Status::permission_denied("the tunnel is for nodes: a client certificate of one is needed"))
}

/// Takes an agent out of the table when its call ends, unless a newer one has taken its place.
struct Attached {
    shared: Arc<Shared>,
    node: String,
    session: u64,
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut agents = self.shared.agents.lock();
        if agents.get(&self.node).is_some_and(|agent| agent.session == self.session) {
            agents.remove(&self.node);
            info!(node = self.node, "agent detached");
        }
    }
}

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Tunnel for Service {
    type AttachStream = Boxed<Dial>;
    type CarryStream = Boxed<Chunk>;

    async fn attach(&self, request: Request<Hello>) -> Result<Response<Self::AttachStream>, Status> {
        let node = caller(&request)?;
        let session = self.shared.next.fetch_add(1, Ordering::Relaxed);
        let (dials, queue) = mpsc::channel(DIAL_QUEUE);
        info!(node, version = request.get_ref().version, "agent attached");
        let attached = Attached { shared: Arc::clone(&self.shared), node: node.clone(), session };
        self.shared.agents.lock().insert(node, Agent { session, dials });
        // An open stream would hold up the server's graceful end, so it ends with the shutdown.
        let stream = ReceiverStream::new(queue).take_until(self.shutdown.clone().cancelled_owned()).map(move |dial| {
            let _ = &attached;
            Ok(dial)
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn carry(&self, request: Request<Streaming<Chunk>>) -> Result<Response<Self::CarryStream>, Status> {
        let node = caller(&request)?;
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(DIAL_PATIENCE, incoming.message())
            .await
            .map_err(|_| Status::deadline_exceeded("the stream was not named in time"))??
            .ok_or_else(|| Status::invalid_argument("the stream was not named"))?;
        let waiting = self.shared.waiting.lock().remove(&(node, first.stream));
        let waiting = waiting.ok_or_else(|| Status::not_found("nobody waits for this stream"))?;
        let (stream, inner): (TunnelStream, Inner) = pair();
        if waiting.send(stream).is_err() {
            return Err(Status::cancelled("the stream is not wanted any more"));
        }
        let (outgoing, chunks) = mpsc::channel(CHUNK_QUEUE);
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = inner.pump(incoming, outgoing) => {}
                () = shutdown.cancelled() => {}
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(chunks).map(Ok))))
    }
}
