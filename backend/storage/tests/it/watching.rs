//! Watches: order, resumption, scopes, slowness, wake-ups.

use std::time::Duration;

use pilothouse_storage::{Config, Error, EventKind, Expect, Store, WatchItem};
use tokio::time::{Instant, timeout};

use crate::support::*;

/// Writes a history of changes: names come, change, go.
async fn stir(store: &Store, rounds: u64) {
    for round in 0..rounds {
        let name = format!("p{}", round % 5);
        match store.get(&key(&name)) {
            None => store.write(create(&name, round)).await.unwrap(),
            Some(_) if round % 7 == 0 => store.write(delete(&name, Expect::Any)).await.unwrap(),
            Some(_) => store.write(update(&name, Expect::Any, round)).await.unwrap(),
        };
    }
}

#[tokio::test]
async fn resumes_from_every_revision_in_memory_and_log_alike() {
    let config = config().await;
    let store = open(&config).await;
    let start = store.revision();
    let mut live = store.watch("pods", None, None, start).unwrap();
    stir(&store, 60).await;
    let end = store.revision();
    let all = events_until(&mut live, end).await;
    assert_dense(&all, start);

    // A store without memory of it has to read the log, page by page.
    let other = open(&config).await;
    for store in [&store, &other] {
        for from in start..end {
            let mut watcher = store.watch("pods", None, None, from).unwrap();
            let events = events_until(&mut watcher, end).await;
            let expected = &all[usize::try_from(from - start).unwrap()..];
            assert_eq!(events.len(), expected.len());
            for (seen, expected) in events.iter().zip(expected) {
                assert_eq!((seen.kind, seen.json_line()), (expected.kind, expected.json_line()));
                assert_eq!(
                    seen.previous.as_ref().map(|o| (o.revision, o.bytes.clone())),
                    expected.previous.as_ref().map(|o| (o.revision, o.bytes.clone()))
                );
            }
        }
    }
}

#[tokio::test]
async fn narrow_watches_see_exactly_theirs() {
    let config = config().await;
    let (store, other) = (open(&config).await, open(&config).await);
    let start = store.revision();
    let mut all = store.watch("pods", None, None, start).unwrap();
    let mut one = store.watch("pods", Some("ns"), Some("p1"), start).unwrap();
    let mut node = store.watch_field("pods", "spec.nodeName", "node-2", start).unwrap();
    let mut elsewhere = store.watch("pods", Some("other"), None, start).unwrap();
    stir(&store, 60).await;
    let end = store.revision();
    other.wait_for(end, PATIENCE).await.unwrap();
    let all = events_until(&mut all, end).await;
    let on = |object: &pilothouse_storage::Obj| object.field("spec.nodeName") == Some("node-2");
    let lines = |events: Vec<&std::sync::Arc<pilothouse_storage::Event>>| {
        events.into_iter().map(|event| event.json_line()).collect::<Vec<_>>()
    };
    let ones = lines(all.iter().filter(|event| &*event.object.key.name == "p1").collect());
    let nodes = lines(all.iter().filter(|e| on(&e.object) || e.previous.as_ref().is_some_and(on)).collect());
    assert!(ones.len() > 5 && nodes.len() > 5 && nodes.len() < all.len());
    for line in &ones {
        assert_eq!(event(&mut one).await.json_line(), line);
    }
    for line in &nodes {
        assert_eq!(event(&mut node).await.json_line(), line);
    }
    // The same from the log, in a store that was not there.
    let late = open(&config).await;
    let mut one = late.watch("pods", Some("ns"), Some("p1"), start).unwrap();
    let mut node = late.watch_field("pods", "spec.nodeName", "node-2", start).unwrap();
    for line in &ones {
        assert_eq!(event(&mut one).await.json_line(), line);
    }
    for line in &nodes {
        assert_eq!(event(&mut node).await.json_line(), line);
    }
    assert!(timeout(Duration::from_millis(50), elsewhere.next()).await.is_err());
    assert_eq!(elsewhere.revision(), end, "an idle watch knows how far it is");
    assert_eq!(store.status().watchers, 4);
    drop((one, elsewhere));
    assert_eq!(late.status().watchers, 1);
}

#[tokio::test]
async fn a_watcher_that_stops_matching_is_told_so() {
    let store = store().await;
    let mut watcher = store.watch("pods", None, None, store.revision()).unwrap();
    store.write(create("a", 1)).await.unwrap();
    store.write(update("a", Expect::Any, 2)).await.unwrap();
    let (added, changed) = (event(&mut watcher).await, event(&mut watcher).await);
    let line: serde_json::Value = serde_json::from_slice(&changed.json_line_deleted()).unwrap();
    assert_eq!((line["type"].as_str(), line["object"]["spec"]["number"].as_u64()), (Some("DELETED"), Some(1)));
    assert_eq!(line["object"]["metadata"]["resourceVersion"], changed.revision.to_string());
    let line: serde_json::Value = serde_json::from_slice(&changed.json_line_added()).unwrap();
    assert_eq!((line["type"].as_str(), line["object"]["spec"]["number"].as_u64()), (Some("ADDED"), Some(2)));
    assert_eq!(added.json_line_added(), added.json_line());
}

#[tokio::test]
async fn a_slow_watcher_is_gone_a_quiet_one_is_not() {
    let config = Config { ring_events: 50, ..config().await };
    let store = open(&config).await;
    let start = store.revision();
    let mut slow = store.watch("pods", None, None, start).unwrap();
    let mut quiet = store.watch("pods", Some("ns"), Some("quiet"), start).unwrap();
    store.write(create("a", 0)).await.unwrap();
    assert_eq!(event(&mut slow).await.revision, start + 1);
    for at in 0..200 {
        store.write(update("a", Expect::Any, at)).await.unwrap();
    }
    assert!(matches!(slow.next().await, WatchItem::Gone));
    assert!(matches!(slow.next().await, WatchItem::Gone), "and stays gone");
    store.write(create("quiet", 1)).await.unwrap();
    assert_eq!(event(&mut quiet).await.kind, EventKind::Added);
    // Who starts anew at an old revision gets it from the log.
    let mut again = store.watch("pods", None, None, start).unwrap();
    let events = events_until(&mut again, start + 202).await;
    assert_dense(&events, start);
    assert!(store.status().ring_events <= 50);
}

#[tokio::test]
async fn memory_is_bounded_by_bytes_too() {
    let config = Config { ring_bytes: 20_000, ..config().await };
    let store = open(&config).await;
    store.write(create("a", 0)).await.unwrap();
    for at in 0..200 {
        store.write(update("a", Expect::Any, at)).await.unwrap();
    }
    let status = store.status();
    assert!(status.ring_bytes <= 20_000 && status.ring_events > 10, "{status:?}");
}

#[tokio::test]
async fn idle_watches_report_progress() {
    let config = Config { progress_interval: Duration::from_millis(50), ..config().await };
    let store = open(&config).await;
    let mut watcher = store.watch("nodes", None, None, store.revision()).unwrap();
    store.write(create("a", 1)).await.unwrap();
    let item = timeout(PATIENCE, watcher.next()).await.unwrap();
    assert!(matches!(item, WatchItem::Progress(revision) if revision == store.revision()), "{item:?}");
    assert!(timeout(Duration::from_millis(200), watcher.next()).await.is_err(), "no news, no report");
    store.clone().close().await;
    assert!(matches!(watcher.next().await, WatchItem::Closed));
}

/// How long another store takes to see a write.
async fn latency(config: &Config) -> Duration {
    let (one, two) = (open(config).await, open(config).await);
    // The listener's session is opened in the background.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut watcher = two.watch("pods", None, None, two.revision()).unwrap();
    let mut slowest = Duration::ZERO;
    for at in 0..10 {
        let started = Instant::now();
        let made = one.write(create(&format!("p{at}"), at)).await.unwrap();
        assert_eq!(event(&mut watcher).await.revision, made.revision);
        slowest = slowest.max(started.elapsed());
    }
    slowest
}

#[tokio::test]
async fn notifications_wake() {
    let config = Config { poll_interval: Duration::from_secs(60), ..config().await };
    assert!(latency(&config).await < Duration::from_secs(1));
}

#[tokio::test]
async fn polling_alone_suffices() {
    let config = Config { listen: false, poll_interval: Duration::from_millis(100), ..config().await };
    assert!(latency(&config).await < Duration::from_secs(1));
}

#[tokio::test]
async fn fresh_is_fresh() {
    let config = Config { listen: false, poll_interval: Duration::from_secs(60), ..config().await };
    let (one, two) = (open(&config).await, open(&config).await);
    for at in 0..20 {
        let made = one.write(create(&format!("p{at}"), at)).await.unwrap();
        let asking: Vec<_> = (0..10)
            .map(|_| {
                tokio::spawn({
                    let two = two.clone();
                    async move { two.fresh().await }
                })
            })
            .collect();
        for answer in asking {
            assert!(answer.await.unwrap().unwrap() >= made.revision);
        }
        assert!(two.get(&made.key).is_some());
    }
    let future = two.wait_for(two.revision() + 1, Duration::from_millis(20)).await;
    assert!(matches!(future, Err(Error::FutureRevision { .. })));
}
