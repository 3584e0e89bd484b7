//! The summary of any object: what it is, who owns it, what it holds, its conditions and its latest events.

use leptos::prelude::*;
use serde_json::Value;

use crate::api::discovery::Resource;
use crate::api::live::Query;
use crate::app::{App, app};
use crate::components::events;
use crate::components::facts::{age, chips, conditions, fact, fact_if};
use crate::components::icon::icon;
use crate::components::table::{ACCEPT, Model, ResourceTable};
use crate::model::json::{self, at, list, pairs, scalar, text};
use crate::model::nav::plural_title;
use crate::pages::object::{Subject, selector_text};
use crate::routes::Route;

/// Values longer than this are folded.
const LONG_VALUE: usize = 160;

pub fn summary(subject: &Subject) -> impl IntoView + use<> {
    let (shown, object) = (subject.clone(), subject.object);
    let body = move || {
        let object = object.get();
        // What a kind has of its own stands on the right; of one that has nothing but scalars, these.
        let alone = list(&object, "status/conditions").is_empty()
            && ["data", "stringData", "rules", "roleRef"].iter().all(|part| at(&object, part).is_null());
        let (left, right) =
            if alone { (().into_any(), spec_card(&object)) } else { (spec_card(&object), ().into_any()) };
        view! {
            <div class="columns">
                <div class="column">{about(&object, &[])}{left}</div>
                <div class="column">{right}{conditions(&object)}{data_card(&object)}{rules_card(&object)}</div>
            </div>
        }
    };
    view! { {body}{related(&shown)}{latest_events(subject)} }
}

/// Metadata, with the owner as a link, and facts of the kind's own.
pub fn about(object: &Value, more: &[(&'static str, String)]) -> AnyView {
    let app = app();
    let owners =
        list(object, "metadata/ownerReferences").iter().map(|owner| owner_link(app, object, owner)).collect_view();
    let has_owner = !list(object, "metadata/ownerReferences").is_empty();
    let involved = at(object, "involvedObject");
    let regarding = involved.is_object().then(|| fact("Regarding", owner_link(app, object, involved)));
    let annotations: Vec<_> = pairs(object, "metadata/annotations")
        .into_iter()
        .filter(|(key, _)| key != "kubectl.kubernetes.io/last-applied-configuration")
        .collect();
    let finalizers = list(object, "metadata/finalizers").iter().map(scalar).collect::<Vec<_>>().join(", ");
    view! {
        <section class="card">
            <h3>"About"</h3>
            <dl class="facts">
                {more.iter().map(|(name, value)| fact_if(name, value)).collect_view()}
                {has_owner.then(|| fact("Owned by", owners))}
                {regarding}
                {fact("Age", age(text(object, "metadata/creationTimestamp")))}
                {fact("Labels", chips(&pairs(object, "metadata/labels")))}
                {(!annotations.is_empty()).then(|| fact("Annotations", chips(&annotations)))}
                {fact_if("Finalizers", &finalizers)}
            </dl>
        </section>
    }
    .into_any()
}

pub fn owner_link(app: App, object: &Value, owner: &Value) -> AnyView {
    let (kind, name) = (text(owner, "kind").to_owned(), text(owner, "name").to_owned());
    let label = format!("{kind} {name}");
    let resource = app.discovery.with(|discovery| discovery.by_kind(text(owner, "apiVersion"), &kind));
    match resource {
        Some(resource) => {
            let namespace = if resource.namespaced { json::namespace(object) } else { "" };
            view! { <a href=Route::object(&resource.group_resource(), namespace, &name).href()>{label}</a> }.into_any()
        }
        None => label.into_any(),
    }
}

/// The scalars of the spec and the status, so that every kind says something of itself.
fn spec_card(object: &Value) -> AnyView {
    let mut facts: Vec<(String, String)> = Vec::new();
    for part in ["spec", "status", ""] {
        let Some(map) = at(object, part).as_object() else { continue };
        for (key, value) in map {
            let known = part.is_empty()
                && matches!(
                    key.as_str(),
                    "apiVersion"
                        | "kind"
                        | "metadata"
                        | "data"
                        | "binaryData"
                        | "stringData"
                        | "rules"
                        | "spec"
                        | "status"
                );
            let shown = match value {
                Value::Object(_) | Value::Null => String::new(),
                Value::Array(items) if items.iter().all(|item| !item.is_object()) => {
                    items.iter().map(scalar).collect::<Vec<_>>().join(", ")
                }
                Value::Array(items) => format!("{} entries", items.len()),
                other => scalar(other),
            };
            if !known && !shown.is_empty() && key != "conditions" && key != "observedGeneration" {
                facts.push((key.clone(), shown));
            }
        }
    }
    let ports = list(object, "spec/ports").iter().map(port_words).collect::<Vec<_>>();
    if !ports.is_empty() {
        facts.retain(|(key, _)| key != "ports");
        facts.push(("ports".into(), ports.join(", ")));
    }
    let selector = selector_text(object);
    if !selector.is_empty() {
        facts.push(("selector".into(), selector));
    }
    if facts.is_empty() {
        return ().into_any();
    }
    let row = |(name, value): (String, String)| view! { <div class="fact"><dt>{name}</dt><dd>{value}</dd></div> };
    view! { <section class="card"><h3>"Details"</h3><dl class="facts">{facts.into_iter().map(row).collect_view()}</dl></section> }.into_any()
}

fn port_words(port: &Value) -> String {
    let (target, node) = (scalar(at(port, "targetPort")), scalar(at(port, "nodePort")));
    let mut words = scalar(at(port, "port"));
    if !target.is_empty() {
        words = format!("{words} → {target}");
    }
    if !node.is_empty() {
        words = format!("{words}, on every node {node}");
    }
    match text(port, "name") {
        "" => words,
        name => format!("{name}: {words}"),
    }
}

/// The entries of ConfigMaps and Secrets; a Secret's values stay covered until asked for.
fn data_card(object: &Value) -> AnyView {
    let secret = text(object, "kind") == "Secret";
    let entries: Vec<(String, String)> = pairs(object, "data").into_iter().chain(pairs(object, "stringData")).collect();
    if entries.is_empty() {
        return ().into_any();
    }
    let entry = move |(key, value): (String, String)| {
        let value = if secret { decode(&value) } else { value };
        let open = RwSignal::new(!secret && value.len() <= LONG_VALUE);
        let (size, copy) = (value.len(), value.clone());
        view! {
            <div class="entry">
                <div class="entry-head"><b>{key}</b><span class="dim">{format!("{size} bytes")}</span><span class="grow"></span>
                    <button class="link" on:click=move |_| open.update(|open| *open = !*open)>{move || if open.get() { "Hide" } else { "Show" }}</button>
                    <button class="button icon-only quiet" aria-label="Copy" on:click=move |_| crate::browser::copy(&copy)>{icon("copy")}</button>
                </div>
                {move || open.get().then(|| view! { <pre tabindex="0">{value.clone()}</pre> })}
            </div>
        }
    };
    view! { <section class="card"><h3>"Data"</h3>{entries.into_iter().map(entry).collect_view()}</section> }.into_any()
}

/// Base64 as text; what is not text stays as it is.
fn decode(value: &str) -> String {
    let window = crate::browser::window();
    let binary = window.and_then(|window| window.atob(value).ok()).unwrap_or_else(|| value.to_owned());
    let bytes: Vec<u8> = binary.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
    String::from_utf8(bytes).unwrap_or_else(|_| value.to_owned())
}

/// What a role allows, or whom a binding names.
fn rules_card(object: &Value) -> AnyView {
    let words = |value: &Value, path: &str| list(value, path).iter().map(scalar).collect::<Vec<_>>().join(", ");
    let rules = list(object, "rules");
    let is_role = matches!(text(object, "kind"), "Role" | "ClusterRole");
    let rule = |rule: &Value| {
        let what = if list(rule, "nonResourceURLs").is_empty() {
            words(rule, "resources")
        } else {
            words(rule, "nonResourceURLs")
        };
        let groups = list(rule, "apiGroups")
            .iter()
            .map(|group| if scalar(group).is_empty() { "core".to_owned() } else { scalar(group) })
            .collect::<Vec<_>>()
            .join(", ");
        view! { <tr><td class="wrap">{what}</td><td class="wrap dim">{groups}</td><td class="wrap">{words(rule, "verbs")}</td><td class="wrap dim">{words(rule, "resourceNames")}</td></tr> }
    };
    let rules = (is_role && !rules.is_empty()).then(|| view! {
        <section class="card"><h3>"Rules"</h3><table class="plain"><thead><tr><th>"Resources"</th><th>"Groups"</th><th>"Verbs"</th><th>"Names"</th></tr></thead><tbody>{rules.iter().map(rule).collect_view()}</tbody></table></section>
    });
    let subject = |subject: &Value| view! { <tr><td>{text(subject, "kind").to_owned()}</td><td class="wrap">{text(subject, "name").to_owned()}</td><td class="dim">{text(subject, "namespace").to_owned()}</td></tr> };
    let subjects = text(object, "kind").ends_with("Binding").then(|| {
        let role = at(object, "roleRef");
        let name = text(role, "name").to_owned();
        let (kind, namespace) = if text(role, "kind") == "Role" { ("roles.rbac.authorization.k8s.io", json::namespace(object)) } else { ("clusterroles.rbac.authorization.k8s.io", "") };
        view! {
            <section class="card"><h3>"Binding"</h3><dl class="facts">{fact("Role", view! { <a href=Route::object(kind, namespace, &name).href()>{name.clone()}</a> })}</dl>
            <table class="plain"><thead><tr><th>"Subject"</th><th>"Name"</th><th>"Namespace"</th></tr></thead><tbody>{list(object, "subjects").iter().map(subject).collect_view()}</tbody></table></section>
        }
    });
    view! { {rules}{subjects} }.into_any()
}

/// Live tables of what the object selects.
fn related(subject: &Subject) -> AnyView {
    let app = app();
    let kinds: &[&str] = match subject.resource.kind.as_str() {
        "ReplicaSet" | "StatefulSet" | "DaemonSet" | "ReplicationController" | "Job" | "PodDisruptionBudget" => {
            &["pods"]
        }
        "Service" => &["pods", "endpointslices.discovery.k8s.io"],
        "CronJob" => &["jobs.batch"],
        _ => &[],
    };
    let selector = subject.object.with_untracked(|object| selector_text(object));
    let table = |id: &&str| {
        let resource = app.discovery.with_untracked(|discovery| discovery.get(id))?;
        let selector = match *id {
            "endpointslices.discovery.k8s.io" => format!("kubernetes.io/service-name={}", subject.name),
            _ => selector.clone(),
        };
        (!selector.is_empty()).then(|| table_card(resource, &subject.namespace, &[("labelSelector", &selector)]))
    };
    kinds.iter().map(table).collect_view().into_any()
}

/// A card with a live table of some objects.
pub fn table_card(resource: std::sync::Arc<Resource>, namespace: &str, selectors: &[(&str, &str)]) -> AnyView {
    let title = plural_title(&resource.kind);
    let mut query = Query::new(resource.collection(Some(namespace).filter(|name| !name.is_empty())), ACCEPT);
    for (key, value) in selectors {
        query = query.with(key, value);
    }
    let model = Model::start(resource, query, namespace.is_empty());
    view! { <section class="card card-table" data-testid="related"><h3>{title}<span class="tag">{move || model.rows.len()}</span></h3><ResourceTable model/></section> }.into_any()
}

pub fn latest_events(subject: &Subject) -> impl IntoView + use<> {
    let uid = subject.object.with_untracked(|object| json::uid(object).to_owned());
    let live = events::about(&subject.namespace, &subject.name, &uid);
    view! { <section class="card"><h3>"Recent events"</h3>{events::event_list(live, false, false, 8)}</section> }
}
