//! StatefulSet. Source: <https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::{Value, json};

use super::{persistent_volume_claim, pod, workload};
use crate::{
    checks::{at_most_hundred_percent, is_zero_int_or_percent, non_negative, push_all},
    columns::{AGE, Column, NAME, age, containers, name},
    meta::{validate_annotations, validate_labels},
    strategy::{Generation, ScalePaths, Strategy, label_name},
    value::{Look, MapExt, child, dig, members, semantic_eq},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    name: label_name,
    generation: Generation::Spec,
    default,
    prepare_create: drop_max_unavailable,
    prepare_update: |new, old| {
        if !old.has("spec.updateStrategy.rollingUpdate.maxUnavailable") {
            drop_max_unavailable(new);
        }
    },
    validate: |object, errors| {
        policies(object, errors);
        claim_templates(object, errors);
        let service = object.text("spec.serviceName");
        if !service.is_empty() {
            push_all(names::is_dns1123_label(service), service, &Path::new("spec").child("serviceName"), errors);
        }
        validate(object, errors);
    },
    validate_update,
    warn,
    validate_status_update,
    columns: &[NAME, Column::text("Ready"), AGE, Column::wide("Containers"), Column::wide("Images")],
    row,
    scale: Some(ScalePaths::WORKLOAD),
    ..Strategy::PLAIN
};

const FROZEN: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
const UPDATABLE: &[&str] = &[
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

fn warn(set: &Value, old: Option<&Value>, warnings: &mut Vec<String>) {
    workload::warn(set, old, warnings);
    for (index, claim) in set.list("spec.volumeClaimTemplates").iter().enumerate() {
        let path = Path::new("spec").child("volumeClaimTemplates").index(index);
        // Upstream's paths of creates and updates differ, and none is right.
        let path = if old.is_none() { path } else { path.child("Spec") };
        crate::warnings::claim(claim.at("spec"), &path, warnings);
    }
    if set.int("spec.revisionHistoryLimit").is_some_and(|limit| limit < 0) {
        warnings.push(
            "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"
                .into(),
        );
    }
}

fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let number = |path: &str| object.int(path).unwrap_or_default();
    let (names, images) = containers(object.at("spec.template"));
    let ready = format!("{}/{}", number("status.readyReplicas"), number("spec.replicas"));
    vec![name(object), ready.into(), age(object, now), names, images]
}

fn default(object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    let spec = child(map, "spec");
    spec.or_set("podManagementPolicy", "OrderedReady");
    let strategy = child(spec, "updateStrategy");
    if strategy.get("type").and_then(Value::as_str).unwrap_or_default().is_empty() {
        strategy.insert("type".into(), "RollingUpdate".into());
        strategy.or_set("rollingUpdate", json!({}));
    }
    if strategy.get("type").and_then(Value::as_str) == Some("RollingUpdate")
        && let Some(rolling) = strategy.get_mut("rollingUpdate")
    {
        rolling.or_set("partition", 0);
    }
    let retention = child(spec, "persistentVolumeClaimRetentionPolicy");
    retention.or_set("whenDeleted", "Retain");
    retention.or_set("whenScaled", "Retain");
    spec.or_set("replicas", 1);
    spec.or_set("revisionHistoryLimit", 10);
    for claim in members(spec, "volumeClaimTemplates") {
        claim.or_set("apiVersion", "v1");
        claim.or_set("kind", "PersistentVolumeClaim");
        let mut value = Value::Object(std::mem::take(claim));
        persistent_volume_claim::default(&mut value);
        if let Value::Object(map) = value {
            *claim = map;
        }
    }
    pod::default::template(object, "spec.template");
}

/// `MaxUnavailableStatefulSet` is off unless asked for: who sets it gets one pod at a time.
fn drop_max_unavailable(set: &mut Value) {
    if let Some(Value::Object(rolling)) = dig(set, "spec.updateStrategy.rollingUpdate") {
        rolling.remove("maxUnavailable");
    }
}

/// How pods come, change and go.
fn policies(object: &Value, errors: &mut ErrorList) {
    let (spec, path) = (object.at("spec"), Path::new("spec"));
    match spec.text("podManagementPolicy") {
        "" => errors.push(Error::required(path.child("podManagementPolicy"), "")),
        "OrderedReady" | "Parallel" => {}
        other => {
            let detail = "must be 'OrderedReady' or 'Parallel'";
            errors.push(Error::invalid(path.child("podManagementPolicy"), other, detail));
        }
    }
    update_strategy(spec.at("updateStrategy"), &path.child("updateStrategy"), errors);
    let retention = path.child("persistentVolumeClaimRetentionPolicy");
    for key in ["whenDeleted", "whenScaled"] {
        let policy = spec.at("persistentVolumeClaimRetentionPolicy").text(key);
        if !matches!(policy, "Retain" | "Delete") {
            errors.push(Error::not_supported(retention.child(key), policy, &["Retain", "Delete"]));
        }
    }
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let (spec, path) = (object.at("spec"), Path::new("spec"));
    non_negative(spec, &path, "replicas", errors);
    non_negative(spec, &path, "minReadySeconds", errors);
    non_negative(spec, &path, "ordinals.start", errors);
    workload::required_selector(spec, &path, "statefulset", errors);
    if workload::matches_template(spec, &path, errors) {
        let at = path.child("template");
        pod::template(&with_claims(spec), &at, errors);
        // Upstream looks at these twice, at this place too.
        let metadata = spec.at("template.metadata");
        validate_labels(metadata.at("labels"), &at.child("labels"), errors);
        validate_annotations(metadata.at("annotations"), &at.child("annotations"), errors);
    } else {
        errors.push(Error::invalid(path.child("selector"), spec.at("selector").clone(), ""));
    }
    workload::runs_for_ever(spec, &path, "StatefulSet", errors);
}

fn update_strategy(strategy: &Value, path: &Path, errors: &mut ErrorList) {
    let (rolling, inner) = (strategy.at("rollingUpdate"), path.child("rollingUpdate"));
    match strategy.text("type") {
        "" => errors.push(Error::required(path.clone(), "")),
        "OnDelete" => {
            if !rolling.is_null() {
                let detail = "only allowed for updateStrategy 'RollingUpdate'";
                errors.push(Error::invalid(inner, rolling.clone(), detail));
            }
        }
        "RollingUpdate" => {
            non_negative(rolling, &inner, "partition", errors);
            let most = rolling.at("maxUnavailable");
            if !most.is_null() {
                let path = inner.child("maxUnavailable");
                workload::non_negative_or_percent(most, &path, errors);
                if is_zero_int_or_percent(most) {
                    errors.push(Error::invalid(path.clone(), most.clone(), "cannot be 0"));
                }
                at_most_hundred_percent(most, &path, errors);
            }
        }
        _ => {
            let detail = "must be 'RollingUpdate' or 'OnDelete'";
            errors.push(Error::invalid(path.clone(), strategy.clone(), detail));
        }
    }
}

/// The template as its pods will be: with a volume per claim template, without a host name of its own.
fn with_claims(spec: &Value) -> Value {
    let mut template = spec.at("template").clone();
    let names = spec.list("volumeClaimTemplates").iter().map(|claim| claim.text("metadata.name"));
    // One that comes twice is one volume.
    let mut claims: Vec<&str> = Vec::new();
    names.for_each(|name| claims.extend((!claims.contains(&name)).then_some(name)));
    let Some(pod) = template.get_mut("spec").and_then(Value::as_object_mut) else { return template };
    pod.remove("hostname");
    pod.remove("subdomain");
    if !claims.is_empty() {
        let volumes = pod.entry("volumes").or_insert_with(|| json!([]));
        if let Some(volumes) = volumes.as_array_mut() {
            volumes.retain(|volume| !claims.contains(&volume.text("name")));
            let claim = |name: &&str| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
            volumes.extend(claims.iter().map(claim));
        }
    }
    template
}

fn claim_templates(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec").child("volumeClaimTemplates");
    for (index, claim) in object.list("spec.volumeClaimTemplates").iter().enumerate() {
        persistent_volume_claim::validate_spec(claim.at("spec"), &path.index(index).child("spec"), errors);
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    policies(new, errors);
    validate(new, errors);
    let mut masked = new.at("spec").clone();
    for key in UPDATABLE {
        masked.keep(old.at("spec"), key);
    }
    if !semantic_eq(&masked, old.at("spec")) {
        errors.push(Error::forbidden(Path::new("spec"), FROZEN));
    }
}

fn validate_status_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    let status = new.at("status");
    let parts = ["readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas"];
    workload::counts(status, &["replicas"], errors);
    workload::counts(status, &parts, errors);
    workload::counts(status, &["observedGeneration", "collisionCount"], errors);
    workload::not_more_than_replicas(status, &parts, "status.readyReplicas", errors);
    workload::not_decremented(new, old, "collisionCount", errors);
}
