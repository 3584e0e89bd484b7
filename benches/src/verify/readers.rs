//! Readers that ask for the present: whatever was acknowledged before they asked, by whichever backend, must be in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Counters, Message, wire};
use crate::client::Connection;
use crate::target::Target;

/// A read that is not answered by then is given up.
const PATIENCE: Duration = Duration::from_secs(12);
/// Between two reads: they are to be there, not to be the load.
const REST: Duration = Duration::from_millis(5);
const RECONNECT: Duration = Duration::from_millis(50);

/// The newest revision that anyone has acknowledged.
#[derive(Default)]
pub struct Newest(AtomicU64);

impl Newest {
    pub fn acknowledged(&self, revision: u64) {
        self.0.fetch_max(revision, Ordering::AcqRel);
    }
    fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

pub struct Reader {
    pub target: Target,
    pub collection: String,
    pub newest: Arc<Newest>,
    pub counters: Arc<Counters>,
    pub judge: mpsc::Sender<Message>,
    pub stop: CancellationToken,
}

impl Reader {
    /// Reads through its backend until told to stop.
    pub async fn run(self) {
        while !self.stop.is_cancelled() {
            if let Ok(connection) = Connection::open(&self.target).await {
                let _ = self.read(connection).await;
            }
            sleep(RECONNECT).await;
        }
    }

    async fn read(&self, mut connection: Connection) -> Result<()> {
        // One object is enough: the list says what it is the state of.
        let path = format!("{}?limit=1", self.collection);
        while !self.stop.is_cancelled() {
            let known = self.newest.get();
            let (status, bytes) = timeout(PATIENCE, connection.fetch(Method::GET, &path, Bytes::new())).await??;
            if status == StatusCode::OK {
                let found = wire::List::read(&bytes)?.revision()?;
                self.counters.reads.fetch_add(1, Ordering::Relaxed);
                if found < known {
                    let what = format!("{}: a list that was begun after {known} is of {found}", self.target.name);
                    let _ = self.judge.send(Message::Wrong(what)).await;
                }
            }
            sleep(REST).await;
        }
        Ok(())
    }
}
