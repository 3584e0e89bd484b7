//! HorizontalPodAutoscaler, of both versions: one storage, in the form of autoscaling/v2.
//! Source: <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
    quantity::Quantity,
};
use serde_json::{Map, Value, json};

use super::{autoscaling_v1, workload};
use crate::{
    checks::{one_of, one_of_if_set, push_all, required},
    columns::{AGE, Column, NAME, age, name},
    strategy::{Strategy, Versions},
    value::{Look, MapExt, bare, dig, object},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    default,
    validate,
    validate_update: |new, _, errors| validate(new, errors),
    validate_status_update: |new, _, errors| {
        workload::counts(new.at("status"), &["currentReplicas", "desiredReplicas"], errors);
    },
    columns: COLUMNS,
    row,
    versions: Some(Versions {
        stored: "autoscaling/v2",
        to_stored: autoscaling_v1::to_stored,
        from_stored: autoscaling_v1::from_stored,
        fields: &[],
    }),
    ..Strategy::PLAIN
};

const DEFAULT_UTILIZATION: i64 = 80;
const MAX_PERIOD_SECONDS: i64 = 1800;
const MAX_STABILIZATION_SECONDS: i64 = 3600;
/// How many metrics are shown.
const SHOWN: usize = 2;
const METRIC_TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];

const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Reference"),
    Column::text("Targets"),
    Column::text("MinPods"),
    Column::text("MaxPods"),
    Column::text("Replicas"),
    AGE,
];

fn row(autoscaler: &Value, now: Timestamp) -> Vec<Value> {
    let target = autoscaler.at("spec.scaleTargetRef");
    let number = |path: &str| autoscaler.int(path).unwrap_or_default();
    let least = autoscaler.int("spec.minReplicas").map_or_else(|| "<unset>".to_owned(), |n| n.to_string());
    vec![
        name(autoscaler),
        format!("{}/{}", target.text("kind"), target.text("name")).into(),
        metrics_text(autoscaler.list("spec.metrics"), autoscaler.list("status.currentMetrics")).into(),
        least.into(),
        number("spec.maxReplicas").into(),
        number("status.currentReplicas").into(),
        age(autoscaler, now),
    ]
}

/// `cpu: 10%/80%, 5/10 (avg)`: what is measured against what is wanted.
fn metrics_text(wanted: &[Value], measured: &[Value]) -> String {
    if wanted.is_empty() {
        return "<none>".to_owned();
    }
    let texts: Vec<String> = wanted.iter().zip(0..).map(|(spec, i)| metric_text(spec, measured.get(i))).collect();
    if texts.len() <= SHOWN {
        return texts.join(", ");
    }
    format!("{} + {} more...", texts[..SHOWN].join(", "), texts.len() - SHOWN)
}

fn metric_text(spec: &Value, measured: Option<&Value>) -> String {
    let kind = spec.text("type");
    let mut key = kind.to_owned();
    if let Some(first) = key.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    let (source, target) = (spec.at(&key), spec.at(&key).at("target"));
    let current = |field: &str| {
        let value = measured.map_or(&Value::Null, |m| m.at(&key)).at("current").at(field);
        if value.is_null() { "<unknown>".to_owned() } else { bare(value).into_owned() }
    };
    let average = target.at("averageValue");
    match kind {
        "Resource" | "ContainerResource" => {
            let text = if average.is_null() {
                let have = match current("averageUtilization") {
                    unknown if unknown == "<unknown>" => unknown,
                    number => format!("{number}%"),
                };
                let want = target.int("averageUtilization").map_or_else(|| "<auto>".to_owned(), |n| format!("{n}%"));
                format!("{have}/{want}")
            } else {
                format!("{}/{}", current("averageValue"), bare(average))
            };
            format!("{}: {text}", source.text("name"))
        }
        "Pods" => format!("{}/{}", current("averageValue"), bare(average)),
        "Object" | "External" if average.is_null() => format!("{}/{}", current("value"), bare(target.at("value"))),
        "Object" | "External" => format!("{}/{} (avg)", current("averageValue"), bare(average)),
        _ => "<unknown type>".to_owned(),
    }
}

fn default(autoscaler: &mut Value) {
    let v2 = autoscaler.text("apiVersion") != "autoscaling/v1";
    let spec = object(autoscaler, "spec");
    spec.or_set("minReplicas", 1);
    if !v2 {
        return;
    }
    if spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        spec.insert("metrics".into(), cpu_metric(DEFAULT_UTILIZATION));
    }
    if let Some(behavior) = dig(autoscaler, "spec.behavior").and_then(Value::as_object_mut) {
        let up = json!([
            {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]);
        rules(behavior, "scaleUp", up).or_set("stabilizationWindowSeconds", 0);
        rules(behavior, "scaleDown", json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
    }
}

pub(super) fn cpu_metric(utilization: i64) -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": utilization});
    json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}])
}

fn rules<'a>(behavior: &'a mut Map<String, Value>, key: &str, policies: Value) -> &'a mut Map<String, Value> {
    let rules = crate::value::child(behavior, key);
    rules.or_set("selectPolicy", "Max");
    rules.or_set("policies", policies);
    rules
}

fn validate(autoscaler: &Value, errors: &mut ErrorList) {
    let (spec, path) = (autoscaler.at("spec"), Path::new("spec"));
    let (least, most) = (spec.int("minReplicas"), spec.int("maxReplicas").unwrap_or_default());
    if let Some(least) = least.filter(|n| *n < 1) {
        errors.push(Error::invalid(path.child("minReplicas"), least, "must be greater than or equal to 1"));
    }
    match most {
        0 => errors.push(Error::required(path.child("maxReplicas"), "must be set and greater than 0")),
        most if most < 0 => {
            errors.push(Error::invalid(path.child("maxReplicas"), most, "must be greater than or equal to 1"));
        }
        _ => {}
    }
    if least.is_some_and(|least| most < least) {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(Error::invalid(path.child("maxReplicas"), most, detail));
    }
    reference(spec.at("scaleTargetRef"), &path.child("scaleTargetRef"), errors);
    for (index, metric) in spec.list("metrics").iter().enumerate() {
        self::metric(metric, &path.child("metrics").index(index), errors);
    }
    for key in ["scaleUp", "scaleDown"] {
        let rules = spec.at("behavior").at(key);
        if rules.is_object() {
            scaling_rules(rules, &path.child("behavior").child(key), errors);
        }
    }
}

fn reference(reference: &Value, path: &Path, errors: &mut ErrorList) {
    for key in ["kind", "name"] {
        if required(reference, path, key, errors) {
            push_all(names::is_path_segment_name(reference.text(key)), reference.text(key), &path.child(key), errors);
        }
    }
}

fn metric(metric: &Value, path: &Path, errors: &mut ErrorList) {
    let kind = metric.text("type");
    if kind.is_empty() {
        errors.push(Error::required(path.child("type"), "must specify a metric source type"));
    }
    one_of_if_set(metric, path, "type", METRIC_TYPES, errors);
    let keys = ["object", "external", "pods", "resource", "containerResource"];
    let wanted = keys.into_iter().find(|key| key.eq_ignore_ascii_case(kind));
    for key in keys.iter().filter(|key| metric.has(key) && Some(**key) != wanted) {
        errors.push(Error::forbidden(path.child(key), "must populate the given metric source only"));
    }
    let Some(key) = wanted else { return };
    let (source, path) = (metric.at(key), path.child(key));
    if source.is_null() {
        return errors.push(Error::required(path, "must populate information for the given metric source"));
    }
    match key {
        "resource" | "containerResource" => {
            if source.text("name").is_empty() {
                errors.push(Error::required(path.child("name"), "must specify a resource name"));
            }
            if key == "containerResource" && source.text("container").is_empty() {
                errors.push(Error::required(path.child("container"), "must specify a container"));
            }
        }
        _ => {
            let (name, at) = (source.text("metric.name"), path.child("metric").child("name"));
            if name.is_empty() {
                errors.push(Error::required(at, "must specify a metric name"));
            } else {
                push_all(names::is_path_segment_name(name), name, &at, errors);
            }
            if key == "object" {
                reference(source.at("describedObject"), &path.child("describedObject"), errors);
            }
        }
    }
    target(key, source.at("target"), &path.child("target"), errors);
}

fn target(key: &str, target: &Value, path: &Path, errors: &mut ErrorList) {
    let kind = target.text("type");
    if kind.is_empty() {
        errors.push(Error::required(path.child("type"), "must specify a metric target type"));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let detail = "must be either Utilization, Value, or AverageValue";
        errors.push(Error::invalid(path.child("type"), kind, detail));
    }
    for field in ["value", "averageValue"] {
        let value = target.at(field);
        let positive = |q: Quantity| !q.is_zero() && !q.is_negative();
        if !value.is_null() && !Quantity::parse(&bare(value)).is_ok_and(positive) {
            errors.push(Error::invalid(path.child(field), bare(value).as_ref(), "must be positive"));
        }
    }
    if let Some(percent) = target.int("averageUtilization").filter(|n| *n < 1) {
        errors.push(Error::invalid(path.child("averageUtilization"), percent, "must be greater than 0"));
    }
    let (value, average, utilization) =
        (target.has("value"), target.has("averageValue"), target.has("averageUtilization"));
    match key {
        "resource" | "containerResource" => match (average, utilization) {
            (false, false) => {
                let detail = "must set either a target raw value or a target utilization";
                errors.push(Error::required(path.child("averageUtilization"), detail));
            }
            (true, true) => {
                let detail = "may not set both a target raw value and a target utilization";
                errors.push(Error::forbidden(path.child("averageValue"), detail));
            }
            _ => {}
        },
        "pods" if !average => {
            let detail = "must specify a positive target averageValue";
            errors.push(Error::required(path.child("averageValue"), detail));
        }
        "object" if !value && !average => {
            let detail = "must set either a target value or averageValue";
            errors.push(Error::required(path.child("averageValue"), detail));
        }
        "external" if value == average => {
            let error = if value {
                let detail = "may not set both a target value for metric and a per-pod target";
                Error::forbidden(path.child("value"), detail)
            } else {
                Error::required(
                    path.child("averageValue"),
                    "must set either a target value for metric or a per-pod target",
                )
            };
            errors.push(error);
        }
        _ => {}
    }
}

fn scaling_rules(rules: &Value, path: &Path, errors: &mut ErrorList) {
    let at = path.child("stabilizationWindowSeconds");
    match rules.int("stabilizationWindowSeconds") {
        Some(seconds) if seconds < 0 => {
            errors.push(Error::invalid(at, seconds, "must be greater than or equal to zero"));
        }
        Some(seconds) if seconds > MAX_STABILIZATION_SECONDS => {
            let detail = format!("must be less than or equal to {MAX_STABILIZATION_SECONDS}");
            errors.push(Error::invalid(at, seconds, detail));
        }
        _ => {}
    }
    one_of_if_set(rules, path, "selectPolicy", &["Disabled", "Max", "Min"], errors);
    if rules.list("policies").is_empty() {
        errors.push(Error::required(path.child("policies"), "must specify at least one Policy"));
    }
    for (index, policy) in rules.list("policies").iter().enumerate() {
        let path = path.child("policies").index(index);
        one_of(policy, &path, "type", &["Percent", "Pods"], errors);
        for key in ["value", "periodSeconds"] {
            let number = policy.int(key).unwrap_or_default();
            if number <= 0 {
                errors.push(Error::invalid(path.child(key), number, "must be greater than zero"));
            }
        }
        if let Some(seconds) = policy.int("periodSeconds").filter(|s| *s > MAX_PERIOD_SECONDS) {
            let detail = format!("must be less than or equal to {MAX_PERIOD_SECONDS}");
            errors.push(Error::invalid(path.child("periodSeconds"), seconds, detail));
        }
    }
}
