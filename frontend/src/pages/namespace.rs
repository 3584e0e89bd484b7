//! A namespace: what is in it, its quotas, its events.

use leptos::prelude::*;

use crate::api::call::JSON;
use crate::api::collections::{extracts, objects};
use crate::api::live::{Live, Query};
use crate::app::app;
use crate::components::events;
use crate::components::icon::icon;
use crate::components::meter::meter;
use crate::components::topbar::{METADATA, choose_namespace};
use crate::model::capacity::share;
use crate::model::json::{at, scalar, text};
use crate::model::nav::plural_title;
use crate::pages::object::Subject;
use crate::pages::summary;
use crate::routes::Route;

/// Kinds counted on the page.
const COUNTED: [&str; 12] = [
    "deployments.apps",
    "statefulsets.apps",
    "daemonsets.apps",
    "pods",
    "jobs.batch",
    "cronjobs.batch",
    "services",
    "ingresses.networking.k8s.io",
    "configmaps",
    "secrets",
    "serviceaccounts",
    "persistentvolumeclaims",
];

pub fn namespace(subject: &Subject) -> impl IntoView + use<> {
    let app = app();
    let (object, name) = (subject.object, subject.name.clone());
    let owner = StoredValue::new(Owner::current());
    let tile = |id: &'static str| {
        let resource = app.discovery.with_untracked(|discovery| discovery.get(id))?;
        let live: Live<()> = extracts(Query::new(resource.collection(Some(&name)), METADATA), |_| ());
        let (name, title) = (name.clone(), plural_title(&resource.kind));
        let open = move |event: leptos::ev::MouseEvent| {
            event.prevent_default();
            owner.with_value(|owner| {
                if let Some(owner) = owner {
                    owner.with(|| choose_namespace(&name))
                }
            });
            app.go(Route::list(id));
        };
        Some(
            view! { <a class="tile" href=Route::list(id).href() on:click=open><b class="num">{move || if live.is_loading() { "–".to_owned() } else { live.len().to_string() }}</b><span>{title}</span></a> },
        )
    };
    let tiles = COUNTED.iter().map(|id| tile(id)).collect_view();
    let quotas = objects(Query::new(format!("/api/v1/namespaces/{name}/resourcequotas"), JSON));
    let quota_card = move || {
        let all = quotas.values();
        (!all.is_empty()).then(|| {
            let row = |quota: &serde_json::Value, key: &str| {
                // Keys such as `requests.cpu` and `count/pods` are no paths.
                let entry = |part: &str| at(quota, part).get(key).map(scalar).unwrap_or_default();
                let (used, hard) = (entry("status/used"), entry("status/hard"));
                let amount = |text: &str| pilothouse_api::quantity::Quantity::parse(text).map_or(0, |quantity| quantity.milli());
                view! { <tr><td>{text(quota, "metadata/name").to_owned()}</td><td>{key.to_owned()}</td><td>{meter(format!("{used} of {hard}"), share(amount(&used), amount(&hard)), None)}</td><td class="num right">{format!("{used} / {hard}")}</td></tr> }
            };
            let rows = |quota: &std::sync::Arc<serde_json::Value>| {
                let keys: Vec<String> = at(quota, "status/hard").as_object().map(|map| map.keys().cloned().collect()).unwrap_or_default();
                keys.iter().map(|key| row(quota, key)).collect_view()
            };
            view! { <section class="card"><h3>"Quotas"</h3><table class="plain"><tbody>{all.iter().map(rows).collect_view()}</tbody></table></section> }
        })
    };
    let events = extracts(Query::new(format!("/api/v1/namespaces/{name}/events"), JSON), events::pick);
    let switch = {
        let name = name.clone();
        move |_| {
            owner.with_value(|owner| {
                if let Some(owner) = owner {
                    owner.with(|| choose_namespace(&name))
                }
            });
            app.go(Route::list("pods"));
        }
    };
    view! {
        <section class="card"><h3>"In this namespace"<span class="grow"></span><button class="button small" on:click=switch>{icon("arrow")}"Work here"</button></h3><div class="tiles">{tiles}</div></section>
        {quota_card}
        <div class="columns">
            <div class="column">{move || object.with(|object| summary::about(object, &[]).into_any())}</div>
            <div class="column"><section class="card"><h3>"Events"</h3>{events::event_list(events, true, true, 12)}</section></div>
        </div>
    }
}
