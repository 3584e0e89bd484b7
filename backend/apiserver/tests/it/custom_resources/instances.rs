//! Custom resources: defaults, pruning, subresources, columns, selectors, formats.

use serde_json::json;

use super::*;
use crate::support::names;

const ALL: &str = "/apis/shop.example.com/v1/namespaces/a/crons";

fn crons() -> Value {
    let mut definition = definition(
        "crons",
        "shop.example.com",
        "Cron",
        json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "schedule": {"type": "string", "default": "daily"},
                "replicas": {"type": "integer", "default": 1},
                "color": {"type": "string"},
                "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port"],
                          "items": {"type": "object", "required": ["port"], "properties": {"port": {"type": "integer"}, "name": {"type": "string"}}}}}},
            "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}}}}),
    );
    let version = &mut definition["spec"]["versions"][0];
    version["subresources"] = json!({"status": {}, "scale": {
        "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}});
    version["additionalPrinterColumns"] = json!([
        {"name": "Schedule", "type": "string", "jsonPath": ".spec.schedule"},
        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"}]);
    version["selectableFields"] = json!([{"jsonPath": ".spec.color"}]);
    definition
}

fn cron(name: &str, spec: Value) -> Value {
    object("Cron", name, spec)
}

#[tokio::test]
async fn defaults_come_in_and_unknown_fields_go() {
    let (c, admin) = cluster().await;
    c.define(&crons()).await;
    let sent = cron("x", json!({"unknown": 1, "open": {"free": true}, "replicas": null}));
    let made = admin.create(ALL, &sent).await;
    assert_eq!(made["spec"], json!({"schedule": "daily", "replicas": 1, "open": {"free": true}}));
    assert_eq!(made["metadata"]["generation"], 1);

    // A default that comes later shows in what was written before.
    c.redefine("crons.shop.example.com", |definition| {
        let spec =
            &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        spec["later"] = json!({"type": "string", "default": "now"});
        spec.as_object_mut().unwrap().remove("open");
    })
    .await;
    let read = admin.get(&format!("{ALL}/x")).await.expect(200);
    assert_eq!(read["spec"], json!({"schedule": "daily", "replicas": 1, "later": "now"}));
    assert_eq!(read["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    let list = admin.get(ALL).await.expect(200);
    assert_eq!(list["items"][0]["spec"]["later"], "now");
    assert_eq!(list["kind"], "CronList");
    let mut watch = admin.watch(&format!("{ALL}?watch=1&resourceVersion=0")).await;
    assert_eq!(watch.next().await.unwrap()["object"]["spec"]["later"], "now");
}

#[tokio::test]
async fn status_and_scale() {
    let (c, admin) = cluster().await;
    c.define(&crons()).await;
    let mut sent = cron("x", json!({"replicas": 3}));
    sent["status"] = json!({"replicas": 9});
    let made = admin.create(ALL, &sent).await;
    assert!(made.get("status").is_none());
    let path = format!("{ALL}/x");
    let mut status = made.clone();
    status["status"] = json!({"replicas": 2, "selector": "app=x"});
    status["spec"]["replicas"] = json!(7);
    let updated = admin.put(&format!("{path}/status"), &status).await.expect(200);
    assert_eq!((&updated["status"]["replicas"], &updated["spec"]["replicas"]), (&json!(2), &json!(3)));
    assert_eq!(updated["metadata"]["generation"], 1);

    let scale = admin.get(&format!("{path}/scale")).await.expect(200);
    assert_eq!(scale["spec"], json!({"replicas": 3}));
    assert_eq!(scale["status"], json!({"replicas": 2, "selector": "app=x"}));
    let scaled = admin.patch(&format!("{path}/scale"), "merge", &json!({"spec": {"replicas": 5}})).await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 5);
    let read = admin.get(&path).await.expect(200);
    assert_eq!((&read["spec"]["replicas"], &read["metadata"]["generation"]), (&json!(5), &json!(2)));
    let mut unconditional = read.clone();
    unconditional["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    let refused = admin.put(&path, &unconditional).await;
    assert_eq!(
        told(&refused),
        "422 crons.shop.example.com \"x\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"
    );
}

#[tokio::test]
async fn columns_and_selectors() {
    let (c, admin) = cluster().await;
    c.define(&crons()).await;
    for (name, color) in [("r", "red"), ("g", "green"), ("b", "blue")] {
        admin.create(ALL, &cron(name, json!({"color": color}))).await;
    }
    let table =
        admin.send("GET", ALL, &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")], "").await.expect(200);
    let columns: Vec<&str> =
        table["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(columns, ["Name", "Schedule", "Replicas"]);
    assert_eq!(table["rows"][0]["cells"], json!(["b", "daily", 1]));

    let red = admin.get(&format!("{ALL}?fieldSelector=spec.color%3Dred")).await.expect(200);
    assert_eq!(names(&red), ["r"]);
    let some = admin.get(&format!("{ALL}?fieldSelector=spec.color%21%3Dred&limit=1")).await.expect(200);
    assert_eq!(names(&some), ["b"]);
    let token = some["metadata"]["continue"].as_str().unwrap();
    let rest =
        admin.get(&format!("{ALL}?fieldSelector=spec.color%21%3Dred&limit=1&continue={token}")).await.expect(200);
    assert_eq!(names(&rest), ["g"]);
    assert_eq!(admin.get(&format!("{ALL}?fieldSelector=spec.replicas%3D1")).await.status, 400);

    let version = red["metadata"]["resourceVersion"].as_str().unwrap();
    let mut watch =
        admin.watch(&format!("{ALL}?watch=1&fieldSelector=spec.color%3Dred&resourceVersion={version}")).await;
    let paint = async |name: &str, color: &str| {
        let patch = json!({"spec": {"color": color}});
        admin.patch(&format!("{ALL}/{name}"), "merge", &patch).await.expect(200);
    };
    paint("g", "red").await;
    assert_eq!(watch.said().await, "ADDED g");
    paint("b", "yellow").await;
    paint("r", "pink").await;
    let gone = watch.next().await.unwrap();
    assert_eq!((&gone["type"], &gone["object"]["spec"]["color"]), (&json!("DELETED"), &json!("red")));
    admin.send("DELETE", &format!("{ALL}?fieldSelector=spec.color%3Dred"), &[], "").await.expect(200);
    assert_eq!(watch.said().await, "DELETED g");
    assert_eq!(names(&admin.get(ALL).await.expect(200)), ["b", "r"]);
}

#[tokio::test]
async fn applying_merges_by_keys() {
    let (c, admin) = cluster().await;
    c.define(&crons()).await;
    let apply = async |manager: &str, spec: Value| {
        admin.patch(&format!("{ALL}/x?fieldManager={manager}"), "apply", &cron("x", spec)).await
    };
    apply("one", json!({"ports": [{"port": 1, "name": "a"}], "color": "red"})).await.expect(201);
    let both = apply("two", json!({"ports": [{"port": 2, "name": "b"}]})).await.expect(200);
    assert_eq!(both["spec"]["ports"], json!([{"port": 1, "name": "a"}, {"port": 2, "name": "b"}]));
    let conflict = apply("two", json!({"color": "blue", "ports": []})).await;
    assert_eq!(conflict.status, 409);
    assert!(conflict.message().contains("conflict with \"one\""), "{}", conflict.message());
    let less = apply("two", json!({"replicas": 4})).await.expect(200);
    assert_eq!(less["spec"]["ports"], json!([{"port": 1, "name": "a"}]));
    // Custom resources have no merge keys for the old way.
    let strategic = admin.patch(&format!("{ALL}/x"), "strategic-merge", &json!({"spec": {"replicas": 1}})).await;
    assert_eq!(strategic.status, 415);
}

#[tokio::test]
async fn there_is_no_protobuf_of_custom_resources() {
    let (c, admin) = cluster().await;
    c.define(&crons()).await;
    let protobuf = "application/vnd.kubernetes.protobuf";
    assert_eq!(admin.send("GET", ALL, &[("accept", protobuf)], "").await.status, 406);
    let body = cron("x", json!({})).to_string();
    assert_eq!(admin.send("POST", ALL, &[("accept", protobuf)], body.clone()).await.status, 406);
    assert_eq!(admin.send("POST", ALL, &[("content-type", protobuf)], body.clone()).await.status, 415);
    assert_eq!(admin.get(&format!("{ALL}/x")).await.status, 404);
    let both = format!("{protobuf},application/json");
    let made = admin.send("POST", ALL, &[("accept", &both)], body).await;
    assert_eq!((made.status, made.header("content-type")), (201, "application/json"));
    let yaml = admin.send("GET", ALL, &[("accept", "application/yaml")], "").await;
    assert!(yaml.text().contains("schedule: daily"));
}

#[tokio::test]
async fn deprecated_versions_warn() {
    let (c, admin) = cluster().await;
    let mut of_old = crons();
    of_old["spec"]["versions"][0]["deprecated"] = json!(true);
    c.define(&of_old).await;
    let reply = admin.get(ALL).await;
    assert_eq!(reply.warnings(), ["299 - \"shop.example.com/v1 Cron is deprecated\""]);
}
