//! Deletion: grace, finalizers, propagation, preconditions, collections, namespaces.

use serde_json::{Value, json};

use crate::support::{Caller, TestCluster, config_map, deployment, names, pod, revision};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn delete_with(caller: &Caller, path: &str, options: &Value) -> crate::support::Reply {
    caller.send("DELETE", path, &[], options.to_string()).await
}

#[tokio::test]
async fn finalizers_hold() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let mut object = config_map("a", &json!({}));
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    admin.create(MAPS, &object).await;
    let path = format!("{MAPS}/a");
    let going = admin.delete(&path).await.expect(200);
    assert!(going["metadata"]["deletionTimestamp"].is_string(), "{going}");
    let again = admin.delete(&path).await.expect(200);
    assert_eq!(again["metadata"]["deletionTimestamp"], going["metadata"]["deletionTimestamp"]);
    let mut changed = again.clone();
    changed["metadata"]["finalizers"] = json!(["example.com/hold", "example.com/more"]);
    let refused = admin.put(&path, &changed).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    let mut watch = admin.watch(&format!("{MAPS}?watch=1&resourceVersion={}", revision(&again))).await;
    admin.patch(&path, "merge", &json!({"metadata": {"finalizers": null}})).await.expect(200);
    assert_eq!(watch.said().await, "DELETED a");
    assert_eq!(admin.get(&path).await.status, 404);
}

#[tokio::test]
async fn propagation_becomes_finalizers() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let all = "/apis/apps/v1/namespaces/default/deployments";
    for (policy, finalizer) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
        let name = policy.to_lowercase();
        admin.create(all, &deployment(&name, 1)).await;
        let path = format!("{all}/{name}");
        delete_with(&admin, &path, &json!({"propagationPolicy": policy})).await.expect(200);
        assert_eq!(admin.get(&path).await.expect(200)["metadata"]["finalizers"], json!([finalizer]));
    }
    admin.create(all, &deployment("background", 1)).await;
    delete_with(&admin, &format!("{all}/background"), &json!({"propagationPolicy": "Background"})).await.expect(200);
    assert_eq!(admin.get(&format!("{all}/background")).await.status, 404);
    admin.create(all, &deployment("x", 1)).await;
    let by_query = admin.delete(&format!("{all}/x?propagationPolicy=Foreground")).await.expect(200);
    assert_eq!(by_query["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    for bad in
        [json!({"propagationPolicy": "Sideways"}), json!({"propagationPolicy": "Orphan", "orphanDependents": true})]
    {
        assert_eq!(delete_with(&admin, &format!("{all}/x"), &bad).await.status, 422, "{bad}");
    }
}

/// What asked to change nothing changes nothing, however it was asked.
#[tokio::test]
async fn dry_runs_in_the_body() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("a", &json!({}))).await;
    let path = format!("{MAPS}/a");
    for (options, want) in [
        (json!({"dryRun": ["All"]}), 200),
        (json!({"dryRun": ["all"]}), 422),
        (json!({"dryRun": ["All", "Some"]}), 422),
        (json!({"dryRun": [""]}), 422),
        (json!({"dryRun": "All"}), 400),
        (json!({"kind": "Pod", "apiVersion": "v1"}), 400),
        (json!({"gracePeriodSeconds": "x"}), 400),
        (json!([]), 400),
        (json!("All"), 400),
        (json!({"kind": 7}), 400),
        (json!({"preconditions": []}), 400),
        (json!({"propagationPolicy": 7}), 400),
        (json!({"orphanDependents": "x"}), 400),
    ] {
        let reply = delete_with(&admin, &path, &options).await;
        assert_eq!(reply.status, want, "{options} {}", reply.text());
        admin.get(&path).await.expect(200);
    }
    // Another format is not read as if it were JSON.
    let reply = admin.send("DELETE", &path, &[("content-type", "text/plain")], "{}").await;
    assert_eq!(reply.said(), "415 UnsupportedMediaType");
    // Any group may lend its version to the options.
    for version in ["meta.k8s.io/v1", "v1", "apps/v1"] {
        let options = json!({"kind": "DeleteOptions", "apiVersion": version, "dryRun": ["All"]});
        delete_with(&admin, &path, &options).await.expect(200);
    }
    delete_with(&admin, &path, &json!({"dryRun": []})).await.expect(200);
    assert_eq!(admin.get(&path).await.status, 404);
}

/// The deletion of a list is refused for what the list would be refused for, before anything is deleted.
#[tokio::test]
async fn collections_heed_their_options() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("a", &json!({}))).await;
    for (query, code) in [
        ("resourceVersion=x", 400),
        ("limit=x", 400),
        ("timeoutSeconds=x", 400),
        ("continue=x", 400),
        ("resourceVersionMatch=Exact", 422),
        ("sendInitialEvents=true", 422),
        ("fieldSelector=spec.x%3Dy", 400),
        ("dryRun=x", 422),
    ] {
        let reply = admin.delete(&format!("{MAPS}?{query}")).await;
        assert_eq!(reply.status, code, "{query}: {}", reply.text());
        admin.get(&format!("{MAPS}/a")).await.expect(200);
    }
    admin.delete(&format!("{MAPS}?limit=500&resourceVersion=0")).await.expect(200);
    assert_eq!(admin.get(&format!("{MAPS}/a")).await.status, 404);
}

#[tokio::test]
async fn preconditions() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let made = admin.create(MAPS, &config_map("a", &json!({}))).await;
    let path = format!("{MAPS}/a");
    for bad in [json!({"uid": "other"}), json!({"resourceVersion": "1"})] {
        assert_eq!(delete_with(&admin, &path, &json!({"preconditions": bad})).await.said(), "409 Conflict", "{bad}");
    }
    let right = json!({"uid": made["metadata"]["uid"], "resourceVersion": made["metadata"]["resourceVersion"]});
    delete_with(&admin, &path, &json!({"preconditions": right})).await.expect(200);
    assert_eq!(admin.delete(&path).await.said(), "404 NotFound");
}

#[tokio::test]
async fn pods_get_their_grace() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    cluster.namespace("pods").await;
    let all = "/api/v1/namespaces/pods/pods";
    // Nobody runs it: nothing to wait for.
    admin.create(all, &pod("free")).await;
    admin.delete(&format!("{all}/free")).await.expect(200);
    assert_eq!(admin.get(&format!("{all}/free")).await.status, 404);

    let mut bound = pod("bound");
    bound["spec"]["nodeName"] = json!("n1");
    admin.create(all, &bound).await;
    let path = format!("{all}/bound");
    let going = admin.delete(&path).await.expect(200);
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 30);
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    // It may become shorter, not longer.
    let shorter = delete_with(&admin, &path, &json!({"gracePeriodSeconds": 5})).await.expect(200);
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    let longer = delete_with(&admin, &path, &json!({"gracePeriodSeconds": 60})).await.expect(200);
    assert_eq!(longer["metadata"]["deletionGracePeriodSeconds"], 5);
    // The agent's last word.
    delete_with(&admin, &path, &json!({"gracePeriodSeconds": 0})).await.expect(200);
    assert_eq!(admin.get(&path).await.status, 404);
}

#[tokio::test]
async fn collections() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    for n in 0..6 {
        let mut object = config_map(&format!("m{n}"), &json!({}));
        object["metadata"]["labels"] = json!({"half": (n % 2).to_string()});
        admin.create(MAPS, &object).await;
    }
    let deleted = admin.delete(&format!("{MAPS}?labelSelector=half%3D0")).await.expect(200);
    assert_eq!(deleted["kind"], "ConfigMapList");
    let left = admin.get(&format!("{MAPS}?labelSelector=half")).await.expect(200);
    assert_eq!(names(&left), ["m1", "m3", "m5"]);
    assert_eq!(admin.delete("/api/v1/namespaces").await.said(), "405 MethodNotAllowed");
}

#[tokio::test]
async fn namespaces_end_slowly() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    cluster.namespace("ending").await;
    let going = admin.delete("/api/v1/namespaces/ending").await.expect(200);
    assert_eq!(going["status"]["phase"], "Terminating");
    let refused = admin.post("/api/v1/namespaces/ending/configmaps", &config_map("late", &json!({}))).await;
    assert_eq!(refused.said(), "403 Forbidden");
    assert!(refused.message().contains("because it is being terminated"), "{}", refused.message());
    let mut finalized = admin.get("/api/v1/namespaces/ending").await.json();
    finalized["spec"]["finalizers"] = json!([]);
    admin.put("/api/v1/namespaces/ending/finalize", &finalized).await.expect(200);
    assert_eq!(admin.get("/api/v1/namespaces/ending").await.status, 404);
    assert_eq!(admin.delete("/api/v1/namespaces/default").await.said(), "403 Forbidden");
}

/// A negative period is the shortest that there is, not none.
#[tokio::test]
async fn answers_of_deletions() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    cluster.namespace("pods").await;
    let all = "/api/v1/namespaces/pods/pods";
    let mut bound = pod("bound");
    bound["spec"]["nodeName"] = json!("n1");
    admin.create(all, &bound).await;
    let path = format!("{all}/bound");
    let going = delete_with(&admin, &path, &json!({"gracePeriodSeconds": -3})).await.expect(200);
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 1);
    admin.get(&path).await.expect(200);

    // What could have waited says that it did not.
    admin.create(all, &pod("free")).await;
    let gone = admin.delete(&format!("{all}/free")).await.expect(200);
    assert_eq!(gone["metadata"]["deletionGracePeriodSeconds"], 0);
    assert!(gone["metadata"]["deletionTimestamp"].is_string(), "{gone}");

    let mut held = config_map("held", &json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    admin.create(MAPS, &held).await;
    let path = format!("{MAPS}/held");
    delete_with(&admin, &path, &json!({"orphanDependents": false})).await.expect(202);

    admin.create(MAPS, &config_map("plain", &json!({}))).await;
    let done = admin.delete(&format!("{MAPS}/plain")).await.expect(200);
    assert_eq!((&done["status"], done.get("code")), (&json!("Success"), None));

    // A namespace has no time to go.
    cluster.namespace("going").await;
    let going = admin.delete("/api/v1/namespaces/going").await.expect(200);
    assert_eq!(going["metadata"].get("deletionGracePeriodSeconds"), None);

    // A collection is shown as lists are.
    for (kind, accept) in [
        ("Table", "application/json;as=Table;v=v1;g=meta.k8s.io"),
        ("PartialObjectMetadataList", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"),
    ] {
        let reply = admin.send("DELETE", &format!("{MAPS}?dryRun=All"), &[("accept", accept)], "").await;
        assert_eq!(reply.expect(200)["kind"], kind);
    }
}
