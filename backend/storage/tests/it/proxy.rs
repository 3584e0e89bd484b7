//! A wire that can be cut at the worst moment, between a store and PostgreSQL.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// What happens to the next request that contains the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is lost, and the connection with it.
    Before,
    /// It arrives; its answer is lost, and the connection with it.
    After,
    /// The connection is lost, and the request arrives a little later all the same.
    Late,
}

pub struct Proxy {
    directory: tempfile::TempDir,
    state: Arc<State>,
}

struct State {
    real: PathBuf,
    armed: parking_lot::Mutex<Option<Cut>>,
    cuts: AtomicU64,
    /// Rises whenever the wires that are there go dead.
    dead: tokio::sync::watch::Sender<u64>,
    /// The connections that are open.
    open: parking_lot::Mutex<Vec<tokio::task::AbortHandle>>,
}

/// A user's name, which only batches carry.
const MARK: &[u8] = b"cut-me";

impl Proxy {
    /// Listens beside the socket in `real`.
    pub fn start(real: &Path) -> Self {
        let directory = tempfile::Builder::new().prefix("pilothouse-proxy-").tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).unwrap();
        let real = real.join(".s.PGSQL.5432");
        let (armed, open) = (parking_lot::Mutex::new(None), parking_lot::Mutex::default());
        let dead = tokio::sync::watch::Sender::new(0);
        let state = Arc::new(State { real, armed, cuts: AtomicU64::new(0), dead, open });
        let accepting = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let serving = tokio::spawn(serve(accepting.clone(), client));
                let mut open = accepting.open.lock();
                open.retain(|connection| !connection.is_finished());
                open.push(serving.abort_handle());
            }
        });
        Self { directory, state }
    }

    /// The address of a database through the proxy, given its real one.
    pub fn url(&self, url: &str) -> String {
        let start = url.find("host=").unwrap() + 5;
        let end = start + url[start..].find('&').unwrap();
        format!("{}{}{}", &url[..start], self.directory.path().display(), &url[end..])
    }

    /// Cuts at the next request that carries the user `cut-me`.
    pub fn arm(&self, cut: Cut) {
        *self.state.armed.lock() = Some(cut);
    }

    /// Cuts every connection that is open now, wherever it stands.
    pub fn sever(&self) {
        for connection in self.state.open.lock().drain(..) {
            connection.abort();
        }
    }

    /// Every connection that is open now goes dead: nothing comes through any more, and nobody is told.
    pub fn kill_silently(&self) {
        self.state.dead.send_modify(|count| *count += 1);
    }

    pub fn cuts(&self) -> u64 {
        self.state.cuts.load(Ordering::SeqCst)
    }
}

async fn serve(state: Arc<State>, client: UnixStream) {
    let Ok(server) = UnixStream::connect(&state.real).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    // Ends with this task, however that ends.
    let (mut dead, mut deaf) = (state.dead.subscribe(), state.dead.subscribe());
    let answers = AbortOnDrop(tokio::spawn(async move {
        tokio::select! {
            biased;
            _ = deaf.changed() => std::future::pending().await,
            copied = tokio::io::copy(&mut from_server, &mut to_client) => copied,
        }
    }));
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = tokio::select! {
            biased;
            _ = dead.changed() => {
                // Takes what comes, keeps everything open, says nothing.
                while let Ok(1..) = from_client.read(&mut buffer).await {}
                return;
            }
            read = from_client.read(&mut buffer) => read,
        };
        let Ok(read @ 1..) = read else { return };
        let request = &buffer[..read];
        let marked = request.windows(MARK.len()).any(|window| window == MARK);
        let cut = if marked { state.armed.lock().take() } else { None };
        if let Some(cut) = cut {
            state.cuts.fetch_add(1, Ordering::SeqCst);
            if cut != Cut::Late {
                answers.0.abort();
            }
            match cut {
                Cut::Before => {}
                Cut::After => {
                    to_server.write_all(request).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Cut::Late => {
                    // The client sees its connection die now; the server does not yet.
                    answers.0.abort();
                    let request = request.to_vec();
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(400)).await;
                        let _ = to_server.write_all(&request).await;
                        tokio::time::sleep(Duration::from_millis(400)).await;
                    });
                }
            }
            return;
        }
        if to_server.write_all(request).await.is_err() {
            return;
        }
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
