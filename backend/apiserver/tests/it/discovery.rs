//! What is served, in every form clients ask for it.

use expect_test::expect_file;
use serde_json::{Value, json};

use crate::support::TestCluster;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

fn line(group_version: &str, resource: &Value) -> String {
    let list = |field: &str| {
        let all = resource[field].as_array().into_iter().flatten().filter_map(Value::as_str);
        all.collect::<Vec<_>>().join(",")
    };
    let scope = if resource["namespaced"] == true { "Namespaced" } else { "Cluster" };
    let (name, kind) = (resource["name"].as_str().unwrap(), resource["kind"].as_str().unwrap());
    format!(
        "{group_version} {name} {kind} {scope} [{}] [{}] [{}]\n",
        list("verbs"),
        list("shortNames"),
        list("categories")
    )
}

#[tokio::test]
async fn the_surface() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let mut surface = String::new();
    let core = admin.get("/api/v1").await.expect(200);
    let mut lists = vec![core];
    let groups = admin.get("/apis").await.expect(200);
    assert_eq!(groups["kind"], "APIGroupList");
    for group in groups["groups"].as_array().unwrap() {
        let name = group["name"].as_str().unwrap();
        assert_eq!(
            admin.get(&format!("/apis/{name}")).await.expect(200)["preferredVersion"],
            group["preferredVersion"]
        );
        for version in group["versions"].as_array().unwrap() {
            lists.push(admin.get(&format!("/apis/{}", version["groupVersion"].as_str().unwrap())).await.expect(200));
        }
    }
    for list in &lists {
        assert_eq!(list["kind"], "APIResourceList");
        for resource in list["resources"].as_array().unwrap() {
            surface.push_str(&line(list["groupVersion"].as_str().unwrap(), resource));
            let stored = resource["verbs"].as_array().unwrap().contains(&json!("watch"));
            assert_eq!(stored, resource["storageVersionHash"].is_string(), "{resource}");
        }
    }
    expect_file!["surface.txt"].assert_eq(&surface);
    assert_eq!(admin.get("/api").await.expect(200)["versions"], json!(["v1"]));
}

#[tokio::test]
async fn both_forms_say_the_same() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    for (path, groups) in [("/api", 1), ("/apis", 20)] {
        let reply = admin.send("GET", path, &[("accept", AGGREGATED)], "").await;
        assert_eq!(
            reply.header("content-type"),
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
        );
        let again =
            admin.send("GET", path, &[("accept", AGGREGATED), ("if-none-match", reply.header("etag"))], "").await;
        assert_eq!((again.status, again.body.len()), (304, 0));
        let all = reply.json();
        let items = all["items"].as_array().unwrap();
        assert!(items.len() >= groups, "{}", items.len());
        for group in items {
            let name = group["metadata"]["name"].as_str().unwrap_or_default();
            for version in group["versions"].as_array().unwrap() {
                let plain = match (name, version["version"].as_str().unwrap()) {
                    ("", version) => format!("/api/{version}"),
                    (name, version) => format!("/apis/{name}/{version}"),
                };
                let plain = admin.get(&plain).await.expect(200);
                let mut one: Vec<String> = plain["resources"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|resource| resource["name"].as_str().unwrap().to_owned())
                    .collect();
                let mut other: Vec<String> = Vec::new();
                for resource in version["resources"].as_array().unwrap() {
                    let name = resource["resource"].as_str().unwrap();
                    other.push(name.to_owned());
                    for sub in resource["subresources"].as_array().into_iter().flatten() {
                        other.push(format!("{name}/{}", sub["subresource"].as_str().unwrap()));
                    }
                }
                one.sort();
                other.sort();
                assert_eq!(one, other, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn openapi() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let index = admin.get("/openapi/v3").await.expect(200);
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let document = admin.get(url).await;
    assert!(document.header("cache-control").contains("immutable"));
    let etag = document.header("etag").to_owned();
    let schemas = &document.json()["components"]["schemas"];
    assert!(schemas["io.k8s.api.apps.v1.Deployment"]["properties"]["spec"].is_object());
    assert_eq!(admin.send("GET", url, &[("if-none-match", &etag)], "").await.status, 304);
    assert_eq!(admin.get("/openapi/v3/apis/nothing/v1").await.status, 404);
    let v2 = admin.get("/openapi/v2").await.expect(200);
    assert_eq!(v2["swagger"], "2.0");
    let media = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let protobuf = admin.send("GET", "/openapi/v2", &[("accept", media)], "").await;
    assert_eq!(protobuf.header("content-type"), "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    assert!(protobuf.body.len() > 100_000);
}

#[tokio::test]
async fn health_version_and_metrics() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    for path in ["/healthz", "/livez", "/readyz", "/readyz/ping", "/readyz/postgres"] {
        assert_eq!(admin.get(path).await.text(), "ok", "{path}");
    }
    assert_eq!(admin.get("/readyz/nothing").await.status, 404);
    let verbose = admin.get("/readyz?verbose").await.text();
    assert!(verbose.contains("[+]postgres ok\n") && verbose.ends_with("readyz check passed\n"), "{verbose}");
    let version = admin.get("/version").await.expect(200);
    assert_eq!((&version["major"], &version["minor"]), (&json!("1"), &json!("36")));
    let metrics = admin.get("/metrics").await.text();
    assert!(metrics.contains("apiserver_request_total{") && metrics.ends_with("# EOF\n"), "{metrics}");
    let paths = admin.get("/").await.expect(200);
    assert!(paths["paths"].as_array().unwrap().contains(&json!("/apis/apps/v1")));
    let keys = admin.get("/openid/v1/jwks").await.expect(200);
    assert_eq!(keys["keys"][0]["alg"], "ES256");
    let openid = admin.get("/.well-known/openid-configuration").await.expect(200);
    assert_eq!(openid["issuer"], "https://kubernetes.default.svc.cluster.local");
}
