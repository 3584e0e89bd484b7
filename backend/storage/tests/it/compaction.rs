//! The log ends somewhere.

use std::time::Duration;

use pilothouse_storage::{Compaction, Config, Error, Expect, History, Key, Mutation, WatchItem, encode};
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::*;

/// Small partitions, little memory, no compaction unless asked for.
async fn small() -> Config {
    Config {
        partition_revisions: 20,
        ring_events: 10,
        compaction: Compaction { interval: Duration::ZERO, ..Compaction::default() },
        ..config().await
    }
}

#[tokio::test]
async fn what_is_compacted_is_refused_the_rest_is_exact() {
    let config = small().await;
    let store = open(&config).await;
    let start = store.revision();
    store.write(create("still", 0)).await.unwrap();
    store.write(create("gone", 0)).await.unwrap();
    store.write(create("a", 0)).await.unwrap();
    let mut pictures = Vec::new();
    for at in 0..100 {
        if at == 50 {
            store.write(delete("gone", Expect::Any)).await.unwrap();
        }
        store.write(update("a", Expect::Any, at)).await.unwrap();
        pictures.push(store.list("pods", None));
    }
    let mut early = store.watch("pods", None, None, start).unwrap();
    let end = store.revision();
    let compacted = start + 60;
    store.compact(compacted).await.unwrap();

    let oldest = |result| match result {
        Err(Error::Compacted { oldest }) => oldest,
        other => panic!("{other:?}"),
    };
    assert_eq!(oldest(store.list_at("pods", None, compacted - 1).await.map(|_| ())), compacted);
    assert_eq!(oldest(store.watch("pods", None, None, compacted - 1).map(|_| ())), compacted);
    assert!(matches!(early.next().await, WatchItem::Gone), "a replay of what is compacted meanwhile ends");
    let mut watcher = store.watch("pods", None, None, compacted).unwrap();
    let events = events_until(&mut watcher, end).await;
    assert_dense(&events, compacted);
    assert!(events.iter().all(|event| event.previous.is_some()), "also where the state before is compacted");
    let fresh = open(&config).await;
    for picture in pictures.iter().filter(|picture| picture.revision >= compacted) {
        for store in [&store, &fresh] {
            let back = store.list_at("pods", None, picture.revision).await.unwrap();
            assert_eq!(shape(&back.items), shape(&picture.items));
        }
    }
    // Whole partitions behind it are dropped, and history has them.
    let url = &config.url;
    let postgres = postgres().await;
    assert_eq!(postgres.number(url, "SELECT min(revision) FROM changes").await, 61);
    assert_eq!(postgres.number(url, "SELECT count(*) FROM history").await, i64::try_from(60 - start).unwrap());
    for picture in &pictures {
        let past = store.past("pods", None, picture.revision).await.unwrap();
        assert_eq!(shape(&past.items), shape(&picture.items), "as of {}", picture.revision);
    }
}

#[tokio::test]
async fn policy_keeps_what_it_promises() {
    let config = Config {
        compaction: Compaction {
            interval: Duration::from_millis(100),
            keep_time: Duration::from_millis(1500),
            keep_revisions: 30,
        },
        ..small().await
    };
    let (store, other) = (open(&config).await, open(&config).await);
    let started = tokio::time::Instant::now();
    let start = store.revision();
    store.write(create("a", 0)).await.unwrap();
    store.write_all((0..100).map(|at| update("a", Expect::Any, at)).collect()).await.unwrap();
    let end = store.revision();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let compacted = store.status().compacted;
    assert!(compacted <= start || started.elapsed() > config.compaction.keep_time, "too young");
    let done = end - 30;
    eventually("compaction", async || store.status().compacted == done && other.status().compacted == done).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(store.status().compacted, done, "the last ones are kept however old");
    let left = postgres().await.number(&config.url, "SELECT count(*) FROM log_partitions").await;
    assert!((2..=4).contains(&left), "{left} partitions");
    // All compacted and quiet, a store still starts, and still writes.
    let fresh = open(&config).await;
    fresh.write(update("a", Expect::Any, 7)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_compact_under_load() {
    let config = Config {
        compaction: Compaction { interval: Duration::from_millis(50), keep_time: Duration::ZERO, keep_revisions: 40 },
        ring_events: 100_000,
        ring_bytes: 1 << 30,
        ..small().await
    };
    let stores = [open(&config).await, open(&config).await];
    let start = stores[0].revision();
    let mut watchers: Vec<_> = stores.iter().map(|store| store.watch("pods", None, None, start).unwrap()).collect();
    let mut writers = JoinSet::new();
    for at in 0..8 {
        let store = stores[at % 2].clone();
        writers.spawn(async move {
            for n in 0..150 {
                store.write(create(&format!("w{at}-{n}"), n)).await.unwrap();
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let end = start + 1200;
    for (store, watcher) in stores.iter().zip(&mut watchers) {
        assert_eq!(store.fresh().await.unwrap(), end);
        assert_dense(&events_until(watcher, end).await, start);
    }
    eventually("compaction", async || stores[0].status().compacted == end - 40).await;
    let fresh = open(&config).await;
    assert_eq!(shape(&fresh.list("pods", None).items), shape(&stores[1].list("pods", None).items));
}

/// A store that was away for longer than the log keeps starts over, and says so.
#[tokio::test]
async fn who_lags_behind_compaction_starts_over() {
    let config = small().await;
    let lagging = open(&Config { listen: false, poll_interval: Duration::from_secs(3600), ..config.clone() }).await;
    let mut watcher = lagging.watch("pods", None, None, lagging.revision()).unwrap();
    let store = open(&config).await;
    store.write(create("a", 0)).await.unwrap();
    for at in 0..100 {
        store.write(update("a", Expect::Any, at)).await.unwrap();
    }
    store.compact(store.revision() - 5).await.unwrap();
    lagging.fresh().await.unwrap();
    assert!(matches!(watcher.next().await, WatchItem::Gone));
    assert_eq!(shape(&lagging.list("pods", None).items), shape(&store.list("pods", None).items));
    assert_eq!(lagging.revision(), store.revision(), "no revision is skipped for that");
}

#[tokio::test]
async fn history_forgets_what_it_should() {
    let config =
        Config { history: History { keep_time: Duration::ZERO, except: vec!["events".to_owned()] }, ..small().await };
    let store = open(&config).await;
    let note = |name: &str, number: u64| {
        let object = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name}, "number": number});
        (Key::new("events", "ns", name), encode(&object).unwrap())
    };
    let (key, bytes) = note("e", 0);
    store.write(Mutation::create(key, bytes, "u")).await.unwrap();
    store.write(create("a", 0)).await.unwrap();
    for at in 1..30 {
        let (key, bytes) = note("e", at);
        store.write(Mutation::update(key, Expect::Any, bytes, "u")).await.unwrap();
        store.write(update("a", Expect::Any, at)).await.unwrap();
    }
    store.compact(store.revision() - 1).await.unwrap();
    let count = async |of: &str| {
        let query = format!("SELECT count(*) FROM history WHERE resource = '{of}'");
        postgres().await.number(&config.url, &query).await
    };
    assert_eq!(count("events").await, 1, "only what the next change needs");
    assert!(count("pods").await > 10);
    // The versions replaced in the dropped partitions are kept for no time at all.
    let (key, bytes) = note("e", 99);
    let before = store.revision();
    store.write(Mutation::update(key, Expect::Any, bytes, "u")).await.unwrap();
    let fresh = open(&config).await;
    let mut watcher = fresh.watch("events", None, None, before).unwrap();
    assert_eq!(event(&mut watcher).await.previous.as_ref().unwrap().value()["number"], 29);
}

/// The newest change may be the last of its partition, and all of it compacted.
#[tokio::test]
async fn the_newest_change_is_never_dropped() {
    let config = small().await;
    let store = open(&config).await;
    store.write_all((0..19).map(|at| create(&format!("p{at}"), at)).collect()).await.unwrap();
    assert_eq!(store.revision() % config.partition_revisions, 0);
    postgres().await.execute(&config.url, "UPDATE revision SET compacted = revision").await;
    store.compact(store.revision()).await.unwrap();
    assert_eq!(postgres().await.number(&config.url, "SELECT max(revision) FROM changes").await, 20);
    let fresh = open(&config).await;
    fresh.write(create("a", 1)).await.unwrap();
    store.fresh().await.unwrap();
    assert_eq!(store.list("pods", None).items.len(), 20);
}
