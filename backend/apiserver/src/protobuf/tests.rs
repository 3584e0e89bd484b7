use serde_json::json;

use super::facts::table;
use super::*;

/// What a client of Go sends for `kubectl create namespace a`, byte by byte.
const NAMESPACE: &[u8] =
    b"k8s\0\n\x0f\n\x02v1\x12\tNamespace\x12\x19\n\x11\n\x01a\x12\0\x1a\0\"\0*\x002\x008\0B\0\x12\0\x1a\x02\n\0\x1a\0\"\0";

#[test]
fn what_go_sends() {
    let expected = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}});
    assert_eq!(value(NAMESPACE).unwrap(), expected);
    assert!(value(&NAMESPACE[..30]).is_err());
    assert!(value(b"{}").is_err());
    assert!(value(b"k8s\0").is_err());
}

#[test]
fn there_and_back() {
    for object_ in [
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "a", "labels": {"x": "", "y": "z"}, "generation": 3,
                "creationTimestamp": "2024-02-29T12:00:00Z", "deletionGracePeriodSeconds": 0,
                "managedFields": [{"manager": "m", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1",
                                   "fieldsV1": {"f:spec": {".": {}}}, "time": "2024-02-29T12:00:01Z"}]},
            "spec": {"automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0, "hostNetwork": true,
                "securityContext": {"runAsUser": 0, "supplementalGroups": [1, -2]},
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "t", "optional": false}}],
                "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}},
                    "env": [{"name": "E", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}}],
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 5},
                    "livenessProbe": {"tcpSocket": {"port": 8080}}}]}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "AAEC", "b": ""}}),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
            "spec": {"replicas": 0, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}}}),
        json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "r"}, "revision": 2,
            "data": {"spec": {"a": [1, 2, {"b": null}]}}}),
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
            "spec": {"renewTime": "2024-02-29T12:00:00.123456Z", "leaseDurationSeconds": 15}}),
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {},
            "spec": {"user": "u", "groups": ["g"], "extra": {"k": ["1", "2"]}}, "status": {"allowed": true}}),
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "x"},
            "spec": {"group": "g", "names": {"plural": "p", "kind": "K"}, "scope": "Namespaced",
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}, "default": ["x"]},
                    "b": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0.5}},
                    "c": {"x-kubernetes-preserve-unknown-fields": true}}}}}]}}),
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "propagationPolicy": "Foreground",
            "preconditions": {"uid": "u"}}),
    ] {
        let bytes = object(&object_).unwrap();
        let mut back = value(&bytes).unwrap();
        // Empty structs that are not pointers say nothing.
        if object_["metadata"] == json!({}) {
            back["metadata"] = json!({});
        }
        // Zero is written where Go writes it always.
        if let Some(status) = back.get("spec").and_then(|_| object_.get("status")) {
            assert_eq!(back["status"]["allowed"], status["allowed"]);
        }
        assert_eq!(back, object_);
    }
}

#[test]
fn every_built_in_kind_has_a_form() {
    for kind in pilothouse_kinds::builtin().iter().filter(|kind| kind.group != "pilothouse.io") {
        let name = message_name(&kind.api_version(), &kind.kind);
        assert!(table().find(&name).is_some(), "{name}");
    }
}

#[test]
fn hostile_bytes_are_refused_or_read() {
    // Deep nesting: JSONSchemaProps within itself.
    let mut deep = json!({"type": "object"});
    for _ in 0..400 {
        deep = json!({"properties": {"a": deep}});
    }
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "x"},
        "spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": deep}}]}});
    assert!(value(&object(&crd).unwrap()).is_err());
    // Every cut and every flipped bit of a good document gives an answer.
    let good = object(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80}]}]}}))
    .unwrap();
    for at in 0..good.len() {
        let _ = value(&good[..at]);
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            let _ = value(&bad);
        }
    }
    assert!(table().names().count() > 500);
}
