//! `LimitRanger`: a namespace's defaults and bounds for what its containers, pods and claims ask for.
//! Source: <https://kubernetes.io/docs/concepts/policy/limit-range/>

use pilothouse_api::Status;
use pilothouse_api::quantity::Quantity;
use pilothouse_api::resources::{Resources, of_containers, quantities};
use serde_json::{Value, json};

use super::object::{containers, items, map_at};
use super::{Context, Notes, Plugin, Request};
use crate::text;

pub(super) const PLUGIN: Plugin = Plugin { name: "LimitRanger", admit: Some(admit), validate: Some(validate) };

/// The limits of a namespace, in the order of the ranges' names.
fn limits(context: &Context<'_>, request: &Request) -> Vec<Value> {
    let ranges = context.reader.list("limitranges", Some(&request.namespace));
    ranges.iter().flat_map(|range| items(range, "/spec/limits").cloned()).collect()
}

fn admit(context: &Context<'_>, request: &mut Request) -> Result<(), Status> {
    if !request.creates("", "pods") {
        return Ok(());
    }
    let limits = limits(context, request);
    let Some(pod) = &mut request.object else { return Ok(()) };
    let mut said: Vec<String> = Vec::new();
    for limit in limits.iter().filter(|limit| text(limit, "/type") == "Container") {
        for (words, field) in [("container", "containers"), ("init container", "initContainers")] {
            let list = pod.pointer_mut(&format!("/spec/{field}")).and_then(Value::as_array_mut);
            for container in list.into_iter().flatten() {
                let name = text(container, "/name").to_owned();
                for (kind, defaults) in [("request", "defaultRequest"), ("limit", "default")] {
                    let set = fill(container, &format!("{kind}s"), limit.get(defaults));
                    if !set.is_empty() {
                        said.push(format!("{} {kind} for {words} {name}", set.join(", ")));
                    }
                }
            }
        }
    }
    if !said.is_empty() {
        let text = format!("LimitRanger plugin set: {}", said.join("; "));
        map_at(pod, &["metadata", "annotations"]).insert("kubernetes.io/limit-ranger".into(), json!(text));
    }
    Ok(())
}

/// Sets what the container does not set itself; gives the names, sorted.
fn fill(container: &mut Value, which: &str, defaults: Option<&Value>) -> Vec<String> {
    let Some(defaults) = defaults.and_then(Value::as_object).filter(|map| !map.is_empty()) else {
        return Vec::new();
    };
    let known = map_at(container, &["resources", which]);
    let missing: Vec<_> = defaults.iter().filter(|(name, _)| !known.contains_key(*name)).collect();
    for (name, value) in &missing {
        known.insert((*name).clone(), Value::clone(value));
    }
    missing.into_iter().map(|(name, _)| name.clone()).collect()
}

fn validate(context: &Context<'_>, request: &Request, _: &mut Notes) -> Result<(), Status> {
    let pod = request.creates("", "pods") || resizes(request);
    let claim = request.creates("", "persistentvolumeclaims") || request.updates("", "persistentvolumeclaims");
    let ends = request.old.as_ref().is_some_and(|old| !text(old, "/metadata/deletionTimestamp").is_empty());
    let Some(object) = request.object.as_ref().filter(|_| (pod || claim) && !ends) else { return Ok(()) };
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let mut errors = Vec::new();
    for limit in limits(context, request) {
        let kind = text(&limit, "/type");
        match kind {
            "Container" if pod => {
                for container in containers(spec) {
                    let of = |which: &str| quantities(container.pointer(&format!("/resources/{which}")));
                    errors.extend(check(&limit, &of("requests"), &of("limits")));
                }
            }
            "Pod" if pod => {
                errors.extend(check(&limit, &of_containers(spec, "requests"), &of_containers(spec, "limits")));
            }
            "PersistentVolumeClaim" if claim => {
                errors.extend(check_claim(&limit, &quantities(spec.pointer("/resources/requests"))));
            }
            _ => {}
        }
    }
    let mut unique: Vec<String> = Vec::new();
    for error in errors {
        if !unique.contains(&error) {
            unique.push(error);
        }
    }
    match unique.as_slice() {
        [] => Ok(()),
        [one] => Err(request.forbidden(one)),
        many => Err(request.forbidden(&format!("[{}]", many.join(", ")))),
    }
}

fn resizes(request: &Request) -> bool {
    request.group.is_empty() && request.resource == "pods" && request.subresource == "resize"
}

fn check(limit: &Value, requests: &Resources, limits: &Resources) -> Vec<String> {
    let kind = text(limit, "/type");
    let mut errors = Vec::new();
    for (name, min) in quantities(limit.get("min")) {
        let must = format!("minimum {name} usage per {kind} is {min}");
        match (requests.get(&name), limits.get(&name)) {
            (None, _) => errors.push(format!("{must}.  No request is specified")),
            (Some(request), _) if *request < min => errors.push(format!("{must}, but request is {request}")),
            (_, Some(limit)) if *limit < min => errors.push(format!("{must}, but limit is {limit}")),
            _ => {}
        }
    }
    for (name, max) in quantities(limit.get("max")) {
        let must = format!("maximum {name} usage per {kind} is {max}");
        match (requests.get(&name), limits.get(&name)) {
            (_, None) => errors.push(format!("{must}.  No limit is specified")),
            (_, Some(limit)) if *limit > max => errors.push(format!("{must}, but limit is {limit}")),
            (Some(request), _) if *request > max => errors.push(format!("{must}, but request is {request}")),
            _ => {}
        }
    }
    for (name, ratio) in quantities(limit.get("maxLimitRequestRatio")) {
        let must = format!("{name} max limit to request ratio per {kind} is {ratio}");
        let positive = |of: &Resources| of.get(&name).copied().filter(|quantity| *quantity != Quantity::default());
        match (positive(requests), positive(limits)) {
            (None, _) => errors.push(format!("{must}, but no request is specified or request is 0")),
            (_, None) => errors.push(format!("{must}, but no limit is specified or limit is 0")),
            (Some(request), Some(limit)) => {
                let actual = limit.milli() as f64 / request.milli().max(1) as f64;
                if actual * 1000.0 > ratio.milli() as f64 {
                    errors.push(format!("{must}, but provided ratio is {actual:.6}"));
                }
            }
        }
    }
    errors
}

/// Claims have no limits, only requests.
fn check_claim(limit: &Value, requests: &Resources) -> Vec<String> {
    let mut errors = Vec::new();
    for (bound, field) in [("minimum", "min"), ("maximum", "max")] {
        for (name, wanted) in quantities(limit.get(field)) {
            let must = format!("{bound} {name} usage per PersistentVolumeClaim is {wanted}");
            match requests.get(&name) {
                None => errors.push(format!("{must}.  No request is specified")),
                Some(request) if (field == "min" && *request < wanted) || (field == "max" && *request > wanted) => {
                    errors.push(format!("{must}, but request is {request}"));
                }
                Some(_) => {}
            }
        }
    }
    errors
}
