//! One store, one caller.

use pilothouse_storage::{Config, Durability, Error, EventKind, Expect, Key, Mutation, Sealing, Store, encode};
use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn an_objects_life() {
    let config = config().await;
    let store = open(&config).await;
    let start = store.revision();

    let made = store.write(create("a", 1)).await.unwrap();
    assert_eq!(made.revision, start + 1);
    assert_eq!(made.value()["metadata"]["resourceVersion"], made.revision.to_string());
    assert_eq!((made.label("app"), made.field("spec.nodeName"), &*made.uid), (Some("test"), Some("node-1"), "uid-a"));
    assert!(matches!(store.write(create("a", 2)).await, Err(Error::AlreadyExists)));

    let stale = store.write(update("a", Expect::Revision(start), 2)).await;
    let Err(Error::Conflict { current: Some(current) }) = stale else { panic!("{stale:?}") };
    assert_eq!(current.revision, made.revision);
    let changed = store.write(update("a", Expect::Revision(made.revision), 2)).await.unwrap();
    assert_eq!((changed.revision, number(&changed)), (start + 2, 2), "refusals cost no revision");
    assert_eq!(store.get(&key("a")).unwrap().revision, changed.revision);

    let gone = store.write(delete("a", Expect::Revision(changed.revision))).await.unwrap();
    assert_eq!(gone.revision, start + 3);
    assert!(store.get(&key("a")).is_none());
    assert!(matches!(store.write(delete("a", Expect::Any)).await, Err(Error::NotFound)));
    assert!(matches!(store.write(update("a", Expect::Any, 1)).await, Err(Error::NotFound)));

    let mut watcher = store.watch("pods", None, None, start).unwrap();
    let events = events_until(&mut watcher, start + 3).await;
    let kinds: Vec<EventKind> = events.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Added, EventKind::Modified, EventKind::Deleted]);
    assert_eq!(events[2].previous.as_ref().unwrap().revision, changed.revision);
    let line: serde_json::Value = serde_json::from_slice(&events[2].json_line()).unwrap();
    assert_eq!(line["type"], "DELETED");
    assert_eq!(line["object"]["metadata"]["resourceVersion"], (start + 3).to_string());
    store.close().await;
}

#[tokio::test]
async fn lists_are_ordered_and_paged() {
    let store = store().await;
    for (namespace, name) in [("b", "z"), ("a", "y"), ("b", "a"), ("a-b", "x"), ("a", "b")] {
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}});
        let key = Key::new("pods", namespace, name);
        store.write(Mutation::create(key, encode(&object).unwrap(), "u")).await.unwrap();
    }
    let names = |items: &[pilothouse_storage::Obj]| {
        items.iter().map(|o| format!("{}/{}", o.key.namespace, o.key.name)).collect::<Vec<_>>().join(" ")
    };
    let list = store.list("pods", None);
    assert_eq!(names(&list.items), "a/b a/y a-b/x b/a b/z");
    assert_eq!(list.revision, store.revision());
    assert_eq!(names(&store.list("pods", Some("a")).items), "a/b a/y");
    assert_eq!(names(&store.list("pods", Some("c")).items), "");
    assert_eq!(names(&store.list("nodes", None).items), "");

    let first = store.list_page("pods", None, None, 2);
    assert_eq!((names(&first.items).as_str(), first.more), ("a/b a/y", true));
    let second = store.list_page("pods", None, Some(("a", "y")), 2);
    assert_eq!((names(&second.items).as_str(), second.more), ("a-b/x b/a", true));
    let last = store.list_page("pods", None, Some(("b", "a")), 2);
    assert_eq!((names(&last.items).as_str(), last.more), ("b/z", false));
    let within = store.list_page("pods", Some("b"), Some(("a", "y")), 9);
    assert_eq!((names(&within.items).as_str(), within.more), ("b/a b/z", false));
}

#[tokio::test]
async fn a_new_store_finds_everything() {
    let config = config().await;
    let store = open(&config).await;
    for at in 0..50 {
        store.write(create(&format!("p{at}"), at)).await.unwrap();
    }
    store.write(update("p7", Expect::Any, 100)).await.unwrap();
    store.write(delete("p8", Expect::Any)).await.unwrap();
    let before = store.list("pods", None);
    store.close().await;

    let store = open(&config).await;
    let after = store.list("pods", None);
    assert_eq!((after.revision, shape(&after.items)), (before.revision, shape(&before.items)));
    assert_eq!(after.items[0].field("spec.nodeName"), Some("node-0"));
    let status = store.status();
    assert!(status.available && status.objects == 49 && status.lag < PATIENCE, "{status:?}");
}

#[tokio::test]
async fn units_are_all_or_nothing() {
    let store = store().await;
    let start = store.revision();
    let made = store.write_all(vec![create("a", 1), create("b", 2), update("a", Expect::Any, 3)]).await.unwrap();
    assert_eq!(made.iter().map(|object| object.revision).collect::<Vec<_>>(), [start + 1, start + 2, start + 3]);
    let failed = store.write_all(vec![create("c", 1), delete("a", Expect::Any), create("b", 1)]).await;
    assert!(matches!(failed, Err(Error::AlreadyExists)));
    assert_eq!(store.revision(), start + 3);
    assert!(store.get(&key("c")).is_none() && store.get(&key("a")).is_some());
    let swapped = store.write_all(vec![delete("a", Expect::Any), create("a", 9)]).await.unwrap();
    assert_eq!(swapped[1].revision, start + 5);
    assert_eq!(number(&store.get(&key("a")).unwrap()), 9);
    assert!(store.write_all(Vec::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn relaxed_writes_are_writes() {
    let config = config().await;
    let store = open(&config).await;
    let mutation = create("lease", 1);
    let relaxed = Mutation { durability: Durability::Relaxed, ..mutation };
    let made = store.write(relaxed).await.unwrap();
    let other = open(&config).await;
    assert_eq!(other.get(&key("lease")).unwrap().bytes, made.bytes);
    // The setting ends with its transaction.
    let changed = store.write(update("lease", Expect::Any, 2)).await.unwrap();
    assert_eq!(changed.revision, made.revision + 1);
}

#[tokio::test]
async fn limits() {
    let config = Config { max_object_bytes: 2000, max_unit_mutations: 2, ..config().await };
    let store = open(&config).await;
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": "x".repeat(2000)});
    let large = store.write(Mutation::create(key("a"), encode(&object).unwrap(), "u")).await;
    assert!(matches!(large, Err(Error::TooLarge { limit: 2000, .. })), "{large:?}");
    let many = store.write_all(vec![create("a", 1), create("b", 1), create("c", 1)]).await;
    assert!(matches!(many, Err(Error::TooLarge { size: 3, .. })), "{many:?}");
    assert!(matches!(store.watch("pods", None, None, 1_000_000), Err(Error::FutureRevision { .. })));
    let nul = Mutation::create(Key::new("pods", "ns", "a\0"), bytes("a", 1), "u\0");
    assert!(store.write(nul).await.is_err());
    assert!(store.write(Mutation::create(key("a"), bytes("a", 1), "u\0")).await.is_ok());
}

#[tokio::test]
async fn a_newer_mandate_fences_the_older_one() {
    let config = config().await;
    let (one, two) = (open(&config).await, open(&config).await);
    let first = one.fence().await.unwrap();
    one.write_fenced(first, vec![create("a", 1)]).await.unwrap();
    let second = two.fence().await.unwrap();
    assert!(second > first);
    let late = one.write_fenced(first, vec![update("a", Expect::Any, 2)]).await;
    assert!(matches!(late, Err(Error::Fenced { held, current }) if held == first && current == second), "{late:?}");
    two.write_fenced(second, vec![update("a", Expect::Any, 3)]).await.unwrap();
    one.write(update("a", Expect::Any, 4)).await.unwrap();
}

#[tokio::test]
async fn metrics_are_told() {
    let store = store().await;
    let mut registry = prometheus_client::registry::Registry::default();
    store.register_metrics(&mut registry);
    store.write(create("a", 1)).await.unwrap();
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("pilothouse_storage_changes_total 1"), "{text}");
    assert!(text.contains("pilothouse_storage_batch_units_count 1"), "{text}");
}

#[tokio::test]
async fn secrets_are_sealed_in_the_database_only() {
    let config = config().await;
    let plain = open(&config).await;
    let secret = |name: &str| {
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": "hunter2"});
        Mutation::create(Key::new("secrets", "ns", name), encode(&object).unwrap(), "u")
    };
    let before = plain.write(secret("before")).await.unwrap();
    let sealing = |keys: &[u8]| {
        let keys = keys.iter().map(|byte| [*byte; 32]).collect();
        Config { sealing: Some(Sealing { keys, resources: vec!["secrets".to_owned()] }), ..config.clone() }
    };
    let sealed = open(&sealing(&[1])).await;
    let start = sealed.revision();
    let after = sealed.write(secret("after")).await.unwrap();
    sealed.write(create("pod", 1)).await.unwrap();
    let readable =
        |table: &str| format!("SELECT count(*) FROM {table} WHERE position('hunter2' in encode(object, 'escape')) > 0");
    for table in ["objects", "changes"] {
        assert_eq!(postgres().await.number(&config.url, &readable(table)).await, 1, "only the one from before");
    }
    // Other backends see it by the log, later ones by loading; watches and past lists by both.
    let rotated = open(&sealing(&[2, 1])).await;
    for store in [&sealed, &rotated] {
        assert_eq!(store.get(&after.key).unwrap().bytes, after.bytes);
        assert_eq!(store.get(&before.key).unwrap().bytes, before.bytes);
        let mut watcher = store.watch("secrets", None, None, start).unwrap();
        assert_eq!(event(&mut watcher).await.object.bytes, after.bytes);
    }
    rotated.write(Mutation { expect: Expect::Any, ..secret("after") }).await.unwrap();
    assert_eq!(rotated.list_at("secrets", None, after.revision).await.unwrap().items[0].bytes, after.bytes);
    assert_eq!(sealed.history(&before.key, 9).await.unwrap()[0].object.bytes, before.bytes);
    let keyless = Store::open(config.clone(), indexer()).await;
    assert!(matches!(&keyless, Err(Error::Internal(why)) if why.contains("sealed with a key")));
}

#[tokio::test]
async fn the_database_tells_of_itself() {
    let config = Config::new(postgres().await.database().await);
    let store = open(&config).await;
    store.write(create("p", 1)).await.unwrap();
    let found = pilothouse_storage::inspect(&config).await.unwrap();
    assert_eq!((found.revision, found.is_replica), (store.revision(), false));
    assert!(found.bytes > 1 << 20 && found.connections > 0 && found.connections < found.max_connections, "{found:?}");
    let settings: Vec<_> = found.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert!(settings.contains(&("fsync", "off")) && settings.contains(&("autovacuum", "on")), "{settings:?}");
    for table in ["objects", "changes", "history", "revision"] {
        assert!(found.tables.iter().any(|one| one.name == table && one.bytes > 0), "{table} of {:?}", found.tables);
    }
    assert!((found.clock_micros - jiff::Timestamp::now().as_microsecond()).abs() < 60_000_000);
    assert!(found.slots.is_empty() && found.replicas.is_empty());
}
