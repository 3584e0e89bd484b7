//! `PodSecurity`: the Pod Security Standards, by labels of the namespace: `enforce` refuses pods, `warn` and `audit`
//! speak up, also about the templates of controllers.
//! Source: <https://kubernetes.io/docs/concepts/security/pod-security-standards/>

mod checks;
mod policy;

use pilothouse_api::Status;
use serde_json::Value;

use super::object::all_containers;
use super::{Context, Notes, Operation, Plugin, Request};
use crate::{name_of, text};
use policy::{Level, Policy, Standard};

pub(super) const PLUGIN: Plugin = Plugin { name: "PodSecurity", admit: None, validate: Some(validate) };

/// A namespace's new level is tried on no more of its pods than this.
const MAX_PODS_CHECKED: usize = 3000;

/// Group, resource, where the pod template is.
const TEMPLATES: &[(&str, &str, &str)] = &[
    ("", "podtemplates", "/template"),
    ("", "replicationcontrollers", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("apps", "deployments", "/spec/template"),
    ("apps", "replicasets", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
    ("batch", "jobs", "/spec/template"),
];

fn validate(context: &Context<'_>, request: &Request, notes: &mut Notes) -> Result<(), Status> {
    if !matches!(request.operation, Operation::Create | Operation::Update) {
        return Ok(());
    }
    let Some(object) = &request.object else { return Ok(()) };
    if request.is("", "namespaces") {
        return namespace(context, request, object, notes);
    }
    if request.group.is_empty() && request.resource == "pods" {
        return pod(context, request, object, notes);
    }
    if !request.subresource.is_empty() {
        return Ok(());
    }
    let template =
        TEMPLATES.iter().find(|(group, resource, _)| *group == request.group && *resource == request.resource);
    if let Some(template) = template.and_then(|(_, _, pointer)| object.pointer(pointer)).filter(|t| t.is_object()) {
        let policy = policy_of(context, request);
        speak(&policy, template, notes);
    }
    Ok(())
}

fn policy_of(context: &Context<'_>, request: &Request) -> Policy {
    let namespace = context.reader.get("namespaces", "", &request.namespace);
    Policy::of(namespace.as_deref().unwrap_or(&Value::Null)).0
}

fn pod(context: &Context<'_>, request: &Request, pod: &Value, notes: &mut Notes) -> Result<(), Status> {
    if !matches!(request.subresource.as_str(), "" | "ephemeralcontainers" | "resize") {
        return Ok(());
    }
    if let Some(old) = &request.old
        && !significant(pod, old)
    {
        return Ok(());
    }
    let policy = policy_of(context, request);
    notes.audit.push(("pod-security.kubernetes.io/enforce-policy".into(), policy.enforce.to_string()));
    let found = violations(policy.enforce, pod);
    if !found.is_empty() {
        audit(&policy, pod, notes);
        return Err(request.forbidden(&format!("violates PodSecurity \"{}\": {found}", policy.enforce)));
    }
    speak(&policy, pod, notes);
    Ok(())
}

fn audit(policy: &Policy, pod: &Value, notes: &mut Notes) {
    let found = violations(policy.audit, pod);
    if !found.is_empty() {
        let text = format!("would violate PodSecurity \"{}\": {found}", policy.audit);
        notes.audit.push(("pod-security.kubernetes.io/audit-violations".into(), text));
    }
}

/// What warns and is noted but not refused.
fn speak(policy: &Policy, pod: &Value, notes: &mut Notes) {
    audit(policy, pod, notes);
    let found = violations(policy.warn, pod);
    if !found.is_empty() {
        notes.warnings.push(format!("would violate PodSecurity \"{}\": {found}", policy.warn));
    }
}

/// `REASON (DETAIL), REASON (DETAIL)`, empty for a pod that keeps the standard.
fn violations(standard: Standard, pod: &Value) -> String {
    let found = checks::run(standard, pod);
    let texts: Vec<String> = found.iter().map(|v| format!("{} ({})", v.reason, v.detail)).collect();
    texts.join(", ")
}

/// Only new images or new containers make an update worth a check: nothing else of a pod can change.
fn significant(new: &Value, old: &Value) -> bool {
    let images = |pod: &Value| -> Vec<(String, String)> {
        let spec = pod.get("spec").unwrap_or(&Value::Null);
        all_containers(spec).map(|c| (text(c, "/name").to_owned(), text(c, "/image").to_owned())).collect()
    };
    images(new) != images(old)
}

/// Bad labels are refused when they are new; a stricter level warns about the pods that are there.
fn namespace(context: &Context<'_>, request: &Request, object: &Value, notes: &mut Notes) -> Result<(), Status> {
    let (new, errors) = Policy::of(object);
    let old = request.old.as_deref().map(Policy::of);
    if !errors.is_empty() && old.as_ref().is_none_or(|(_, known)| *known != errors) {
        return Err(Status::invalid("", "Namespace", name_of(object), &errors));
    }
    let Some((old, _)) = old else { return Ok(()) };
    let stricter = new.enforce != old.enforce
        && new.enforce.level != Level::Privileged
        && (new.enforce.minor != old.enforce.minor || new.enforce.level > old.enforce.level);
    if stricter {
        notes.warnings.extend(existing(context, name_of(object), new.enforce));
    }
    Ok(())
}

fn existing(context: &Context<'_>, namespace: &str, enforce: Standard) -> Vec<String> {
    let pods = context.reader.list("pods", Some(namespace));
    let mut warnings = Vec::new();
    if pods.len() > MAX_PODS_CHECKED {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {MAX_PODS_CHECKED} of {} existing pods",
            pods.len()
        ));
    }
    // Reasons → the pods they hold for, sorted.
    let mut by_reason: std::collections::BTreeMap<String, Vec<String>> = std::collections::BTreeMap::new();
    for pod in pods.iter().take(MAX_PODS_CHECKED) {
        let reasons: Vec<String> = checks::run(enforce, pod).into_iter().map(|v| v.reason).collect();
        if !reasons.is_empty() {
            by_reason.entry(reasons.join(", ")).or_default().push(name_of(pod).to_owned());
        }
    }
    if by_reason.is_empty() {
        return warnings;
    }
    warnings.push(format!(
        "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level \"{enforce}\""
    ));
    let mut texts: Vec<String> = by_reason
        .into_iter()
        .map(|(reason, mut pods)| {
            pods.sort();
            let first = pods.first().map_or("", String::as_str);
            match pods.len() {
                1 => format!("{first}: {reason}"),
                2 => format!("{first} (and 1 other pod): {reason}"),
                many => format!("{first} (and {} other pods): {reason}", many - 1),
            }
        })
        .collect();
    texts.sort();
    warnings.extend(texts);
    warnings
}
