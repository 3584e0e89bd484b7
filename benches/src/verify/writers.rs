//! Writers that all change the same few objects, each write on condition of what it replaces.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use http::{Method, StatusCode};
use parking_lot::Mutex;
use rand::Rng;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::history::{End, Id, deletion_of};
use super::readers::Newest;
use super::{Message, wire};
use crate::client::Connection;
use crate::target::Target;

/// A write that is not answered by then is given up: its outcome is unknown.
const PATIENCE: Duration = Duration::from_secs(12);
const RECONNECT: Duration = Duration::from_millis(100);
/// Out of a hundred writes to an object that is there.
const DELETIONS: u32 = 5;

/// What the writers believe the objects' revisions to be (none: not there). Beliefs may be stale: then the write is
/// refused, which is what is wanted to be seen.
#[derive(Default)]
pub struct Beliefs(Mutex<HashMap<String, Option<u64>>>);

impl Beliefs {
    fn get(&self, name: &str) -> Option<Option<u64>> {
        self.0.lock().get(name).copied()
    }
    fn set(&self, name: &str, revision: Option<u64>) {
        self.0.lock().insert(name.to_owned(), revision);
    }
}

pub struct Writer {
    pub targets: Vec<Target>,
    /// Which of the targets it begins with.
    pub index: usize,
    pub collection: String,
    pub objects: usize,
    /// After each write.
    pub rest: Duration,
    pub ids: Arc<AtomicU64>,
    pub beliefs: Arc<Beliefs>,
    pub newest: Arc<Newest>,
    pub judge: mpsc::Sender<Message>,
    pub stop: CancellationToken,
}

impl Writer {
    pub async fn run(mut self) {
        while !self.stop.is_cancelled() {
            let target = &self.targets[self.index % self.targets.len()];
            if let Ok(connection) = Connection::open(target).await {
                self.work(connection).await;
            } else {
                tokio::time::sleep(RECONNECT).await;
            }
            // A writer whose backend has gone tries another one.
            self.index += 1;
        }
    }

    /// Writes until the connection breaks or it is time to stop.
    async fn work(&self, mut connection: Connection) {
        while !self.stop.is_cancelled() {
            let (number, dice) = {
                let mut rng = rand::rng();
                (rng.random_range(0..self.objects), rng.random_range(0..100))
            };
            let name = format!("v-{number}");
            let path = format!("{}/{name}", self.collection);
            let Some(believed) = self.beliefs.get(&name) else {
                if self.look(&mut connection, &name, &path).await.is_err() {
                    return;
                }
                continue;
            };
            let (id, attempt) = match believed {
                None => {
                    let id = self.ids.fetch_add(1, Ordering::Relaxed);
                    let body = wire::body(&name, None, id);
                    (id, attempt(&mut connection, Method::POST, &self.collection, body).await)
                }
                Some(version) if dice < DELETIONS => {
                    let body = wire::delete_body(version);
                    (deletion_of(version), attempt(&mut connection, Method::DELETE, &path, body).await)
                }
                Some(version) => {
                    let id = self.ids.fetch_add(1, Ordering::Relaxed);
                    let body = wire::body(&name, Some(version), id);
                    (id, attempt(&mut connection, Method::PUT, &path, body).await)
                }
            };
            if !self.conclude(&name, id, &attempt).await {
                return;
            }
            if !self.rest.is_zero() {
                tokio::time::sleep(self.rest).await;
            }
            // Who was refused looks, as any client would.
            if !attempt.is_done() && self.look(&mut connection, &name, &path).await.is_err() {
                return;
            }
        }
    }

    /// Tells the judge; false when the connection is of no more use.
    async fn conclude(&self, name: &str, id: Id, attempt: &Attempt) -> bool {
        let is_deletion = id == deletion_of(id);
        let end = match attempt {
            Attempt::Done(revision) => {
                self.beliefs.set(name, if is_deletion { None } else { *revision });
                if let Some(revision) = revision {
                    self.newest.acknowledged(*revision);
                }
                End::Acknowledged(if is_deletion { None } else { *revision })
            }
            // Two may try to remove the same state: the name of that deletion is theirs together, so a refusal of one
            // says nothing about it.
            Attempt::Refused if is_deletion => return true,
            Attempt::Refused => End::Refused,
            Attempt::Unclear | Attempt::Broken => End::Unknown,
        };
        if !(is_deletion && end == End::Unknown) {
            let _ = self.judge.send(Message::Wrote(id, end)).await;
        }
        !matches!(attempt, Attempt::Broken)
    }

    async fn look(&self, connection: &mut Connection, name: &str, path: &str) -> Result<()> {
        let asking = connection.fetch(Method::GET, path, Bytes::new());
        let (status, bytes) = tokio::time::timeout(PATIENCE, asking).await??;
        match status {
            StatusCode::OK => self.beliefs.set(name, Some(wire::Object::read(&bytes)?.revision()?)),
            StatusCode::NOT_FOUND => self.beliefs.set(name, None),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => tokio::time::sleep(RECONNECT).await,
            other => return Err(anyhow!("{path}: {other}")),
        }
        Ok(())
    }
}

enum Attempt {
    Done(Option<u64>),
    Refused,
    Unclear,
    Broken,
}

impl Attempt {
    fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

async fn attempt(connection: &mut Connection, method: Method, path: &str, body: Bytes) -> Attempt {
    let answer = tokio::time::timeout(PATIENCE, connection.fetch(method, path, body)).await;
    let Ok(Ok((status, bytes))) = answer else { return Attempt::Broken };
    if status.is_success() {
        return Attempt::Done(wire::Object::read(&bytes).ok().and_then(|object| object.revision().ok()));
    }
    if status.is_client_error() { Attempt::Refused } else { Attempt::Unclear }
}
