//! Watches: how long an event takes from the commit to each client, and how many can be delivered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use memchr::memmem::Finder;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::writes::Updater;
use super::{Outcome, Setup};
use crate::client::{Connection, Lines};
use crate::histogram::Latencies;
use crate::load::{self, Client, Tally};
use crate::object::{self, SENT, SEQ};
use crate::target::Target;

/// Watchers that have not seen everything this long after the last write are not waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Connections opened at once: handshakes are expensive for the server.
const AT_ONCE: usize = 16;

#[derive(Deserialize)]
struct Listed {
    metadata: Meta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    resource_version: String,
}

/// The collection's current version.
pub async fn version(target: &Target, collection: &str) -> Result<String> {
    let mut connection = Connection::open(target).await?;
    let list = connection.expect(Method::GET, &format!("{collection}?limit=1"), Bytes::new()).await?;
    Ok(serde_json::from_slice::<Listed>(&list)?.metadata.resource_version)
}

/// When each write was acknowledged, by its number; 0 as long as it was not.
struct Acknowledged(Vec<AtomicU64>);

impl Acknowledged {
    /// Room for so many writes; later ones go unnoticed.
    fn new(room: usize) -> Self {
        Self((0..room).map(|_| AtomicU64::new(0)).collect())
    }
    fn set(&self, seq: u64, at: u64) {
        if let Some(slot) = usize::try_from(seq).ok().and_then(|seq| self.0.get(seq)) {
            slot.store(at, Ordering::Relaxed);
        }
    }
    fn get(&self, seq: u64) -> Option<u64> {
        usize::try_from(seq).ok().and_then(|seq| self.0.get(seq)).map(|slot| slot.load(Ordering::Relaxed))
    }
}

/// What a watcher has seen.
#[derive(Default)]
struct Seen {
    events: u64,
    bytes: u64,
    /// From when the write was begun.
    from_sent: Latencies,
    /// From when the writer had its answer; the smallest unit when the event was here first.
    from_acknowledged: Latencies,
    last: Option<Instant>,
}

/// Counts every event into `delivered`, ends when told to.
async fn watch(
    mut connection: Connection,
    path: String,
    acknowledged: Arc<Acknowledged>,
    delivered: Arc<AtomicU64>,
    ready: tokio::sync::oneshot::Sender<()>,
    stop: CancellationToken,
) -> Result<Seen> {
    let response = connection.send(Method::GET, &path, Bytes::new()).await?;
    ensure!(response.status().is_success(), "{path}: {}", response.status());
    let mut body = response.into_body();
    let _ = ready.send(());
    let (mut seen, mut lines) = (Seen::default(), Lines::default());
    let (sent, seq) = (Finder::new(SENT), Finder::new(SEQ));
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = stop.cancelled() => break,
        };
        let Some(frame) = frame else { break };
        let frame = frame?;
        let Some(data) = frame.data_ref() else { continue };
        let now = object::clock();
        let before = seen.events;
        seen.bytes += data.len() as u64;
        lines.feed(data, |line| {
            let Some(begun) = object::number_after(&sent, line) else { return };
            seen.events += 1;
            seen.from_sent.record_micros(now.saturating_sub(begun) / 1000);
            match object::number_after(&seq, line).and_then(|seq| acknowledged.get(seq)) {
                Some(at) if at > 0 => seen.from_acknowledged.record_micros(now.saturating_sub(at) / 1000),
                // Not acknowledged yet: the event was quicker.
                Some(_) => seen.from_acknowledged.record_micros(0),
                None => {}
            }
        });
        seen.last = Some(Instant::now());
        delivered.fetch_add(seen.events - before, Ordering::Relaxed);
    }
    Ok(seen)
}

/// The watchers of a case, all of them listening.
struct Watchers {
    tasks: JoinSet<Result<Seen>>,
    delivered: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Watchers {
    async fn start(setup: &Setup, acknowledged: &Arc<Acknowledged>) -> Result<Self> {
        let from = version(&setup.watched, &setup.collection()).await?;
        let path = format!("{}?watch=1&resourceVersion={from}&allowWatchBookmarks=true", setup.collection());
        let (delivered, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let mut left = setup.watchers;
        while left > 0 {
            let opening = (0..left.min(AT_ONCE)).map(|_| Connection::open(&setup.watched));
            let connections = futures::future::try_join_all(opening).await?;
            left -= connections.len();
            let mut ready = Vec::new();
            for connection in connections {
                let (tell, told) = tokio::sync::oneshot::channel();
                let (acknowledged, delivered) = (Arc::clone(acknowledged), Arc::clone(&delivered));
                tasks.spawn(watch(connection, path.clone(), acknowledged, delivered, tell, stop.clone()));
                ready.push(told);
            }
            for told in ready {
                told.await.context("a watch was refused")?;
            }
        }
        Ok(Self { tasks, delivered, stop })
    }

    /// Waits until so many events have arrived (or no more are coming), and adds up what was seen.
    async fn finish(mut self, expected: u64) -> Result<(Seen, u64)> {
        let deadline = Instant::now() + PATIENCE;
        while self.delivered.load(Ordering::Relaxed) < expected && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.stop.cancel();
        let mut all = Seen::default();
        while let Some(seen) = self.tasks.join_next().await {
            let seen = seen??;
            all.events += seen.events;
            all.bytes += seen.bytes;
            all.from_sent.add(&seen.from_sent);
            all.from_acknowledged.add(&seen.from_acknowledged);
            all.last = all.last.max(seen.last);
        }
        let missing = expected.saturating_sub(all.events);
        Ok((all, missing))
    }
}

/// An updater that numbers its writes together with all others and tells when they were acknowledged.
struct Timed {
    updater: Updater,
    numbers: Arc<AtomicU64>,
    acknowledged: Arc<Acknowledged>,
}

impl Client for Timed {
    async fn next(&mut self, connection: &mut Connection, due: Instant) -> Result<(StatusCode, u64)> {
        let seq = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
        let outcome = self.updater.write(connection, seq, due).await;
        self.acknowledged.set(seq, object::clock());
        outcome
    }
}

async fn run(setup: &Setup, room: usize, rate: Option<f64>) -> Result<(Tally, Seen, u64, Duration)> {
    let acknowledged = Arc::new(Acknowledged::new(room));
    let numbers = Arc::new(AtomicU64::new(0));
    let writers = Updater::several(setup).await?;
    let writers = writers.into_iter().map(|updater| Timed {
        updater,
        numbers: Arc::clone(&numbers),
        acknowledged: Arc::clone(&acknowledged),
    });
    let writers = writers.collect();
    let watchers = Watchers::start(setup, &acknowledged).await?;
    let begun = Instant::now();
    let (_, tally) = match rate {
        Some(rate) => load::open(&setup.target, writers, setup.length, rate).await?,
        None => load::closed(&setup.target, writers, setup.length).await?,
    };
    let (seen, missing) = watchers.finish(tally.done * setup.watchers as u64).await?;
    let elapsed = seen.last.map_or(tally.elapsed, |last| last.duration_since(begun));
    Ok((tally, seen, missing, elapsed))
}

pub async fn latency(setup: Setup) -> Result<Outcome> {
    /// A few watchers show the latency; the rest would only be load.
    const WATCHERS: usize = 8;
    let setup = Setup { watchers: WATCHERS, ..setup };
    let room = (setup.rate * setup.length.as_secs_f64() * 2.0) as usize + 1000;
    let (tally, seen, missing, _) = run(&setup, room, Some(setup.rate)).await?;
    Ok(Outcome::of("writes", &tally)
        .latency("begun to seen", &seen.from_sent)
        .latency("acknowledged to seen", &seen.from_acknowledged)
        .figure("missing events", missing as f64, ""))
}

pub async fn fan_out(setup: Setup) -> Result<Outcome> {
    /// More writes than any server does in the time of a case.
    const ROOM: usize = 1 << 20;
    let (mut tally, seen, missing, elapsed) = run(&setup, ROOM, None).await?;
    let writes = tally.done as f64 / tally.elapsed.as_secs_f64();
    (tally.done, tally.bytes, tally.elapsed) = (seen.events, seen.bytes, elapsed);
    Ok(Outcome::of("deliveries", &tally)
        .latency("begun to seen", &seen.from_sent)
        .latency("acknowledged to seen", &seen.from_acknowledged)
        .figure("writes", writes, "/s")
        .figure("watchers", setup.watchers as f64, "")
        .figure("missing events", missing as f64, ""))
}

pub async fn idle(setup: Setup) -> Result<Outcome> {
    let watchers = Watchers::start(&setup, &Arc::new(Acknowledged::new(0))).await?;
    tokio::time::sleep(setup.length).await;
    let (seen, _) = watchers.finish(0).await?;
    let tally = Tally { done: setup.watchers as u64, bytes: seen.bytes, elapsed: setup.length, ..Tally::default() };
    Ok(Outcome::of("watches", &tally).figure("watchers", setup.watchers as f64, ""))
}
