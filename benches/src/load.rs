//! The two ways to load a server.
//!
//! Closed loop: so many clients, each sending its next request when the last is answered; it shows the most a server
//! can do. Open loop: requests begin on a schedule, whatever the server does, and their latency counts from when they
//! were due, so a server that stalls cannot hide it by not being asked.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use http::StatusCode;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::client::Connection;
use crate::histogram::Latencies;
use crate::target::Target;

/// A client whose connection broke waits this long before it connects anew.
const RECONNECT: Duration = Duration::from_millis(100);

/// What one client, or all of them, did.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub latencies: Latencies,
    /// Requests that were answered as they should.
    pub done: u64,
    pub bytes: u64,
    /// Answers that were not, and broken connections, by what they were.
    pub failed: BTreeMap<String, u64>,
    pub elapsed: Duration,
}

impl Tally {
    pub fn answer(&mut self, took: Duration, outcome: &Result<(StatusCode, u64)>) -> bool {
        match outcome {
            Ok((status, bytes)) if status.is_success() => {
                self.latencies.record(took);
                self.done += 1;
                self.bytes += bytes;
                true
            }
            Ok((status, _)) => {
                *self.failed.entry(status.as_u16().to_string()).or_default() += 1;
                false
            }
            Err(error) => {
                *self.failed.entry(format!("{error:#}")).or_default() += 1;
                false
            }
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies);
        self.done += other.done;
        self.bytes += other.bytes;
        for (what, count) in &other.failed {
            *self.failed.entry(what.clone()).or_default() += count;
        }
        self.elapsed = self.elapsed.max(other.elapsed);
    }
}

/// A client that is asked to send one request after another.
pub trait Client: Send + 'static {
    /// Sends the next request and waits for its answer. `due` is when it should have begun.
    fn next(
        &mut self,
        connection: &mut Connection,
        due: Instant,
    ) -> impl Future<Output = Result<(StatusCode, u64)>> + Send;
}

/// Runs every client in a closed loop; gives them back with what they did.
///
/// # Errors
/// When a connection cannot be opened at the start.
pub async fn closed<C: Client>(target: &Target, clients: Vec<C>, length: Duration) -> Result<(Vec<C>, Tally)> {
    run(target, clients, length, None).await
}

/// Runs every client on a schedule: `rate` requests a second, all clients together.
///
/// # Errors
/// When a connection cannot be opened at the start.
pub async fn open<C: Client>(target: &Target, clients: Vec<C>, length: Duration, rate: f64) -> Result<(Vec<C>, Tally)> {
    let every = Duration::from_secs_f64(clients.len() as f64 / rate);
    run(target, clients, length, Some(every)).await
}

async fn run<C: Client>(
    target: &Target,
    clients: Vec<C>,
    length: Duration,
    every: Option<Duration>,
) -> Result<(Vec<C>, Tally)> {
    let count = clients.len();
    let barrier = Arc::new(Barrier::new(count));
    let mut tasks = JoinSet::new();
    for (index, mut client) in clients.into_iter().enumerate() {
        let mut connection = Connection::open(target).await?;
        let (barrier, target) = (Arc::clone(&barrier), target.clone());
        tasks.spawn(async move {
            barrier.wait().await;
            let begun = Instant::now();
            // The clients of an open loop take turns.
            let offset = every.map(|every| every.mul_f64(index as f64 / count as f64)).unwrap_or_default();
            let mut tally = Tally::default();
            for number in 0u32.. {
                let due = match every {
                    Some(every) => begun + offset + every * number,
                    None => Instant::now(),
                };
                if due.duration_since(begun) >= length {
                    break;
                }
                if every.is_some() {
                    tokio::time::sleep_until(due.into()).await;
                }
                let outcome = client.next(&mut connection, due).await;
                tally.answer(due.elapsed(), &outcome);
                if outcome.is_err() {
                    // A broken connection is counted; what follows needs a new one.
                    while begun.elapsed() < length {
                        match Connection::open(&target).await {
                            Ok(new) => {
                                connection = new;
                                break;
                            }
                            Err(_) => tokio::time::sleep(RECONNECT).await,
                        }
                    }
                }
            }
            tally.elapsed = begun.elapsed();
            (client, tally)
        });
    }
    let (mut clients, mut all) = (Vec::with_capacity(count), Tally::default());
    while let Some(ended) = tasks.join_next().await {
        let (client, tally) = ended?;
        clients.push(client);
        all.add(&tally);
    }
    Ok((clients, all))
}
