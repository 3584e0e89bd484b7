//! Whatever arrives gets an answer in Kubernetes' words, and nothing breaks.

use serde_json::json;

use crate::support::{TestCluster, config_map, pod};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn bodies() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (body, status) in [
        ("{", 400),
        ("", 400),
        ("null", 422),
        ("[]", 400),
        ("{\"kind\": 7}", 400),
        ("{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"a\"}}", 400),
        ("{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": 7}}", 400),
        (
            "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"a\"}, \"data\": {\"a\": 1}}",
            400,
        ),
        ("{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"A b\"}}", 422),
        (deep.as_str(), 400),
        ("\u{0}\u{1}\u{2}", 400),
    ] {
        let reply = admin.send("POST", MAPS, &[], body.to_owned()).await;
        let shown = &body[..body.len().min(80)];
        assert_eq!(reply.status, status, "{shown}: {}", reply.text());
        assert_eq!(reply.json()["kind"], "Status", "{shown}");
    }
    let invalid = [0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d];
    assert_eq!(admin.send("POST", MAPS, &[], invalid.to_vec()).await.status, 400);
    let types = admin.send("POST", MAPS, &[], "{\"kind\":\"ConfigMap\",\"apiVersion\":\"v1\",\"data\":[]}").await;
    assert!(
        types.message().contains("json: cannot unmarshal array into Go struct field ConfigMap.data"),
        "{}",
        types.message()
    );
}

#[tokio::test]
async fn sizes() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let text = "x".repeat(4 * 1024 * 1024);
    let reply = admin.post(MAPS, &config_map("huge", &json!({"a": text}))).await;
    assert_eq!(reply.said(), "413 RequestEntityTooLarge");
    let text = "x".repeat(1_800_000);
    let mut secret = config_map("large", &json!({}));
    secret["binaryData"] = json!({});
    secret["metadata"]["annotations"] = json!({"a": &text[..300_000]});
    assert_eq!(admin.post(MAPS, &secret).await.said(), "422 Invalid");
    let reply = admin.post(MAPS, &config_map("large", &json!({"a": text}))).await;
    assert!(matches!(reply.status, 413 | 422), "{}", reply.text());
    let operations: Vec<_> =
        (0..10_001).map(|_| json!({"op": "test", "path": "/kind", "value": "ConfigMap"})).collect();
    admin.create(MAPS, &config_map("a", &json!({}))).await;
    assert_eq!(admin.patch(&format!("{MAPS}/a"), "json", &json!(operations)).await.status, 413);
}

#[tokio::test]
async fn field_validation() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let body = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"NAME","colour":"red"},"extra":1,"data":{"a":"1","a":"2"}}"#;
    let send = |mode: &'static str| {
        let (admin, body) = (admin.clone(), body.replace("NAME", &mode.to_lowercase()));
        async move { admin.send("POST", &format!("{MAPS}?fieldValidation={mode}"), &[], body).await }
    };
    let strict = send("Strict").await;
    assert_eq!(strict.said(), "400 BadRequest");
    for text in ["unknown field \"extra\"", "unknown field \"metadata.colour\"", "duplicate field \"data.a\""] {
        assert!(strict.message().contains(text), "{text}: {}", strict.message());
    }
    let warned = send("Warn").await;
    let warnings = warned.warnings();
    assert_eq!(warned.status, 201);
    assert!(warnings.contains(&"299 - \"unknown field \\\"extra\\\"\"".to_owned()), "{warnings:?}");
    assert_eq!(warned.json().get("extra"), None);
    let ignored = send("Ignore").await;
    assert_eq!((ignored.status, ignored.warnings().len()), (201, 0));
    assert_eq!(send("Sometimes").await.status, 422);
}

#[tokio::test]
async fn paths() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/api/v2/pods", 404),
        ("GET", "/api/v1/unicorns", 404),
        ("GET", "/apis/apps/v1/pods", 404),
        ("GET", "/apis/nobody.example.com/v1/things", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("GET", "/api/v1/namespaces/default/pods/x/nonsense", 404),
        ("POST", "/api/v1/pods", 405),
        ("PUT", "/api/v1/namespaces/default/pods", 405),
        ("DELETE", "/api/v1/namespaces", 405),
        ("POST", "/api/v1/namespaces/default/pods/x", 405),
        ("GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405),
        ("PATCH", "/version", 405),
        ("GET", "/api/v1/namespaces/default/configmaps/%2e%2e%2fx", 404),
        ("GET", "/api/v1/namespaces/default/configmaps/%ff%fe", 404),
        ("GET", "/ui/../../etc/passwd", 404),
        ("GET", "/ui/..%2f..%2fetc%2fpasswd", 404),
        ("BREW", "/api/v1/pods", 405),
        ("GET", "/api/v1/namespaces/default/internal/ca", 404),
        ("GET", "/apis/internal/v1/secrets", 404),
    ] {
        let reply = admin.send(method, path, &[], "").await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        assert_eq!(reply.json()["kind"], "Status", "{method} {path}");
    }
    // What is not known in a query is nobody's business.
    admin.get(&format!("{MAPS}?pretty=true&unknown=1&timeout=5s")).await.expect(200);
}

#[tokio::test]
async fn validation_names_every_cause() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    cluster.namespace("bad").await;
    let mut object = pod("a");
    object["spec"]["containers"] = json!([{"name": "A!", "image": ""}]);
    object["spec"]["restartPolicy"] = json!("Sometimes");
    let reply = admin.post("/api/v1/namespaces/bad/pods", &object).await;
    assert_eq!(reply.said(), "422 Invalid");
    let causes = reply.json()["details"]["causes"].clone();
    let fields: Vec<&str> = causes.as_array().unwrap().iter().map(|cause| cause["field"].as_str().unwrap()).collect();
    for field in ["spec.containers[0].name", "spec.containers[0].image", "spec.restartPolicy"] {
        assert!(fields.contains(&field), "{field}: {fields:?}");
    }
}

/// What is asked of paths in ways that they do not have.
#[tokio::test]
async fn methods_and_names() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("a", &json!({}))).await;
    for (method, path, status) in [
        ("HEAD", MAPS, 405),
        ("HEAD", "/api/v1/namespaces/default", 405),
        ("GET", "/api/v1//configmaps", 404),
        ("DELETE", "/api/v1/namespaces/default//configmaps", 404),
        ("GET", "/api/v1/namespaces/default/configmaps/%2e", 400),
        ("DELETE", "/api/v1/namespaces/default/configmaps/a%25b", 400),
        ("GET", "/api/v1/namespaces/a%2fb/configmaps/a", 404),
        ("GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews/x", 404),
        ("POST", "/version", 405),
        ("POST", "/api", 405),
        ("PUT", "/api/v1", 405),
        ("DELETE", "/apis/apps/v1", 405),
        ("POST", "/openid/v1/jwks", 405),
        ("POST", "/apis", 200),
        ("POST", "/apis/apps", 200),
        ("POST", "/healthz", 200),
        ("DELETE", "/readyz", 200),
    ] {
        let reply = admin.send(method, path, &[], "").await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
    }
    let refused = admin.send("PUT", MAPS, &[], "{}").await;
    assert_eq!(refused.message(), "the server does not allow this method on the requested resource");
    // One object is not watched at its own path.
    assert_eq!(admin.get(&format!("{MAPS}/a?watch=1")).await.expect(200)["metadata"]["name"], "a");
}

/// Everything that is wrong with the options of a write is told at once, before its body is looked at.
#[tokio::test]
async fn options_of_writes() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let reply = admin.post(&format!("{MAPS}?dryRun=x&fieldValidation=y&fieldManager=%0a"), &json!({"kind": 7})).await;
    assert_eq!(reply.said(), "422 Invalid");
    let causes = reply.json()["details"]["causes"].clone();
    let fields: Vec<&str> = causes.as_array().unwrap().iter().map(|cause| cause["field"].as_str().unwrap()).collect();
    assert_eq!(fields, ["fieldManager", "dryRun", "fieldValidation"]);
    let map = config_map("a", &json!({}));
    assert_eq!(admin.post(&format!("{MAPS}?dryRun="), &map).await.status, 422);
    assert_eq!(admin.get(&format!("{MAPS}/a")).await.status, 404);
    let reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let review = json!({"spec": {"resourceAttributes": {"verb": "get"}}});
    assert_eq!(admin.post(&format!("{reviews}?dryRun=x"), &review).await.status, 422);
    assert_eq!(admin.post(&format!("{reviews}?dryRun=All"), &review).await.status, 201);
}

/// What is sent in a form that cannot be read is not read as another.
#[tokio::test]
async fn forms_of_bodies_and_answers() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let map = config_map("a", &json!({})).to_string();
    let dry = format!("{MAPS}?dryRun=All");
    for (media, status) in [
        ("application/json", 201),
        ("APPLICATION/JSON; charset=utf-8", 201),
        ("text/json", 415),
        ("text/yaml", 415),
        (";", 415),
    ] {
        let reply = admin.send("POST", &dry, &[("content-type", media)], map.clone()).await;
        assert_eq!(reply.status, status, "{media}: {}", reply.text());
    }
    admin.create(MAPS, &config_map("a", &json!({}))).await;
    let (one, all) = (format!("{MAPS}/a"), MAPS.to_owned());
    let partial = |what: &str| format!("application/json;as={what};v=v1;g=meta.k8s.io");
    for (path, accept, status) in [
        (&one, partial("PartialObjectMetadataList"), 406),
        (&all, partial("PartialObjectMetadata"), 406),
        (&all, "text/json".into(), 406),
        (&format!("{all}?watch=1"), "application/yaml".into(), 406),
        (&format!("{all}?includeObject=x"), partial("Table"), 400),
        (&format!("{all}?includeObject=None"), partial("Table"), 200),
        (&format!("{all}?includeObject=x"), "application/json".into(), 200),
        (&"/api/v1".into(), "application/xml".into(), 406),
        (&"/apis".into(), "application/xml".into(), 406),
    ] {
        let reply = admin.send("GET", path, &[("accept", &accept)], "").await;
        assert_eq!(reply.status, status, "{path} {accept}: {}", reply.text());
    }
    // Failures too are told in the client's form.
    let reply = admin.send("GET", &format!("{MAPS}/none"), &[("accept", "application/yaml")], "").await;
    assert_eq!((reply.status, reply.header("content-type")), (404, "application/yaml"));
    assert!(reply.text().contains("reason: NotFound"), "{}", reply.text());
    let reply = admin.send("GET", "/apis/batch", &[("accept", "application/yaml")], "").await;
    assert!(reply.text().contains("kind: APIGroup"), "{}", reply.text());
}
