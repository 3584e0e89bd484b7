//! Objects of any shape: a plugin may refuse, it may not panic.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9./:-]{0,12}".prop_map(Value::from),
    ];
    // The names that plugins look for, so that they find something of the wrong type there.
    let field = prop_oneof![
        Just("metadata"),
        Just("spec"),
        Just("containers"),
        Just("initContainers"),
        Just("resources"),
        Just("requests"),
        Just("limits"),
        Just("cpu"),
        Just("volumes"),
        Just("projected"),
        Just("sources"),
        Just("securityContext"),
        Just("capabilities"),
        Just("add"),
        Just("drop"),
        Just("tolerations"),
        Just("labels"),
        Just("annotations"),
        Just("ports"),
        Just("hostPort"),
        Just("env"),
        Just("overhead"),
        Just("type"),
        Just("data"),
        Just("rules"),
        Just("roleRef"),
        Just("template"),
        Just("finalizers"),
        Just("volumeMounts"),
        Just("taints"),
        Just("groups"),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(field.clone(), inner, 0..6)
                .prop_map(|map| Value::from_iter(map.into_iter().map(|(k, v)| (k.to_owned(), v)))),
        ]
    })
}

const RESOURCES: &[(&str, &str)] = &[
    ("", "pods"),
    ("", "nodes"),
    ("", "secrets"),
    ("", "services"),
    ("", "namespaces"),
    ("", "persistentvolumeclaims"),
    ("apps", "deployments"),
    ("certificates.k8s.io", "certificatesigningrequests"),
    ("networking.k8s.io", "ingresses"),
    ("pilothouse.io", "users"),
    ("rbac.authorization.k8s.io", "clusterroles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
];

proptest! {
    #[test]
    fn nothing_panics(object in any_json(), old in any_json(), which in 0..RESOURCES.len(), by_node in any::<bool>(),
                      update in any::<bool>(), sub in prop_oneof![Just(""), Just("status"), Just("eviction")]) {
        let objects = cluster();
        objects.put("namespaces", namespace("a", json!({"pod-security.kubernetes.io/enforce": "restricted"})));
        objects.put("resourcequotas", json!({"metadata": {"name": "q", "namespace": "a"}, "spec": {"hard": {"cpu": "1"}}}));
        objects.put("limitranges", json!({"metadata": {"name": "l", "namespace": "a"},
            "spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}, "max": {"cpu": "1"}}]}}));
        let (group, resource) = RESOURCES[which];
        let mut request = request(Operation::Create, group, resource, object);
        (request.namespace, request.name, request.subresource) = ("a".into(), "x".into(), sub.into());
        if update {
            (request.operation, request.old) = (Operation::Update, Some(Arc::new(old)));
        }
        if by_node {
            request.user = UserInfo::new("system:node:x", &["system:nodes"]);
        }
        let (_, chain) = admission(objects);
        if chain.admit(&mut request).is_ok() {
            let before = request.object.clone();
            let _ = chain.validate(&mut request);
            prop_assert_eq!(before, request.object, "validating changes nothing");
        }
    }
}
