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
    let cause = &misfit["details"]["causes"][0];
    assert_eq!(cause["field"], "patch", "kubectl prints the field before the message");
    assert!(cause["message"].as_str().unwrap().starts_with("remove operation does not apply"), "{cause}");
    let unknown = admin.send("PATCH", &path, &[("content-type", "application/json")], "{}").await;
    assert_eq!(unknown.said(), "415 UnsupportedMediaType");
    assert_eq!(admin.patch(&format!("{DEPLOYMENTS}/none"), "merge", &json!({})).await.said(), "404 NotFound");
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
