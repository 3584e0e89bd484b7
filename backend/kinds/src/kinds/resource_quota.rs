//! ResourceQuota. Source: <https://kubernetes.io/docs/concepts/policy/resource-quotas/>

use std::collections::BTreeSet;

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    quantity::Quantity,
};
use serde_json::Value;

use super::pod;
use crate::{
    checks::{IMMUTABLE, canonical_quantities},
    columns::{AGE, Column, NAME, age, name},
    strategy::Strategy,
    value::{Look, bare, dig},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    default: |quota| {
        for path in ["spec.hard", "status.hard", "status.used"] {
            canonical_quantities(dig(quota, path));
        }
    },
    validate,
    validate_update,
    validate_status_update: |new, _, errors| {
        for key in ["hard", "used"] {
            let path = Path::new("status").child(key);
            pod::resource_list(new.at("status").at(key), &path, resource_name, errors);
        }
    },
    warn,
    columns: &[NAME, Column::text("Request"), Column::text("Limit"), AGE],
    row,
    ..Strategy::PLAIN
};

const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];
/// Resources with plain names that a quota can limit.
const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];
/// Those a quota on best-effort pods can limit.
const BEST_EFFORT: &[&str] = &["pods"];

fn warn(quota: &Value, old: Option<&Value>, warnings: &mut Vec<String>) {
    if old.is_some() {
        return;
    }
    let hard = quota.at("spec.hard");
    let get = |name: &str| Quantity::parse(&bare(hard.get(name)?)).ok();
    for resource in ["cpu", "memory", "storage", "ephemeral-storage"] {
        let mut request = format!("requests.{resource}");
        if hard[&request].is_null() && matches!(resource, "cpu" | "memory") {
            resource.clone_into(&mut request);
        }
        let limit = format!("limits.{resource}");
        if let (Some(asked), Some(most)) = (get(&request), get(&limit))
            && asked.nano() > most.nano()
        {
            warnings.push(format!("ResourceQuota {request} ({asked}) should be less than {limit} ({most})"));
        }
    }
}

fn row(quota: &Value, now: Timestamp) -> Vec<Value> {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (resource, hard) in quota.entries("status.hard") {
        let used = quota.at("status.used").get(resource).map_or("0".into(), bare);
        let text = format!("{resource}: {used}/{}", bare(hard));
        if resource.starts_with("limits.") { limits.push(text) } else { requests.push(text) }
    }
    vec![name(quota), requests.join(", ").into(), limits.join(", ").into(), age(quota, now)]
}

fn resource_name(name: &str, path: &Path, errors: &mut ErrorList) {
    pod::resource_name(name, path, errors);
    let huge = name.starts_with("hugepages-") || name.starts_with("requests.hugepages-");
    if !name.contains('/') && !STANDARD.contains(&name) && !huge {
        errors.push(Error::invalid(path.clone(), name, "must be a standard resource for quota"));
    }
}

fn validate(quota: &Value, errors: &mut ErrorList) {
    let (spec, path) = (quota.at("spec"), Path::new("spec"));
    pod::resource_list(spec.at("hard"), &path.child("hard"), resource_name, errors);
    let hard: Vec<&str> = spec.entries("hard").map(|(name, _)| name).collect();
    let scopes: Vec<&str> = spec.texts("scopes").collect();
    let at = path.child("scopes");
    check_scopes(&scopes, &hard, spec.at("scopes"), &at, &at, errors);
    let selected = spec.at("scopeSelector.matchExpressions");
    let at = path.child("scopeSelector").child("matchExpressions");
    let names: Vec<&str> = selected.as_array().into_iter().flatten().map(|r| r.text("scopeName")).collect();
    check_scopes(&names, &hard, spec.at("scopeSelector"), &at.child("scopeName"), &at, errors);
    for requirement in selected.as_array().into_iter().flatten() {
        scope_requirement(requirement, &at, errors);
    }
}

fn check_scopes(scopes: &[&str], hard: &[&str], shown: &Value, name_path: &Path, path: &Path, errors: &mut ErrorList) {
    for scope in scopes {
        if !SCOPES.contains(scope) {
            let value = if name_path == path { shown.clone() } else { (*scope).into() };
            errors.push(Error::invalid(name_path.clone(), value, "unsupported scope"));
        }
        let fits = |resource: &&&str| match *scope {
            "BestEffort" => BEST_EFFORT.contains(*resource),
            "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" => is_of_pods(resource),
            _ => true,
        };
        if hard.iter().any(|resource| STANDARD.contains(resource) && !fits(&resource)) {
            errors.push(Error::invalid(path.clone(), shown.clone(), "unsupported scope applied to resource"));
        }
    }
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if scopes.contains(&one) && scopes.contains(&other) {
            errors.push(Error::invalid(path.clone(), shown.clone(), "conflicting scopes"));
        }
    }
}

fn is_of_pods(resource: &str) -> bool {
    let compute = ["cpu", "memory", "ephemeral-storage"];
    let bare = resource.strip_prefix("requests.").or_else(|| resource.strip_prefix("limits.")).unwrap_or(resource);
    resource == "pods" || compute.contains(&bare)
}

fn scope_requirement(requirement: &Value, path: &Path, errors: &mut ErrorList) {
    let (scope, operator) = (requirement.text("scopeName"), requirement.text("operator"));
    if matches!(scope, "BestEffort" | "NotBestEffort" | "Terminating" | "NotTerminating" | "CrossNamespacePodAffinity")
        && operator != "Exists"
    {
        let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
        errors.push(Error::invalid(path.child("operator"), operator, detail));
    }
    let values = requirement.list("values");
    match operator {
        "In" | "NotIn" if values.is_empty() => {
            let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
            errors.push(Error::required(path.child("values"), detail));
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
            errors.push(Error::invalid(path.child("values"), requirement.at("values").clone(), detail));
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        other => errors.push(Error::invalid(path.child("operator"), other, "not a valid selector operator")),
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    validate(new, errors);
    let scopes = |quota: &Value| {
        let all: BTreeSet<String> = quota.texts("spec.scopes").map(str::to_owned).collect();
        all
    };
    if scopes(new) != scopes(old) {
        let path = Path::new("spec").child("scopes");
        errors.push(Error::invalid(path, new.at("spec.scopes").clone(), IMMUTABLE));
    }
}
