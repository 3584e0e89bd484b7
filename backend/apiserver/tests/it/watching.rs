//! Watches: what comes, in which order, and how they go on.

use serde_json::json;

use crate::support::{TestCluster, config_map, pod, revision};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn labelled(name: &str, value: &str) -> serde_json::Value {
    let mut object = config_map(name, &json!({}));
    object["metadata"]["labels"] = json!({"l": value});
    object
}

#[tokio::test]
async fn from_now_from_then_and_with_state() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let first = admin.create(MAPS, &config_map("a", &json!({}))).await;
    admin.create(MAPS, &config_map("b", &json!({}))).await;

    let mut state = admin.watch(&format!("{MAPS}?watch=1")).await;
    assert_eq!((state.said().await, state.said().await), ("ADDED a".into(), "ADDED b".into()));
    let mut then = admin.watch(&format!("{MAPS}?watch=true&resourceVersion={}", revision(&first))).await;
    assert_eq!(then.said().await, "ADDED b");
    let mut one = admin.watch("/api/v1/watch/namespaces/default/configmaps/b").await;
    assert_eq!(one.said().await, "ADDED b");

    admin.patch(&format!("{MAPS}/b"), "merge", &json!({"data": {"x": "1"}})).await.expect(200);
    admin.delete(&format!("{MAPS}/a")).await.expect(200);
    for watch in [&mut state, &mut then] {
        assert_eq!((watch.said().await, watch.said().await), ("MODIFIED b".into(), "DELETED a".into()));
    }
    assert_eq!(one.said().await, "MODIFIED b");
    one.silence().await;
}

#[tokio::test]
async fn from_a_revision_to_come() {
    let cluster = TestCluster::start().await;
    cluster.settled().await;
    let admin = cluster.admin();
    let now = revision(&admin.create(MAPS, &config_map("a", &json!({}))).await);
    let mut watch = admin.watch(&format!("{MAPS}?watch=1&resourceVersion={}", now + 1)).await;
    assert_eq!(watch.status, 200);
    let next = revision(&admin.create(MAPS, &config_map("b", &json!({}))).await);
    assert_eq!(next, now + 1);
    admin.create(MAPS, &config_map("c", &json!({}))).await;
    assert_eq!(watch.said().await, "ADDED c");
}

#[tokio::test]
async fn the_state_ends_with_a_bookmark_however_it_was_asked_for() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("a", &json!({}))).await;
    for version in ["", "&resourceVersion=0"] {
        let mut watch = admin.watch(&format!("{MAPS}?watch=1&allowWatchBookmarks=true{version}")).await;
        assert_eq!(watch.said().await, "ADDED a");
        let bookmark = watch.next().await.unwrap();
        assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true", "{version}");
    }
}

#[tokio::test]
async fn coming_into_sight_and_out_of_it() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let mut watch = admin.watch(&format!("{MAPS}?watch=1&labelSelector=l%3Dyes")).await;
    admin.create(MAPS, &labelled("a", "no")).await;
    admin.put(&format!("{MAPS}/a"), &labelled("a", "yes")).await.expect(200);
    assert_eq!(watch.said().await, "ADDED a");
    let mut changed = labelled("a", "yes");
    changed["data"] = json!({"k": "v"});
    admin.put(&format!("{MAPS}/a"), &changed).await.expect(200);
    assert_eq!(watch.said().await, "MODIFIED a");
    let gone = revision(&admin.put(&format!("{MAPS}/a"), &labelled("a", "no")).await.expect(200));
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "DELETED");
    assert_eq!(event["object"]["metadata"]["labels"]["l"], "yes");
    assert_eq!(revision(&event["object"]), gone);
    admin.delete(&format!("{MAPS}/a")).await.expect(200);
    watch.silence().await;
}

/// As agents watch: their node's pods of all namespaces, whatever happens on other nodes.
#[tokio::test]
async fn by_a_field_across_namespaces() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    cluster.namespace("lists").await;
    let pods = "/api/v1/namespaces/lists/pods";
    let on = |name: &str, node: &str| {
        let mut pod = pod(name);
        pod["spec"]["nodeName"] = json!(node);
        pod
    };
    admin.create(pods, &on("first", "n1")).await;
    let query = "watch=1&fieldSelector=spec.nodeName%3Dn1";
    let mut mine = admin.watch(&format!("/api/v1/pods?{query}")).await;
    let mut running = admin.watch(&format!("/api/v1/pods?{query},status.phase%3DRunning")).await;
    assert_eq!(mine.said().await, "ADDED first");
    admin.create(pods, &on("other", "n2")).await;
    admin.create(pods, &pod("later")).await;
    let binding =
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "later"}, "target": {"name": "n1"}});
    admin.post(&format!("{pods}/later/binding"), &binding).await.expect(201);
    assert_eq!(mine.said().await, "ADDED later");
    for name in ["other", "later"] {
        let status = json!({"status": {"phase": "Running"}});
        admin.patch(&format!("{pods}/{name}/status"), "merge", &status).await.expect(200);
    }
    assert_eq!(mine.said().await, "MODIFIED later");
    assert_eq!(running.said().await, "ADDED later");
    let status = json!({"status": {"phase": "Succeeded"}});
    admin.patch(&format!("{pods}/later/status"), "merge", &status).await.expect(200);
    assert_eq!(running.said().await, "DELETED later");
    admin.delete(&format!("{pods}/first?gracePeriodSeconds=0")).await.expect(200);
    assert_eq!((mine.said().await, mine.said().await), ("MODIFIED later".into(), "DELETED first".into()));
    running.silence().await;
}

#[tokio::test]
async fn streaming_lists_end_with_a_bookmark() {
    let cluster = TestCluster::start().await;
    cluster.settled().await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("a", &json!({}))).await;
    let query =
        "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=2";
    let mut watch = admin.watch(&format!("{MAPS}?{query}")).await;
    assert_eq!(watch.said().await, "ADDED a");
    let bookmark = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["kind"], "ConfigMap");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    admin.create(MAPS, &config_map("b", &json!({}))).await;
    assert_eq!(watch.said().await, "ADDED b");
    // The last word before the time is over says where to go on.
    let last = watch.next().await.unwrap();
    assert_eq!(last["type"], "BOOKMARK");
    assert!(revision(&last["object"]) >= cluster.store.revision() - 1);
    assert_eq!(watch.next().await, None);
    for bad in [
        "sendInitialEvents=true",
        "resourceVersionMatch=NotOlderThan",
        "sendInitialEvents=true&resourceVersionMatch=Exact",
    ] {
        assert_eq!(admin.watch(&format!("{MAPS}?watch=1&{bad}")).await.status, 422, "{bad}");
    }
}

#[tokio::test]
async fn too_old_is_said_in_the_stream() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let then = revision(&admin.create(MAPS, &config_map("a", &json!({}))).await);
    for n in 0..5 {
        admin.create(MAPS, &config_map(&format!("b{n}"), &json!({}))).await;
    }
    cluster.store.compact(cluster.store.revision()).await.unwrap();
    // Another backend has nothing of it in memory.
    let other = TestCluster::on(cluster.url.clone()).await;
    let mut watch = other.admin().watch(&format!("{MAPS}?watch=1&resourceVersion={then}")).await;
    assert_eq!(watch.status, 200);
    let event = watch.next().await.unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["code"], &event["object"]["reason"]),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn two_backends_see_each_other() {
    let one = TestCluster::start().await;
    let two = TestCluster::on(one.url.clone()).await;
    let mut watch = two.admin().watch(&format!("{MAPS}?watch=1")).await;
    one.admin().create(MAPS, &config_map("a", &json!({}))).await;
    assert_eq!(watch.said().await, "ADDED a");
    assert_eq!(two.admin().get(&format!("{MAPS}/a")).await.status, 200);
}

#[tokio::test]
async fn other_shapes() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("a", &json!({}))).await;
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let mut watch = admin.watch_as(&format!("{MAPS}?watch=1"), &table).await;
    let first = watch.next().await.unwrap();
    assert_eq!(first["object"]["columnDefinitions"][0]["name"], "Name");
    assert_eq!(first["object"]["rows"][0]["cells"][0], "a");
    admin.create(MAPS, &config_map("b", &json!({}))).await;
    let second = watch.next().await.unwrap();
    assert_eq!(second["object"]["columnDefinitions"], json!([]));
    let partial = [("accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")];
    let mut watch = admin.watch_as(&format!("{MAPS}?watch=1"), &partial).await;
    let (a, _) = (watch.next().await.unwrap(), watch.next().await.unwrap());
    let kept = admin.get(&format!("{MAPS}/a")).await.expect(200);
    let whole = |metadata: &serde_json::Value| json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata});
    assert_eq!(a, json!({"type": "ADDED", "object": whole(&kept["metadata"])}));
    let created = admin.create(MAPS, &config_map("c", &json!({}))).await;
    assert_eq!(watch.next().await.unwrap(), json!({"type": "ADDED", "object": whole(&created["metadata"])}));
}

/// Events that are filtered out keep no watch beyond its end, nor do those behind them.
#[tokio::test]
async fn an_end_is_an_end_whoever_the_events_are_for() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let begin = revision(&admin.create(MAPS, &labelled("a", "no")).await);
    let path = format!("{MAPS}?watch=1&timeoutSeconds=1&labelSelector=l%3Dyes&resourceVersion={begin}");
    let mut watch = admin.watch(&path).await;
    assert_eq!(watch.status, 200);
    admin.create(MAPS, &labelled("b", "no")).await;
    admin.create(MAPS, &labelled("c", "yes")).await;
    // Nobody reads until the end has come.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(watch.next().await, None);
}
