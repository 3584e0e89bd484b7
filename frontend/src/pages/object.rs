//! The page of one object of any kind: head with health and actions, tabs, and what deserves more for some kinds.

use std::sync::Arc;

use leptos::prelude::*;
use serde_json::Value;

use crate::api::access::Ask;
use crate::api::collections::{self, Object};
use crate::api::decode::Key;
use crate::api::discovery::Resource;
use crate::api::live::{Live, Phase};
use crate::app::app;
use crate::components::confirm::DeleteDialog;
use crate::components::events;
use crate::components::icon::icon;
use crate::components::shell::PageHead;
use crate::components::status::{badge, empty, problem, skeleton};
use crate::components::tabs::{Tab, current, tabs};
use crate::model::health;
use crate::model::json;
use crate::model::nav::plural_title;
use crate::pages;
use crate::routes::Route;

/// What all parts of the page share.
#[derive(Clone)]
pub struct Subject {
    pub resource: Arc<Resource>,
    pub namespace: String,
    pub name: String,
    pub live: Live<Object>,
    /// The object as last seen; stays when it is deleted.
    pub object: Memo<Object>,
}

impl Subject {
    pub fn id(&self) -> String {
        self.resource.group_resource()
    }

    pub fn path(&self) -> String {
        self.resource.object(&self.namespace, &self.name)
    }

    /// `deployment/web -n default`, for kubectl.
    pub fn kubectl(&self) -> String {
        format!("{}/{}{}", self.id(), self.name, crate::api::call::namespace_flag(&self.namespace))
    }

    pub fn may(&self, verb: &'static str, subresource: &'static str) -> bool {
        app().may(&self.namespace, &Ask::new(verb, &self.id()).sub(subresource).named(&self.name))
    }

    pub fn refusal(&self, verb: &'static str, subresource: &'static str) -> String {
        Ask::new(verb, &self.id()).sub(subresource).refusal()
    }

    /// A button that is disabled, with the reason, when the user may not do what it does.
    pub fn action(
        &self,
        verb: &'static str,
        subresource: &'static str,
        icon_name: &'static str,
        title: &'static str,
        test: &'static str,
        act: impl Fn() + 'static,
    ) -> AnyView {
        let (subject, refusal) = (self.clone(), self.refusal(verb, subresource));
        let allowed = Memo::new(move |_| subject.may(verb, subresource));
        view! {
            <button class="button" data-testid=test disabled=move || !allowed.get() title=move || if allowed.get() { String::new() } else { refusal.clone() } on:click=move |_| act()>{icon(icon_name)}{title}</button>
        }
        .into_any()
    }
}

pub fn object(resource: Arc<Resource>, namespace: String, name: String) -> impl IntoView {
    let live = collections::object(&resource, &namespace, &name);
    let seen = Memo::new(move |last: Option<&Object>| live.first().or_else(|| last.cloned()).unwrap_or_default());
    let subject = Subject { resource, namespace, name, live, object: seen };
    let there = Memo::new(move |_| !seen.with(|object| object.is_null()));
    view! {
        <div class="page">
            {move || match live.phase.get() {
                Phase::Failed(status) if !there.get() => problem(&status).into_any(),
                Phase::Ready if !there.get() => view! { {head(&subject, false)}{empty("search", format!("There is no {} {}", subject.resource.kind, subject.name), "It was deleted, or never was. Should it appear, it is shown here at once.")} }.into_any(),
                _ if !there.get() => skeleton(7).into_any(),
                _ => there_is(&subject).into_any(),
            }}
        </div>
    }
}

fn tabs_of(kind: &str) -> Vec<Tab> {
    let summary = ("", "Summary", "overview");
    let (yaml, events) = (("yaml", "YAML", "edit"), ("events", "Events", "list"));
    match kind {
        "Pod" => vec![summary, ("logs", "Logs", "logs"), ("terminal", "Terminal", "terminal"), events, yaml],
        "Deployment" => vec![summary, ("revisions", "Revisions", "history"), ("logs", "Logs", "logs"), events, yaml],
        "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => vec![summary, ("logs", "Logs", "logs"), events, yaml],
        "Event" => vec![summary, yaml],
        _ => vec![summary, events, yaml],
    }
}

fn head(subject: &Subject, there: bool) -> impl IntoView + use<> {
    let app = app();
    let deleting = RwSignal::new(false);
    let seen = subject.object;
    let key = Key { namespace: subject.namespace.as_str().into(), name: subject.name.as_str().into() };
    let list = Route::list(&subject.id());
    let namespace = (!subject.namespace.is_empty()).then(|| view! { " / "<a href=Route::object("namespaces", "", &subject.namespace).href()>{subject.namespace.clone()}</a> });
    let above = view! { <a href=list.href()>{plural_title(&subject.resource.kind)}</a>{namespace} }.into_any();
    let gone = {
        let live = subject.live;
        move || live.is_ready() && live.len() == 0
    };
    let mark = Memo::new(move |_| seen.with(|object| health::of(object)));
    let beside = view! { {move || if there && gone() { badge(health::Health::new(health::Tone::Idle, "Deleted", "")).into_any() } else { mark.get().map(badge).into_any() }} }.into_any();
    let actions = there.then(|| {
        let own: AnyView = match subject.resource.kind.as_str() {
            "Deployment" | "StatefulSet" | "ReplicaSet" | "ReplicationController" | "DaemonSet" => {
                pages::workload::actions(subject).into_any()
            }
            "Node" => pages::node::actions(subject).into_any(),
            _ => ().into_any(),
        };
        let delete = subject
            .resource
            .has_verb("delete")
            .then(|| subject.action("delete", "", "trash", "Delete", "delete", move || deleting.set(true)));
        view! { <span class="actions" class:hidden=gone>{own}{delete}</span> }
    });
    let stays = matches!(subject.resource.kind.as_str(), "Namespace" | "Pod");
    let leave = Callback::new(move |()| {
        if !stays {
            app.go(list.clone())
        }
    });
    view! {
        <PageHead title=subject.name.clone() above=above beside=beside>{actions}</PageHead>
        <DeleteDialog resource=subject.resource.clone() targets=Signal::derive(move || vec![key.clone()]) open=deleting after=leave/>
    }
}

fn there_is(subject: &Subject) -> impl IntoView + use<> {
    let all = tabs_of(&subject.resource.kind);
    let now = current(all.clone());
    let route = Route::object(&subject.id(), &subject.namespace, &subject.name);
    let body = {
        let subject = subject.clone();
        move || match now.get() {
            "yaml" => pages::yaml::yaml(&subject).into_any(),
            "events" => events_of(&subject).into_any(),
            "logs" => pages::logs::logs(&subject).into_any(),
            "terminal" => pages::terminal::terminal(&subject).into_any(),
            "revisions" => pages::revisions::revisions(&subject).into_any(),
            _ => match subject.resource.kind.as_str() {
                "Pod" => pages::pod::pod(&subject).into_any(),
                "Deployment" => pages::deployment::deployment(&subject).into_any(),
                "Node" => pages::node::node(&subject).into_any(),
                "Namespace" => pages::namespace::namespace(&subject).into_any(),
                _ => pages::summary::summary(&subject).into_any(),
            },
        }
    };
    view! { {head(subject, true)}{tabs(route, all, now)}{body} }
}

fn events_of(subject: &Subject) -> impl IntoView + use<> {
    let uid = subject.object.with_untracked(|object: &Object| json::uid(object).to_owned());
    let live = events::about(&subject.namespace, &subject.name, &uid);
    view! { <section class="card">{events::event_list(live, false, false, 200)}</section> }
}

/// The selector of a workload or service, in the query's syntax; empty where it selects nothing.
pub fn selector_text(object: &Value) -> String {
    let set = json::at(object, "spec/selector");
    let labels = if set.get("matchLabels").is_some() || set.get("matchExpressions").is_some() {
        json::at(set, "matchLabels")
    } else {
        set
    };
    let mut parts: Vec<String> =
        json::pairs(labels, "").into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    for expression in json::list(set, "matchExpressions") {
        let values: Vec<String> = json::list(expression, "values").iter().map(json::scalar).collect();
        let key = json::text(expression, "key");
        parts.push(match json::text(expression, "operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.join(",")
}
