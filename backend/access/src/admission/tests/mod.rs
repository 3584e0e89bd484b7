//! Each plugin by tables of objects, through the whole chain where that is what matters.

mod amounts;
mod nodes;
mod pods;
mod security;
mod shapes;

use serde_json::json;

use super::*;
use crate::testing::Objects;

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn request(operation: Operation, group: &str, resource: &str, object: Value) -> Request {
    let kind = object["kind"].as_str().unwrap_or("Thing").to_owned();
    let mut request = Request::new(operation, UserInfo::new("jane", &[]), group, "v1", resource, &kind);
    request.namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("").to_owned();
    request.name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("").to_owned();
    request.object = Some(object);
    request.now = now();
    request.random = 12_345_678;
    request
}

fn pod(spec: Value) -> Value {
    json!({"kind": "Pod", "metadata": {"name": "p", "namespace": "a"}, "spec": spec})
}

fn one_container() -> Value {
    json!({"containers": [{"name": "c", "image": "i"}]})
}

fn namespace(name: &str, labels: Value) -> Value {
    json!({"kind": "Namespace", "metadata": {"name": name, "labels": labels}, "status": {"phase": "Active"}})
}

/// Namespace `a` with its default account.
fn cluster() -> Objects {
    Objects::with(&[
        ("namespaces", namespace("a", json!({}))),
        ("serviceaccounts", json!({"metadata": {"name": "default", "namespace": "a", "uid": "u"}})),
    ])
}

fn admission(objects: Objects) -> (Arc<Objects>, Admission) {
    let objects = Arc::new(objects);
    (objects.clone(), Admission::new(objects, Arc::new(Authorizer::new())))
}

fn run(objects: Objects, mut request: Request) -> Result<Request, Status> {
    admission(objects).1.run(&mut request).map(|()| request)
}

fn run_pod(objects: Objects, spec: Value) -> Result<Value, Status> {
    run(objects, request(Operation::Create, "", "pods", pod(spec))).map(|r| r.object.unwrap())
}

fn message(result: Result<impl Sized, Status>) -> String {
    result.err().map_or_else(String::new, |status| status.message)
}

#[test]
fn the_table_is_in_order_and_complete() {
    let names: Vec<&str> = ALL.iter().chain(LAST).map(|plugin| plugin.name).collect();
    assert_eq!(names.first(), Some(&"NamespaceLifecycle"));
    assert_eq!(names.last(), Some(&"ResourceQuota"), "the quota sees the final object");
    assert!(ALL.iter().all(|plugin| plugin.admit.is_some() || plugin.validate.is_some()));
    let unique: std::collections::BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(unique.len(), names.len());
}

#[test]
fn namespaces_live_and_end() {
    let map = |namespace: &str| json!({"kind": "ConfigMap", "metadata": {"name": "m", "namespace": namespace}});
    let create = |objects: Objects, ns: &str| run(objects, request(Operation::Create, "", "configmaps", map(ns)));
    assert!(create(cluster(), "a").is_ok());
    let missing = create(cluster(), "b").err().unwrap();
    assert_eq!((missing.code, missing.message.as_str()), (404, r#"namespaces "b" not found"#));

    let ending = cluster();
    let mut object = namespace("a", json!({}));
    object["status"]["phase"] = json!("Terminating");
    ending.put("namespaces", object);
    let refused = create(ending, "a").err().unwrap();
    assert_eq!(
        refused.message,
        r#"configmaps "m" is forbidden: unable to create new content in namespace a because it is being terminated"#
    );
    let cause = &refused.details.unwrap().causes[0];
    assert_eq!((cause.reason.as_str(), cause.field.as_str()), ("NamespaceTerminating", "metadata.namespace"));

    for (name, allowed) in [("default", false), ("kube-system", false), ("kube-public", false), ("a", true)] {
        let mut delete = request(Operation::Delete, "", "namespaces", namespace(name, json!({})));
        delete.object = None;
        let result = run(cluster(), delete);
        assert_eq!(result.is_ok(), allowed, "{name}");
    }
}
