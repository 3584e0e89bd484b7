//! A Deployment: how its rollout goes, its revisions, its pods.

use leptos::prelude::*;

use crate::app::app;
use crate::components::facts::conditions;
use crate::components::meter::stack;
use crate::model::health;
use crate::model::json::{at, list, text};
use crate::model::rollout::{self, Progress};
use crate::pages::object::{Subject, selector_text};
use crate::pages::{expose, revisions, summary};

pub fn deployment(subject: &Subject) -> impl IntoView + use<> {
    let app = app();
    let object = subject.object;
    let selector = object.with_untracked(|object| selector_text(object));
    let pods = app
        .discovery
        .with_untracked(|discovery| discovery.get("pods"))
        .map(|pods| summary::table_card(pods, &subject.namespace, &[("labelSelector", &selector)]));
    let facts = move || {
        object.with(|object| {
            let strategy = match text(object, "spec/strategy/type") {
                "Recreate" => "stop all, then start the new".to_owned(),
                _ if at(object, "spec/strategy/rollingUpdate").is_null() => "rolling".to_owned(),
                _ => format!(
                    "rolling, up to {} extra and {} missing",
                    crate::model::json::scalar(at(object, "spec/strategy/rollingUpdate/maxSurge")),
                    crate::model::json::scalar(at(object, "spec/strategy/rollingUpdate/maxUnavailable"))
                ),
            };
            let images = rollout::images(at(object, "spec/template")).join(", ");
            let account = text(object, "spec/template/spec/serviceAccountName").to_owned();
            summary::about(
                object,
                &[
                    ("Image", images),
                    ("Strategy", strategy),
                    ("Selector", selector_text(object)),
                    ("Service account", account),
                ],
            )
            .into_any()
        })
    };
    let environment = move || object.with(|object| template_card(object));
    view! {
        {progress_card(subject)}
        {pods}
        {revisions::card(subject)}
        <div class="columns">
            <div class="column">{facts}{environment}</div>
            <div class="column">{expose::services_card(subject)}{move || object.with(|object| conditions(object))}</div>
        </div>
        {summary::latest_events(subject)}
    }
}

fn progress_card(subject: &Subject) -> impl IntoView + use<> {
    let object = subject.object;
    let body = move || {
        let (progress, mark) = object.with(|object| (rollout::progress(object), health::of(object)));
        let Progress { desired, updated, available, old, .. } = progress;
        let count = |number: i64| usize::try_from(number.max(0)).unwrap_or_default();
        let new_ready = (available - old).clamp(0, updated);
        let parts = vec![
            ("good", count(new_ready.max(if old == 0 { available } else { 0 }))),
            ("busy", count(updated - new_ready.max(if old == 0 { available } else { 0 }))),
            ("idle", count(old)),
            ("missing", count(desired - updated - old)),
        ];
        let why = mark.map(|mark| mark.why).unwrap_or_default();
        let number = |value: i64, label: &'static str| view! { <div class="figure"><b class="num">{value}</b><span>{label}</span></div> };
        view! {
            <div class="figures">{number(desired, "desired")}{number(updated, "of this version")}{number(available, "available")}{number(old, "of older versions")}<p class="grow right dim">{why}</p></div>
            {stack(parts)}
        }
    };
    view! { <section class="card" data-testid="rollout-progress">{body}</section> }
}

/// What the pods are made of.
fn template_card(object: &serde_json::Value) -> AnyView {
    let container = |container: &serde_json::Value| {
        let ports = list(container, "ports")
            .iter()
            .map(|port| crate::model::json::scalar(at(port, "containerPort")))
            .collect::<Vec<_>>()
            .join(", ");
        let resources = crate::model::json::pairs(container, "resources/requests")
            .iter()
            .map(|(name, amount)| format!("{name} {amount}"))
            .collect::<Vec<_>>()
            .join(", ");
        let limits = crate::model::json::pairs(container, "resources/limits")
            .iter()
            .map(|(name, amount)| format!("{name} {amount}"))
            .collect::<Vec<_>>()
            .join(", ");
        let environment = list(container, "env").iter().map(|entry| {
            let value = if at(entry, "valueFrom").is_null() {
                text(entry, "value").to_owned()
            } else {
                "from elsewhere".to_owned()
            };
            (text(entry, "name").to_owned(), value)
        });
        view! {
            <h4>{text(container, "name").to_owned()}</h4>
            <dl class="facts">
                {crate::components::facts::fact_if("Image", text(container, "image"))}
                {crate::components::facts::fact_if("Ports", &ports)}
                {crate::components::facts::fact_if("Requests", &resources)}
                {crate::components::facts::fact_if("Limits", &limits)}
                {crate::components::facts::fact("Environment", crate::components::facts::chips(&environment.collect::<Vec<_>>()))}
            </dl>
        }
    };
    view! { <section class="card"><h3>"Containers"</h3>{list(object, "spec/template/spec/containers").iter().map(container).collect_view()}</section> }.into_any()
}
