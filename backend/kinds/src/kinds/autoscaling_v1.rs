//! autoscaling/v1 and autoscaling/v2: what version 1 cannot say is kept in annotations.

use serde_json::{Map, Value, json};

use super::horizontal_pod_autoscaler::cpu_metric;
use crate::{
    strategy::with_api_version,
    value::{Look, dig, object},
};

pub(super) const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

fn is_cpu_utilization(metric: &Value) -> bool {
    metric.text("type") == "Resource"
        && metric.text("resource.name") == "cpu"
        && (metric.has("resource.target.averageUtilization") || metric.has("resource.current.averageUtilization"))
}

/// Version 1 to version 2.
pub(super) fn to_stored(mut autoscaler: Value) -> Value {
    let mut taken = Map::new();
    if let Some(annotations) = dig(&mut autoscaler, "metadata.annotations").and_then(Value::as_object_mut) {
        for key in [METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR] {
            let text = annotations.remove(key);
            if let Some(value) = text.as_ref().and_then(Value::as_str).and_then(|t| serde_json::from_str(t).ok()) {
                taken.insert(key.to_owned(), value);
            }
        }
    }
    let list = |taken: &Map<String, Value>, key: &str, current: bool| -> Vec<Value> {
        let items = taken.get(key).and_then(Value::as_array).into_iter().flatten();
        items.map(|metric| metric_to_v2(metric, current)).collect()
    };
    let mut metrics = list(&taken, METRICS, false);
    let spec = object(&mut autoscaler, "spec");
    if let Some(percent) = spec.remove("targetCPUUtilizationPercentage").and_then(|v| v.as_i64())
        && let Value::Array(cpu) = cpu_metric(percent)
    {
        metrics.splice(0..0, cpu);
    }
    if !metrics.is_empty() {
        spec.insert("metrics".into(), metrics.into());
    }
    if let Some(behavior) = taken.remove(BEHAVIOR) {
        spec.insert("behavior".into(), behavior);
    }
    let mut current = list(&taken, CURRENT_METRICS, true);
    if let Some(status) = dig(&mut autoscaler, "status").and_then(Value::as_object_mut) {
        let percent = status.remove("currentCPUUtilizationPercentage").and_then(|v| v.as_i64());
        if let Some(percent) = percent.filter(|_| !current.iter().any(is_cpu_utilization)) {
            let value = json!({"averageUtilization": percent});
            current.push(json!({"type": "Resource", "resource": {"name": "cpu", "current": value}}));
        }
        if !current.is_empty() {
            status.insert("currentMetrics".into(), current.into());
        }
        if let Some(conditions) = taken.remove(CONDITIONS) {
            status.insert("conditions".into(), conditions);
        }
    }
    with_api_version(autoscaler, "autoscaling/v2".to_owned())
}

/// Version 2 to the one asked for.
pub(super) fn from_stored(mut autoscaler: Value, api_version: &str) -> Value {
    if api_version != "autoscaling/v1" {
        return with_api_version(autoscaler, api_version.to_owned());
    }
    let mut kept: Vec<(&str, Value)> = Vec::new();
    let spec = object(&mut autoscaler, "spec");
    if let Some(Value::Array(metrics)) = spec.remove("metrics") {
        let (cpu, other): (Vec<Value>, Vec<Value>) = metrics.into_iter().partition(is_cpu_utilization);
        if let Some(percent) = cpu.first().and_then(|m| m.int("resource.target.averageUtilization")) {
            spec.insert("targetCPUUtilizationPercentage".into(), percent.into());
        }
        if !other.is_empty() {
            kept.push((METRICS, other.iter().map(|m| metric_to_v1(m, false)).collect()));
        }
    }
    if let Some(behavior) = spec.remove("behavior") {
        kept.push((BEHAVIOR, behavior));
    }
    if let Some(status) = dig(&mut autoscaler, "status").and_then(Value::as_object_mut) {
        if let Some(Value::Array(current)) = status.remove("currentMetrics") {
            let cpu = current.iter().find(|m| is_cpu_utilization(m));
            if let Some(percent) = cpu.and_then(|m| m.int("resource.current.averageUtilization")) {
                status.insert("currentCPUUtilizationPercentage".into(), percent.into());
            }
            if !current.is_empty() {
                kept.push((CURRENT_METRICS, current.iter().map(|m| metric_to_v1(m, true)).collect()));
            }
        }
        if let Some(conditions) = status.remove("conditions") {
            kept.push((CONDITIONS, conditions));
        }
    }
    if !kept.is_empty() {
        let annotations = crate::value::child(object(&mut autoscaler, "metadata"), "annotations");
        annotations.extend(kept.into_iter().map(|(key, value)| (key.to_owned(), value.to_string().into())));
    }
    with_api_version(autoscaler, api_version.to_owned())
}

/// Names of the numbers of a metric in version 1, by its type and whether they are the current ones.
fn v1_names(kind: &str, current: bool) -> [(&'static str, &'static str); 3] {
    match (kind, current) {
        ("Object", false) => [("targetValue", "value"), ("averageValue", "averageValue"), ("", "averageUtilization")],
        ("Object", true) => [("currentValue", "value"), ("averageValue", "averageValue"), ("", "averageUtilization")],
        (_, false) => [
            ("targetValue", "value"),
            ("targetAverageValue", "averageValue"),
            ("targetAverageUtilization", "averageUtilization"),
        ],
        (_, true) => [
            ("currentValue", "value"),
            ("currentAverageValue", "averageValue"),
            ("currentAverageUtilization", "averageUtilization"),
        ],
    }
}

fn source_key(kind: &str) -> String {
    let mut key = kind.to_owned();
    if let Some(first) = key.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    key
}

fn metric_to_v1(metric: &Value, current: bool) -> Value {
    let kind = metric.text("type");
    let key = source_key(kind);
    let source = metric.at(&key);
    let mut old = Map::new();
    for plain in ["name", "container"] {
        if source.has(plain) {
            old.insert(plain.into(), source.at(plain).clone());
        }
    }
    let selector = if kind == "External" { "metricSelector" } else { "selector" };
    for (from, to) in [("metric.name", "metricName"), ("metric.selector", selector), ("describedObject", "target")] {
        if source.has(from) {
            old.insert(to.into(), source.at(from).clone());
        }
    }
    let numbers = source.at(if current { "current" } else { "target" });
    for (to, from) in v1_names(kind, current).iter().filter(|(to, from)| !to.is_empty() && numbers.has(from)) {
        old.insert((*to).into(), numbers.at(from).clone());
    }
    json!({"type": kind, key: old})
}

fn metric_to_v2(metric: &Value, current: bool) -> Value {
    let kind = metric.text("type");
    let key = source_key(kind);
    let source = metric.at(&key);
    let mut new = Map::new();
    for plain in ["name", "container"] {
        if source.has(plain) {
            new.insert(plain.into(), source.at(plain).clone());
        }
    }
    let mut identity = Map::new();
    for (from, to) in [("metricName", "name"), ("metricSelector", "selector"), ("selector", "selector")] {
        if source.has(from) {
            identity.insert(to.into(), source.at(from).clone());
        }
    }
    if !identity.is_empty() {
        new.insert("metric".into(), identity.into());
    }
    if source.at("target").is_object() {
        new.insert("describedObject".into(), source.at("target").clone());
    }
    let mut numbers = Map::new();
    for (from, to) in v1_names(kind, current).iter().filter(|(from, _)| !from.is_empty() && source.has(from)) {
        numbers.insert((*to).into(), source.at(from).clone());
    }
    if !current {
        let has = |key: &str| numbers.contains_key(key);
        let target = if has("averageUtilization") {
            "Utilization"
        } else if has("averageValue") {
            "AverageValue"
        } else {
            "Value"
        };
        numbers.insert("type".into(), target.into());
    }
    new.insert(if current { "current" } else { "target" }.into(), numbers.into());
    json!({"type": kind, key: new})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_on_the_way_through_version_1() {
        let v2 = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a", "annotations": {"x": "y"}},
            "spec": {
                "maxReplicas": 5,
                "metrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
                    {"type": "Pods", "pods": {"metric": {"name": "qps"}, "target": {"type": "AverageValue", "averageValue": "10"}}},
                    {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s", "apiVersion": "v1"},
                        "metric": {"name": "hits"}, "target": {"type": "Value", "value": "2k"}}}],
                "behavior": {"scaleDown": {"selectPolicy": "Max"}}},
            "status": {"currentReplicas": 2, "conditions": [{"type": "AbleToScale"}],
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 30, "averageValue": "3m"}}}]}});
        let v1 = from_stored(v2.clone(), "autoscaling/v1");
        assert_eq!(v1.int("spec.targetCPUUtilizationPercentage"), Some(50));
        assert_eq!(v1.int("status.currentCPUUtilizationPercentage"), Some(30));
        assert!(!v1.has("spec.metrics") && !v1.has("status.conditions") && !v1.has("spec.behavior"));
        assert_eq!(to_stored(v1), v2);
    }
}
