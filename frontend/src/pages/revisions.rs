//! A Deployment's revisions: what each was, how it differs from now, and the way back to it.

use leptos::prelude::*;
use serde_json::{Value, json};

use crate::api::call::{Call, JSON, JSON_PATCH};
use crate::api::collections::{Object, objects};
use crate::api::live::{Live, Query};
use crate::app::app;
use crate::components::call::call_details;
use crate::components::dialog::Dialog;
use crate::components::diff::diff;
use crate::components::facts::age;
use crate::components::icon::icon;
use crate::components::status::{empty, skeleton, tag};
use crate::model::json::at;
use crate::model::rollout::{self, Revision, rollback_patch};
use crate::model::yaml::print;
use crate::pages::object::{Subject, selector_text};
use crate::routes::Route;

fn sets_of(subject: &Subject) -> Live<Object> {
    let selector = subject.object.with_untracked(|object| selector_text(object));
    objects(
        Query::new(format!("/apis/apps/v1/namespaces/{}/replicasets", subject.namespace), JSON)
            .with("labelSelector", &selector),
    )
}

fn all_of(subject: &Subject, sets: Live<Object>) -> Memo<Vec<Revision>> {
    let object = subject.object;
    Memo::new(move |_| {
        let sets = sets.values();
        object.with(|object| rollout::revisions(object, sets.iter().map(|set| &**set)))
    })
}

pub fn revisions(subject: &Subject) -> impl IntoView + use<> {
    card(subject)
}

pub fn card(subject: &Subject) -> impl IntoView + use<> {
    let sets = sets_of(subject);
    let all = all_of(subject, sets);
    let chosen = RwSignal::new(None::<Revision>);
    let open = RwSignal::new(false);
    let may = Memo::new({
        let subject = subject.clone();
        move |_| subject.may("patch", "")
    });
    let refusal = StoredValue::new(subject.refusal("patch", ""));
    let namespace = subject.namespace.clone();
    let rows = move || {
        let all = all.get();
        if all.is_empty() {
            return if sets.is_loading() {
                skeleton(3).into_any()
            } else {
                empty("history", "No revisions yet", "Each version of the pods becomes a revision.").into_any()
            };
        }
        let newest = all.first().map_or(0, |revision| revision.number);
        let namespace = namespace.clone();
        let row = move |revision: Revision| {
            let current = revision.number == newest;
            let pick = revision.clone();
            let back = (!current).then(|| view! {
                <button class="button small" data-testid=format!("rollback-{}", revision.number) disabled=move || !may.get() title=move || if may.get() { String::new() } else { refusal.get_value() } on:click=move |_| { chosen.set(Some(pick.clone())); open.set(true) }>{icon("back")}"Roll back"</button>
            });
            view! {
                <tr>
                    <td class="num"><b>{revision.number}</b>{current.then(|| tag("current"))}</td>
                    <td class="wrap">{revision.images.join(", ")}{(!revision.cause.is_empty()).then(|| view! { <div class="dim">{revision.cause.clone()}</div> })}</td>
                    <td><a href=Route::object("replicasets.apps", &namespace, &revision.replica_set).href()>{revision.replica_set.clone()}</a></td>
                    <td class="num">{format!("{}/{}", revision.ready, revision.desired)}</td>
                    <td class="right">{age(&revision.created)}</td>
                    <td class="right">{back}</td>
                </tr>
            }
        };
        view! {
            <table class="plain"><thead><tr><th>"Revision"</th><th>"Images"</th><th>"ReplicaSet"</th><th>"Ready"</th><th class="right">"Age"</th><th></th></tr></thead>
            <tbody>{all.into_iter().map(row).collect_view()}</tbody></table>
        }
        .into_any()
    };
    view! { <section class="card"><h3>"Revisions"</h3>{rows}</section>{rollback(subject, chosen, open)} }
}

fn rollback(subject: &Subject, chosen: RwSignal<Option<Revision>>, open: RwSignal<bool>) -> impl IntoView + use<> {
    let app = app();
    let object = subject.object;
    let (title, subject) = (format!("Roll back {}", subject.name), StoredValue::new(subject.clone()));
    let body = move || {
        let Some(revision) = chosen.get_untracked() else { return ().into_any() };
        let now: Value = object.with_untracked(|object| at(object, "spec/template").clone());
        let call = subject.with_value(|subject| {
            Call::patch(&subject.path(), JSON_PATCH, &rollback_patch(&revision)).kubectl(format!(
                "kubectl rollout undo {} --to-revision={}",
                subject.kubectl(),
                revision.number
            ))
        });
        let undo = subject.with_value(|subject| {
            Call::patch(
                &subject.path(),
                JSON_PATCH,
                &json!([{ "op": "replace", "path": "/spec/template", "value": now }]),
            )
        });
        let sent = call.clone();
        let number = revision.number;
        let act = move |_| {
            open.set(false);
            app.act(
                format!("{} goes back to revision {number}", subject.with_value(|subject| subject.name.clone())),
                sent.clone(),
                Some(undo.clone()),
                || {},
            );
        };
        view! {
            <p>"This is what changes in its pods:"</p>
            {diff(&print(&now), &print(&revision.template))}
            {call_details(vec![call])}
            <footer><button class="button" on:click=move |_| open.set(false)>"Cancel"</button><button class="button primary" autofocus data-testid="rollback-confirm" on:click=act>{format!("Roll back to revision {number}")}</button></footer>
        }
        .into_any()
    };
    view! { <Dialog title=title open=open wide=true>{body.clone()}</Dialog> }
}
