//! Everything at once, for as long as one likes: one to three backends, writers that contend, watches that resume at
//! other backends, compaction, cut wires, terminated sessions, a PostgreSQL that is killed.
//!
//! A seed decides settings, load and faults; the interleaving is the machine's. Every revision here is a pod's, so a
//! watch must show each one. `PILOTHOUSE_SEED=3 PILOTHOUSE_EVENTS=10000000 cargo test -p pilothouse-storage soak`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pilothouse_storage::testing::TestPostgres;
use pilothouse_storage::{Compaction, Config, Error, EventKind, Expect, Mutation, Store, WatchItem};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::proxy::{Cut, Proxy};
use crate::support::*;

/// Seeds and delivered events of one run, unless the environment asks for others.
const SEEDS: std::ops::Range<u64> = 1..4;
const EVENTS: u64 = 6_000;
const WRITERS: u64 = 9;
const WATCHES: usize = 5;
const OBJECTS: u64 = 20;
/// Events are compared within this many revisions, so that memory stays flat however long it runs.
const WINDOW: u64 = 200_000;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

/// What everybody has said so far.
#[derive(Default)]
struct Story {
    /// Revision → who wrote it (a number that is in the object; 0 for a deletion), and what.
    events: BTreeMap<u64, (u64, EventKind, String)>,
    /// Writer's number → revision, of acknowledged writes not yet seen.
    acknowledged: HashMap<u64, u64>,
    refused: HashMap<u64, ()>,
    written: u64,
}

impl Story {
    fn event(&mut self, revision: u64, number: u64, kind: EventKind, name: String) {
        if let Some(said) = self.acknowledged.remove(&number) {
            assert_eq!(said, revision, "write {number} of {name} is where its answer says");
        }
        assert!(number == 0 || !self.refused.contains_key(&number), "write {number} of {name} was refused");
        let told = (number, kind, name);
        match self.events.get(&revision) {
            Some(before) => assert_eq!(*before, told, "all watches tell the same of {revision}"),
            None => drop(self.events.insert(revision, told)),
        }
        while self.events.len() as u64 > WINDOW {
            self.events.pop_first();
        }
    }

    fn acknowledge(&mut self, number: u64, revision: u64) {
        self.written += 1;
        match self.events.get(&revision) {
            Some((seen, ..)) => assert_eq!(*seen, number, "{revision} is another's"),
            None => drop(self.acknowledged.insert(number, revision)),
        }
    }

    fn refuse(&mut self, number: u64) {
        let applied = self.events.iter().rev().take(1000).find(|(_, (seen, ..))| *seen == number);
        assert!(applied.is_none(), "write {number} was refused and is {applied:?}");
        self.refused.insert(number, ());
    }
}

struct Cluster {
    stores: Vec<Store>,
    proxies: Vec<Proxy>,
    story: Mutex<Story>,
    numbers: AtomicU64,
    delivered: AtomicU64,
    /// Where each watch is.
    positions: Vec<AtomicU64>,
    stop: AtomicBool,
    calm: AtomicBool,
}

/// Writes as its seed says, until told to stop.
async fn write(cluster: Arc<Cluster>, seed: u64) {
    let mut random = Random(seed);
    while !cluster.stop.load(Ordering::Relaxed) {
        let store = &cluster.stores[usize::try_from(random.below(cluster.stores.len() as u64)).unwrap()];
        let name = format!("p{}", random.below(OBJECTS));
        let number = cluster.numbers.fetch_add(1, Ordering::Relaxed);
        let (mutation, number) = match (store.get(&key(&name)), random.below(8)) {
            (None, _) => (create(&name, number), number),
            (Some(object), 0) => (delete(&name, Expect::Revision(object.revision)), 0),
            (Some(_), 1) => (update(&name, Expect::Any, number), number),
            (Some(object), _) => (update(&name, Expect::Revision(object.revision), number), number),
        };
        // The proxies look for this name when they are to cut.
        let user: Arc<str> = if random.below(20) == 0 { "cut-me".into() } else { "tester".into() };
        let outcome = store.write(Mutation { user, ..mutation }).await;
        let written = outcome.as_ref().ok().map(|object| object.revision);
        let unavailable = matches!(outcome, Err(Error::Unavailable(_)));
        {
            let mut story = cluster.story.lock();
            match outcome {
                Ok(object) if number > 0 => story.acknowledge(number, object.revision),
                Ok(_) => story.written += 1,
                Err(Error::AlreadyExists | Error::NotFound | Error::Conflict { .. }) if number > 0 => {
                    story.refuse(number);
                }
                Err(Error::AlreadyExists | Error::NotFound | Error::Conflict { .. } | Error::Unavailable(_)) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        if unavailable {
            sleep(Duration::from_millis(5)).await;
        }
        // What is acknowledged here is read everywhere.
        let other = &cluster.stores[usize::try_from(random.below(cluster.stores.len() as u64)).unwrap()];
        if let Some(written) = written
            && random.below(4) == 0
            && let Ok(read) = other.fresh().await
        {
            assert!(read >= written, "{read} is read after {written} was acknowledged");
        }
    }
}

/// Watches until all is calm. Gives what it skipped because it had to list anew: (behind, up to).
async fn watch(cluster: Arc<Cluster>, index: usize, seed: u64, from: u64) -> Vec<(u64, u64)> {
    let mut random = Random(seed);
    let (mut seen, mut skipped) = (from, Vec::new());
    let list = |store: &Store, seen: &mut u64, skipped: &mut Vec<(u64, u64)>| {
        let revision = store.list("pods", None).revision;
        assert!(revision >= *seen);
        skipped.push((std::mem::replace(seen, revision), revision));
        cluster.positions[index].store(revision, Ordering::Relaxed);
    };
    while !cluster.calm.load(Ordering::Relaxed) {
        let store = &cluster.stores[usize::try_from(random.below(cluster.stores.len() as u64)).unwrap()];
        let mut watcher = match store.watch("pods", None, None, seen) {
            Ok(watcher) => watcher,
            Err(Error::FutureRevision { .. }) => {
                sleep(Duration::from_millis(2)).await;
                continue;
            }
            Err(Error::Compacted { .. }) => {
                list(store, &mut seen, &mut skipped);
                continue;
            }
            Err(error) => panic!("{error:?}"),
        };
        // So many events from this backend; then another one.
        let mut left = 1 + random.below(400);
        while left > 0 && !cluster.calm.load(Ordering::Relaxed) {
            let Ok(item) = tokio::time::timeout(Duration::from_millis(200), watcher.next()).await else { break };
            match item {
                WatchItem::Event(event) => {
                    assert_eq!(event.revision, seen + 1, "every revision is a pod's");
                    seen = event.revision;
                    left -= 1;
                    let number = if event.kind == EventKind::Deleted { 0 } else { number(&event.object) };
                    let name = event.object.key.name.to_string();
                    cluster.story.lock().event(seen, number, event.kind, name);
                    cluster.positions[index].store(seen, Ordering::Relaxed);
                    cluster.delivered.fetch_add(1, Ordering::Relaxed);
                }
                WatchItem::Progress(revision) => assert_eq!(revision, seen, "nothing but pods is written"),
                WatchItem::Gone => {
                    list(store, &mut seen, &mut skipped);
                    break;
                }
                WatchItem::Closed => panic!("nobody closes"),
            }
        }
        if random.below(4) == 0 {
            // A slow one falls out of the memory now and then.
            sleep(Duration::from_millis(random.below(60))).await;
        }
    }
    skipped
}

async fn fault(cluster: &Cluster, postgres: &TestPostgres, url: &str, random: &mut Random) {
    let at = usize::try_from(random.below(cluster.proxies.len() as u64)).unwrap();
    match random.below(12) {
        0 => {
            postgres.kill().await;
            sleep(Duration::from_millis(random.below(300))).await;
            postgres.restart().await;
        }
        1 | 2 => {
            let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                        WHERE datname = current_database() AND pid <> pg_backend_pid()";
            postgres.execute(url, kill).await;
        }
        3 | 4 => cluster.proxies[at].sever(),
        5..=8 => {
            let cut = random.pick(&[Cut::Before, Cut::After, Cut::Late]);
            cluster.proxies[at].arm(cut);
        }
        _ => {
            let back = random.below(500);
            let store = &cluster.stores[at];
            // Without a database there is nothing to compact.
            let _ = store.compact(store.revision().saturating_sub(back)).await;
        }
    }
}

async fn soak(seed: u64, events: u64) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let postgres = TestPostgres::start().await;
    let direct = Config {
        batch_units: random.pick(&[2, 16, 512]),
        ring_events: random.pick(&[32, 512, 8192]),
        partition_revisions: random.pick(&[300, 2000, 100_000]),
        poll_interval: Duration::from_millis(50),
        compaction: Compaction { interval: Duration::ZERO, ..Compaction::default() },
        ..Config::new(postgres.database().await)
    };
    let real = direct.url.split("host=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let (mut stores, mut proxies) = (Vec::new(), Vec::new());
    for _ in 0..=seed % 3 {
        let proxy = Proxy::start(Path::new(&real));
        stores.push(open(&Config { url: proxy.url(&direct.url), ..direct.clone() }).await);
        proxies.push(proxy);
    }
    let from = stores[0].revision();
    let cluster = Arc::new(Cluster {
        stores,
        proxies,
        story: Mutex::default(),
        numbers: AtomicU64::new(1),
        delivered: AtomicU64::new(0),
        positions: (0..WATCHES).map(|_| AtomicU64::new(from)).collect(),
        stop: AtomicBool::new(false),
        calm: AtomicBool::new(false),
    });
    let (mut writers, mut watches) = (JoinSet::new(), JoinSet::new());
    for at in 0..WRITERS {
        writers.spawn(write(Arc::clone(&cluster), random.below(u64::MAX >> 33) ^ at));
    }
    for at in 0..WATCHES {
        watches.spawn(watch(Arc::clone(&cluster), at, random.below(u64::MAX >> 33) ^ at as u64, from));
    }
    let mut faults = 0;
    while cluster.delivered.load(Ordering::Relaxed) < events {
        sleep(Duration::from_millis(50 + random.below(400))).await;
        fault(&cluster, &postgres, &direct.url, &mut random).await;
        faults += 1;
        // A watch or a writer that failed says what is wrong; nobody waits for events then.
        if let Some(ended) = watches.try_join_next() {
            ended.unwrap();
        }
        if let Some(ended) = writers.try_join_next() {
            ended.unwrap();
        }
    }
    cluster.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    for store in &cluster.stores {
        eventually("heals", async || store.is_available() && store.fresh().await.is_ok()).await;
    }
    let end = cluster.stores[0].fresh().await.unwrap();
    let mut skipped = Vec::new();
    eventually("the watches reach the end", async || {
        // One that failed says what is wrong.
        while let Some(ended) = watches.try_join_next() {
            skipped.push(ended.unwrap());
        }
        cluster.positions.iter().all(|position| position.load(Ordering::Relaxed) >= end)
    })
    .await;
    cluster.calm.store(true, Ordering::Relaxed);
    while let Some(ended) = watches.join_next().await {
        skipped.push(ended.unwrap());
    }

    let fresh = open(&direct).await;
    let truth = shape(&fresh.list("pods", None).items);
    for store in &cluster.stores {
        store.fresh().await.unwrap();
        assert_eq!(shape(&store.list("pods", None).items), truth, "all backends have the same");
    }
    let story = cluster.story.lock();
    // What every watch had to skip, none can have seen.
    let excused = |revision: u64| {
        skipped.iter().all(|ranges| ranges.iter().any(|(behind, upto)| revision > *behind && revision <= *upto))
    };
    let lost: Vec<_> = story.acknowledged.iter().filter(|(_, revision)| !excused(**revision)).collect();
    assert!(lost.is_empty(), "acknowledged and never seen: {lost:?}");
    let relists: usize = skipped.iter().map(Vec::len).sum();
    let cuts: u64 = cluster.proxies.iter().map(Proxy::cuts).sum();
    tracing::info!(
        seed,
        backends = cluster.stores.len(),
        written = story.written,
        revisions = end - from,
        delivered = cluster.delivered.load(Ordering::Relaxed),
        faults,
        cuts,
        relists,
        "survived"
    );
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn soak_with_seeds() {
    postgres().await;
    let seeds = setting("PILOTHOUSE_SEED").map_or(SEEDS, |seed| seed..seed + 1);
    for seed in seeds {
        soak(seed, setting("PILOTHOUSE_EVENTS").unwrap_or(EVENTS)).await;
    }
}
