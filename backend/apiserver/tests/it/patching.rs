//! JSON patch, merge patch, strategic merge patch.

use serde_json::json;

use crate::support::{TestCluster, config_map, deployment, revision};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

#[tokio::test]
async fn the_three_formats() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    admin.create(DEPLOYMENTS, &deployment("web", 1)).await;
    let path = format!("{DEPLOYMENTS}/web");
    let container = |extra| json!({"spec": {"template": {"spec": {"containers": [extra]}}}});
    let strategic =
        admin.patch(&path, "strategic-merge", &container(json!({"name": "side", "image": "x:1"}))).await.expect(200);
    let containers = &strategic["spec"]["template"]["spec"]["containers"];
    assert_eq!(containers.as_array().map(Vec::len), Some(2), "{containers}");
    let merge = admin.patch(&path, "merge", &container(json!({"name": "only", "image": "x:2"}))).await.expect(200);
    assert_eq!(merge["spec"]["template"]["spec"]["containers"][0]["name"], "only");
    let json_ = json!([{"op": "test", "path": "/spec/replicas", "value": 1},
                       {"op": "replace", "path": "/spec/replicas", "value": 4},
                       {"op": "add", "path": "/metadata/labels/tier", "value": "front"}]);
    let patched = admin.patch(&path, "json", &json_).await.expect(200);
    assert_eq!((&patched["spec"]["replicas"], &patched["metadata"]["labels"]["tier"]), (&json!(4), &json!("front")));
    assert_eq!(patched["metadata"]["generation"], 4);

    for (format, patch, status) in [
        ("json", json!([{"op": "test", "path": "/spec/replicas", "value": 9}]), 422),
        ("json", json!([{"op": "remove", "path": "/spec/nothing"}]), 422),
        ("json", json!([{"op": "fly", "path": "/spec"}]), 422),
        ("json", json!({"op": "test"}), 400),
        ("merge", json!({"spec": {"replicas": "many"}}), 422),
        ("merge", json!({"metadata": {"name": "other"}}), 400),
        ("merge", json!({"metadata": {"resourceVersion": "1"}}), 409),
        ("strategic-merge", json!({"metadata": {"uid": "someone-else"}}), 422),
    ] {
        let reply = admin.patch(&path, format, &patch).await;
        assert_eq!(reply.status, status, "{format} {patch}: {}", reply.text());
    }
    let misfit = admin.patch(&path, "json", &json!([{"op": "remove", "path": "/spec/nothing"}])).await.json();
    assert_eq!(misfit["message"], "the server rejected our request due to an error in our request");
    assert_eq!((&misfit["reason"], &misfit["details"]), (&json!("Invalid"), &json!({})), "upstream says no more");
    let unknown = admin.send("PATCH", &path, &[("content-type", "application/json")], "{}").await;
    assert_eq!(unknown.said(), "415 UnsupportedMediaType");
    assert_eq!(admin.patch(&format!("{DEPLOYMENTS}/none"), "merge", &json!({})).await.said(), "404 NotFound");
}

/// What a patch may not do is told with upstream's codes and words.
#[tokio::test]
async fn what_patches_cannot_do() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    admin.create(DEPLOYMENTS, &deployment("web", 1)).await;
    let path = format!("{DEPLOYMENTS}/web");
    let containers = |items| json!({"spec": {"template": {"spec": {"containers": items}}}});
    let ordered = json!({"spec": {"template": {"spec": {
        "$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]}}}});
    for (format, patch, code, why) in [
        ("merge", json!({"kind": "Secret"}), 422, "no kind \"Secret\" is registered for version \"apps/v1\""),
        (
            "merge",
            json!({"apiVersion": "apps/v9"}),
            422,
            "no kind \"Deployment\" is registered for version \"apps/v9\"",
        ),
        ("json", json!([{"op": "replace", "path": "/kind", "value": "Pod"}]), 422, "patch: Invalid value: \"{"),
        ("json", json!([{"op": "remove", "path": ""}]), 422, "the server rejected our request"),
        ("merge", json!({"spec": {"replicas": "x"}}), 422, "\\\"replicas\\\":\\\"x\\\""),
        ("strategic-merge", json!({"spec": {"replicas": "x"}}), 422, "Invalid value: \"map[spec:map[replicas:x]]\""),
        (
            "strategic-merge",
            containers(json!([{"image": "x"}])),
            500,
            "map: map[image:x] does not contain declared merge key",
        ),
        (
            "strategic-merge",
            containers(json!([{"name": "a", "$patch": "sing"}])),
            500,
            "unknown patch type: sing in map",
        ),
        ("strategic-merge", ordered, 500, "doesn't match $setElementOrder list"),
        (
            "strategic-merge",
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}}),
            400,
            "retainKeys",
        ),
        (
            "strategic-merge",
            json!({"$patch": "replace", "metadata": {"name": "web"}}),
            422,
            "spec.selector: Required value",
        ),
    ] {
        let reply = admin.patch(&path, format, &patch).await;
        assert_eq!(reply.status, code, "{format} {patch}: {}", reply.text());
        assert!(reply.message().contains(why), "{format} {patch}: {}", reply.message());
    }
    // Without a namespace it is that of the path.
    let bare = json!([{"op": "remove", "path": "/metadata/namespace"}]);
    assert_eq!(admin.patch(&path, "json", &bare).await.expect(200)["metadata"]["namespace"], "default");
}

#[tokio::test]
async fn a_patch_that_changes_nothing_is_no_write() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let made = admin.create(MAPS, &config_map("a", &json!({"k": "1"}))).await;
    let again = admin.patch(&format!("{MAPS}/a"), "merge", &json!({"data": {"k": "1"}})).await.expect(200);
    assert_eq!(revision(&made), revision(&again));
}

#[tokio::test]
async fn patches_at_the_same_time_all_count() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("a", &json!({}))).await;
    let mut patches = tokio::task::JoinSet::new();
    for n in 0..5 {
        let admin = admin.clone();
        let patch = json!({"data": {n.to_string(): "x"}});
        patches.spawn(async move { admin.patch(&format!("{MAPS}/a"), "merge", &patch).await.expect(200) });
    }
    while let Some(done) = patches.join_next().await {
        done.unwrap();
    }
    let data = &admin.get(&format!("{MAPS}/a")).await.json()["data"];
    assert_eq!(data.as_object().map(serde_json::Map::len), Some(5), "{data}");
}
