//! LimitRange. Source: <https://kubernetes.io/docs/concepts/policy/limit-range/>

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    quantity::Quantity,
};
use serde_json::Value;

use crate::{
    checks::canonical_quantities,
    strategy::Strategy,
    value::{Look, bare, child, items},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    default,
    validate,
    validate_update: |new, _, errors| validate(new, errors),
    create_on_update: true,
    ..Strategy::PLAIN
};

const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

/// For containers the maximum is the default limit, and that (or the minimum) the default request.
fn default(range: &mut Value) {
    for item in items(range, "spec.limits") {
        if item.get("type").and_then(Value::as_str) == Some("Container") {
            let of = |item: &serde_json::Map<String, Value>, key: &str| {
                item.get(key).and_then(Value::as_object).cloned().unwrap_or_default()
            };
            let limits = child(item, "default").clone();
            let max = of(item, "max");
            let limits: serde_json::Map<String, Value> = max.into_iter().chain(limits).collect();
            let requests = child(item, "defaultRequest").clone();
            let min = of(item, "min");
            let requests: serde_json::Map<String, Value> =
                min.into_iter().chain(limits.clone()).chain(requests).collect();
            item.insert("default".into(), limits.into());
            item.insert("defaultRequest".into(), requests.into());
        }
        for list in LISTS {
            canonical_quantities(item.get_mut(list));
        }
    }
}

fn validate(range: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec").child("limits");
    let mut seen = Vec::new();
    for (index, item) in range.list("spec.limits").iter().enumerate() {
        let (kind, path) = (item.text("type"), path.index(index));
        if !kind.contains('/') && !matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim") {
            let detail = "must be a standard limit type or fully qualified";
            errors.push(Error::invalid(path.child("type"), kind, detail));
        }
        if seen.contains(&kind) {
            errors.push(Error::duplicate(path.child("type"), kind));
        }
        seen.push(kind);
        if kind == "Pod" {
            for key in ["default", "defaultRequest"] {
                if item.entries(key).next().is_some() {
                    errors.push(Error::forbidden(path.child(key), "may not be specified when `type` is 'Pod'"));
                }
            }
        }
        if kind == "PersistentVolumeClaim" && !item.has("min.storage") && !item.has("max.storage") {
            let detail = "either minimum or maximum storage value is required, but neither was provided";
            errors.push(Error::required(path.child("limits"), detail));
        }
        compare(item, &path, errors);
    }
}

/// Bounds and defaults of each resource are in order.
fn compare(item: &Value, path: &Path, errors: &mut ErrorList) {
    let mut names: Vec<&str> = LISTS.iter().flat_map(|list| item.entries(list).map(|(name, _)| name)).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        // A pod's defaults are refused as such; they are not compared.
        let ignored = |list: &str| item.text("type") == "Pod" && list.starts_with("default");
        let parse = |list: &str| item.at(list).get(name).and_then(|v| Quantity::parse(&bare(v)).ok());
        let get = |list: &str| if ignored(list) { None } else { parse(list) };
        let mut above = |low: Option<Quantity>, high: Option<Quantity>, at: &str, text: &str, high_text: &str| {
            if let (Some(low), Some(high)) = (low, high)
                && low > high
            {
                let value = if at == "default" || at == "min" { low } else { get(at).unwrap_or_default() };
                let detail = format!("{text} value {low} is greater than {high_text} value {high}");
                errors.push(Error::invalid(path.child(at).key(name), value.to_string(), detail));
            }
        };
        let (min, max, limit, request) = (get("min"), get("max"), get("default"), get("defaultRequest"));
        above(min, max, "min", "min", "max");
        above(min, request, "defaultRequest", "min", "default request");
        above(request, max, "defaultRequest", "default request", "max");
        above(request, limit, "defaultRequest", "default request", "default limit");
        above(min, limit, "default", "min", "default");
        above(limit, max, "default", "default", "max");
        if let Some(ratio) = get("maxLimitRequestRatio").filter(|ratio| ratio.milli() < 1000) {
            let detail = format!("ratio {ratio} is less than 1");
            errors.push(Error::invalid(path.child("maxLimitRequestRatio").key(name), ratio.to_string(), detail));
        }
    }
}
