//! Which objects a quota is about.

use serde_json::Value;

use super::{items, text};

/// Without scopes a quota covers everything; scopes are about pods (and one about claims), all of them must hold.
pub fn matches(quota: &Value, resource: &str, object: &Value) -> bool {
    let plain = items(quota, "/spec/scopes").filter_map(Value::as_str);
    let all_plain = plain.into_iter().all(|scope| holds(scope, "Exists", &[], resource, object));
    let mut expressions = items(quota, "/spec/scopeSelector/matchExpressions");
    all_plain
        && expressions.all(|expression| {
            let values: Vec<&str> = items(expression, "/values").filter_map(Value::as_str).collect();
            holds(text(expression, "/scopeName"), text(expression, "/operator"), &values, resource, object)
        })
}

fn holds(scope: &str, operator: &str, values: &[&str], resource: &str, object: &Value) -> bool {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    match (resource, scope) {
        ("pods", "Terminating") => has_deadline(spec),
        ("pods", "NotTerminating") => !has_deadline(spec),
        ("pods", "BestEffort") => is_best_effort(spec),
        ("pods", "NotBestEffort") => !is_best_effort(spec),
        ("pods", "PriorityClass") => named(text(spec, "/priorityClassName"), operator, values),
        ("pods", "CrossNamespacePodAffinity") => crosses_namespaces(spec),
        ("persistentvolumeclaims", "VolumeAttributesClass") => {
            let current = text(object, "/status/currentVolumeAttributesClassName");
            let target = text(object, "/status/modifyVolumeStatus/targetVolumeAttributesClassName");
            let names = [text(spec, "/volumeAttributesClassName"), current, target];
            names.into_iter().any(|name| named(name, operator, values))
        }
        _ => false,
    }
}

fn named(name: &str, operator: &str, values: &[&str]) -> bool {
    match operator {
        "Exists" => !name.is_empty(),
        "DoesNotExist" => name.is_empty(),
        "In" => !name.is_empty() && values.contains(&name),
        "NotIn" => name.is_empty() || !values.contains(&name),
        _ => false,
    }
}

fn has_deadline(spec: &Value) -> bool {
    spec.get("activeDeadlineSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds >= 0)
}

/// No container asks for or limits processor or memory.
fn is_best_effort(spec: &Value) -> bool {
    let sets = |of: &Value, which: &str| {
        let map = of.pointer(&format!("/resources/{which}")).and_then(Value::as_object);
        map.into_iter()
            .flatten()
            .any(|(name, amount)| matches!(name.as_str(), "cpu" | "memory") && !matches!(amount.as_str(), Some("0")))
    };
    let asks = |of: &Value| sets(of, "requests") || sets(of, "limits");
    let mut containers =
        ["/initContainers", "/containers", "/ephemeralContainers"].into_iter().flat_map(|l| items(spec, l));
    !asks(spec) && !containers.any(asks)
}

fn crosses_namespaces(spec: &Value) -> bool {
    let crosses = |term: &Value| {
        items(term, "/namespaces").next().is_some() || term.get("namespaceSelector").is_some_and(|s| !s.is_null())
    };
    ["podAffinity", "podAntiAffinity"].into_iter().any(|kind| {
        let field = |name: &str| format!("/affinity/{kind}/{name}DuringSchedulingIgnoredDuringExecution");
        let preferred = items(spec, &field("preferred")).filter_map(|weighted| weighted.get("podAffinityTerm"));
        items(spec, &field("required")).any(crosses) || preferred.into_iter().any(crosses)
    })
}
