//! Asking before a delete, and showing what goes along.

use std::sync::Arc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use serde_json::{Value, json};

use crate::api::call::{Call, namespace_flag};
use crate::api::decode::Key;
use crate::api::discovery::Resource;
use crate::api::http;
use crate::api::mutate::perform;
use crate::app::{App, app};
use crate::components::call::call_details;
use crate::components::dialog::Dialog;
use crate::components::icon::icon;
use crate::components::status::skeleton;
use crate::components::topbar::METADATA;
use crate::model::family::{Dependent, dependents, summary, tree};
use crate::model::json as read;

/// Dependents named one by one; the rest is counted.
const MAX_NAMED: usize = 60;
/// Objects looked through per kind.
const MAX_SEARCHED: u32 = 500;

/// The objects that the collector would delete after this one.
async fn find_dependents(app: App, resource: Arc<Resource>, key: Key) -> Vec<Dependent> {
    let own = http::get_json(resource.object(&key.namespace, &key.name)).await.unwrap_or_default();
    let is_namespace = resource.kind == "Namespace";
    let namespace = if is_namespace { key.name.to_string() } else { key.namespace.to_string() };
    let mut found: Vec<(String, Value)> = Vec::new();
    for name in dependents(&resource.kind) {
        let Some(child) = app.discovery.with_untracked(|discovery| discovery.get(name)) else { continue };
        let path = format!(
            "{}?limit={MAX_SEARCHED}",
            child.collection(Some(&namespace).filter(|name| !name.is_empty()).map(String::as_str))
        );
        let Ok(response) = http::open(&http::get(path), METADATA, None).await else { continue };
        let Ok(body) = http::body(&response).await else { continue };
        let mut list: Value = serde_json::from_slice(&body).unwrap_or_default();
        if let Some(items) = list.get_mut("items").and_then(Value::as_array_mut) {
            found.extend(items.drain(..).map(|item| ((*name).to_owned(), item)));
        }
    }
    if is_namespace {
        return found
            .into_iter()
            .map(|(resource, object)| Dependent { resource, name: read::name(&object).to_owned(), depth: 0 })
            .collect();
    }
    tree(read::uid(&own), &found)
}

fn delete_call(resource: &Resource, key: &Key, orphan: bool) -> Call {
    let policy = if orphan { "Orphan" } else { "Background" };
    let cascade = if orphan { " --cascade=orphan" } else { "" };
    Call::delete(
        &resource.object(&key.namespace, &key.name),
        &json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy }),
    )
    .kubectl(format!(
        "kubectl delete {} {}{}{cascade}",
        resource.group_resource(),
        key.name,
        namespace_flag(&key.namespace)
    ))
}

/// Deletes after asking. `after` runs when all is done, such as leaving the page of what is gone.
#[component]
pub fn DeleteDialog(
    resource: Arc<Resource>,
    targets: Signal<Vec<Key>>,
    open: RwSignal<bool>,
    #[prop(optional)] after: Option<Callback<()>>,
) -> impl IntoView {
    let app = app();
    let title = format!("Delete {}", resource.kind);
    let resource = StoredValue::new(resource);
    let body = move || {
        let keys = targets.get_untracked();
        let orphan = RwSignal::new(false);
        let busy = RwSignal::new(false);
        let found = RwSignal::new(None::<Vec<Dependent>>);
        let first = keys.first().cloned().filter(|_| keys.len() == 1);
        if let Some(key) = first.clone() {
            let resource = resource.get_value();
            spawn_local(async move {
                let list = find_dependents(app, resource, key).await;
                found.try_set(Some(list));
            });
        }
        let along = move || match found.get() {
            None => skeleton(2).into_any(),
            Some(list) if list.is_empty() => view! { <p class="dim">"Nothing else belongs to it."</p> }.into_any(),
            Some(list) => {
                let rest = list.len().saturating_sub(MAX_NAMED);
                let row = |dependent: &Dependent| view! { <li style=format!("padding-left:{}px", dependent.depth * 16)><span class="dim">{dependent.resource.split('.').next().unwrap_or_default().to_owned()}</span>" "{dependent.name.clone()}</li> };
                view! {
                    <p class:struck=move || orphan.get()>"This goes along: "<b>{summary(&list)}</b></p>
                    <ul class="along">{list.iter().take(MAX_NAMED).map(row).collect_view()}{(rest > 0).then(|| view! { <li class="dim">{format!("and {rest} more")}</li> })}</ul>
                }
                .into_any()
            }
        };
        let names = match (&first, keys.len()) {
            (Some(key), _) => view! { <p>"Delete "<b>{key.name.to_string()}</b>{(!key.namespace.is_empty()).then(|| format!(" in namespace {}", key.namespace))}"?"</p> }.into_any(),
            (None, count) => view! { <p>{format!("Delete these {count} objects and what belongs to them?")}</p><ul class="along">{keys.iter().take(MAX_NAMED).map(|key| view! { <li>{if key.namespace.is_empty() { key.name.to_string() } else { format!("{} / {}", key.namespace, key.name) }}</li> }).collect_view()}</ul> }.into_any(),
        };
        let calls = {
            let keys = keys.clone();
            move || {
                call_details(
                    keys.iter()
                        .take(20)
                        .map(|key| resource.with_value(|resource| delete_call(resource, key, orphan.get())))
                        .collect(),
                )
            }
        };
        let act = move |_| {
            busy.set(true);
            let (keys, resource, orphan) = (keys.clone(), resource.get_value(), orphan.get_untracked());
            spawn_local(async move {
                delete_all(app, &resource, &keys, orphan).await;
                busy.try_set(false);
                open.try_set(false);
                if let Some(after) = after {
                    after.run(());
                }
            });
        };
        view! {
            {names}
            {first.is_some().then_some(along)}
            {first.is_some().then(|| view! { <label class="check-line"><input type="checkbox" prop:checked=orphan on:change=move |event| orphan.set(event_target_checked(&event))/>"Keep what belongs to it (orphan)"</label> })}
            {calls}
            <footer>
                <button class="button" on:click=move |_| open.set(false)>"Cancel"</button>
                <button class="button danger" data-testid="delete-confirm" autofocus disabled=move || busy.get() on:click=act>{icon("trash")}"Delete"</button>
            </footer>
        }
    };
    view! { <Dialog title=title open=open>{body.clone()}</Dialog> }
}

async fn delete_all(app: App, resource: &Resource, keys: &[Key], orphan: bool) {
    let mut deleted = 0;
    for key in keys {
        let call = delete_call(resource, key, orphan);
        // What is needed to make it anew is read before it goes.
        let path = resource.object(&key.namespace, &key.name);
        let before = if keys.len() == 1 { http::get_json(path).await.ok() } else { None };
        match perform(app, &call).await {
            Ok(_) if keys.len() == 1 => {
                let undo = before.filter(|object| can_come_back(object)).map(|object| {
                    Call::create(
                        &resource.collection(Some(&key.namespace).filter(|n| !n.is_empty()).map(|n| &**n)),
                        &read::as_new(&object),
                    )
                });
                app.done(format!("{} {} is being deleted", resource.kind, key.name), call, undo);
            }
            Ok(_) => deleted += 1,
            Err(status) => app.failed(&format!("{} was not deleted", key.name), &status, Some(call)),
        }
    }
    if deleted > 0 {
        app.note(format!("{deleted} objects are being deleted"));
    }
}

/// Objects that are what they are by their spec alone can be made anew; a pod or a namespace cannot.
fn can_come_back(object: &Value) -> bool {
    matches!(
        read::text(object, "kind"),
        "Deployment"
            | "DaemonSet"
            | "ConfigMap"
            | "Secret"
            | "Role"
            | "ClusterRole"
            | "RoleBinding"
            | "ClusterRoleBinding"
            | "Ingress"
            | "CronJob"
            | "NetworkPolicy"
    ) && read::list(object, "metadata/ownerReferences").is_empty()
}
