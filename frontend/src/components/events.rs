//! Events of objects, newest first, warnings marked.

use leptos::prelude::*;
use serde_json::Value;

use crate::api::call::JSON;
use crate::api::collections::extracts;
use crate::api::live::{Live, Query};
use crate::app::app;
use crate::components::status::{dot, skeleton};
use crate::model::health::Tone;
use crate::model::json::{number, text};
use crate::model::time;
use crate::routes::Route;

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub warning: bool,
    pub reason: String,
    pub message: String,
    pub count: i64,
    /// Seconds since 1970.
    pub last: i64,
    pub api_version: String,
    pub kind: String,
    pub namespace: String,
    pub name: String,
    pub source: String,
}

pub fn pick(event: Value) -> Event {
    let event = &event;
    let first_of = |paths: &[&str]| {
        paths.iter().map(|path| text(event, path)).find(|text| !text.is_empty()).unwrap_or_default().to_owned()
    };
    let last = first_of(&[
        "series/lastObservedTime",
        "lastTimestamp",
        "eventTime",
        "firstTimestamp",
        "metadata/creationTimestamp",
    ]);
    let about = |field: &str| text(event, &format!("involvedObject/{field}")).to_owned();
    Event {
        warning: text(event, "type") == "Warning",
        reason: text(event, "reason").to_owned(),
        message: first_of(&["message", "note"]),
        count: number(event, "series/count").max(number(event, "count")).max(1),
        last: time::parse(&last).unwrap_or_default(),
        api_version: about("apiVersion"),
        kind: about("kind"),
        namespace: about("namespace"),
        name: about("name"),
        source: first_of(&["reportingComponent", "source/component"]),
    }
}

/// The live events about one object.
pub fn about(namespace: &str, name: &str, uid: &str) -> Live<Event> {
    let path = if namespace.is_empty() {
        "/api/v1/events".to_owned()
    } else {
        format!("/api/v1/namespaces/{namespace}/events")
    };
    let selector = if uid.is_empty() || namespace.is_empty() {
        format!("involvedObject.name={name}")
    } else {
        format!("involvedObject.uid={uid}")
    };
    extracts(Query::new(path, JSON).with("fieldSelector", &selector), pick)
}

/// A list of events; `subjects` names the object of each, `warnings_first` puts what is wrong on top.
pub fn event_list(events: Live<Event>, subjects: bool, warnings_first: bool, limit: usize) -> impl IntoView {
    let app = app();
    move || {
        if events.is_loading() {
            return skeleton(4).into_any();
        }
        let mut all = events.values();
        all.sort_by_key(|event| (warnings_first && !event.warning, std::cmp::Reverse(event.last)));
        if all.is_empty() {
            return view! { <p class="dim none">"None lately: events are kept for a while after they happen."</p> }
                .into_any();
        }
        let row = |event: Event| {
            let last = event.last;
            let subject = subjects.then(|| {
                let resource = app.discovery.with(|discovery| discovery.by_kind(&event.api_version, &event.kind));
                let label = format!("{} {}", event.kind, event.name);
                match resource {
                    Some(resource) => view! { <a href=Route::object(&resource.group_resource(), &event.namespace, &event.name).href()>{label}</a> }.into_any(),
                    None => view! { <span>{label}</span> }.into_any(),
                }
            });
            let times = (event.count > 1).then(|| view! { <span class="dim">{format!("×{}", event.count)}</span> });
            let message = event.message.clone();
            view! {
                <li class:warning=event.warning>
                    {dot(if event.warning { Tone::Warn } else { Tone::Idle })}
                    <div class="grow"><p><b>{event.reason}</b>" "{subject}" "{times}</p><p class="event-text" title=message>{event.message}</p></div>
                    <span class="num dim" title=event.source>{move || time::span(app.now.get() - last)}</span>
                </li>
            }
        };
        view! { <ol class="events" data-testid="events">{all.into_iter().take(limit).map(row).collect_view()}</ol> }
            .into_any()
    }
}
