//! `ResourceQuota`: a namespace uses no more than it was given.
//!
//! What is used is counted from the watch cache at the moment of the request, plus what was admitted a moment ago and
//! is not in the cache yet (the ledger), so a burst does not slip through. With several backends each has its own
//! ledger: requests of the same moment on two backends may together exceed a quota by what the cache lags.
//!
//! Source: <https://kubernetes.io/docs/concepts/policy/resource-quotas/>

mod ledger;

use std::collections::BTreeSet;

use jiff::Timestamp;
use pilothouse_api::Status;
use pilothouse_api::quota::{scopes, usage};
use pilothouse_api::resources::{Resources, add, quantities};
use serde_json::Value;

use super::object::items;
use super::{Context, Notes, Operation, Plugin, Request};
use crate::{name_of, text};

pub(super) use ledger::Ledger;

pub(super) const PLUGIN: Plugin = Plugin { name: "ResourceQuota", admit: None, validate: Some(validate) };

/// Resources whose every container has to say what it wants when a quota limits them.
const MUST_BE_SET: &[&str] = &["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];

fn validate(context: &Context<'_>, request: &Request, _: &mut Notes) -> Result<(), Status> {
    let resource = pilothouse_api::status::group_resource(&request.group, &request.resource);
    if request.operation == Operation::Delete {
        context.ledger.forget(&resource, &request.namespace, &request.name);
        return Ok(());
    }
    if request.namespace.is_empty() || !counts(&resource, request) {
        return Ok(());
    }
    let Some(object) = &request.object else { return Ok(()) };
    let quotas = context.reader.list("resourcequotas", Some(&request.namespace));
    if quotas.is_empty() {
        return Ok(());
    }
    let mut booked = false;
    // Held until the whole decision is booked: two requests at once see each other.
    let mut ledger = context.ledger.lock();
    for quota in &quotas {
        let Some(wanted) = wanted(quota, &resource, request, object)? else { continue };
        booked = true;
        let hard = quantities(quota.pointer("/spec/hard"));
        let used = used(context, &ledger, quota, &resource, request);
        let exceeded: Vec<&String> = wanted
            .iter()
            .filter(|(name, more)| {
                let total = used.get(*name).copied().unwrap_or_default() + **more;
                hard.get(*name).is_some_and(|limit| total > *limit)
            })
            .map(|(name, _)| name)
            .collect();
        if !exceeded.is_empty() {
            return Err(request.forbidden(&format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                name_of(quota),
                print(&exceeded, &wanted),
                print(&exceeded, &used),
                print(&exceeded, &hard)
            )));
        }
    }
    if booked && !request.dry_run && request.operation == Operation::Create {
        ledger.book(&resource, &request.namespace, &request.name, object.clone(), request.now);
    }
    Ok(())
}

/// The requests that are measured: creations, and updates where the amount can grow.
fn counts(resource: &str, request: &Request) -> bool {
    match (request.operation, request.subresource.as_str()) {
        (Operation::Create, "") => resource != "events" && resource != "events.events.k8s.io",
        (Operation::Update, "") => match resource {
            "persistentvolumeclaims" | "services" => true,
            // With the deadline a pod changes from one scope to the other.
            "pods" => deadline(request.object.as_ref()) != deadline(request.old.as_deref()),
            _ => false,
        },
        (Operation::Update, "resize") => resource == "pods",
        _ => false,
    }
}

fn deadline(pod: Option<&Value>) -> bool {
    pod.is_some_and(|pod| pod.pointer("/spec/activeDeadlineSeconds").is_some_and(|value| !value.is_null()))
}

fn used_by(resource: &str, object: &Value, now: Timestamp) -> Resources {
    usage::of(resource, object, resource == "pods" && is_over(object, now))
}

/// Past the end of its grace period.
fn is_over(pod: &Value, now: Timestamp) -> bool {
    let grace = pod.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64);
    let deleted = text(pod, "/metadata/deletionTimestamp").parse::<Timestamp>();
    match (deleted, grace) {
        (Ok(at), Some(grace)) => now.as_second() > at.as_second().saturating_add(grace),
        _ => false,
    }
}

/// What the request adds to what this quota limits; None when the quota does not concern it.
fn wanted(quota: &Value, resource: &str, request: &Request, object: &Value) -> Result<Option<Resources>, Status> {
    if !scopes::matches(quota, resource, object) {
        return Ok(None);
    }
    let hard: BTreeSet<String> = quantities(quota.pointer("/spec/hard")).into_keys().collect();
    let limited: BTreeSet<&String> = hard.iter().filter(|name| usage::concerns(resource, name)).collect();
    if limited.is_empty() {
        return Ok(None);
    }
    if resource == "pods" {
        must_be_set(quota, &limited, request, object)?;
    }
    let mut delta = used_by(resource, object, request.now);
    if let Some(old) = &request.old
        && scopes::matches(quota, resource, old)
    {
        for (name, before) in used_by(resource, old, request.now) {
            if let Some(now) = delta.get_mut(&name) {
                *now -= before;
            }
        }
    }
    let zero = pilothouse_api::quantity::Quantity::default();
    delta.retain(|name, more| *more > zero && hard.contains(name));
    Ok((!delta.is_empty()).then_some(delta))
}

/// All objects of the resource that the quota covers, with those just admitted.
fn used(
    context: &Context<'_>,
    ledger: &ledger::Booked<'_>,
    quota: &Value,
    resource: &str,
    request: &Request,
) -> Resources {
    let live = context.reader.list(resource, Some(&request.namespace));
    let names: BTreeSet<&str> = live.iter().map(|object| name_of(object)).collect();
    let coming = ledger.coming(resource, &request.namespace, request.now);
    let coming = coming.filter(|(name, _)| !names.contains(name.as_str())).map(|(_, object)| object);
    let mut total = Resources::new();
    for object in live.iter().map(|object| &**object).chain(coming) {
        if scopes::matches(quota, resource, object) {
            add(&mut total, &used_by(resource, object, request.now));
        }
    }
    total
}

fn must_be_set(quota: &Value, limited: &BTreeSet<&String>, request: &Request, pod: &Value) -> Result<(), Status> {
    // A pod that sets resources as a whole has said it for all its containers.
    let whole = |which: &str| pod.pointer(&format!("/spec/resources/{which}")).is_some_and(|map| map.is_object());
    if whole("requests") || whole("limits") {
        return Ok(());
    }
    let mut missing: Vec<String> = Vec::new();
    for resource in limited.iter().filter(|name| MUST_BE_SET.contains(&name.as_str())) {
        let pointer = match resource.split_once('.') {
            Some((which, name)) => format!("/resources/{which}/{name}"),
            None => format!("/resources/requests/{resource}"),
        };
        let containers = items(pod, "/spec/containers").chain(items(pod, "/spec/initContainers"));
        let names: BTreeSet<&str> =
            containers.filter(|c| c.pointer(&pointer).is_none()).map(|c| text(c, "/name")).collect();
        if !names.is_empty() {
            let names: Vec<&str> = names.into_iter().collect();
            missing.push(format!("{resource} for: {}", names.join(",")));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let why = format!("failed quota: {}: must specify {}", name_of(quota), missing.join("; "));
    Err(request.forbidden(&why))
}

/// `pods=1,requests.cpu=500m`
fn print(names: &[&String], of: &Resources) -> String {
    let pair = |name: &&String| format!("{name}={}", of.get(*name).copied().unwrap_or_default());
    names.iter().map(pair).collect::<Vec<_>>().join(",")
}
