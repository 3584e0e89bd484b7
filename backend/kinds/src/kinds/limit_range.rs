//! LimitRange. Source: <https://kubernetes.io/docs/concepts/policy/limit-range/>

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
    quantity::Quantity,
};
use serde_json::Value;

use super::pod::{self, container_resource_name, resource_name};
use crate::{
    checks::{canonical_quantities, push_all},
    strategy::Strategy,
    value::{Look, MapExt, bare, child, items},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    default,
    validate,
    validate_update: |new, _, errors| validate(new, errors),
    prepare_create: |range| {
        // The only kind that names itself.
        let uid = range.at("metadata.uid").clone();
        crate::value::object(range, "metadata").or_set("name", uid);
    },
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
        type_name(kind, &path.child("type"), errors);
        if seen.contains(&kind) {
            errors.push(Error::duplicate(path.child("type"), kind));
        }
        seen.push(kind);
        let rule = if matches!(kind, "Pod" | "Container") { container_resource_name } else { resource_name };
        for list in LISTS {
            if kind == "Pod" && list.starts_with("default") {
                if item.entries(list).next().is_some() {
                    errors.push(Error::forbidden(path.child(list), "may not be specified when `type` is 'Pod'"));
                }
                continue;
            }
            for (name, _) in item.entries(list) {
                rule(name, &path.child(list).key(name), errors);
            }
        }
        if kind == "PersistentVolumeClaim" && !item.has("min.storage") && !item.has("max.storage") {
            let detail = "either minimum or maximum storage value is required, but neither was provided";
            errors.push(Error::required(path.child("limits"), detail));
        }
        compare(item, &path, errors);
    }
}

fn type_name(kind: &str, path: &Path, errors: &mut ErrorList) {
    let wrong = names::is_qualified_name(kind);
    if !wrong.is_empty() {
        push_all(wrong, kind, path, errors);
    } else if !kind.contains('/') && !matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim") {
        errors.push(Error::invalid(path.clone(), kind, "must be a standard limit type or fully qualified"));
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
        let mut wrong = |at: &str, value: Quantity, detail: String| {
            errors.push(Error::invalid(path.child(at).key(name), value.to_string(), detail));
        };
        let (min, max, limit, request) = (get("min"), get("max"), get("default"), get("defaultRequest"));
        let ratio = get("maxLimitRequestRatio");
        let above = |low: Option<Quantity>, high: Option<Quantity>| low.zip(high).filter(|(low, high)| low > high);
        if let Some((min, max)) = above(min, max) {
            wrong("min", min, format!("min value {min} is greater than max value {max}"));
        }
        if let Some((min, request)) = above(min, request) {
            let detail = format!("min value {min} is greater than default request value {request}");
            wrong("defaultRequest", request, detail);
        }
        if let Some((request, max)) = above(request, max) {
            wrong(
                "defaultRequest",
                request,
                format!("default request value {request} is greater than max value {max}"),
            );
        }
        if let Some((request, limit)) = above(request, limit) {
            let detail = format!("default request value {request} is greater than default limit value {limit}");
            wrong("defaultRequest", request, detail);
        }
        if let Some((min, limit)) = above(min, limit) {
            wrong("default", min, format!("min value {min} is greater than default value {limit}"));
        }
        if let Some((limit, max)) = above(limit, max) {
            wrong("default", max, format!("default value {limit} is greater than max value {max}"));
        }
        if let Some(ratio) = ratio.filter(|ratio| ratio.milli() < 1000) {
            wrong("maxLimitRequestRatio", ratio, format!("ratio {ratio} is less than 1"));
        }
        if let (Some(ratio), Some(min), Some(max)) = (ratio, min, max) {
            let bound = float(max.milli()) / float(min.milli());
            if float(ratio.milli()) / 1000.0 > bound {
                let shown = if bound.is_infinite() { "-Inf".to_owned() } else { format!("{bound:.6}") };
                wrong("maxLimitRequestRatio", ratio, format!("ratio {ratio} is greater than max/min = {shown}"));
            }
        }
        if let (Some(limit), Some(request)) = (limit, request)
            && limit != request
            && !pod::is_overcommit_allowed(name)
        {
            let detail = format!("default value {limit} must equal to defaultRequest value {request} in {name}");
            wrong("defaultRequest", request, detail);
        }
    }
}

/// Precise enough for a ratio that is shown.
#[allow(clippy::cast_precision_loss)]
fn float(number: i128) -> f64 {
    number as f64
}
