//! Stories of ownership, most of them told in upstream's documentation of server-side apply.

use expect_test::{Expect, expect};
use pilothouse_api::status::Status;
use serde_json::json;

use super::*;
use crate::builtin;
use crate::decode::{self, FieldValidation, Format};

/// One object and the writes to it.
pub(super) struct World {
    pub(super) schema: &'static Schema,
    api_version: &'static str,
    pub(super) live: Option<Value>,
    second: i64,
}

impl World {
    pub(super) fn new(api_version: &'static str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let schema = builtin().gvk(group, version, kind).expect("a built-in kind");
        Self { schema, api_version, live: None, second: 0 }
    }
    fn manager<'a>(&mut self, name: &'a str, operation: Operation) -> Manager<'a> {
        self.second += 1;
        let (name, subresource) = name.split_once('/').unwrap_or((name, ""));
        let reset_fields: &[&str] = if subresource == "status" { &["spec"] } else { &["status"] };
        let time = Timestamp::from_second(self.second).expect("in range");
        Manager { name, operation, api_version: self.api_version, subresource, time, reset_fields }
    }
    fn try_apply(&mut self, name: &str, config: Value, force: bool) -> Result<(), Status> {
        let mut manager = self.manager(name, Operation::Apply);
        let mut config = config;
        let version = self.api_version.to_owned();
        if let Some(gvk) = &self.schema.gvk {
            config["kind"] = Value::from(&*gvk.kind);
        }
        if config["apiVersion"].is_null() {
            config["apiVersion"] = version.into();
        }
        manager.api_version = self.api_version;
        let config = decode::decode_apply(self.schema, config.to_string().as_bytes(), FieldValidation::Strict)?.object;
        let merged = apply(self.schema, self.live.as_ref(), &config, &manager, force)?;
        self.live = Some(decode::check(self.schema, merged, FieldValidation::Strict)?.object);
        Ok(())
    }
    pub(super) fn apply(&mut self, name: &str, config: Value) -> &mut Self {
        self.try_apply(name, config, false).expect("no conflict");
        self
    }
    pub(super) fn force(&mut self, name: &str, config: Value) -> &mut Self {
        self.try_apply(name, config, true).expect("forced");
        self
    }
    /// Creates, or merges a JSON merge patch into the object.
    fn update(&mut self, name: &str, patch: Value) -> &mut Self {
        let manager = self.manager(name, Operation::Update);
        let mut new = self.live.clone().unwrap_or_else(|| json!({}));
        crate::patch::merge_patch(&mut new, &patch);
        let body = new.to_string();
        let mut new = decode::decode(self.schema, body.as_bytes(), Format::Json, FieldValidation::Strict)
            .expect("decodes")
            .object;
        update(self.schema, self.live.as_ref(), &mut new, &manager);
        self.live = Some(new);
        self
    }
    /// The object without bookkeeping, then who owns what since when.
    fn check(&mut self, expect: Expect) -> &mut Self {
        let mut object = self.live.clone().expect("an object");
        let entries = entries::read(apply::take_managed(&mut object)).expect("entries");
        let mut lines = vec![object.to_string()];
        for entry in entries {
            let time = entry.time.map_or("never".to_owned(), |t| t.as_second().to_string());
            lines.push(format!("{:?} {} @{time}: {}", entry.operation, entry.shown(), entry.set.paths().join(" ")));
        }
        expect.assert_eq(&lines.join("\n"));
        self
    }
    fn refused(&mut self, name: &str, config: Value, expect: Expect) -> &mut Self {
        let status = self.try_apply(name, config, false).expect_err("a conflict");
        let causes =
            status.details.iter().flat_map(|d| &d.causes).map(|c| format!("\n{} {} {}", c.reason, c.field, c.message));
        expect.assert_eq(&format!("{status}{}", causes.collect::<String>()));
        self
    }
}

fn deployment(spec: Value) -> Value {
    json!({"metadata": {"name": "web"}, "spec": spec})
}

#[test]
fn conflict_force_give_up_share() {
    let mut world = World::new("apps/v1", "Deployment");
    world
        .apply("kubectl", deployment(json!({"replicas": 3})))
        .check(expect![[r#"
            {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":3}}
            Apply "kubectl" @1: .spec.replicas"#]])
        // The autoscaler takes the field by updating it.
        .update("hpa/scale", json!({"spec": {"replicas": 5}}))
        .check(expect![[r#"
            {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":5}}
            Update "hpa" with subresource "scale" using apps/v1 @2: .spec.replicas"#]])
        .refused("kubectl", deployment(json!({"replicas": 4})), expect![[r#"
            Apply failed with 1 conflict: conflict with "hpa" with subresource "scale" using apps/v1: .spec.replicas (409 Conflict)
            FieldManagerConflict .spec.replicas conflict with "hpa" with subresource "scale" using apps/v1"#]])
        // Giving up: no opinion, so the value stays.
        .apply("kubectl", deployment(json!({"minReadySeconds": 1})))
        .check(expect![[r#"
            {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"minReadySeconds":1,"replicas":5}}
            Apply "kubectl" @4: .spec.minReadySeconds
            Update "hpa" with subresource "scale" using apps/v1 @2: .spec.replicas"#]])
        // Sharing: the same value.
        .apply("kubectl", deployment(json!({"minReadySeconds": 1, "replicas": 5})))
        .check(expect![[r#"
            {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"minReadySeconds":1,"replicas":5}}
            Apply "kubectl" @4: .spec.minReadySeconds .spec.replicas
            Update "hpa" with subresource "scale" using apps/v1 @2: .spec.replicas"#]])
        // Forcing.
        .force("kubectl", deployment(json!({"minReadySeconds": 1, "replicas": 7})))
        .check(expect![[r#"
            {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"minReadySeconds":1,"replicas":7}}
            Apply "kubectl" @6: .spec.minReadySeconds .spec.replicas"#]])
        // Removing a field nobody else owns removes its value.
        .apply("kubectl", deployment(json!({"minReadySeconds": 1})))
        .check(expect![[r#"
            {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"minReadySeconds":1}}
            Apply "kubectl" @7: .spec.minReadySeconds"#]]);
}

#[test]
fn several_conflicts() {
    let mut world = World::new("apps/v1", "Deployment");
    world.apply("a", deployment(json!({"replicas": 1, "paused": true})));
    world.update("b", json!({"spec": {"minReadySeconds": 3}}));
    world.refused(
        "c",
        deployment(json!({"replicas": 2, "paused": false, "minReadySeconds": 4})),
        expect![[r#"
        Apply failed with 3 conflicts: conflicts with "a":
        - .spec.paused
        - .spec.replicas
        conflicts with "b" using apps/v1:
        - .spec.minReadySeconds (409 Conflict)
        FieldManagerConflict .spec.paused conflict with "a"
        FieldManagerConflict .spec.replicas conflict with "a"
        FieldManagerConflict .spec.minReadySeconds conflict with "b" using apps/v1"#]],
    );
}

fn containers(items: Value) -> Value {
    deployment(json!({"template": {"spec": {"containers": items}}}))
}

#[test]
fn items_of_keyed_lists() {
    let mut world = World::new("apps/v1", "Deployment");
    world
        .apply("app", containers(json!([{"name": "web", "image": "web:1"}])))
        .apply("mesh", containers(json!([{"name": "proxy", "image": "proxy:1", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]}])))
        .check(expect![[r#"
            {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"template":{"spec":{"containers":[{"image":"web:1","name":"web"},{"image":"proxy:1","name":"proxy","ports":[{"containerPort":80},{"containerPort":80,"protocol":"UDP"}]}]}}}}
            Apply "app" @1: .spec.template.spec.containers[name="web"] .spec.template.spec.containers[name="web"].image .spec.template.spec.containers[name="web"].name
            Apply "mesh" @2: .spec.template.spec.containers[name="proxy"] .spec.template.spec.containers[name="proxy"].image .spec.template.spec.containers[name="proxy"].name .spec.template.spec.containers[name="proxy"].ports[containerPort=80,protocol="TCP"] .spec.template.spec.containers[name="proxy"].ports[containerPort=80,protocol="TCP"].containerPort .spec.template.spec.containers[name="proxy"].ports[containerPort=80,protocol="UDP"] .spec.template.spec.containers[name="proxy"].ports[containerPort=80,protocol="UDP"].containerPort .spec.template.spec.containers[name="proxy"].ports[containerPort=80,protocol="UDP"].protocol"#]])
        .refused("other", containers(json!([{"name": "web", "image": "web:2"}])), expect![[r#"
            Apply failed with 1 conflict: conflict with "app": .spec.template.spec.containers[name="web"].image (409 Conflict)
            FieldManagerConflict .spec.template.spec.containers[name="web"].image conflict with "app""#]])
        // A default that nobody owns goes with the item it belongs to.
        .update("defaulter", json!({"spec": {"paused": true}}))
        .apply("mesh", containers(json!([{"name": "proxy", "image": "proxy:1", "ports": [{"containerPort": 80}]}])))
        .check(expect![[r#"
            {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"paused":true,"template":{"spec":{"containers":[{"image":"web:1","name":"web"},{"image":"proxy:1","name":"proxy","ports":[{"containerPort":80}]}]}}}}
            Apply "app" @1: .spec.template.spec.containers[name="web"] .spec.template.spec.containers[name="web"].image .spec.template.spec.containers[name="web"].name
            Apply "mesh" @5: .spec.template.spec.containers[name="proxy"] .spec.template.spec.containers[name="proxy"].image .spec.template.spec.containers[name="proxy"].name .spec.template.spec.containers[name="proxy"].ports[containerPort=80,protocol="TCP"] .spec.template.spec.containers[name="proxy"].ports[containerPort=80,protocol="TCP"].containerPort
            Update "defaulter" using apps/v1 @4: .spec.paused"#]])
        // The mesh leaves.
        .apply("mesh", json!({"metadata": {"name": "web", "labels": {"mesh": "off"}}}))
        .check(expect![[r#"
            {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"labels":{"mesh":"off"},"name":"web"},"spec":{"paused":true,"template":{"spec":{"containers":[{"image":"web:1","name":"web"}]}}}}
            Apply "app" @1: .spec.template.spec.containers[name="web"] .spec.template.spec.containers[name="web"].image .spec.template.spec.containers[name="web"].name
            Apply "mesh" @6: .metadata.labels.mesh
            Update "defaulter" using apps/v1 @4: .spec.paused"#]]);
}

#[test]
fn an_item_goes_with_what_others_set_in_it() {
    let mut world = World::new("apps/v1", "Deployment");
    world
        .apply("app", containers(json!([{"name": "web", "image": "web:1"}, {"name": "side", "image": "side:1"}])))
        .update("setter", json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:1"}, {"name": "side", "image": "side:1", "tty": true}]}}}}))
        .apply("app", containers(json!([{"name": "web", "image": "web:1"}])))
        .check(expect![[r#"
            {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"template":{"spec":{"containers":[{"image":"web:1","name":"web"}]}}}}
            Apply "app" @3: .spec.template.spec.containers[name="web"] .spec.template.spec.containers[name="web"].image .spec.template.spec.containers[name="web"].name"#]]);
}

#[test]
fn sets_and_atomic_lists() {
    let mut world = World::new("v1", "Pod");
    let finalizers = |items: Value| json!({"metadata": {"name": "p", "finalizers": items}});
    world
        .apply("a", finalizers(json!(["a/a", "both/x"])))
        .apply("b", finalizers(json!(["b/b", "both/x"])))
        .check(expect![[r#"
            {"apiVersion":"v1","kind":"Pod","metadata":{"finalizers":["a/a","b/b","both/x"],"name":"p"}}
            Apply "a" @1: .metadata.finalizers[="a/a"] .metadata.finalizers[="both/x"]
            Apply "b" @2: .metadata.finalizers[="b/b"] .metadata.finalizers[="both/x"]"#]])
        .apply("a", finalizers(json!([])))
        .check(expect![[r#"
            {"apiVersion":"v1","kind":"Pod","metadata":{"finalizers":["b/b","both/x"],"name":"p"}}
            Apply "b" @2: .metadata.finalizers[="b/b"] .metadata.finalizers[="both/x"]"#]])
        .apply("a", json!({"metadata": {"name": "p"}, "spec": {"tolerations": [{"key": "a"}]}}))
        .refused(
            "b",
            json!({"metadata": {"name": "p"}, "spec": {"tolerations": [{"key": "b"}]}}),
            expect![[r#"
            Apply failed with 1 conflict: conflict with "a": .spec.tolerations (409 Conflict)
            FieldManagerConflict .spec.tolerations conflict with "a""#]],
        );
}

#[test]
fn maps_nested_and_atomic() {
    let mut world = World::new("v1", "Service");
    let labels = |labels: Value| json!({"metadata": {"name": "s", "labels": labels}});
    world
        .apply("a", labels(json!({"one": "1", "two": "2"})))
        .apply("b", labels(json!({"three": "3"})))
        .apply("a", labels(json!({"one": "1"})))
        .check(expect![[r#"
            {"apiVersion":"v1","kind":"Service","metadata":{"labels":{"one":"1","three":"3"},"name":"s"}}
            Apply "b" @2: .metadata.labels.three
            Apply "a" @3: .metadata.labels.one"#]])
        .apply("b", json!({"metadata": {"name": "s"}, "spec": {"selector": {"x": "y"}}}))
        .refused("a", json!({"metadata": {"name": "s"}, "spec": {"selector": {"x": "y", "z": "z"}}}), expect![[r#"
            Apply failed with 1 conflict: conflict with "b": .spec.selector (409 Conflict)
            FieldManagerConflict .spec.selector conflict with "b""#]])
        .check(expect![[r#"
            {"apiVersion":"v1","kind":"Service","metadata":{"labels":{"one":"1"},"name":"s"},"spec":{"selector":{"x":"y"}}}
            Apply "a" @3: .metadata.labels.one
            Apply "b" @4: .spec.selector"#]]);
}

#[test]
fn status_is_owned_apart() {
    let mut world = World::new("apps/v1", "Deployment");
    world
        .apply("a", json!({"metadata": {"name": "web"}, "spec": {"replicas": 1}, "status": {"replicas": 9}}))
        .update("controller/status", json!({"status": {"replicas": 1, "conditions": [{"type": "Available", "status": "True"}]}, "spec": {"replicas": 7}}))
        .check(expect![[r#"
            {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":7},"status":{"conditions":[{"status":"True","type":"Available"}],"replicas":1}}
            Apply "a" @1: .spec.replicas
            Update "controller" with subresource "status" using apps/v1 @2: .status.conditions .status.conditions[type="Available"] .status.conditions[type="Available"].status .status.conditions[type="Available"].type .status.replicas"#]]);
}

#[test]
fn updates_track_and_keep_times() {
    let mut world = World::new("v1", "ConfigMap");
    world
        .update("a", json!({"metadata": {"name": "c", "labels": {"x": "y"}}, "data": {"k": "v"}}))
        .check(expect![[r#"
            {"apiVersion":"v1","data":{"k":"v"},"kind":"ConfigMap","metadata":{"labels":{"x":"y"},"name":"c"}}
            Update "a" using v1 @1: .data .data.k .metadata.labels .metadata.labels.x"#]])
        // Nothing changes: no time does.
        .update("b", json!({}))
        .update("a", json!({"data": {"k": "v"}}))
        // Another one takes a key and adds one.
        .update("b", json!({"data": {"k": "w", "l": "m"}}))
        .check(expect![[r#"
            {"apiVersion":"v1","data":{"k":"w","l":"m"},"kind":"ConfigMap","metadata":{"labels":{"x":"y"},"name":"c"}}
            Update "a" using v1 @1: .data .metadata.labels .metadata.labels.x
            Update "b" using v1 @4: .data.k .data.l"#]])
        // Removing is no taking.
        .update("c", json!({"data": {"l": null}}))
        .check(expect![[r#"
            {"apiVersion":"v1","data":{"k":"w"},"kind":"ConfigMap","metadata":{"labels":{"x":"y"},"name":"c"}}
            Update "a" using v1 @1: .data .metadata.labels .metadata.labels.x
            Update "b" using v1 @4: .data.k"#]])
        // Resetting forgets all.
        .update("d", json!({"metadata": {"managedFields": [{}]}}))
        .check(expect![[r#"{"apiVersion":"v1","data":{"k":"w"},"kind":"ConfigMap","metadata":{"labels":{"x":"y"},"name":"c"}}"#]])
        .apply("e", json!({"metadata": {"name": "c"}, "data": {"n": "o"}}))
        .check(expect![[r#"
            {"apiVersion":"v1","data":{"k":"w","n":"o"},"kind":"ConfigMap","metadata":{"labels":{"x":"y"},"name":"c"}}
            Apply "e" @7: .data.n
            Update "before-first-apply" using v1 @7: .data .data.k .metadata.labels .metadata.labels.x"#]])
        .update("f", json!({"metadata": {"managedFields": []}}))
        .check(expect![[r#"{"apiVersion":"v1","data":{"k":"w","n":"o"},"kind":"ConfigMap","metadata":{"labels":{"x":"y"},"name":"c"}}"#]]);
}

#[test]
fn old_updaters_are_merged() {
    let mut world = World::new("v1", "ConfigMap");
    let names: Vec<String> = (0..13).map(|n| format!("m{n:02}")).collect();
    for name in &names {
        world.update(name, json!({"metadata": {"name": "c"}, "data": {name: "v"}}));
    }
    let live = world.live.clone().expect("an object");
    let entries = entries::read(live["metadata"]["managedFields"].clone()).expect("entries");
    let seen: Vec<&str> = entries.iter().map(|e| e.manager.as_str()).collect();
    assert_eq!(seen, ["ancient-changes", "m04", "m05", "m06", "m07", "m08", "m09", "m10", "m11", "m12"]);
    assert_eq!(entries[0].set.paths(), [".data", ".data.m00", ".data.m01", ".data.m02", ".data.m03"]);
}

#[test]
fn kubectl_takes_over_from_client_side_apply() {
    let mut world = World::new("v1", "ConfigMap");
    let note =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": "v"}}).to_string();
    world.update("kubectl-client-side-apply", json!({"metadata": {"name": "c", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": note}}, "data": {"k": "v", "l": "m"}}));
    let config = |k: &str| json!({"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": k}});
    world.refused(
        "other",
        config("w"),
        expect![[r#"
        Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using v1: .data.k (409 Conflict)
        FieldManagerConflict .data.k conflict with "kubectl-client-side-apply" using v1"#]],
    );
    world.apply("kubectl", config("w"));
    world.check(expect![[r#"
        {"apiVersion":"v1","data":{"k":"w","l":"m"},"kind":"ConfigMap","metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"apiVersion\":\"v1\",\"data\":{\"k\":\"w\"},\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"c\"}}\n"},"name":"c"}}
        Apply "kubectl" @3: .data.k
        Update "kubectl-client-side-apply" using v1 @1: .data .data.l .metadata.annotations .metadata.annotations.kubectl.kubernetes.io/last-applied-configuration"#]]);
}

#[test]
fn configurations_that_cannot_be_applied() {
    let mut world = World::new("apps/v1", "Deployment");
    world.refused("a", containers(json!([{"name": "x"}, {"name": "x"}])), expect![[r#"failed to create typed patch object (/web; apps/v1, Kind=Deployment): .spec.template.spec.containers: duplicate entries for key [name="x"] (500 )"#]]);
    world.refused(
        "a",
        json!({"metadata": {"name": "web", "managedFields": [{"manager": "x"}]}}),
        expect!["metadata.managedFields must be nil (400 BadRequest)"],
    );
    world.refused(
        "a",
        json!({"apiVersion": "apps/v2", "metadata": {"name": "web"}}),
        expect!["invalid object type: apps/v2, Kind=Deployment (400 BadRequest)"],
    );
}

#[test]
fn fields_v1_is_upstreams() {
    let mut world = World::new("v1", "Pod");
    world.update("kubectl", json!({"metadata": {"name": "p", "labels": {"run": "p"}, "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {}, "ports": [{"containerPort": 80}], "livenessProbe": {"tcpSocket": {"port": 80}}}], "nodeSelector": {"a": "b"}, "securityContext": {}}}));
    let live = world.live.clone().expect("an object");
    expect![[r#"
        [
          {
            "apiVersion": "v1",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
              "f:metadata": {
                "f:labels": {
                  ".": {},
                  "f:run": {}
                },
                "f:ownerReferences": {
                  ".": {},
                  "k:{\"uid\":\"u\"}": {}
                }
              },
              "f:spec": {
                "f:containers": {
                  "k:{\"name\":\"c\"}": {
                    ".": {},
                    "f:image": {},
                    "f:livenessProbe": {
                      ".": {},
                      "f:tcpSocket": {
                        ".": {},
                        "f:port": {}
                      }
                    },
                    "f:name": {},
                    "f:ports": {
                      ".": {},
                      "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {
                        ".": {},
                        "f:containerPort": {}
                      }
                    },
                    "f:resources": {}
                  }
                },
                "f:nodeSelector": {},
                "f:securityContext": {}
              }
            },
            "manager": "kubectl",
            "operation": "Update",
            "time": "1970-01-01T00:00:01Z"
          }
        ]"#]]
    .assert_eq(&serde_json::to_string_pretty(&live["metadata"]["managedFields"]).expect("JSON"));
}

#[test]
fn times_alone_are_no_change() {
    let entry = |time: &str, manager: &str| json!({"metadata": {"name": "a", "managedFields": [{"manager": manager, "time": time}]}, "data": {}});
    assert!(same_but_times(&entry("1", "m"), &entry("2", "m")));
    assert!(!same_but_times(&entry("1", "m"), &entry("1", "n")));
    assert!(!same_but_times(&entry("1", "m"), &json!({"metadata": {"name": "a"}, "data": {}})));
    let mut other = entry("1", "m");
    other["data"]["x"] = json!(1);
    assert!(!same_but_times(&entry("1", "m"), &other));
}
