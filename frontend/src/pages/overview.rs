//! The cluster at a glance: what needs attention first.

use leptos::prelude::*;
use serde_json::Value;

use crate::api::call::JSON;
use crate::api::collections::{Object, extracts, objects};
use crate::api::live::{Live, Query};
use crate::app::app;
use crate::components::events;
use crate::components::icon::icon;
use crate::components::meter::stack;
use crate::components::shell::PageHead;
use crate::components::status::{empty, skeleton, state};
use crate::model::capacity::{Amount, PodExtract, allocatable, bytes, cores, extract, share};
use crate::model::health::{self, Health, Tone};
use crate::model::json::{self, at, text};
use crate::model::time;
use crate::pages::overview_nodes::{Samples, node_list};
use crate::routes::{Route, encode};

/// What is kept of a workload.
#[derive(Clone, Debug, PartialEq)]
struct Workload {
    resource: &'static str,
    kind: &'static str,
    namespace: String,
    name: String,
    /// What it is called on the page.
    title: String,
    health: Health,
    /// Part of Pilothouse itself or a cluster addon.
    addon: bool,
    created: i64,
}

const KINDS: [(&str, &str, &str); 3] = [
    ("deployments.apps", "Deployment", "/apis/apps/v1/deployments"),
    ("statefulsets.apps", "StatefulSet", "/apis/apps/v1/statefulsets"),
    ("daemonsets.apps", "DaemonSet", "/apis/apps/v1/daemonsets"),
];
/// Troubled objects named on the page; the lists have the rest.
const MAX_NAMED: usize = 8;
/// Of larger clusters the pods are counted only: summing them would mean to load them all.
const MAX_PODS: u64 = 20_000;

fn workload(resource: &'static str, kind: &'static str, object: &Value) -> Workload {
    let labels = at(object, "metadata/labels");
    let label = |key: &str| labels.get(key).and_then(Value::as_str);
    let addon = json::namespace(object) == "kube-system"
        && (label("app.kubernetes.io/part-of") == Some("pilothouse") || label("k8s-app").is_some());
    let health = health::of(object).unwrap_or_else(|| Health::new(Tone::Idle, "Unknown", ""));
    Workload {
        resource,
        kind,
        addon,
        health,
        namespace: json::namespace(object).to_owned(),
        name: json::name(object).to_owned(),
        title: json::name(object).to_owned(),
        created: time::parse(text(object, "metadata/creationTimestamp")).unwrap_or_default(),
    }
}

const ADDONS: &str = "addons.pilothouse.io";

fn own_addon(object: &Value) -> Workload {
    let mut addon = workload(ADDONS, "Addon", object);
    let (ready, desired) = (at(object, "status/readyNodes"), at(object, "status/desiredNodes"));
    if !desired.is_null() {
        addon.health.why =
            format!("on {} of {} nodes", json::scalar(ready).parse().unwrap_or(0), json::scalar(desired));
    }
    let title = text(object, "spec/title");
    if !title.is_empty() {
        title.clone_into(&mut addon.title);
    }
    addon
}

pub fn overview() -> impl IntoView {
    let nodes = objects(Query::new("/api/v1/nodes", JSON));
    let pods = extracts(Query::new("/api/v1/pods", JSON).at_most(MAX_PODS), extract);
    let workloads: [Live<Workload>; 3] = [
        extracts(Query::new(KINDS[0].2, JSON), |object| workload(KINDS[0].0, KINDS[0].1, &object)),
        extracts(Query::new(KINDS[1].2, JSON), |object| workload(KINDS[1].0, KINDS[1].1, &object)),
        extracts(Query::new(KINDS[2].2, JSON), |object| workload(KINDS[2].0, KINDS[2].1, &object)),
    ];
    let events = extracts(Query::new("/api/v1/events", JSON), events::pick);
    let samples = Samples::follow(None);
    let all = Memo::new(move |_| workloads.iter().flat_map(|live| live.values()).collect::<Vec<_>>());
    // Addons that are no workload (cluster DNS runs inside the agents) have a kind of their own.
    let app = app();
    let own_kind = Memo::new(move |_| app.discovery.with(|discovery| discovery.get(ADDONS)));
    let own = Memo::new_with_compare(
        move |_| {
            own_kind
                .get()
                .map(|resource| extracts(Query::new(resource.collection(None), JSON), |object| own_addon(&object)))
        },
        |_, _| true,
    );
    let addon_list = move || {
        let mut found: Vec<Workload> = own.get().map(|live| live.values()).unwrap_or_default();
        found.extend(all.get().into_iter().filter(|workload| workload.addon));
        addons(found)
    };
    let loading = move || workloads.iter().all(Live::is_loading);
    view! {
        <div class="page">
            <PageHead title="Overview"/>
            {tiles(nodes, pods, all, samples)}
            <div class="columns wide-left">
                <div class="column">
                    <section class="card" data-testid="overview-nodes"><h3><a href=Route::list("nodes").href()>"Nodes"</a><span class="grow"></span>{samples.note()}</h3>{node_list(nodes, pods, samples)}</section>
                    <section class="card" data-testid="overview-workloads"><h3>"Workloads"</h3>{move || if loading() { skeleton(4).into_any() } else { workload_list(all.get()).into_any() }}</section>
                    {move || troubled(pods)}
                </div>
                <div class="column">
                    <section class="card" data-testid="overview-addons"><h3>"Addons"</h3>{move || if loading() || own.get().is_some_and(|live| live.is_loading()) || app.discovery.with(|discovery| discovery.is_empty()) { skeleton(2).into_any() } else { addon_list() }}</section>
                    <section class="card" data-testid="overview-events"><h3><a href=Route::list("events").href()>"Events"</a><span class="grow"></span><small class="dim">"warnings first"</small></h3>{events::event_list(events, true, true, 12)}</section>
                </div>
            </div>
        </div>
    }
}

fn tiles(nodes: Live<Object>, pods: Live<PodExtract>, all: Memo<Vec<Workload>>, samples: Samples) -> impl IntoView {
    let count = |tones: &[Tone], wanted: Tone| tones.iter().filter(|tone| **tone == wanted).count();
    let parts = move |tones: &[Tone]| {
        [Tone::Good, Tone::Busy, Tone::Warn, Tone::Bad, Tone::Idle]
            .map(|tone| (tone.class(), count(tones, tone)))
            .to_vec()
    };
    let trouble =
        move |tones: &[Tone]| match (count(tones, Tone::Bad), count(tones, Tone::Warn), count(tones, Tone::Busy)) {
            (0, 0, 0) if tones.is_empty() => "none yet".to_owned(),
            (0, 0, 0) => "all well".to_owned(),
            (0, 0, busy) => format!("{busy} in progress"),
            (bad, warn, _) => format!("{} {} attention", bad + warn, if bad + warn == 1 { "needs" } else { "need" }),
        };
    let tile = move |route: Route, title: &'static str, tones: Vec<Tone>, loading: bool| {
        view! {
            <a class="stat" href=route.href()><span class="stat-title">{title}</span><b class="num">{if loading { "–".to_owned() } else { tones.len().to_string() }}</b>{stack(parts(&tones))}<small>{if loading { String::new() } else { trouble(&tones) }}</small></a>
        }
    };
    let node_tones =
        move || nodes.values().iter().filter_map(|node| health::of(node)).map(|health| health.tone).collect::<Vec<_>>();
    let pod_tones = move || pods.with(|pods| pods.values().map(|(_, pod)| pod.tone).collect::<Vec<_>>());
    let work_tones = move || all.with(|all| all.iter().map(|workload| workload.health.tone).collect::<Vec<_>>());
    let sums = Memo::new(move |_| {
        let (mut total, mut asked) = (Amount::default(), Amount::default());
        nodes.values().iter().for_each(|node| total += allocatable(node));
        pods.with(|pods| {
            pods.values()
                .filter(|(_, pod)| !pod.over && !pod.node.is_empty())
                .for_each(|(_, pod)| asked += pod.requested)
        });
        (total, asked)
    });
    let amount = move |title: &'static str, pick: fn(&Amount) -> i128, words: fn(i128) -> String| {
        let (total, asked) = sums.get();
        if pods.too_many().is_some() {
            let used = samples.total().map_or(0, |used| pick(&used));
            return view! { <div class="stat"><span class="stat-title">{title}</span><b class="num">{words(used)}</b>{crate::components::meter::meter(format!("{title} used"), share(used, pick(&total)), None)}<small>{format!("used of {}", words(pick(&total)))}</small></div> }.into_any();
        }
        let used = samples.total().map(|used| pick(&used));
        let asked_share = share(pick(&asked), pick(&total));
        // What is used where it is known; what is asked for otherwise.
        let (shown, verb) = used.map_or((asked_share, "requested"), |used| (share(used, pick(&total)), "used"));
        view! {
            <div class="stat"><span class="stat-title">{title}<span class="dim">" "{verb}</span></span><b class="num">{format!("{:.0}%", shown * 100.0)}</b>
                {crate::components::meter::meter(format!("{title} {verb}"), shown, used.map(|_| asked_share))}
                <small>{if pick(&total) == 0 { "no capacity yet".to_owned() } else { format!("{} requested of {}", words(pick(&asked)), words(pick(&total))) }}</small></div>
        }
        .into_any()
    };
    let pod_tile = move || {
        match pods.too_many() {
        Some(count) => view! { <a class="stat" href=Route::list("pods").href()><span class="stat-title">"Pods"</span><b class="num">{count}</b><small>"too many to look into each of them here"</small></a> }.into_any(),
        None => tile(Route::list("pods"), "Pods", pod_tones(), pods.is_loading()).into_any(),
    }
    };
    view! {
        <div class="stats">
            {move || tile(Route::list("nodes"), "Nodes", node_tones(), nodes.is_loading())}
            {move || tile(Route::list("deployments.apps"), "Workloads", work_tones(), false)}
            {pod_tile}
            {move || amount("CPU", |amount| amount.cpu, cores)}
            {move || amount("Memory", |amount| amount.memory, bytes)}
        </div>
    }
}

fn workload_list(mut all: Vec<Workload>) -> AnyView {
    if all.is_empty() {
        return view! { {empty("workloads", "Nothing deployed yet", "Deploy an app from an image; it appears here.")}<p class="centre"><a class="button primary" href=Route::Deploy.href()>{icon("plus")}"Deploy"</a></p> }.into_any();
    }
    all.retain(|workload| !workload.addon);
    let quiet = all.iter().filter(|workload| matches!(workload.health.tone, Tone::Good | Tone::Idle)).count();
    // What needs attention, then what is newest.
    all.sort_by_key(|workload| {
        (
            match workload.health.tone {
                Tone::Good | Tone::Idle => 3,
                tone => tone as u8,
            },
            std::cmp::Reverse(workload.created),
        )
    });
    let total = all.len();
    let row = |workload: Workload| {
        view! {
            <tr><td>{state(workload.health.tone, workload.health.word.clone())}</td><td><a href=Route::object(workload.resource, &workload.namespace, &workload.name).href()>{workload.name.clone()}</a></td><td class="dim">{workload.namespace}</td><td class="dim">{workload.kind}</td><td class="wrap dim">{workload.health.why}</td></tr>
        }
    };
    view! {
        <table class="plain"><tbody>{all.into_iter().take(MAX_NAMED).map(row).collect_view()}</tbody></table>
        <p class="card-note dim">{format!("{quiet} of {total} well")}{KINDS.map(|(resource, kind, _)| view! { " · "<a href=Route::list(resource).href()>{crate::model::nav::plural_title(kind)}</a> }).collect_view()}</p>
    }
    .into_any()
}

fn addons(mut all: Vec<Workload>) -> AnyView {
    if all.is_empty() {
        return view! { <p class="dim">"None."</p> }.into_any();
    }
    all.sort_by(|a, b| (a.health.tone, &a.name).cmp(&(b.health.tone, &b.name)));
    let row = |workload: Workload| {
        view! { <li><a href=Route::object(workload.resource, &workload.namespace, &workload.name).href()>{workload.title}</a><span class="grow"></span><span class="dim">{workload.health.why}</span>{state(workload.health.tone, workload.health.word)}</li> }
    };
    view! { <ul class="lines">{all.into_iter().map(row).collect_view()}</ul> }.into_any()
}

/// Pods that are not well, if any.
fn troubled(pods: Live<PodExtract>) -> Option<AnyView> {
    let app = app();
    let mut bad: Vec<PodExtract> = pods.with(|pods| {
        pods.values().map(|(_, pod)| pod).filter(|pod| matches!(pod.tone, Tone::Bad | Tone::Warn)).cloned().collect()
    });
    if bad.is_empty() {
        return None;
    }
    bad.sort_by_key(|pod| (pod.tone, std::cmp::Reverse(pod.since)));
    let total = bad.len();
    let row = |pod: PodExtract| {
        let (since, why) = (pod.since, pod.why.clone());
        view! {
            <tr><td>{state(pod.tone, pod.word)}</td><td class="wrap"><a href=Route::object("pods", &pod.namespace, &pod.name).href()>{pod.name.clone()}</a><small class="clamp" title=why>{pod.why}</small></td><td class="dim">{pod.namespace}</td><td class="num right dim">{move || time::span(app.now.get() - since)}</td></tr>
        }
    };
    let all = format!("{}?filter={}", Route::list("pods").href(), encode("!status:running"));
    Some(view! { <section class="card"><h3>"Pods that need attention"<span class="tag">{total}</span><span class="grow"></span><a href=all>"all"</a></h3><table class="plain"><tbody>{bad.into_iter().take(MAX_NAMED).map(row).collect_view()}</tbody></table></section> }.into_any())
}
