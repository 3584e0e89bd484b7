//! The life of a definition: names, conditions, discovery, OpenAPI, its end.

use serde_json::json;

use super::*;

const WIDGETS: &str = "/apis/shop.example.com/v1/namespaces/a/widgets";
const NOT_FOUND: &str = "404 the server could not find the requested resource";

fn widgets() -> Value {
    let mut definition = definition("widgets", "shop.example.com", "Widget", with_spec(json!({"type": "object"})));
    definition["spec"]["names"]["shortNames"] = json!(["wd"]);
    definition["spec"]["names"]["categories"] = json!(["all"]);
    definition
}

#[tokio::test]
async fn a_definition_is_served_from_its_creation_to_its_end() {
    let (c, admin) = cluster().await;
    assert_eq!(told(&admin.get(WIDGETS).await), NOT_FOUND);
    let made = c.define(&widgets()).await;
    assert_eq!((condition(&made, "NamesAccepted"), condition(&made, "Established")), ("True", "True"));
    assert_eq!(made["status"]["acceptedNames"]["listKind"], "WidgetList");
    assert_eq!(made["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(made["spec"]["conversion"], json!({"strategy": "None"}));

    // From the very moment it is established.
    let mut held = object("Widget", "held", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    admin.create(WIDGETS, &held).await;
    admin.create(WIDGETS, &object("Widget", "plain", json!({}))).await;
    let mut watch = admin.watch(&format!("{WIDGETS}?resourceVersion=0&watch=1")).await;
    let mut seen = vec![watch.said().await, watch.said().await];
    seen.sort();
    assert_eq!(seen, ["ADDED held", "ADDED plain"]);

    let gone = admin.delete(&format!("{DEFINITIONS}/widgets.shop.example.com")).await.expect(200);
    assert_eq!(gone["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    assert_eq!(condition(&gone, "Terminating"), "True");
    // The one with a finalizer of its own is what the definition waits for.
    assert_eq!(watch.said().await, "MODIFIED held");
    assert_eq!(watch.said().await, "DELETED plain");
    let refused = admin.post(WIDGETS, &object("Widget", "late", json!({}))).await;
    assert_eq!(told(&refused), "405 create not allowed while custom resource definition is terminating");
    admin.get(&format!("{WIDGETS}/held")).await.expect(200);
    admin.patch(&format!("{WIDGETS}/held"), "merge", &json!({"metadata": {"finalizers": null}})).await.expect(200);
    assert_eq!(watch.said().await, "DELETED held");
    // With the definition, whoever watches is sent away.
    assert_eq!(watch.next().await, None);
    c.eventually(
        || async { admin.get(&format!("{DEFINITIONS}/widgets.shop.example.com")).await },
        |reply| reply.status == 404,
    )
    .await;
    assert_eq!(told(&admin.get(WIDGETS).await), NOT_FOUND);

    // Nothing of the old one is left in a new one of the same name.
    c.define(&widgets()).await;
    assert_eq!(admin.get(WIDGETS).await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn names_are_given_once() {
    let (c, admin) = cluster().await;
    c.define(&widgets()).await;
    let mut rival = definition("gadgets", "shop.example.com", "Widget", with_spec(json!({"type": "object"})));
    rival["spec"]["names"]["shortNames"] = json!(["wd"]);
    admin.create(DEFINITIONS, &rival).await;
    let path = format!("{DEFINITIONS}/gadgets.shop.example.com");
    let refused = c.eventually(|| admin.get(&path), |reply| condition(&reply.json(), "NamesAccepted") == "False").await;
    let refused = refused.json();
    assert_eq!(condition(&refused, "Established"), "False");
    assert_eq!(refused["status"]["conditions"][0]["reason"], "ShortNamesConflict");
    let list = "/apis/shop.example.com/v1/namespaces/a/gadgets";
    assert_eq!(told(&admin.get(list).await), NOT_FOUND);
    // Another group is another matter.
    c.define(&definition("widgets", "other.example.com", "Widget", with_spec(json!({"type": "object"})))).await;
    // What is given up is there for those who wait.
    admin.delete(&format!("{DEFINITIONS}/widgets.shop.example.com")).await.expect(200);
    c.established("gadgets.shop.example.com").await;
    admin.get(list).await.expect(200);
}

#[tokio::test]
async fn discovery_and_openapi_follow() {
    let (c, admin) = cluster().await;
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let before = admin.send("GET", "/apis", &[("accept", aggregated)], "").await;
    let mut definition = widgets();
    definition["spec"]["versions"][0]["subresources"] = json!({"status": {}});
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = with_spec(
        json!({"type": "object", "description": "What is wanted.", "properties": {"size": {"type": "integer", "description": "How big."}}}),
    );
    c.define(&definition).await;

    let is_there = |reply: &Reply| reply.text().contains("shop.example.com");
    let after =
        c.eventually(|| async { admin.send("GET", "/apis", &[("accept", aggregated)], "").await }, is_there).await;
    assert_ne!(before.header("etag"), after.header("etag"));
    let after = after.json();
    let group =
        after["items"].as_array().unwrap().iter().find(|g| g["metadata"]["name"] == "shop.example.com").unwrap();
    let resource = &group["versions"][0]["resources"][0];
    assert_eq!(resource["shortNames"], json!(["wd"]));
    assert_eq!(resource["subresources"][0]["subresource"], "status");

    let list = admin.get("/apis/shop.example.com/v1").await.expect(200);
    assert_eq!(list["resources"][0]["categories"], json!(["all"]));
    assert_eq!(list["resources"][1]["name"], "widgets/status");
    let groups = admin.get("/apis").await.expect(200).to_string();
    assert!(groups.contains("shop.example.com/v1"));
    assert_eq!(admin.get("/apis/shop.example.com").await.expect(200)["preferredVersion"]["version"], "v1");

    let v3 = admin.get("/openapi/v3/apis/shop.example.com/v1").await.expect(200);
    let schema = &v3["components"]["schemas"]["com.example.shop.v1.Widget"];
    assert_eq!(schema["properties"]["spec"]["properties"]["size"]["description"], "How big.");
    assert!(admin.get("/openapi/v3").await.text().contains("apis/shop.example.com/v1"));
    let v2 = admin.get("/openapi/v2").await.expect(200);
    assert!(v2["definitions"]["com.example.shop.v1.Widget"]["properties"]["spec"].is_object());

    // What is no longer served is no longer told of.
    c.redefine("widgets.shop.example.com", |definition| {
        let mut next = definition["spec"]["versions"][0].clone();
        next["name"] = json!("v2");
        next["storage"] = json!(false);
        definition["spec"]["versions"].as_array_mut().unwrap().push(next);
        definition["spec"]["versions"][0]["served"] = json!(false);
    })
    .await;
    let only_v2 = |reply: &Reply| reply.status == 404;
    c.eventually(|| admin.get("/apis/shop.example.com/v1"), only_v2).await;
    assert_eq!(told(&admin.get(WIDGETS).await), NOT_FOUND);
    admin.get("/apis/shop.example.com/v2/namespaces/a/widgets").await.expect(200);
    assert!(!admin.get("/openapi/v3").await.text().contains("apis/shop.example.com/v1\""));
}

#[tokio::test]
async fn another_backend_serves_it_too() {
    let (c, admin) = cluster().await;
    let other = TestCluster::on(c.url.clone()).await;
    let far = other.admin();
    assert_eq!(told(&far.get(WIDGETS).await), NOT_FOUND);
    c.define(&widgets()).await;
    // At once: what the definition says is asked of the store.
    admin.create(WIDGETS, &object("Widget", "w", json!({}))).await;
    far.get(&format!("{WIDGETS}/w")).await.expect(200);
    admin.delete(&format!("{DEFINITIONS}/widgets.shop.example.com")).await.expect(200);
    c.eventually(|| far.get(WIDGETS), |reply| reply.status == 404).await;
    // After a restart it is as it was.
    c.define(&widgets()).await;
    let again = TestCluster::on(c.url.clone()).await;
    again.admin().get(WIDGETS).await.expect(200);
}

#[tokio::test]
async fn the_status_of_a_definition_is_a_subresource() {
    let (c, admin) = cluster().await;
    let made = c.define(&widgets()).await;
    let path = format!("{DEFINITIONS}/widgets.shop.example.com");
    let mut status = admin.get(&format!("{path}/status")).await.expect(200);
    assert_eq!(status["metadata"]["uid"], made["metadata"]["uid"]);
    let condition = json!({"type": "StatusUpdate", "status": "True", "reason": "Test", "message": "set by a test"});
    status["status"]["conditions"].as_array_mut().unwrap().push(condition);
    let updated = admin.put(&format!("{path}/status"), &status).await.expect(200);
    assert_eq!(updated["status"]["conditions"].as_array().unwrap().len(), 3);
    let patch =
        json!({"spec": {"scope": "Cluster"}, "status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}});
    let patched = admin.patch(&format!("{path}/status"), "merge", &patch).await.expect(200);
    assert_eq!(patched["spec"]["scope"], "Namespaced");
}

#[tokio::test]
async fn definitions_are_deleted_by_label() {
    let (c, admin) = cluster().await;
    for name in ["ones", "twos", "threes"] {
        let mut definition =
            definition(name, "many.example.com", &format!("Kind{name}"), with_spec(json!({"type": "object"})));
        definition["metadata"]["labels"] = json!({"test": if name == "threes" { "keep" } else { "go" }});
        c.define(&definition).await;
    }
    let listed = admin.get(&format!("{DEFINITIONS}?labelSelector=test%3Dgo")).await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    admin.send("DELETE", &format!("{DEFINITIONS}?labelSelector=test%3Dgo"), &[], "").await.expect(200);
    let left = |reply: &Reply| reply.json()["items"].as_array().unwrap().len() == 1;
    c.eventually(|| admin.get(DEFINITIONS), left).await;
}
