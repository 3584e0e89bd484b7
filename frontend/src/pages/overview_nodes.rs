//! Capacity of nodes: what is asked of them, and what is used as their agents report it.

use std::collections::BTreeMap;

use leptos::prelude::*;
use leptos::task::spawn_local;
use serde_json::Value;

use crate::api::call::JSON;
use crate::api::collections::{Object, extracts};
use crate::api::http;
use crate::api::live::{Live, Query};
use crate::app::app;
use crate::components::meter::meter;
use crate::components::status::{dot, empty, skeleton};
use crate::model::capacity::{Amount, PodExtract, allocatable, by_node, bytes, cores, share, usage};
use crate::model::health;
use crate::model::json::{self, text};
use crate::model::time;
use crate::routes::Route;

/// A node is asked for its usage at most this often, and only when its heartbeat arrives.
const SAMPLE_SECONDS: i64 = 10;
/// A node that would not tell is asked again after this time.
const RETRY_SECONDS: i64 = 60;

/// Usage has no watch. The node's Lease has: each heartbeat seen there is the occasion to take a sample.
#[derive(Clone, Copy)]
pub struct Samples {
    taken: RwSignal<BTreeMap<String, (i64, Amount)>>,
}

impl Samples {
    /// Of one node, or of all.
    pub fn follow(only: Option<String>) -> Self {
        let app = app();
        let taken = RwSignal::new(BTreeMap::new());
        let due = StoredValue::new(BTreeMap::<String, i64>::new());
        let mut query = Query::new("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", JSON);
        if let Some(name) = &only {
            query = query.with("fieldSelector", &format!("metadata.name={name}"));
        }
        let leases: Live<(String, String)> =
            extracts(query, |lease| (json::name(&lease).to_owned(), text(&lease, "spec/renewTime").to_owned()));
        Effect::new(move || {
            let now = app.now.get_untracked();
            for (node, _) in leases.values() {
                if due.with_value(|due| due.get(&node).is_some_and(|due| *due > now)) {
                    continue;
                }
                due.update_value(|due| {
                    due.insert(node.clone(), now + SAMPLE_SECONDS);
                });
                spawn_local(async move {
                    match http::get_json(format!("/api/v1/nodes/{node}/proxy/stats/summary")).await {
                        Ok(summary) => {
                            taken.try_update(|taken| taken.insert(node, (now, usage(&summary))));
                        }
                        Err(_) => {
                            due.try_update_value(|due| due.insert(node, now + RETRY_SECONDS));
                        }
                    }
                });
            }
        });
        Self { taken }
    }

    pub fn of(&self, node: &str) -> Option<Amount> {
        self.taken.with(|taken| taken.get(node).map(|(_, amount)| *amount))
    }

    pub fn total(&self) -> Option<Amount> {
        self.taken.with(|taken| {
            let mut sum = Amount::default();
            taken.values().for_each(|(_, amount)| sum += *amount);
            (!taken.is_empty()).then_some(sum)
        })
    }

    /// How old the newest sample is.
    pub fn note(self) -> impl IntoView {
        let app = app();
        move || {
            let newest = self.taken.with(|taken| taken.values().map(|(at, _)| *at).max());
            newest.map(|at| view! { <small class="dim">{move || format!("usage measured {} ago", time::span(app.now.get() - at))}</small> })
        }
    }
}

/// Words and shares for a bar: requested of allocatable, with the live usage.
fn bar(asked: i128, total: i128, used: Option<i128>, words: fn(i128) -> String) -> impl IntoView {
    let label = format!("{} of {} requested", words(asked), words(total));
    match used {
        Some(used) => meter(format!("{} used, {label}", words(used)), share(used, total), Some(share(asked, total))),
        None => meter(label, share(asked, total), None),
    }
}

/// CPU, memory and pods in a row each.
pub fn capacity_rows(total: Amount, asked: Amount, used: Option<Amount>) -> impl IntoView {
    let row = |name: &'static str, asked: i128, total: i128, used: Option<i128>, words: fn(i128) -> String| {
        let (free, verb) = ((total - asked).max(0), if name == "Pods" { "" } else { " requested" });
        view! {
            <div class="capacity">
                <span>{name}</span>{bar(asked, total, used, words)}
                <span class="num">{format!("{} of {}{verb}", words(asked), words(total))}</span>
                <span class="num dim">{used.map(|used| format!("{} used", words(used)))}</span>
                <span class="num dim">{format!("{} free", words(free))}</span>
            </div>
        }
    };
    view! {
        {row("CPU", asked.cpu, total.cpu, used.map(|used| used.cpu), cores)}
        {row("Memory", asked.memory, total.memory, used.map(|used| used.memory), bytes)}
        {row("Pods", asked.pods, total.pods, None, |count| count.to_string())}
    }
}

/// The nodes of the cluster, those in trouble first.
pub fn node_list(nodes: Live<Object>, pods: Live<PodExtract>, samples: Samples) -> impl IntoView {
    move || {
        if nodes.is_loading() {
            return skeleton(3).into_any();
        }
        let asked = pods.with(|pods| by_node(pods.values().map(|(_, pod)| pod)));
        let mut all: Vec<(health::Health, Object)> =
            nodes.values().into_iter().filter_map(|node| health::of(&node).map(|mark| (mark, node))).collect();
        all.sort_by(|a, b| a.0.tone.cmp(&b.0.tone).then_with(|| json::name(&a.1).cmp(json::name(&b.1))));
        if all.is_empty() {
            return empty("node", "No nodes yet", "A node appears here as soon as its agent joins.").into_any();
        }
        let row = |(mark, node): (health::Health, Object)| {
            let name = json::name(&node).to_owned();
            let (total, own) = (allocatable(&node), asked.get(json::name(&node)).copied().unwrap_or_default());
            let used = samples.of(&name);
            let known = pods.too_many().is_none();
            // Used as the agent measured it; free for requests as the scheduler counts it.
            let small = |used: Option<String>, free: String, total: String| {
                let free = if known { format!("{free} free to request") } else { total };
                view! { <small class="num">{used.map(|used| format!("{used} used · "))}{free}</small> }
            };
            view! {
                <tr>
                    <td><span class="state" title=format!("{}: {}", mark.word, mark.why)>{dot(mark.tone)}<a href=Route::object("nodes", "", &name).href()>{name.clone()}</a></span><small class="dim">{mark.word}" · "{roles(&node)}</small></td>
                    <td>{bar(own.cpu, total.cpu, used.map(|used| used.cpu), cores)}{small(used.map(|used| cores(used.cpu)), cores((total.cpu - own.cpu).max(0)), cores(total.cpu))}</td>
                    <td>{bar(own.memory, total.memory, used.map(|used| used.memory), bytes)}{small(used.map(|used| bytes(used.memory)), bytes((total.memory - own.memory).max(0)), bytes(total.memory))}</td>
                    <td>{bar(own.pods, total.pods, None, |count| count.to_string())}<small class="num">{if known { format!("{} used · {} free", own.pods, (total.pods - own.pods).max(0)) } else { total.pods.to_string() }}</small></td>
                </tr>
            }
        };
        view! { <table class="plain nodes"><thead><tr><th>"Node"</th><th>"CPU"</th><th>"Memory"</th><th>"Pods"</th></tr></thead><tbody>{all.into_iter().map(row).collect_view()}</tbody></table> }.into_any()
    }
}

fn roles(node: &Value) -> String {
    let roles: Vec<String> = json::pairs(node, "metadata/labels")
        .into_iter()
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/").map(str::to_owned))
        .collect();
    if roles.is_empty() { text(node, "status/nodeInfo/kubeletVersion").to_owned() } else { roles.join(", ") }
}
