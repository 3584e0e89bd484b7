//! PostgreSQL dies, connections break, history is lost.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pilothouse_storage::testing::TestPostgres;
use pilothouse_storage::{Config, Error, EventKind, Expect, Mutation, Store, WatchItem};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::proxy::{Cut, Proxy};
use crate::support::*;

/// What a writer knows of its writes.
#[derive(Default)]
struct Known {
    acknowledged: Vec<String>,
    refused: Vec<String>,
    unknown: Vec<String>,
}

/// Creates objects with names of its own until told to stop.
async fn creator(store: Store, writer: usize, stop: Arc<AtomicBool>) -> Known {
    let mut known = Known::default();
    for at in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("w{writer}-{at}");
        match store.write(create(&name, at)).await {
            Ok(_) => known.acknowledged.push(name),
            Err(Error::Unavailable(why)) => {
                if why.contains("unknown") {
                    known.unknown.push(name)
                } else {
                    known.refused.push(name)
                }
                sleep(Duration::from_millis(5)).await;
            }
            // A create with a name of its own can meet itself only if it was done twice.
            Err(error) => panic!("{name}: {error:?}"),
        }
    }
    known
}

/// Load on two stores while something terrible happens again and again; then everything is checked.
async fn survive(config: &Config, mut disaster: impl AsyncFnMut(usize)) {
    let config = Config { ring_events: 1_000_000, ring_bytes: 1 << 30, ..config.clone() };
    let stores = [open(&config).await, open(&config).await];
    let start = stores[0].revision();
    stores[0].write(create("counter", 0)).await.unwrap();
    stores[1].fresh().await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let counted = Arc::new(AtomicU64::new(0));
    let maybe = Arc::new(AtomicU64::new(0));
    let mut watchers: Vec<_> = stores.iter().map(|store| store.watch("pods", None, None, start).unwrap()).collect();
    let mut creators = JoinSet::new();
    for at in 0..8 {
        creators.spawn(creator(stores[at % 2].clone(), at, stop.clone()));
    }
    let mut counters = JoinSet::new();
    for store in stores.clone() {
        let (stop, counted, maybe) = (stop.clone(), counted.clone(), maybe.clone());
        counters.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                match increment(&store, "counter").await {
                    Ok(_) => {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(Error::Unavailable(why)) if why.contains("unknown") => {
                        maybe.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(Error::Unavailable(_)) => sleep(Duration::from_millis(5)).await,
                    // The wait for another store's change while PostgreSQL is away.
                    Err(Error::FutureRevision { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        });
    }
    for round in 0..4 {
        sleep(Duration::from_millis(400)).await;
        disaster(round).await;
    }
    sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    let mut all = Known::default();
    while let Some(known) = creators.join_next().await {
        let known = known.unwrap();
        all.acknowledged.extend(known.acknowledged);
        all.refused.extend(known.refused);
        all.unknown.extend(known.unknown);
    }
    while let Some(done) = counters.join_next().await {
        done.unwrap();
    }
    assert!(all.acknowledged.len() > 100, "there was load: {}", all.acknowledged.len());

    for store in &stores {
        eventually("heals", async || store.is_available() && store.fresh().await.is_ok()).await;
    }
    let end = stores[0].fresh().await.unwrap();
    let fresh = open(&config).await;
    for store in [&stores[0], &stores[1], &fresh] {
        store.fresh().await.unwrap();
        for name in &all.acknowledged {
            assert!(store.get(&key(name)).is_some(), "{name} was acknowledged and is lost");
        }
        for name in &all.refused {
            assert!(store.get(&key(name)).is_none(), "{name} was refused and is there");
        }
        let count = number(&store.get(&key("counter")).unwrap());
        let (counted, maybe) = (counted.load(Ordering::Relaxed), maybe.load(Ordering::Relaxed));
        assert!((counted..=counted + maybe).contains(&count), "{count} of {counted} and perhaps {maybe}");
        assert_eq!(shape(&store.list("pods", None).items), shape(&fresh.list("pods", None).items));
    }
    for watcher in &mut watchers {
        let events = events_until(watcher, end).await;
        assert_dense(&events, start);
        let mut added: BTreeMap<String, usize> = BTreeMap::new();
        for event in events.iter().filter(|event| event.kind == EventKind::Added) {
            *added.entry(event.object.key.name.to_string()).or_default() += 1;
        }
        assert!(added.values().all(|times| *times == 1), "nothing is created twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_killed_and_restarted() {
    // One of its own: the other tests need theirs alive.
    let postgres = TestPostgres::start().await;
    let config = Config::new(postgres.database().await);
    survive(&config, async |round| {
        postgres.kill().await;
        // Shorter and longer than writes are willing to wait.
        sleep(Duration::from_millis(if round == 2 { 2500 } else { 100 })).await;
        postgres.restart().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_terminated() {
    let config = config().await;
    let postgres = postgres().await;
    survive(&config, async |_| {
        for _ in 0..5 {
            let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                        WHERE datname = current_database() AND pid <> pg_backend_pid()";
            postgres.execute(&config.url, kill).await;
            sleep(Duration::from_millis(37)).await;
        }
    })
    .await;
}

/// A store behind a proxy, one beside it.
async fn behind_proxy() -> (Proxy, Config, Store, Store) {
    let direct = config().await;
    let real = direct.url.split("host=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let proxy = Proxy::start(Path::new(&real));
    let proxied = Config::new(proxy.url(&direct.url));
    let (store, other) = (open(&proxied).await, open(&direct).await);
    (proxy, direct, store, other)
}

fn marked(mutation: Mutation) -> Mutation {
    Mutation { user: "cut-me".into(), ..mutation }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_of_unknown_outcome_is_cleared_up() {
    for cut in [Cut::Before, Cut::After, Cut::Late] {
        for others_write in [false, true] {
            let (proxy, config, store, other) = behind_proxy().await;
            let start = store.revision();
            proxy.arm(cut);
            let writing = tokio::spawn({
                let store = store.clone();
                async move { store.write(marked(create("a", 1))).await }
            });
            eventually("the cut", async || proxy.cuts() == 1).await;
            if others_write {
                other.write(create("b", 2)).await.unwrap();
            }
            let made = writing.await.unwrap();
            let made = made.unwrap_or_else(|error| panic!("{cut:?}: {error}"));
            sleep(Duration::from_millis(if cut == Cut::Late { 700 } else { 0 })).await;
            let end = other.fresh().await.unwrap();
            assert_eq!(end, start + 1 + u64::from(others_write), "{cut:?}: done once");
            assert_eq!(other.get(&key("a")).unwrap().bytes, made.bytes, "{cut:?}");
            let rows = postgres().await.number(&config.url, "SELECT count(*) FROM changes WHERE name = 'a'").await;
            assert_eq!(rows, 1, "{cut:?}");
            // The same for a unit that fails: refusals are not guesses either.
            proxy.arm(cut);
            let unit = vec![marked(update("a", Expect::Any, 5)), marked(update("a", Expect::Any, 6))];
            assert_eq!(store.write_all(unit).await.unwrap().len(), 2);
            assert!(matches!(store.write(create("a", 1)).await, Err(Error::AlreadyExists)));
            assert_eq!(other.fresh().await.unwrap(), end + 2, "{cut:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_postgres_it_reads_and_refuses_and_then_heals() {
    let postgres = TestPostgres::start().await;
    let config = Config { outage_grace: Duration::from_millis(300), ..Config::new(postgres.database().await) };
    let store = open(&config).await;
    store.write(create("a", 1)).await.unwrap();
    let start = store.revision();
    let mut watcher = store.watch("pods", None, None, start).unwrap();
    postgres.kill().await;

    // The dead server's children may answer a moment longer.
    eventually("refuses", async || {
        matches!(store.write(update("a", Expect::Any, 2)).await, Err(Error::Unavailable(_)))
    })
    .await;
    eventually("notices", async || !store.is_available()).await;
    let started = Instant::now();
    let refused = store.write(create("c", 1)).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))) && started.elapsed() < Duration::from_millis(50));
    assert!(store.get(&key("a")).is_some(), "the cache still answers");
    assert!(matches!(store.fresh().await, Err(Error::Unavailable(_))), "but does not claim to be fresh");
    assert!(store.status().lag > Duration::from_millis(300));

    postgres.restart().await;
    eventually("heals", async || store.is_available()).await;
    let made = store.write(create("d", 1)).await.unwrap();
    let events = events_until(&mut watcher, made.revision).await;
    assert_dense(&events, start);
    assert_eq!(events.last().unwrap().object.bytes, made.bytes, "the watch goes on");
    eventually("is fresh again", async || store.fresh().await.is_ok()).await;
}

/// What a crash does to asynchronous commits, or a failover to a standby that lags: acknowledged changes are gone, and
/// their revisions are about to be given out again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_history_is_noticed() {
    let config = Config { poll_interval: Duration::from_millis(50), ..config().await };
    let stores = [open(&config).await, open(&config).await];
    stores[0].write(create("kept", 1)).await.unwrap();
    let lost = stores[0].write(create("lost", 1).relaxed()).await.unwrap();
    stores[1].fresh().await.unwrap();
    let mut watchers: Vec<_> =
        stores.iter().map(|store| store.watch("pods", None, None, lost.revision).unwrap()).collect();
    let rewind = format!(
        "BEGIN; UPDATE revision SET revision = {0} - 1; DELETE FROM changes WHERE revision = {0}; \
         DELETE FROM objects WHERE revision = {0}; COMMIT",
        lost.revision
    );
    postgres().await.execute(&config.url, &rewind).await;
    let made = stores[1].write(create("new", 1)).await.unwrap();
    assert!(made.revision > lost.revision + 1, "no revision is given out twice: {}", made.revision);
    for (store, watcher) in stores.iter().zip(&mut watchers) {
        eventually("sees the new timeline", async || store.get(&key("new")).is_some()).await;
        assert!(store.get(&key("lost")).is_none() && store.get(&key("kept")).is_some());
        assert!(matches!(watcher.next().await, WatchItem::Gone));
        let old = store.watch("pods", None, None, lost.revision);
        assert!(matches!(old, Err(Error::Compacted { .. })), "the lost revision is no place to start from");
    }
    // And life goes on.
    let mut watcher = stores[0].watch("pods", None, None, made.revision).unwrap();
    let next = stores[1].write(update("kept", Expect::Any, 2)).await.unwrap();
    assert_eq!((event(&mut watcher).await.revision, next.revision), (made.revision + 1, made.revision + 1));
}

/// As above, but a backend that never knew of the lost change has given its revision out again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forked_revision_is_noticed() {
    let config = Config { poll_interval: Duration::from_millis(50), ..config().await };
    let store = open(&config).await;
    let lost = store.write(create("lost", 1).relaxed()).await.unwrap();
    let mut watcher = store.watch("pods", None, None, lost.revision).unwrap();
    let fork = format!(
        "BEGIN; UPDATE objects SET name = 'new' WHERE revision = {0}; \
         UPDATE changes SET batch = batch + 1, name = 'new' WHERE revision = {0}; COMMIT",
        lost.revision
    );
    postgres().await.execute(&config.url, &fork).await;
    eventually("sees the other branch", async || store.get(&key("new")).is_some()).await;
    assert!(store.get(&key("lost")).is_none());
    assert!(store.revision() > lost.revision, "the revision of both branches belongs to none");
    assert!(matches!(watcher.next().await, WatchItem::Gone));
    let old = store.watch("pods", None, None, lost.revision);
    assert!(matches!(old, Err(Error::Compacted { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wire_that_died_without_a_word_holds_up_nobody() {
    let postgres = postgres().await;
    let direct =
        Config { ring_events: 4, read_timeout: Duration::from_secs(1), ..Config::new(postgres.database().await) };
    let real = direct.url.split("host=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let proxy = Proxy::start(Path::new(&real));
    let store = open(&Config { url: proxy.url(&direct.url), ..direct.clone() }).await;
    let start = store.revision();
    for at in 0..40 {
        store.write(create(&format!("p{at}"), at)).await.unwrap();
    }
    // The log is locked while these watches read it, so that the wire dies under them.
    let (client, connection) = tokio_postgres::connect(&direct.url, tokio_postgres::NoTls).await.unwrap();
    let driver = tokio::spawn(connection);
    client.batch_execute("BEGIN; LOCK TABLE changes IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut reading = JoinSet::new();
    for _ in 0..4 {
        let mut watcher = store.watch("pods", None, None, start).unwrap();
        reading.spawn(async move {
            for at in 1..=40 {
                assert!(matches!(watcher.next().await, WatchItem::Event(event) if event.revision == start + at));
            }
        });
    }
    let waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'changes'::regclass AND NOT granted";
    eventually("all replays wait", async || postgres.number(&direct.url, waiting).await >= 3).await;
    proxy.kill_silently();
    client.batch_execute("COMMIT").await.unwrap();
    drop(client);
    driver.await.unwrap().unwrap();
    let all = async { while reading.join_next().await.is_some_and(|done| done.is_ok()) {} };
    tokio::time::timeout(PATIENCE, all).await.expect("the watches go on by other wires");
    eventually("writes go on", async || store.write(create("last", 1)).await.is_ok()).await;
    store.fresh().await.unwrap();
}

/// Two servers of which one takes writes, as after a failover.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_server_takes_writes_is_found() {
    let (one, two) = (TestPostgres::start().await, TestPostgres::start().await);
    let (first, second) = (one.database().await, two.database().await);
    assert!(first.contains("/test_0?") && second.contains("/test_0?"));
    let host = |url: &str| url.split("host=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let read_only = |on: bool| format!("ALTER SYSTEM SET default_transaction_read_only = {on}");
    two.administer(&read_only(true)).await;
    two.administer("SELECT pg_reload_conf()").await;
    let url = first.replace(&host(&first), &format!("{},{}", host(&second), host(&first)));
    let config = Config { outage_grace: Duration::from_millis(300), ..Config::new(url) };
    let store = open(&config).await;
    for at in 0..3 {
        store.write(create(&format!("p{at}"), at)).await.unwrap();
    }
    store.view_at("pods", store.revision() - 1).await.unwrap();
    // The other one knows nothing of these writes: the worst that a failover can do.
    one.kill().await;
    eventually("nothing takes writes", async || {
        matches!(store.write(create("nobody", 0)).await, Err(Error::Unavailable(_)))
    })
    .await;
    let seen = store.revision();
    two.administer(&read_only(false)).await;
    two.administer("SELECT pg_reload_conf()").await;
    eventually("the other one is found", async || store.is_available() && store.fresh().await.is_ok()).await;
    assert!(store.get(&key("p0")).is_none(), "what is lost is not shown as if it were there");
    let made = store.write(create("new", 1)).await.unwrap();
    assert!(made.revision > seen, "no revision is given out twice");
    assert!(matches!(store.watch("pods", None, None, seen), Err(Error::Compacted { .. })), "who saw more lists anew");
    // The pool has followed: the log that is read is the new server's.
    store.compact(store.revision()).await.unwrap();
    assert_eq!(store.history(&key("new"), 10).await.unwrap().len(), 1);
}
