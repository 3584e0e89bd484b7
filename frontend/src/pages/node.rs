//! A node: what it has and what is asked of it, its conditions, its pods.

use leptos::prelude::*;
use serde_json::json;

use crate::api::call::{Call, JSON, STRATEGIC};
use crate::api::collections::extracts;
use crate::api::live::Query;
use crate::app::app;
use crate::components::facts::{chips, conditions};
use crate::model::capacity::{allocatable, by_node, extract};
use crate::model::json::{at, is_true, list, pairs, text};
use crate::pages::object::Subject;
use crate::pages::overview_nodes::{Samples, capacity_rows};
use crate::pages::summary;

pub fn actions(subject: &Subject) -> impl IntoView + use<> {
    let object = subject.object;
    let subject = subject.clone();
    move || {
        let app = app();
        let cordoned = object.with(|object| is_true(object, "spec/unschedulable"));
        let (path, name) = (subject.path(), subject.name.clone());
        let call = move |on: bool| {
            let word = if on { "cordon" } else { "uncordon" };
            Call::patch(
                &path,
                STRATEGIC,
                &json!({ "spec": { "unschedulable": if on { json!(true) } else { json!(null) } } }),
            )
            .kubectl(format!("kubectl {word} {name}"))
        };
        let text = if cordoned { "takes pods again" } else { "takes no new pods" };
        let said = format!("{} {text}", subject.name);
        let (icon, title) = if cordoned { ("play", "Uncordon") } else { ("pause", "Cordon") };
        subject.action("patch", "", icon, title, "cordon", move || {
            app.act(said.clone(), call(!cordoned), Some(call(cordoned)), || {})
        })
    }
}

pub fn node(subject: &Subject) -> impl IntoView + use<> {
    let app = app();
    let (object, name) = (subject.object, subject.name.clone());
    let field = format!("spec.nodeName={name}");
    let pods = extracts(Query::new("/api/v1/pods", JSON).with("fieldSelector", &field), extract);
    let samples = Samples::follow(Some(name.clone()));
    let capacity = {
        let name = name.clone();
        move || {
            let asked =
                pods.with(|pods| by_node(pods.values().map(|(_, pod)| pod))).get(&name).copied().unwrap_or_default();
            object.with(|object| capacity_rows(allocatable(object), asked, samples.of(&name)))
        }
    };
    let facts = move || {
        object.with(|object| {
            let info = |field: &str| text(object, &format!("status/nodeInfo/{field}")).to_owned();
            let addresses = list(object, "status/addresses")
                .iter()
                .map(|address| format!("{} {}", text(address, "type"), text(address, "address")))
                .collect::<Vec<_>>()
                .join(", ");
            let taints = list(object, "spec/taints")
                .iter()
                .map(|taint| {
                    format!(
                        "{}{}:{}",
                        text(taint, "key"),
                        match text(taint, "value") {
                            "" => String::new(),
                            value => format!("={value}"),
                        },
                        text(taint, "effect")
                    )
                })
                .collect::<Vec<_>>()
                .join(", ");
            let ranges =
                list(object, "spec/podCIDRs").iter().map(crate::model::json::scalar).collect::<Vec<_>>().join(", ");
            summary::about(
                object,
                &[
                    ("Addresses", addresses),
                    ("Pod range", ranges),
                    ("Taints", taints),
                    ("Agent", info("kubeletVersion")),
                    ("Runtime", info("containerRuntimeVersion")),
                    ("System", info("osImage")),
                    ("Kernel", info("kernelVersion")),
                    ("Architecture", info("architecture")),
                ],
            )
            .into_any()
        })
    };
    let images = move || {
        object.with(|object| {
            let names: Vec<(String, String)> = list(object, "status/images").iter().map(|image| (list(image, "names").last().map(crate::model::json::scalar).unwrap_or_default(), crate::model::capacity::bytes(i128::from(at(image, "sizeBytes").as_i64().unwrap_or_default())))).collect();
            (!names.is_empty()).then(|| view! { <section class="card"><h3>"Images"<span class="tag">{names.len()}</span></h3>{chips(&names[..names.len().min(60)])}</section> })
        })
    };
    let capacity_list = move || object.with(|object| chips(&pairs(object, "status/capacity")));
    let table = app
        .discovery
        .with_untracked(|discovery| discovery.get("pods"))
        .map(|resource| summary::table_card(resource, "", &[("fieldSelector", &field)]));
    view! {
        <section class="card"><h3>"Capacity"<span class="grow"></span>{samples.note()}</h3>{capacity}</section>
        {table}
        <div class="columns">
            <div class="column">{facts}</div>
            <div class="column">{move || object.with(|object| conditions(object))}<section class="card"><h3>"Resources"</h3>{capacity_list}</section>{images}</div>
        </div>
        {summary::latest_events(subject)}
    }
}
