//! Create, read, update: what every object gets, and what is refused.

use serde_json::{Value, json};

use crate::support::{TestCluster, config_map, deployment, names, revision};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn an_object_from_first_to_last() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let made = admin.create(MAPS, &config_map("a", &json!({"k": "1"}))).await;
    let metadata = &made["metadata"];
    assert_eq!(metadata["namespace"], "default");
    assert!(metadata["uid"].as_str().is_some_and(|uid| uid.len() == 36), "{metadata}");
    assert!(metadata["creationTimestamp"].as_str().is_some_and(|time| time.ends_with('Z') && time.len() == 20));
    assert!(metadata.get("selfLink").is_none());
    assert_eq!(metadata["managedFields"][0]["fieldsV1"]["f:data"], json!({".": {}, "f:k": {}}));

    let path = format!("{MAPS}/a");
    assert_eq!(admin.get(&path).await.expect(200), made);
    let mut changed = made.clone();
    changed["data"]["k"] = json!("2");
    let updated = admin.put(&path, &changed).await.expect(200);
    assert_eq!(updated["data"]["k"], "2");
    assert!(revision(&updated) > revision(&made));
    assert_eq!(updated["metadata"]["uid"], made["metadata"]["uid"]);

    // The same again is no write.
    assert_eq!(revision(&admin.put(&path, &updated).await.expect(200)), revision(&updated));

    let stale = admin.put(&path, &made).await;
    assert_eq!(stale.said(), "409 Conflict");
    assert_eq!(
        stale.message(),
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to \
         the latest version and try again"
    );

    let gone = admin.delete(&path).await.expect(200);
    assert_eq!((&gone["kind"], &gone["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(gone["details"]["uid"], made["metadata"]["uid"]);
    let missing = admin.get(&path).await;
    assert_eq!(missing.said(), "404 NotFound");
    assert_eq!(missing.message(), "configmaps \"a\" not found");
}

#[tokio::test]
async fn what_objects_are_called() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let mut object = config_map("", &json!({}));
    object["metadata"] = json!({"generateName": "job-"});
    let (one, two) = (admin.create(MAPS, &object).await, admin.create(MAPS, &object).await);
    let name = one["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("job-") && name.len() == 9, "{name}");
    assert_ne!(one["metadata"]["name"], two["metadata"]["name"]);

    admin.create(MAPS, &config_map("a", &json!({}))).await;
    for (change, path, said, message) in [
        (json!({"name": "a"}), MAPS, "409 AlreadyExists", "configmaps \"a\" already exists"),
        (
            json!({"name": "b", "namespace": "other"}),
            MAPS,
            "400 BadRequest",
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            json!({}),
            MAPS,
            "422 Invalid",
            "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
        ),
        (
            json!({"name": "b"}),
            "/api/v1/namespaces/nowhere/configmaps",
            "404 NotFound",
            "namespaces \"nowhere\" not found",
        ),
        (
            json!({"name": "b", "resourceVersion": "5"}),
            MAPS,
            "500 ",
            "resourceVersion should not be set on objects to be created",
        ),
    ] {
        let reply = admin.post(path, &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": change})).await;
        assert_eq!((reply.said().as_str(), reply.message().as_str()), (said, message), "{change}");
    }
    let other = admin.put(&format!("{MAPS}/a"), &config_map("b", &json!({}))).await;
    assert_eq!(other.said(), "400 BadRequest");
    assert_eq!(other.message(), "the name of the object (b) does not match the name on the URL (a)");
}

#[tokio::test]
async fn updates_create_only_where_upstream_lets_them() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let map = admin.put(&format!("{MAPS}/new"), &config_map("new", &json!({}))).await;
    assert_eq!(map.said(), "404 NotFound");
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {}});
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    admin.put(path, &lease).await.expect(201);
    // Neither does an update have to say what it was computed from …
    let mut map = admin.create(MAPS, &config_map("m", &json!({"a": "1"}))).await;
    map["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    map["data"] = json!({"a": "2"});
    admin.put(&format!("{MAPS}/m"), &map).await.expect(200);
    // … unless somebody must not be overruled.
    let without = admin
        .put(path, &json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}}))
        .await;
    assert_eq!(without.status, 422, "{}", without.text());
    assert!(without.message().contains("metadata.resourceVersion: Invalid value: 0"), "{}", without.message());
}

#[tokio::test]
async fn spec_status_and_generation() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let all = "/apis/apps/v1/namespaces/default/deployments";
    let mut sent = deployment("web", 2);
    sent["status"] = json!({"replicas": 7});
    let made = admin.create(all, &sent).await;
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["status"].get("replicas"), None);
    assert_eq!(made["spec"]["strategy"]["type"], "RollingUpdate");

    let mut status = made.clone();
    status["spec"]["replicas"] = json!(9);
    status["status"] = json!({"replicas": 2, "observedGeneration": 1});
    let after = admin.put(&format!("{all}/web/status"), &status).await.expect(200);
    assert_eq!((&after["spec"]["replicas"], &after["status"]["replicas"]), (&json!(2), &json!(2)));
    assert_eq!(after["metadata"]["generation"], 1);

    let mut spec = after.clone();
    spec["spec"]["replicas"] = json!(3);
    spec["status"] = json!({"replicas": 99});
    let after = admin.put(&format!("{all}/web"), &spec).await.expect(200);
    assert_eq!((&after["spec"]["replicas"], &after["status"]["replicas"]), (&json!(3), &json!(2)));
    assert_eq!(after["metadata"]["generation"], 2);
    let managers: Vec<_> =
        after["metadata"]["managedFields"].as_array().unwrap().iter().map(|m| m["subresource"].clone()).collect();
    assert!(managers.contains(&json!("status")), "{managers:?}");
}

#[tokio::test]
async fn dry_runs_leave_nothing() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let before = cluster.store.revision();
    let made = admin.post(&format!("{MAPS}?dryRun=All"), &config_map("d", &json!({"a": "1"}))).await.expect(201);
    assert!(made["metadata"]["uid"].is_string());
    assert_eq!(admin.get(&format!("{MAPS}/d")).await.status, 404);
    admin.create(MAPS, &config_map("e", &json!({"a": "1"}))).await;
    let path = format!("{MAPS}/e");
    let changed = admin.put(&format!("{path}?dryRun=All"), &config_map("e", &json!({"a": "2"}))).await.expect(200);
    assert_eq!(changed["data"]["a"], "2");
    let patched = admin.patch(&format!("{path}?dryRun=All"), "merge", &json!({"data": {"a": "3"}})).await.expect(200);
    assert_eq!(patched["data"]["a"], "3");
    admin.delete(&format!("{path}?dryRun=All")).await.expect(200);
    let left = admin.get(&path).await.expect(200);
    assert_eq!(left["data"]["a"], "1");
    assert_eq!(
        admin.post(&format!("{MAPS}?dryRun=All"), &config_map("e", &json!({}))).await.said(),
        "409 AlreadyExists"
    );
    assert_eq!(admin.post(&format!("{MAPS}?dryRun=Some"), &config_map("f", &json!({}))).await.status, 422);
    assert!(cluster.store.revision() > before);
}

#[tokio::test]
async fn shapes() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("a", &json!({"k": "1"}))).await;
    let as_ = |shape: &str| format!("application/json;as={shape};v=v1;g=meta.k8s.io,application/json");
    let table = admin.send("GET", &format!("{MAPS}/a"), &[("accept", &as_("Table"))], "").await.expect(200);
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["rows"][0]["cells"][0], "a");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let list =
        admin.send("GET", &format!("{MAPS}?includeObject=None"), &[("accept", &as_("Table"))], "").await.expect(200);
    assert_eq!(list["rows"][0]["object"], json!(null));
    let partial =
        admin.send("GET", &format!("{MAPS}/a"), &[("accept", &as_("PartialObjectMetadata"))], "").await.expect(200);
    assert_eq!((partial["kind"].as_str(), partial.get("data")), (Some("PartialObjectMetadata"), None));
    let partials = admin.send("GET", MAPS, &[("accept", &as_("PartialObjectMetadataList"))], "").await.expect(200);
    assert_eq!(partials["kind"], "PartialObjectMetadataList");
    assert_eq!(names(&partials), ["a"]);
    let yaml = admin.send("GET", &format!("{MAPS}/a"), &[("accept", "application/yaml")], "").await;
    assert_eq!(yaml.header("content-type"), "application/yaml");
    assert!(yaml.text().contains("kind: ConfigMap\n"), "{}", yaml.text());
    let created =
        admin.send("POST", MAPS, &[("content-type", "application/yaml")], "metadata: {name: y}\ndata: {a: b}\n").await;
    assert_eq!(created.expect(201)["kind"], "ConfigMap");
    assert_eq!(admin.send("GET", MAPS, &[("accept", "image/png")], "").await.said(), "406 NotAcceptable");
    let media = [("content-type", "text/plain")];
    assert_eq!(admin.send("POST", MAPS, &media, "{}").await.said(), "415 UnsupportedMediaType");
    let proto = admin.send("GET", &format!("{MAPS}/a"), &[("accept", "application/vnd.kubernetes.protobuf")], "").await;
    assert_eq!(proto.header("content-type"), "application/vnd.kubernetes.protobuf");
    assert!(proto.body.starts_with(b"k8s\0"));
    // What came out goes in again.
    admin.delete(&format!("{MAPS}/y")).await.expect(200);
    let mut renamed = admin.get(&format!("{MAPS}/a")).await.json();
    renamed["metadata"] = json!({"name": "z"});
    assert_eq!(revision(&admin.create(MAPS, &renamed).await), cluster.store.revision());
}

/// What clients say of metadata that is the server's.
#[tokio::test]
async fn metadata_of_the_servers() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let with = |name: &str, field: &str, value: Value| {
        let mut map = config_map(name, &json!({}));
        map["metadata"][field] = value;
        map
    };
    for (field, value, status) in [
        ("resourceVersion", json!("0"), 201),
        ("resourceVersion", json!("x"), 201),
        ("resourceVersion", json!("5"), 500),
        ("generation", json!(-7), 422),
        ("ownerReferences", json!([{"apiVersion": "a/b/c", "kind": "K", "name": "n", "uid": "u"}]), 422),
    ] {
        let reply = admin.post(&format!("{MAPS}?dryRun=All"), &with("a", field, value)).await;
        assert_eq!(reply.status, status, "{field}: {}", reply.text());
    }
    // Of what nobody counts, the number is its author's.
    assert_eq!(admin.create(MAPS, &with("counted", "generation", json!(7))).await["metadata"]["generation"], 7);
    // Nobody deletes by writing that it is deleted.
    admin.create(MAPS, &config_map("a", &json!({}))).await;
    let path = format!("{MAPS}/a");
    for (field, value) in
        [("deletionTimestamp", json!("2001-01-01T00:00:00Z")), ("deletionGracePeriodSeconds", json!(4))]
    {
        let reply = admin.put(&path, &with("a", field, value)).await;
        assert_eq!(reply.status, 422, "{}", reply.text());
        assert!(reply.message().contains("field is immutable"), "{}", reply.message());
    }
    // Of what is in no namespace, none is kept.
    let mut placed = crate::support::namespace("placed");
    placed["metadata"]["namespace"] = json!("x");
    assert_eq!(admin.create("/api/v1/namespaces", &placed).await["metadata"].get("namespace"), None);
    assert_eq!(admin.post(&format!("{MAPS}?dryRun=All"), &Value::Null).await.said(), "422 Invalid");
}
