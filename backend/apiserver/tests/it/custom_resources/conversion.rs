//! Several versions of one definition, and the webhook that converts between them.

use serde_json::json;

use super::*;
use crate::hooks::HookServer;
use crate::support::names;

fn all(version: &str) -> String {
    format!("/apis/shop.example.com/{version}/namespaces/a/hosts")
}

/// v1 has `hostPort`, v2 has `host` and `port`.
fn hosts() -> Value {
    let text = json!({"type": "string"});
    let mut definition =
        definition("hosts", "shop.example.com", "Host", json!({"type": "object", "properties": {"hostPort": text}}));
    definition["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".hostPort"}]);
    let v2 = json!({"name": "v2", "served": true, "storage": false, "selectableFields": [{"jsonPath": ".host"}],
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"host": text, "port": text}}}});
    definition["spec"]["versions"].as_array_mut().unwrap().push(v2);
    definition
}

fn with_webhook(client_config: Value) -> Value {
    let mut definition = hosts();
    definition["spec"]["conversion"] = json!({"strategy": "Webhook",
        "webhook": {"clientConfig": client_config, "conversionReviewVersions": ["v1", "v1beta1"]}});
    definition
}

/// A server with this name that answers a review with what `convert` makes of it.
async fn converter(name: &str, convert: fn(Value) -> Value) -> HookServer {
    HookServer::for_names(&[name], None, move |seen| Some((200, convert(seen.body.clone())))).await
}

/// What the author of the definition would run.
fn convert(review: Value) -> Value {
    let request = &review["request"];
    let target = request["desiredAPIVersion"].as_str().unwrap();
    let converted: Vec<Value> = request["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| {
            let mut new = object.clone();
            let map = new.as_object_mut().unwrap();
            map.insert("apiVersion".into(), json!(target));
            if target.ends_with("/v2") {
                let joined = map.remove("hostPort").unwrap_or_default();
                let (host, port) = joined.as_str().unwrap_or_default().split_once(':').unwrap_or_default();
                map.insert("host".into(), json!(host));
                map.insert("port".into(), json!(port));
            } else {
                let part = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
                map.insert("hostPort".into(), json!(format!("{}:{}", part("host"), part("port"))));
                map.remove("host");
                map.remove("port");
            }
            new
        })
        .collect();
    json!({"apiVersion": review["apiVersion"], "kind": "ConversionReview",
           "response": {"uid": request["uid"], "convertedObjects": converted, "result": {"status": "Success"}}})
}

fn host(version: &str, name: &str, fields: Value) -> Value {
    let mut object =
        json!({"apiVersion": format!("shop.example.com/{version}"), "kind": "Host", "metadata": {"name": name}});
    object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    object
}

#[tokio::test]
async fn without_a_webhook_only_the_version_changes() {
    let (c, admin) = cluster().await;
    c.define(&hosts()).await;
    admin.create(&all("v1"), &host("v1", "x", json!({"hostPort": "a:1"}))).await;
    let read = admin.get(&format!("{}/x", all("v2"))).await.expect(200);
    assert_eq!(read["apiVersion"], "shop.example.com/v2");
    // Pruned by the schema of the version that is asked for.
    assert!(read.get("hostPort").is_none());
    let wrong = admin.post(&all("v1"), &host("v2", "y", json!({}))).await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test]
async fn a_webhook_converts_what_is_read_and_written() {
    let (c, admin) = cluster().await;
    let hook = converter("127.0.0.1", convert).await;
    c.define(&with_webhook(hook.client_config("/convert"))).await;
    admin.create(&all("v1"), &host("v1", "one", json!({"hostPort": "a:1"}))).await;
    assert!(hook.seen.lock().is_empty());
    let read = admin.get(&format!("{}/one", all("v2"))).await.expect(200);
    assert_eq!((&read["host"], &read["port"], &read["hostPort"]), (&json!("a"), &json!("1"), &Value::Null));
    let made = admin.create(&all("v2"), &host("v2", "two", json!({"host": "b", "port": "2"}))).await;
    assert_eq!((&made["apiVersion"], &made["host"]), (&json!("shop.example.com/v2"), &json!("b")));
    assert_eq!(admin.get(&format!("{}/two", all("v1"))).await.expect(200)["hostPort"], "b:2");

    // Another version is stored from now on: the list has both kinds of objects.
    c.redefine("hosts.shop.example.com", |definition| {
        definition["spec"]["versions"][0]["storage"] = json!(false);
        definition["spec"]["versions"][1]["storage"] = json!(true);
    })
    .await;
    admin.create(&all("v2"), &host("v2", "three", json!({"host": "c", "port": "3"}))).await;
    for (version, field, found) in [("v2", "host", ["a", "c", "b"]), ("v1", "hostPort", ["a:1", "c:3", "b:2"])] {
        let list = admin.get(&all(version)).await.expect(200);
        let items = list["items"].as_array().unwrap();
        assert!(items.iter().all(|item| item["apiVersion"] == format!("shop.example.com/{version}")));
        assert_eq!(items.iter().map(|item| item[field].as_str().unwrap()).collect::<Vec<_>>(), found);
    }
    let definition = admin.get(&format!("{DEFINITIONS}/hosts.shop.example.com")).await.expect(200);
    assert_eq!(definition["status"]["storedVersions"], json!(["v1", "v2"]));

    let patched = admin.patch(&format!("{}/one", all("v1")), "merge", &json!({"hostPort": "z:9"})).await.expect(200);
    assert_eq!(patched["hostPort"], "z:9");
    assert_eq!(admin.get(&format!("{}/one", all("v2"))).await.expect(200)["host"], "z");
    let deleted = admin.delete(&format!("{}/one", all("v1"))).await;
    assert_eq!(deleted.status, 200);
}

#[tokio::test]
async fn selectors_see_the_converted_objects() {
    let (c, admin) = cluster().await;
    let hook = converter("127.0.0.1", convert).await;
    c.define(&with_webhook(hook.client_config("/convert"))).await;
    admin.create(&all("v1"), &host("v1", "one", json!({"hostPort": "a:1"}))).await;
    admin.create(&all("v2"), &host("v2", "two", json!({"host": "b", "port": "2"}))).await;
    let by_host = admin.get(&format!("{}?fieldSelector=host%3Db", all("v2"))).await.expect(200);
    assert_eq!(names(&by_host), ["two"]);
    let by_both = admin.get(&format!("{}?fieldSelector=hostPort%3Da:1", all("v1"))).await.expect(200);
    assert_eq!(names(&by_both), ["one"]);
    let mut watch = admin.watch(&format!("{}?watch=1&fieldSelector=host%3Da", all("v2"))).await;
    let first = watch.next().await.unwrap();
    assert_eq!((&first["type"], &first["object"]["host"]), (&json!("ADDED"), &json!("a")));
    admin.patch(&format!("{}/two", all("v1")), "merge", &json!({"hostPort": "a:7"})).await.expect(200);
    assert_eq!(watch.said().await, "ADDED two");
    admin.patch(&format!("{}/one", all("v2")), "merge", &json!({"host": "q"})).await.expect(200);
    assert_eq!(watch.said().await, "DELETED one");
}

#[tokio::test]
async fn a_service_leads_to_the_webhook() {
    let (c, admin) = cluster().await;
    let hook = converter("converter.a.svc", convert).await;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "converter"},
                         "spec": {"type": "ExternalName", "externalName": "localhost"}});
    admin.create("/api/v1/namespaces/a/services", &service).await;
    c.define(&with_webhook(hook.by_service("a", "converter", "/convert"))).await;
    admin.create(&all("v1"), &host("v1", "one", json!({"hostPort": "a:1"}))).await;
    assert_eq!(admin.get(&format!("{}/one", all("v2"))).await.expect(200)["host"], "a");
    let review = &hook.last("/convert");
    assert_eq!(
        (&review["kind"], &review["apiVersion"]),
        (&json!("ConversionReview"), &json!("apiextensions.k8s.io/v1"))
    );
}

#[tokio::test]
async fn a_webhook_that_fails_fails_the_request_and_nothing_else() {
    let (c, admin) = cluster().await;
    let refusing = |review: Value| {
        json!({"apiVersion": review["apiVersion"], "kind": "ConversionReview",
               "response": {"uid": review["request"]["uid"], "result": {"status": "Failed", "message": "not today"}}})
    };
    let hook = converter("127.0.0.1", refusing).await;
    c.define(&with_webhook(hook.client_config("/convert"))).await;
    admin.create(&all("v1"), &host("v1", "one", json!({"hostPort": "a:1"}))).await;
    let failed = admin.get(&format!("{}/one", all("v2"))).await;
    assert_eq!(
        told(&failed),
        "500 Internal error occurred: conversion webhook for shop.example.com/v1, Kind=Host failed: not today"
    );
    admin.get(&format!("{}/one", all("v1"))).await.expect(200);
    assert_eq!(admin.get(&all("v2")).await.status, 500);

    // A certificate of somebody else.
    let stranger = converter("127.0.0.1", convert).await;
    let mut config = hook.client_config("/convert");
    config["url"] = stranger.client_config("/convert")["url"].clone();
    c.redefine("hosts.shop.example.com", |definition| {
        definition["spec"]["conversion"]["webhook"]["clientConfig"] = config.clone();
    })
    .await;
    let distrusted = c
        .eventually(|| async { admin.get(&format!("{}/one", all("v2"))).await }, |reply| reply.text().contains("tls:"))
        .await;
    assert_eq!(distrusted.status, 500);
    assert!(stranger.seen.lock().is_empty());
}
