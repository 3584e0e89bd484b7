//! HorizontalPodAutoscaler, of both versions: one storage, in the form of autoscaling/v2.
//! Source: <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/>

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{autoscaler_checks::validate, autoscaling_v1, workload};
use crate::{
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
/// How many metrics are shown.
const SHOWN: usize = 2;

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
        let metrics = autoscaler.at("metadata.annotations")[autoscaling_v1::METRICS].as_str().unwrap_or_default();
        if metrics.is_empty() {
            object(autoscaler, "spec").or_set("targetCPUUtilizationPercentage", DEFAULT_UTILIZATION);
        }
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
