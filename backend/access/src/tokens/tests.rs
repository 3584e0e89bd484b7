use pilothouse_api::Status;
use serde_json::{Value, json};

use super::*;
use crate::testing::Objects;

const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

fn tokens() -> ServiceAccountTokens {
    let pem = Keys::generate_pem().unwrap();
    ServiceAccountTokens::new(Keys::load(&pem, &[]).unwrap(), Config::for_domain("cluster.local"))
}

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn after(seconds: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() + seconds).unwrap()
}

fn cluster() -> Objects {
    Objects::with(&[
        ("serviceaccounts", json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u-sa"}})),
        (
            "pods",
            json!({"metadata": {"name": "web-1", "namespace": "shop", "uid": "u-pod"},
                   "spec": {"serviceAccountName": "web", "nodeName": "n1"}}),
        ),
        ("nodes", json!({"metadata": {"name": "n1", "uid": "u-node"}})),
        ("secrets", json!({"metadata": {"name": "s", "namespace": "shop", "uid": "u-secret"}})),
    ])
}

fn ask(tokens: &ServiceAccountTokens, cluster: &Objects, spec: Value) -> Result<Value, Status> {
    tokens.request(cluster, "shop", "web", json!({"spec": spec}), now())
}

fn token(answer: &Value) -> String {
    answer["status"]["token"].as_str().unwrap().to_owned()
}

fn pod_ref() -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "name": "web-1", "uid": "u-pod"})
}

#[test]
fn a_requested_token_names_its_account_and_pod() {
    let (tokens, cluster) = (tokens(), cluster());
    let answer = ask(&tokens, &cluster, json!({"expirationSeconds": 3607, "boundObjectRef": pod_ref()})).unwrap();
    assert_eq!(answer["status"]["expirationTimestamp"], "2030-01-01T01:00:07Z");
    assert_eq!(answer["spec"]["audiences"], json!([ISSUER]));
    let user = tokens.verify(&cluster, &token(&answer), &[], now()).unwrap().user;
    assert_eq!(user.name, "system:serviceaccount:shop:web");
    assert_eq!(user.uid, "u-sa");
    assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"]);
    assert_eq!(user.extra("authentication.kubernetes.io/pod-name"), Some("web-1"));
    assert_eq!(user.extra("authentication.kubernetes.io/pod-uid"), Some("u-pod"));
    assert_eq!(user.extra("authentication.kubernetes.io/node-name"), Some("n1"));
    assert!(user.extra("authentication.kubernetes.io/credential-id").unwrap().starts_with("JTI="));
}

#[test]
fn tokens_end() {
    let (tokens, cluster) = (tokens(), cluster());
    let token = token(&ask(&tokens, &cluster, json!({"expirationSeconds": 600})).unwrap());
    for (at, expected) in [
        (-61, Some(Refused::NotYet)),
        (-59, None),
        (0, None),
        (599, None),
        (600, Some(Refused::Expired)),
        (100_000, Some(Refused::Expired)),
    ] {
        assert_eq!(tokens.verify(&cluster, &token, &[], after(at)).err(), expected, "at {at}");
    }
}

#[test]
fn audiences_must_meet() {
    let (tokens, cluster) = (tokens(), cluster());
    let vault = token(&ask(&tokens, &cluster, json!({"audiences": ["vault", "other"]})).unwrap());
    assert!(matches!(tokens.verify(&cluster, &vault, &[], now()), Err(Refused::Audience(..))));
    let asked = ["vault".to_owned(), "third".to_owned()];
    assert_eq!(tokens.verify(&cluster, &vault, &asked, now()).unwrap().audiences, ["vault"]);
    // What is remembered of a token does not skip its audience.
    assert!(matches!(tokens.verify(&cluster, &vault, &[], now()), Err(Refused::Audience(..))));
}

#[test]
fn a_token_dies_with_what_it_is_bound_to() {
    type Change = fn(&Objects);
    let cases: &[(&str, Value, Change)] = &[
        ("account gone", json!(null), |c| c.remove("serviceaccounts", "shop", "web")),
        ("account made anew", json!(null), |c| {
            c.put("serviceaccounts", json!({"metadata": {"name": "web", "namespace": "shop", "uid": "other"}}));
        }),
        ("pod gone", pod_ref(), |c| c.remove("pods", "shop", "web-1")),
        ("pod made anew", pod_ref(), |c| {
            c.put("pods", json!({"metadata": {"name": "web-1", "namespace": "shop", "uid": "other"}}));
        }),
        ("pod deleted long ago", pod_ref(), |c| {
            let metadata = json!({"name": "web-1", "namespace": "shop", "uid": "u-pod",
                                  "deletionTimestamp": "2029-12-31T23:00:00Z"});
            c.put("pods", json!({"metadata": metadata}));
        }),
        ("secret gone", json!({"kind": "Secret", "apiVersion": "v1", "name": "s"}), |c| {
            c.remove("secrets", "shop", "s");
        }),
        ("node gone", json!({"kind": "Node", "apiVersion": "v1", "name": "n1"}), |c| c.remove("nodes", "", "n1")),
    ];
    for (name, bound, change) in cases {
        let (tokens, cluster) = (tokens(), cluster());
        let token = token(&ask(&tokens, &cluster, json!({"boundObjectRef": bound})).unwrap());
        assert!(tokens.verify(&cluster, &token, &[], now()).is_ok(), "{name}");
        change(&cluster);
        assert_eq!(tokens.verify(&cluster, &token, &[], after(2)).err(), Some(Refused::Invalidated), "{name}");
    }
    // The node of a bound pod is information: the pod's token outlives it.
    let (tokens, cluster) = (tokens(), cluster());
    let token = token(&ask(&tokens, &cluster, json!({"boundObjectRef": pod_ref()})).unwrap());
    cluster.remove("nodes", "", "n1");
    assert!(tokens.verify(&cluster, &token, &[], now()).is_ok());
}

#[test]
fn foreign_and_broken_tokens_are_refused() {
    let (ours, theirs, cluster) = (tokens(), tokens(), cluster());
    let good = token(&ask(&ours, &cluster, json!({})).unwrap());
    let forged = token(&ask(&theirs, &cluster, json!({})).unwrap());
    let parts: Vec<&str> = good.split('.').collect();
    let none = format!("{}.{}.", "eyJhbGciOiJub25lIn0", parts[1]);
    let crossed = format!("{}.{}.{}", parts[0], forged.split('.').nth(1).unwrap(), parts[2]);
    for bad in ["", "x", "a.b.c", &forged, &none, &crossed, &good[..good.len() - 2], &"a.".repeat(100_000)] {
        assert_eq!(ours.verify(&cluster, bad, &[], now()).err(), Some(Refused::Foreign));
    }
}

#[test]
fn older_keys_still_verify() {
    let (old, new) = (Keys::generate_pem().unwrap(), Keys::generate_pem().unwrap());
    let config = Config::for_domain("cluster.local");
    let before = ServiceAccountTokens::new(Keys::load(&old, &[]).unwrap(), config.clone());
    let rotated = ServiceAccountTokens::new(Keys::load(&new, &[&old]).unwrap(), config.clone());
    let after = ServiceAccountTokens::new(Keys::load(&new, &[]).unwrap(), config);
    let cluster = cluster();
    let token = token(&ask(&before, &cluster, json!({})).unwrap());
    assert!(rotated.verify(&cluster, &token, &[], now()).is_ok());
    assert!(after.verify(&cluster, &token, &[], now()).is_err());
    assert_eq!(rotated.jwks()["keys"].as_array().unwrap().len(), 2);
}

#[test]
fn bad_requests_are_told_why() {
    let (tokens, cluster) = (tokens(), cluster());
    for (spec, code, says) in [
        (json!({"expirationSeconds": 599}), 422, "may not specify a duration less than 10 minutes"),
        (json!({"expirationSeconds": 1i64 << 33}), 422, "larger than 2^32 seconds"),
        (json!({"expirationSeconds": "soon"}), 422, "whole number"),
        (json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "nope"}}), 404, "\"nope\" not found"),
        (json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "web-1", "uid": "x"}}), 409, "UID"),
        (json!({"boundObjectRef": {"kind": "Service", "apiVersion": "v1", "name": "x"}}), 400, "cannot bind token"),
    ] {
        let status = ask(&tokens, &cluster, spec.clone()).unwrap_err();
        assert_eq!(status.code, code, "{spec}");
        assert!(status.message.contains(says), "{spec}: {}", status.message);
    }
    assert_eq!(tokens.request(&cluster, "shop", "nobody", json!({}), now()).unwrap_err().code, 404);
    let answer = ask(&tokens, &cluster, json!({"expirationSeconds": 1_000_000})).unwrap();
    assert_eq!(answer["spec"]["expirationSeconds"], 86_400);
}

#[test]
fn bootstrap_tokens() {
    let make = |change: &dyn Fn(&mut Value)| {
        let mut secret = bootstrap::secret("abcdef.0123456789abcdef", Some(after(60)), "").unwrap();
        change(&mut secret);
        Objects::with(&[("secrets", secret)])
    };
    let token = "abcdef.0123456789abcdef";
    let user = bootstrap::verify(&make(&|_| {}), token, now()).unwrap();
    assert_eq!(user.name, "system:bootstrap:abcdef");
    assert_eq!(user.groups, ["system:bootstrappers", "system:authenticated"]);
    assert!(bootstrap::verify(&make(&|_| {}), "abcdef.0123456789abcdee", now()).is_none(), "wrong secret");
    assert!(bootstrap::verify(&make(&|_| {}), "abcdeg.0123456789abcdef", now()).is_none(), "unknown");
    assert!(bootstrap::verify(&make(&|_| {}), "abcdef.0123", now()).is_none(), "malformed");
    assert!(bootstrap::verify(&make(&|_| {}), token, after(60)).is_none(), "expired");
    let disabled = make(&|s| s["data"]["usage-bootstrap-authentication"] = json!("ZmFsc2U="));
    assert!(bootstrap::verify(&disabled, token, now()).is_none());
    let untyped = make(&|s| s["type"] = json!("Opaque"));
    assert!(bootstrap::verify(&untyped, token, now()).is_none());
    // base64 of system:bootstrappers:workers, and of system:masters
    let grouped = make(&|s| s["data"]["auth-extra-groups"] = json!("c3lzdGVtOmJvb3RzdHJhcHBlcnM6d29ya2Vycw=="));
    assert!(bootstrap::verify(&grouped, token, now()).unwrap().in_group("system:bootstrappers:workers"));
    let masters = make(&|s| s["data"]["auth-extra-groups"] = json!("c3lzdGVtOm1hc3RlcnM="));
    assert!(bootstrap::verify(&masters, token, now()).is_none());
    assert!(bootstrap::split(&bootstrap::generate()).is_some());
}
