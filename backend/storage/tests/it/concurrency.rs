//! Many writers, two stores on one database.

use std::collections::BTreeMap;
use std::sync::Arc;

use pilothouse_storage::{Config, Error, EventKind, Expect, Obj, Store};
use tokio::task::JoinSet;

use crate::support::*;

/// A little pseudo-randomness, the same in every run.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

async fn writer(store: Store, mut seed: u64, writes: usize) -> usize {
    let mut done = 0;
    for _ in 0..writes {
        let name = format!("p{}", next(&mut seed) % 12);
        let number = next(&mut seed);
        let mutation = match (store.get(&key(&name)), next(&mut seed) % 4) {
            (None, _) => create(&name, number),
            (Some(object), 0) => delete(&name, Expect::Revision(object.revision)),
            (Some(object), 1) => update(&name, Expect::Revision(object.revision), number),
            (Some(_), _) => update(&name, Expect::Any, number),
        };
        match store.write(mutation).await {
            Ok(_) => done += 1,
            Err(Error::AlreadyExists | Error::NotFound | Error::Conflict { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_tell_one_story() {
    let config = Config { batch_units: 8, ring_events: 100_000, ring_bytes: 1 << 30, ..config().await };
    let stores = [open(&config).await, open(&config).await];
    let start = stores[0].revision();
    let mut watchers: Vec<_> = stores.iter().map(|store| store.watch("pods", None, None, start).unwrap()).collect();
    let mut writers = JoinSet::new();
    for at in 0..16 {
        writers.spawn(writer(stores[at % 2].clone(), at as u64, 100));
    }
    let mut written = 0;
    while let Some(done) = writers.join_next().await {
        written += done.unwrap();
    }
    let end = start + written as u64;
    for store in &stores {
        assert_eq!(store.fresh().await.unwrap(), end, "every acknowledged write is one revision");
    }
    let mut stories = Vec::new();
    for watcher in &mut watchers {
        let events = events_until(watcher, end).await;
        assert_dense(&events, start);
        stories.push(events);
    }
    for (a, b) in stories[0].iter().zip(&stories[1]) {
        assert_eq!((a.kind, a.json_line()), (b.kind, b.json_line()));
    }
    // Retold, the story gives the present, and each event knows what was before it.
    let mut state: BTreeMap<_, Obj> = BTreeMap::new();
    for event in &stories[0] {
        let before = state.get(&event.object.key).map(|object| object.revision);
        assert_eq!(event.previous.as_ref().map(|object| object.revision), before, "{event:?}");
        assert_eq!(event.kind == EventKind::Added, before.is_none());
        if event.kind == EventKind::Deleted {
            state.remove(&event.object.key);
        } else {
            state.insert(event.object.key.clone(), event.object.clone());
        }
    }
    let told: Vec<Obj> = state.into_values().collect();
    let fresh = open(&config).await;
    for store in [&stores[0], &stores[1], &fresh] {
        assert_eq!(shape(&store.list("pods", None).items), shape(&told));
    }
    // Any point of the past is the same in memory and from the log.
    for back in (start..end).step_by(97) {
        let (memory, log) =
            (stores[0].list_at("pods", None, back).await.unwrap(), fresh.list_at("pods", None, back).await.unwrap());
        assert_eq!(memory.revision, back);
        assert_eq!(shape(&memory.items), shape(&log.items));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compare_and_set_succeeds_once() {
    let config = config().await;
    let stores = [open(&config).await, open(&config).await];
    let mut current = stores[0].write(create("a", 0)).await.unwrap();
    for round in 1..=20 {
        let mut racers = JoinSet::new();
        for at in 0..16u64 {
            let store = stores[(at % 2) as usize].clone();
            let expect = Expect::Revision(current.revision);
            racers.spawn(async move { store.write(update("a", expect, round * 100 + at)).await });
        }
        let mut won = Vec::new();
        while let Some(result) = racers.join_next().await {
            match result.unwrap() {
                Ok(object) => won.push(object),
                Err(Error::Conflict { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(won.len(), 1);
        current = won.remove(0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_add_up() {
    let config = config().await;
    let stores = [open(&config).await, open(&config).await];
    stores[0].write(create("counter", 0)).await.unwrap();
    stores[1].fresh().await.unwrap();
    let mut tasks = JoinSet::new();
    for at in 0..8 {
        let store = stores[at % 2].clone();
        tasks.spawn(async move {
            for _ in 0..20 {
                increment(&store, "counter").await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    stores[0].fresh().await.unwrap();
    assert_eq!(number(&stores[0].get(&key("counter")).unwrap()), 160);
}

/// Money moves between two accounts, one in each of two units; no picture ever shows it twice or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_are_never_seen_half_done() {
    let config = config().await;
    let stores = [open(&config).await, open(&config).await];
    stores[0].write_all(vec![create("from", 1000), create("to", 0)]).await.unwrap();
    stores[1].fresh().await.unwrap();
    let watching = stores.clone();
    let total = |store: &Store| -> u64 { store.list("pods", None).items.iter().map(number).sum() };
    let looker = tokio::task::spawn_blocking(move || {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..20_000 {
            watching.iter().for_each(|store| {
                seen.insert(total(store));
            });
        }
        seen
    });
    let mut tasks = JoinSet::new();
    for store in stores.clone() {
        tasks.spawn(async move {
            let mut moved = 0;
            while moved < 100 {
                let (from, to) = (store.get(&key("from")).unwrap(), store.get(&key("to")).unwrap());
                let unit = vec![
                    update("from", Expect::Revision(from.revision), number(&from) - 1),
                    update("to", Expect::Revision(to.revision), number(&to) + 1),
                ];
                match store.write_all(unit).await {
                    Ok(_) => moved += 1,
                    Err(Error::Conflict { .. }) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error:?}"),
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(looker.await.unwrap().into_iter().collect::<Vec<_>>(), [1000]);
    stores[0].fresh().await.unwrap();
    assert_eq!(number(&stores[0].get(&key("to")).unwrap()), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_at_once() {
    let config = Config { queue_units: 4, batch_units: 1, ..config().await };
    let store = Arc::new(open(&config).await);
    let mut tasks = JoinSet::new();
    for at in 0..200 {
        let store = store.clone();
        tasks.spawn(async move { store.write(create(&format!("p{at}"), at)).await });
    }
    let (mut made, mut refused) = (0, 0);
    while let Some(result) = tasks.join_next().await {
        match result.unwrap() {
            Ok(_) => made += 1,
            Err(Error::Unavailable(_)) => refused += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(made > 0 && refused > 0);
    assert_eq!(store.list("pods", None).items.len(), made);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_writer_need_not_ask_and_is_not_deceived() {
    let config = config().await;
    let first = open(&config).await;
    first.write(create("a", 1)).await.unwrap();
    let mut registry = prometheus_client::registry::Registry::default();
    first.register_metrics(&mut registry);
    let questions = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let line = text.lines().find(|line| line.starts_with("pilothouse_storage_revision_questions_total"));
        line.and_then(|line| line.rsplit(' ').next()).unwrap().parse::<u64>().unwrap()
    };
    let (started, before) = (std::time::Instant::now(), questions());
    for _ in 0..20_000 {
        assert_eq!(first.fresh().await.unwrap(), first.revision());
    }
    let most = started.elapsed().as_millis() / config.sole_trust.as_millis() + 2;
    let asked = u128::from(questions() - before);
    assert!(asked <= most && asked < 20_000, "{asked} questions, {most} had been enough");

    // Whoever comes is seen by the first backend with its first write, however sure that was of itself a moment ago.
    for round in 0..12 {
        let reading = first.clone();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = stop.clone();
        // Trusts itself all the time until the other one is there.
        let reader = tokio::spawn(async move {
            while !told.load(std::sync::atomic::Ordering::Relaxed) {
                reading.fresh().await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let second = open(&config).await;
        let written = second.write(update("a", Expect::Any, round)).await.unwrap();
        let seen = first.fresh().await.unwrap();
        assert!(seen >= written.revision, "round {round}: {seen} is not {}", written.revision);
        assert_eq!(number(&first.get(&key("a")).unwrap()), round);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.await.unwrap();
        second.close().await;
    }
}
