//! The time machine.

use std::time::Duration;

use pilothouse_storage::{Compaction, Config, Error, EventKind, Expect, Mutation};

use crate::support::*;

#[tokio::test]
async fn versions_deletions_and_moments() {
    let config = Config {
        partition_revisions: 8,
        compaction: Compaction { interval: Duration::ZERO, ..Compaction::default() },
        ..config().await
    };
    let store = open(&config).await;
    let before = jiff::Timestamp::now();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let first = store.write(create("a", 1)).await.unwrap();
    let second = store.write(Mutation { user: "somebody".into(), ..update("a", Expect::Any, 2) }).await.unwrap();
    store.write(create("other", 1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let moment = jiff::Timestamp::now();
    let at_moment = store.list("pods", None);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let gone = store.write(delete("a", Expect::Any)).await.unwrap();
    for at in 0..20 {
        store.write(update("other", Expect::Any, at)).await.unwrap();
    }

    // The same before and after compaction.
    for compacted in [false, true] {
        if compacted {
            store.compact(store.revision() - 1).await.unwrap();
            assert!(
                store.watch("pods", None, None, first.revision).is_ok() || store.status().compacted > first.revision
            );
        }
        let versions = store.history(&key("a"), 10).await.unwrap();
        let told: Vec<_> = versions.iter().map(|v| (v.kind, v.revision, &*v.user)).collect();
        assert_eq!(
            told,
            [
                (EventKind::Deleted, gone.revision, "tester"),
                (EventKind::Modified, second.revision, "somebody"),
                (EventKind::Added, first.revision, "tester"),
            ]
        );
        assert_eq!(versions[2].object.bytes, first.bytes);
        assert!(versions[0].time >= versions[1].time && versions[1].time >= versions[2].time);
        assert_eq!(store.history(&key("a"), 1).await.unwrap().len(), 1);

        let bin = store.deleted("pods", Some("ns"), 10).await.unwrap();
        assert_eq!(bin.iter().map(|v| v.revision).collect::<Vec<_>>(), [gone.revision]);
        assert!(store.deleted("pods", Some("elsewhere"), 10).await.unwrap().is_empty());

        assert_eq!(store.version(second.revision).await.unwrap().unwrap().object.bytes, second.bytes);
        assert!(store.version(1).await.unwrap().is_none(), "the log's first row is no change");

        let revision = store.revision_at(moment).await.unwrap();
        assert_eq!(revision, at_moment.revision);
        let past = store.past("pods", None, revision).await.unwrap();
        assert_eq!(shape(&past.items), shape(&at_moment.items));
        assert_eq!(store.revision_at(jiff::Timestamp::now()).await.unwrap(), store.revision());
    }
    let long_ago = before.checked_sub(jiff::Span::new().hours(1)).unwrap();
    assert!(matches!(store.revision_at(long_ago).await, Err(Error::Compacted { .. })));

    // An undelete is a create of what the bin has.
    let last = store.deleted("pods", None, 1).await.unwrap().remove(0);
    let object = pilothouse_storage::encode(&last.object.value()).unwrap();
    let back = store.write(Mutation::create(last.object.key.clone(), object, "tester")).await.unwrap();
    assert_eq!(store.history(&key("a"), 10).await.unwrap()[0].revision, back.revision);
}
