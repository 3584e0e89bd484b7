//! A wire between a backend and PostgreSQL that fails in every way wires do.
//!
//! Invariants: what comes through comes through whole and in order; a connection that was cut or has died never
//! carries anything again.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

const CHUNK: usize = 1 << 16;
/// How much later a request arrives whose connection is already lost.
const LATE: Duration = Duration::from_millis(400);
/// How long the server has to carry out a request whose answer will be lost.
const MEANWHILE: Duration = Duration::from_millis(100);

/// What happens to the next batch of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is lost, and the connection with it.
    Before,
    /// It arrives; its answer is lost, and the connection with it.
    After,
    /// The connection is lost, and the batch arrives a little later all the same.
    Late,
}

/// How bytes travel now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    AtOnce,
    /// Each piece late by anything up to this.
    Jittery(Duration),
    /// Not at all, until the pace changes.
    Still,
}

/// The end of the connections that are open now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Both sides get a reset.
    Reset,
    /// Nothing comes through any more, and nobody is told.
    Silent,
}

pub struct Wire {
    upstream: u16,
    /// Bytes that only batches carry.
    mark: Vec<u8>,
    armed: Mutex<Option<Cut>>,
    pace: watch::Sender<Pace>,
    /// How often the open connections were ended, and how last.
    ends: watch::Sender<(u64, End)>,
    pub cuts: AtomicU64,
}

impl Wire {
    /// Listens on a port of this machine, leads to another.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn lay(port: u16, upstream: u16, mark: &str) -> Result<Arc<Self>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.with_context(|| format!("port {port}"))?;
        let wire = Arc::new(Self {
            upstream,
            mark: mark.as_bytes().to_vec(),
            armed: Mutex::default(),
            pace: watch::Sender::new(Pace::AtOnce),
            ends: watch::Sender::new((0, End::Reset)),
            cuts: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&wire);
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((client, _)) => drop(tokio::spawn(Arc::clone(&accepting).carry(client))),
                    Err(_) => sleep(Duration::from_millis(10)).await,
                }
            }
        });
        Ok(wire)
    }

    /// Cuts at the next batch.
    pub fn arm(&self, cut: Cut) {
        *self.armed.lock() = Some(cut);
    }

    /// Disarms; true when the cut had not happened yet.
    pub fn disarm(&self) -> bool {
        self.armed.lock().take().is_some()
    }

    pub fn pace(&self, pace: Pace) {
        self.pace.send_replace(pace);
    }

    pub fn reset(&self) {
        self.ends.send_modify(|(count, end)| (*count, *end) = (*count + 1, End::Reset));
    }

    pub fn die_silently(&self) {
        self.ends.send_modify(|(count, end)| (*count, *end) = (*count + 1, End::Silent));
    }

    async fn carry(self: Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.upstream)).await else {
            let _ = client.set_zero_linger();
            return;
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (mut from_client, to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let mut back = to_client;
        let stop = tokio::select! {
            stop = self.pump(&mut from_client, &mut to_server, true) => stop,
            stop = self.pump(&mut from_server, &mut back, false) => stop,
        };
        match stop {
            Stop::Over | Stop::Cut(Cut::Before, _) => {}
            Stop::End(End::Reset) => {
                // A half that is dropped says a proper farewell; a whole stream need not.
                for stream in [from_client.reunite(back), from_server.reunite(to_server)].into_iter().flatten() {
                    let _ = stream.set_zero_linger();
                }
            }
            Stop::End(End::Silent) => {
                tokio::select! { () = swallow(&mut from_client) => {}, () = swallow(&mut from_server) => {} }
            }
            Stop::Cut(Cut::After, batch) => {
                let _ = to_server.write_all(&batch).await;
                sleep(MEANWHILE).await;
            }
            Stop::Cut(Cut::Late, batch) => {
                drop((from_client, back));
                sleep(LATE).await;
                let _ = to_server.write_all(&batch).await;
                sleep(LATE).await;
            }
        }
    }

    /// Carries one direction until something ends it.
    async fn pump(&self, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, requests: bool) -> Stop {
        let (mut ends, mut pace) = (self.ends.subscribe(), self.pace.subscribe());
        let mut buffer = vec![0; CHUNK];
        loop {
            let read = tokio::select! {
                biased;
                _ = ends.changed() => return Stop::End(ends.borrow().1),
                read = from.read(&mut buffer) => read,
            };
            let Some(piece) = read.ok().filter(|read| *read > 0).and_then(|read| buffer.get(..read)) else {
                return Stop::Over;
            };
            let now = *pace.borrow();
            let late = rand::rng().random_range(0.0..1.0);
            match now {
                Pace::AtOnce => {}
                Pace::Jittery(most) => sleep(most.mul_f64(late)).await,
                Pace::Still => drop(pace.wait_for(|pace| *pace != Pace::Still).await),
            }
            if requests
                && memchr::memmem::find(piece, &self.mark).is_some()
                && let Some(cut) = self.armed.lock().take()
            {
                self.cuts.fetch_add(1, Ordering::Relaxed);
                return Stop::Cut(cut, piece.to_vec());
            }
            tokio::select! {
                biased;
                _ = ends.changed() => return Stop::End(ends.borrow().1),
                written = to.write_all(piece) => if written.is_err() { return Stop::Over },
            }
        }
    }
}

enum Stop {
    Over,
    End(End),
    Cut(Cut, Vec<u8>),
}

async fn swallow(from: &mut OwnedReadHalf) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(1..) = from.read(&mut buffer).await {}
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn wired() -> (Arc<Wire>, TcpStream, TcpStream) {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
        let wire = Wire::lay(port, server.local_addr().unwrap().port(), "batch").await.unwrap();
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let (server, _) = server.accept().await.unwrap();
        (wire, client, server)
    }

    async fn hears(stream: &mut TcpStream) -> Option<String> {
        let mut buffer = [0; 64];
        let read = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut buffer)).await;
        read.ok().map(|read| String::from_utf8_lossy(&buffer[..read.unwrap_or(0)]).into_owned())
    }

    #[tokio::test]
    async fn carries_both_ways_and_cuts_at_batches_only() {
        for (cut, arrives) in [(Cut::Before, ""), (Cut::After, "a batch"), (Cut::Late, "a batch")] {
            let (wire, mut client, mut server) = wired().await;
            wire.arm(cut);
            client.write_all(b"hello").await.unwrap();
            assert_eq!(hears(&mut server).await.unwrap(), "hello");
            server.write_all(b"and you").await.unwrap();
            assert_eq!(hears(&mut client).await.unwrap(), "and you");
            client.write_all(b"a batch").await.unwrap();
            assert_eq!(hears(&mut client).await.unwrap(), "", "{cut:?}: the client's end is closed");
            let mut all = Vec::new();
            let _ = server.read_to_end(&mut all).await;
            assert_eq!(String::from_utf8_lossy(&all), arrives, "{cut:?}");
            assert!(!wire.disarm());
        }
    }

    #[tokio::test]
    async fn stands_still_and_goes_on() {
        let (wire, mut client, mut server) = wired().await;
        wire.pace(Pace::Still);
        client.write_all(b"one").await.unwrap();
        assert_eq!(hears(&mut server).await, None);
        wire.pace(Pace::AtOnce);
        assert_eq!(hears(&mut server).await.unwrap(), "one");
    }

    #[tokio::test]
    async fn dies_with_and_without_a_word() {
        let (wire, mut client, mut server) = wired().await;
        client.write_all(b"one").await.unwrap();
        assert_eq!(hears(&mut server).await.unwrap(), "one");
        wire.die_silently();
        client.write_all(b"two").await.unwrap();
        assert_eq!((hears(&mut server).await, hears(&mut client).await), (None, None), "neither hears anything");
        let (wire, mut client, mut server) = wired().await;
        client.write_all(b"one").await.unwrap();
        assert_eq!(hears(&mut server).await.unwrap(), "one");
        wire.reset();
        assert_eq!(client.read(&mut [0; 8]).await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    }
}
