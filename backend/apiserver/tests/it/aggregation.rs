//! Group versions that extension servers answer for.

use serde_json::{Value, json};

use crate::hooks::{HookServer, Seen};
use crate::support::TestCluster;

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const AUTHENTICATION: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
const FLUNDERS: &str = "/apis/wardle.example.com/v1alpha1/namespaces/default/flunders";

/// An extension server that knows one resource, and says who asked.
fn extension(seen: &Seen) -> Option<(u16, Value)> {
    let path = seen.path.split('?').next().unwrap_or_default();
    let header = |name: &str| {
        seen.headers.get_all(name).iter().map(|v| v.to_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    Some(match path {
        "/apis/wardle.example.com/v1alpha1" => (
            200,
            json!({"kind": "APIResourceList", "apiVersion": "v1",
            "groupVersion": "wardle.example.com/v1alpha1", "resources": [{"name": "flunders", "singularName": "flunder",
                "namespaced": true, "kind": "Flunder", "verbs": ["get", "list", "create"], "shortNames": ["fl"]}]}),
        ),
        "/openapi/v3" => (
            200,
            json!({"paths": {"apis/wardle.example.com/v1alpha1":
            {"serverRelativeURL": "/openapi/v3/apis/wardle.example.com/v1alpha1?hash=X"}}}),
        ),
        "/openapi/v2" => (
            200,
            json!({"swagger": "2.0", "paths": {
                "/apis/wardle.example.com/v1alpha1/flunders": {"get": {"operationId": "listFlunders", "responses": {
                    "200": {"description": "OK", "schema": {"$ref": "#/definitions/com.example.wardle.Flunder"}}}}},
                "/apis/apps/v1/deployments": {"get": {"operationId": "stolen"}}},
                "definitions": {"com.example.wardle.Flunder": {"type": "object", "description": "A flunder."}}}),
        ),
        "/openapi/v3/apis/wardle.example.com/v1alpha1" => (200, json!({"openapi": "3.0.0", "paths": {}})),
        _ => (
            200,
            json!({"kind": "Flunder", "user": header("x-remote-user"), "groups": header("x-remote-group"),
            "authorization": header("authorization"), "path": seen.path, "sent": seen.body}),
        ),
    })
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"type": "ExternalName", "externalName": "localhost"}})
}

fn registration(server: &HookServer) -> Value {
    json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1alpha1.wardle.example.com"},
        "spec": {"group": "wardle.example.com", "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
            "caBundle": server.bundle, "service": {"namespace": "default", "name": "wardle", "port": server.address.port()}}})
}

fn available(reply: &Value) -> (&str, &str) {
    let condition = &reply["status"]["conditions"][0];
    (condition["status"].as_str().unwrap_or_default(), condition["reason"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn our_own_groups_are_registered_and_come_back() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    for name in ["v1.", "v1.apps", "v2.autoscaling", "v1.admissionregistration.k8s.io"] {
        let path = format!("{SERVICES}/{name}");
        let reply = cluster
            .eventually(|| admin.get(&path), |r| r.status == 200 && available(&r.json()).0 == "True")
            .await
            .json();
        assert_eq!(available(&reply).1, "Local");
        assert_eq!(reply["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
    }
    let path = format!("{SERVICES}/v1.apps");
    let uid = admin.get(&path).await.expect(200)["metadata"]["uid"].clone();
    admin.delete(&path).await.expect(200);
    cluster.eventually(|| admin.get(&path), |r| r.status == 200 && r.json()["metadata"]["uid"] != uid).await;
}

#[tokio::test]
async fn definitions_are_registered_and_withdrawn() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "foos", "singular": "foo", "kind": "Foo", "listKind": "FooList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    admin.create(definitions, &definition).await;
    let path = format!("{SERVICES}/v1.example.com");
    let reply =
        cluster.eventually(|| admin.get(&path), |r| r.status == 200 && available(&r.json()).0 == "True").await.json();
    assert_eq!(reply["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "true");
    admin.delete(&format!("{definitions}/foos.example.com")).await.expect(200);
    cluster.eventually(|| admin.get(&path), |r| r.status == 404).await;
}

#[tokio::test]
async fn an_extension_server_answers_for_its_group() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let map = admin.get(AUTHENTICATION).await.expect(200);
    let authority = map["data"]["requestheader-client-ca-file"].as_str().unwrap().to_owned();
    assert_eq!(map["data"]["requestheader-allowed-names"], "[\"front-proxy-client\"]");
    assert!(map["data"]["client-ca-file"].as_str().unwrap().contains("BEGIN CERTIFICATE"));
    // It takes nobody but the front proxy.
    let server = HookServer::for_names(&["wardle.default.svc"], Some(&authority), extension).await;
    admin.create(SERVICES, &registration(&server)).await;
    let path = format!("{SERVICES}/v1alpha1.wardle.example.com");
    let missing = cluster.eventually(|| admin.get(&path), |r| available(&r.json()).0 == "False").await.json();
    assert_eq!(available(&missing).1, "ServiceNotFound");
    assert_eq!(admin.get(FLUNDERS).await.said(), "503 ServiceUnavailable");

    admin.create("/api/v1/namespaces/default/services", &service("wardle")).await;
    let there = cluster.eventually(|| admin.get(&path), |r| available(&r.json()).0 == "True").await.json();
    assert_eq!(available(&there).1, "Passed");
    let jane = cluster.user("jane", &["staff", "system:authenticated"]);
    assert_eq!(jane.get(FLUNDERS).await.said(), "403 Forbidden", "authorization comes first");
    let forged = [("x-remote-user", "root"), ("x-remote-group", "system:masters"), ("authorization", "Bearer mine")];
    let answer = admin.send("GET", &format!("{FLUNDERS}?limit=5"), &forged, "").await.expect(200);
    assert_eq!(answer["user"], json!(["admin"]));
    assert_eq!(answer["groups"], json!(["system:masters", "system:authenticated"]));
    assert_eq!((&answer["authorization"], &answer["path"]), (&json!([]), &json!(format!("{FLUNDERS}?limit=5"))));
    let sent = json!({"kind": "Flunder", "metadata": {"name": "a"}});
    assert_eq!(admin.post(FLUNDERS, &sent).await.expect(200)["sent"], sent);

    // Discovery and OpenAPI know it.
    let groups = admin.get("/apis").await.expect(200);
    let group =
        groups["groups"].as_array().unwrap().iter().find(|group| group["name"] == "wardle.example.com").unwrap();
    assert_eq!(
        group["preferredVersion"],
        json!({"groupVersion": "wardle.example.com/v1alpha1", "version": "v1alpha1"})
    );
    assert_eq!(admin.get("/apis/wardle.example.com").await.expect(200)["kind"], "APIGroup");
    let list = admin.get("/apis/wardle.example.com/v1alpha1").await.expect(200);
    assert_eq!(list["resources"][0]["name"], "flunders");
    let accept = [("accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")];
    let all = admin.send("GET", "/apis", &accept, "").await.expect(200);
    let item =
        all["items"].as_array().unwrap().iter().find(|item| item["metadata"]["name"] == "wardle.example.com").unwrap();
    assert_eq!(item["versions"][0]["freshness"], "Current");
    assert_eq!(item["versions"][0]["resources"][0]["resource"], "flunders");
    let index = admin.get("/openapi/v3").await.expect(200);
    assert!(index["paths"]["apis/wardle.example.com/v1alpha1"].is_object(), "{index}");
    assert_eq!(admin.get("/openapi/v3/apis/wardle.example.com/v1alpha1").await.expect(200)["openapi"], "3.0.0");

    let whole = admin.get("/openapi/v2").await.expect(200);
    assert_eq!(whole["paths"]["/apis/wardle.example.com/v1alpha1/flunders"]["get"]["operationId"], "listFlunders");
    assert_eq!(whole["definitions"]["com.example.wardle.Flunder"]["description"], "A flunder.");
    assert_ne!(whole["paths"]["/apis/apps/v1/deployments"]["get"]["operationId"], "stolen");
    let accept = [("accept", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")];
    let message = admin.send("GET", "/openapi/v2", &accept, "").await;
    assert!(message.text().contains("listFlunders"), "kubectl reads it in this form");

    // With its APIService it is gone.
    admin.delete(&path).await.expect(200);
    assert_eq!(admin.get(FLUNDERS).await.status, 404);
    let gone =
        |groups: &Value| groups["groups"].as_array().unwrap().iter().all(|group| group["name"] != "wardle.example.com");
    cluster.eventually(|| admin.get("/apis"), |reply| gone(&reply.json())).await;
    let whole = admin.get("/openapi/v2").await.expect(200);
    assert!(whole["paths"].get("/apis/wardle.example.com/v1alpha1/flunders").is_none());
}

#[tokio::test]
async fn one_that_cannot_be_trusted_is_not_asked() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let map = admin.get(AUTHENTICATION).await.expect(200);
    let authority = map["data"]["requestheader-client-ca-file"].as_str().unwrap();
    let server = HookServer::for_names(&["wardle.default.svc"], Some(authority), extension).await;
    let other = HookServer::for_names(&["wardle.default.svc"], None, extension).await;
    admin.create("/api/v1/namespaces/default/services", &service("wardle")).await;
    let mut wrong = registration(&server);
    wrong["spec"]["caBundle"] = json!(other.bundle);
    admin.create(SERVICES, &wrong).await;
    let path = format!("{SERVICES}/v1alpha1.wardle.example.com");
    let refused = cluster.eventually(|| admin.get(&path), |r| available(&r.json()).0 == "False").await.json();
    assert_eq!(available(&refused).1, "FailedDiscoveryCheck");
    assert_eq!(server.seen.lock().len(), 0);
    let insecure = json!({"spec": {"caBundle": null, "insecureSkipTLSVerify": true}});
    admin.patch(&path, "merge", &insecure).await.expect(200);
    cluster.eventually(|| admin.get(&path), |r| available(&r.json()).0 == "True").await;
}
