//! What the tests have in common.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use pilothouse_storage::testing::{self, TestPostgres};
use pilothouse_storage::{
    Config, Event, Expect, Indexer, Key, Mutation, Obj, Result, Store, WatchItem, Watcher, encode,
};
use serde_json::json;

/// Nothing in these tests takes longer than this unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn key(name: &str) -> Key {
    Key::new("pods", "ns", name)
}

pub fn bytes(name: &str, number: u64) -> Vec<u8> {
    encode(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "uid": format!("uid-{name}"), "labels": {"app": "test"}},
        "spec": {"nodeName": format!("node-{}", number % 3), "number": number},
    }))
    .unwrap()
}

pub fn create(name: &str, number: u64) -> Mutation {
    Mutation::create(key(name), bytes(name, number), "tester")
}

pub fn update(name: &str, expect: Expect, number: u64) -> Mutation {
    Mutation::update(key(name), expect, bytes(name, number), "tester")
}

pub fn delete(name: &str, expect: Expect) -> Mutation {
    Mutation::delete(key(name), expect, bytes(name, 0), "tester")
}

pub fn number(object: &Obj) -> u64 {
    object.value()["spec"]["number"].as_u64().unwrap()
}

/// Pods can be selected by their node.
pub fn indexer() -> Indexer {
    Arc::new(|_, object| {
        let node = object.value()["spec"]["nodeName"].as_str().unwrap_or_default();
        vec![(Cow::Borrowed("spec.nodeName"), node.to_owned())]
    })
}

pub async fn postgres() -> &'static TestPostgres {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
    testing::shared().await
}

pub async fn config() -> Config {
    Config::new(postgres().await.database().await)
}

pub async fn open(config: &Config) -> Store {
    Store::open(config.clone(), indexer()).await.unwrap()
}

pub async fn store() -> Store {
    open(&config().await).await
}

pub async fn event(watcher: &mut Watcher) -> Arc<Event> {
    loop {
        match tokio::time::timeout(PATIENCE, watcher.next()).await.expect("an event in time") {
            WatchItem::Event(event) => return event,
            WatchItem::Progress(_) => {}
            other => panic!("{other:?} instead of an event"),
        }
    }
}

/// The events up to and including a revision.
pub async fn events_until(watcher: &mut Watcher, revision: u64) -> Vec<Arc<Event>> {
    let mut events: Vec<Arc<Event>> = Vec::new();
    while events.last().is_none_or(|event| event.revision < revision) {
        events.push(event(watcher).await);
    }
    events
}

/// A watch is whole: revisions without gap or repetition.
pub fn assert_dense(events: &[Arc<Event>], after: u64) {
    let revisions: Vec<u64> = events.iter().map(|event| event.revision).collect();
    let expected: Vec<u64> = (after + 1..=after + events.len() as u64).collect();
    assert_eq!(revisions, expected);
}

/// What an object looks like to a comparison.
pub fn shape(objects: &[Obj]) -> Vec<(String, u64, String)> {
    let text = |object: &Obj| String::from_utf8(object.bytes.to_vec()).unwrap();
    objects.iter().map(|object| (object.key.to_string(), object.revision, text(object))).collect()
}

pub async fn eventually(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !done().await {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Reads, changes and writes until no one else was faster; gives the new state.
pub async fn increment(store: &Store, name: &str) -> Result<Obj> {
    loop {
        let current = store.get(&key(name)).unwrap();
        match store.write(update(name, Expect::Revision(current.revision), number(&current) + 1)).await {
            Err(pilothouse_storage::Error::Conflict { current: Some(newer) }) => {
                store.wait_for(newer.revision, PATIENCE).await?;
            }
            Err(pilothouse_storage::Error::Conflict { current: None }) => {}
            other => return other,
        }
    }
}
