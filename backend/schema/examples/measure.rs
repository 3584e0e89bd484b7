//! Measures what happens on every write: decoding a pod and tracking its owners. Prints microseconds per operation.

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use pilothouse_schema::decode::{FieldValidation, Format, decode};
use pilothouse_schema::managed::{Manager, Operation, update};
use pilothouse_schema::{builtin, managed};
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout();
    let start = Instant::now();
    let pod = builtin().gvk("", "v1", "Pod").ok_or("no pods")?;
    writeln!(out, "schemas {:?}", start.elapsed())?;
    let container = |name: &str| {
        json!({"name": name, "image": "registry/app:1", "imagePullPolicy": "IfNotPresent",
            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "ports": [{"containerPort": 80, "name": "http"}],
            "resources": {"limits": {"cpu": "500m", "memory": "128Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}], "livenessProbe": {"httpGet": {"path": "/", "port": 80}}})
    };
    let body = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "default",
        "labels": {"app": "web", "tier": "front"}, "annotations": {"note": "a note"}},
        "spec": {"containers": [container("a"), container("b")], "volumes": [{"name": "data", "emptyDir": {}}],
            "nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "a", "operator": "Exists"}]}})
    .to_string();
    let decoded = || decode(pod, body.as_bytes(), Format::Json, FieldValidation::Strict).map(|d| d.object);
    let manager = Manager {
        name: "kubectl",
        operation: Operation::Update,
        api_version: "v1",
        subresource: "",
        time: jiff::Timestamp::UNIX_EPOCH,
        reset_fields: &["status"],
    };
    let fresh = decoded()?;
    let mut live = fresh.clone();
    update(pod, None, &mut live, &manager);
    let status =
        Manager { name: "agent", subresource: "status", reset_fields: &["spec", "metadata"], ..manager.clone() };
    let mut with_status = live.clone();
    with_status["status"] =
        json!({"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]});
    let config = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "labels": {"app": "web"}},
        "spec": {"containers": [container("a")]}});
    let applier = Manager { name: "applier", operation: Operation::Apply, ..manager.clone() };

    let mut measure = |what: &str, run: &mut dyn FnMut()| {
        const ROUNDS: u32 = 5000;
        let start = Instant::now();
        (0..ROUNDS).for_each(|_| run());
        writeln!(out, "{what} {:.1} µs", start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS))
    };
    measure("parse as plain JSON", &mut || drop(black_box(serde_json::from_str::<serde_json::Value>(&body))))?;
    measure("decode", &mut || drop(black_box(decoded())))?;
    measure("clone", &mut || drop(black_box(live.clone())))?;
    measure("clone and track a create", &mut || {
        let mut new = fresh.clone();
        update(pod, None, &mut new, &manager);
        black_box(new);
    })?;
    measure("clone and track a change of status", &mut || {
        let mut new = with_status.clone();
        update(pod, Some(&live), &mut new, &status);
        black_box(new);
    })?;
    measure("server-side apply", &mut || drop(black_box(managed::apply(pod, Some(&live), &config, &applier, true))))?;
    Ok(())
}
