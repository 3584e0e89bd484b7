//! Who am I, and what may I do here.

use leptos::prelude::*;
use leptos::task::spawn_local;
use serde_json::json;

use crate::api::access::{Ask, Rules};
use crate::api::call::{Call, JSON, Method};
use crate::api::http;
use crate::app::{app, review};
use crate::components::facts::{chips, fact};
use crate::components::icon::icon;
use crate::components::shell::PageHead;
use crate::components::status::{problem, skeleton};
use crate::components::topbar::namespace_names;
use crate::model::json as read;
use crate::model::nav::{Section, place, plural_title};

const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

pub fn access() -> impl IntoView {
    let app = app();
    let chosen = RwSignal::new(match app.namespace.get_untracked() {
        name if name.is_empty() => "default".to_owned(),
        name => name,
    });
    let namespaces = namespace_names();
    let me = RwSignal::new(None::<serde_json::Value>);
    let rules = RwSignal::new(None::<Result<Rules, pilothouse_api::Status>>);
    spawn_local(async move {
        let call = Call {
            method: Method::Post,
            path: "/apis/authentication.k8s.io/v1/selfsubjectreviews".into(),
            content_type: JSON,
            body: json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview" }).to_string(),
            kubectl: String::new(),
        };
        let answer = http::send(&call).await.unwrap_or_default();
        me.try_set(Some(read::at(&answer, "status/userInfo").clone()));
    });
    Effect::new(move || {
        let namespace = chosen.get();
        rules.set(None);
        spawn_local(async move {
            let found = review(&namespace).await;
            if chosen.try_get_untracked().is_some_and(|now| now == namespace) {
                rules.try_set(Some(found));
            }
        });
    });
    let who = move || {
        let user = app.user();
        let name = me
            .with(|me| me.as_ref().map(|me| read::text(me, "username").to_owned()))
            .filter(|name| !name.is_empty())
            .unwrap_or(user.username);
        let groups = me
            .with(|me| me.as_ref().map(|me| read::list(me, "groups").iter().map(read::scalar).collect::<Vec<_>>()))
            .filter(|groups| !groups.is_empty())
            .unwrap_or(user.groups);
        let groups: Vec<(String, String)> = groups.into_iter().map(|group| (group, String::new())).collect();
        view! { <dl class="facts">{fact("User", name)}{fact("Groups", chips(&groups))}</dl> }
    };
    let body = move || match rules.get() {
        None => skeleton(8).into_any(),
        Some(Err(status)) => problem(&status).into_any(),
        Some(Ok(rules)) => matrix(&rules).into_any(),
    };
    view! {
        <div class="page">
            <PageHead title="My access"/>
            <section class="card"><h3>"Who am I"</h3>{who}</section>
            <section class="card" data-testid="access-matrix">
                <h3>"What may I do"<span class="grow"></span>
                    <label class="check-line">"in"<input class="input" list="access-namespaces" aria-label="Namespace" prop:value=chosen on:change=move |event| chosen.set(event_target_value(&event))/><datalist id="access-namespaces">{move || namespaces.values().into_iter().map(|name| view! { <option value=name></option> }).collect_view()}</datalist></label>
                </h3>
                {body}
            </section>
        </div>
    }
}

fn matrix(rules: &Rules) -> impl IntoView + use<> {
    let app = app();
    let note = rules.incomplete.then(|| view! { <p class="problems">"The server could not list all rules: some of what is marked as allowed may be refused."</p> });
    let mut found: Vec<_> = app.discovery.with(|discovery| {
        discovery
            .all()
            .filter_map(|resource| place(&resource.group_resource()).map(|place| (place, resource.clone())))
            .collect()
    });
    found.sort_by(|a, b| (a.0.0, a.0.1, &a.1.kind).cmp(&(b.0.0, b.0.1, &b.1.kind)));
    let section = |section: Section| {
        let rows: Vec<_> =
            found.iter().filter(|(place, _)| place.0 == section).map(|(_, resource)| resource.clone()).collect();
        if rows.is_empty() {
            return ().into_any();
        }
        let row = |resource: std::sync::Arc<crate::api::discovery::Resource>| {
            let cell = |verb: &'static str| {
                if !resource.has_verb(verb) {
                    return view! { <td></td> }.into_any();
                }
                let yes = rules.allow(&Ask::new(verb, &resource.group_resource()));
                let label = format!("{verb} {}: {}", resource.plural, if yes { "allowed" } else { "not allowed" });
                view! { <td class=if yes { "yes" } else { "no" } title=label.clone() aria-label=label>{if yes { icon("check").into_any() } else { "–".into_any() }}</td> }.into_any()
            };
            view! { <tr><th scope="row">{plural_title(&resource.kind)}{(!resource.group.is_empty()).then(|| view! { <small>{resource.group.clone()}</small> })}</th>{VERBS.map(cell).collect_view()}</tr> }
        };
        view! { <tbody><tr class="matrix-section"><th colspan="9">{section.title()}</th></tr>{rows.into_iter().map(row).collect_view()}</tbody> }.into_any()
    };
    view! {
        {note}
        <div class="matrix"><table><thead><tr><th>"Kind"</th>{VERBS.map(|verb| view! { <th>{verb}</th> }).collect_view()}</tr></thead>{Section::ALL.map(section).collect_view()}</table></div>
    }
}
