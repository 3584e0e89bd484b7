//! Bad input gets Kubernetes' own status and reason.

use pilothouse_e2e::Cluster;
use serde_json::Value;

fn reason(body: &str) -> String {
    let status: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("not a Status: {body}"));
    assert_eq!(status["kind"], "Status", "{body}");
    status["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn bad_input() {
    let cluster = Cluster::get();
    let json = ["-H", "Content-Type: application/json", "-X", "POST", "-d"];
    let post = |body: &str, path: &str| cluster.request(&[&json[..], &[body]].concat(), path);
    let maps = "/api/v1/namespaces/default/configmaps";

    let (code, body) = post("{\"apiVersion\": \"v1\", ", maps);
    assert_eq!((code, reason(&body).as_str()), (400, "BadRequest"), "{body}");
    let (code, body) = post(
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"nope":1}"#,
        &format!("{maps}?fieldValidation=Strict"),
    );
    assert_eq!((code, reason(&body).as_str()), (400, "BadRequest"), "{body}");
    assert!(body.contains("unknown field \\\"nope\\\""), "{body}");
    let (code, body) = post(r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":1}}"#, maps);
    assert_eq!((code, reason(&body).as_str()), (400, "BadRequest"), "{body}");
    let (code, body) = post(r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"No_Name"}}"#, maps);
    assert_eq!((code, reason(&body).as_str()), (422, "Invalid"), "{body}");
    let (code, body) = cluster.request(&[], "/api/v1/nothing");
    assert_eq!((code, reason(&body).as_str()), (404, "NotFound"), "{body}");
    let (code, body) = cluster.request(&[], "/apis/example.com/v1/things");
    assert_eq!((code, reason(&body).as_str()), (404, "NotFound"), "{body}");
    let (code, body) = cluster.anonymous(&["-H", "Authorization: Bearer expired"], "/api/v1/pods");
    assert_eq!((code, reason(&body).as_str()), (401, "Unauthorized"), "{body}");
    let (code, body) = cluster.anonymous(&[], "/api/v1/pods");
    assert!(matches!((code, reason(&body).as_str()), (403, "Forbidden") | (401, "Unauthorized")), "{code} {body}");

    let big = tempfile::NamedTempFile::new().unwrap();
    let filler = "x".repeat(4 * 1024 * 1024);
    std::fs::write(
        big.path(),
        format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"big"}},"data":{{"k":"{filler}"}}}}"#),
    )
    .unwrap();
    let (code, body) = post(&format!("@{}", big.path().display()), maps);
    assert_eq!((code, reason(&body).as_str()), (413, "RequestEntityTooLarge"), "{body}");
}

#[test]
fn stale_writes_conflict() {
    let cluster = Cluster::get();
    let space = cluster.namespace("e2e-stale");
    space.kubectl("create configmap a --from-literal=k=1");
    let stale = space.json("get configmap a").to_string();
    space.kubectl("label configmap a x=y");
    let path = "/api/v1/namespaces/e2e-stale/configmaps/a";
    let (code, body) = cluster.request(&["-H", "Content-Type: application/json", "-X", "PUT", "-d", &stale], path);
    assert_eq!((code, reason(&body).as_str()), (409, "Conflict"), "{body}");
    space.delete();
}
