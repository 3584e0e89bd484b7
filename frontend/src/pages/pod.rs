//! A pod: its containers with state, probes and resources, where it runs, what is mounted.

use leptos::prelude::*;
use serde_json::Value;

use crate::components::facts::{age, chips, conditions, fact, fact_if};
use crate::components::icon::icon;
use crate::components::status::{state, tag};
use crate::model::json::{at, list, number, pairs, scalar, text};
use crate::model::pod::{Container, Role, containers};
use crate::pages::object::Subject;
use crate::pages::summary;
use crate::routes::Route;

pub fn pod(subject: &Subject) -> impl IntoView + use<> {
    let object = subject.object;
    let route = Route::object("pods", &subject.namespace, &subject.name);
    let cards = move || {
        object.with(|object| {
            containers(object).into_iter().map(|container| container_card(object, &container, &route)).collect_view()
        })
    };
    let side = move || {
        object.with(|object| {
            let node = text(object, "spec/nodeName").to_owned();
            view! {
                <section class="card"><h3>"Where"</h3><dl class="facts">
                    {(!node.is_empty()).then(|| fact("Node", view! { <a href=Route::object("nodes", "", &node).href()>{node.clone()}</a> }))}
                    {fact_if("Pod address", text(object, "status/podIP"))}
                    {fact_if("Node address", text(object, "status/hostIP"))}
                    {fact_if("Quality", text(object, "status/qosClass"))}
                    {fact_if("Service account", text(object, "spec/serviceAccountName"))}
                    {fact_if("Restart policy", text(object, "spec/restartPolicy"))}
                    {fact_if("Priority", text(object, "spec/priorityClassName"))}
                    {fact_if("Message", text(object, "status/message"))}
                </dl></section>
                {summary::about(object, &[])}
                {volumes(object)}
            }
        })
    };
    view! {
        <div class="columns wide-left">
            <div class="column">{cards}{move || object.with(|object| conditions(object))}</div>
            <div class="column">{side}</div>
        </div>
        {summary::latest_events(subject)}
    }
}

fn container_card(pod: &Value, container: &Container, route: &Route) -> impl IntoView + use<> {
    let find = |path: &str| list(pod, path).iter().find(|spec| text(spec, "name") == container.name).cloned();
    let spec = ["spec/containers", "spec/initContainers", "spec/ephemeralContainers"]
        .iter()
        .find_map(|path| find(path))
        .unwrap_or_default();
    let resources = ["cpu", "memory"].iter().filter_map(|name| {
        let (request, limit) = (
            scalar(at(&spec, &format!("resources/requests/{name}"))),
            scalar(at(&spec, &format!("resources/limits/{name}"))),
        );
        match (request.is_empty(), limit.is_empty()) {
            (true, true) => None,
            (false, true) => Some(format!("{name} {request}")),
            (true, false) => Some(format!("{name} up to {limit}")),
            (false, false) => Some(format!("{name} {request} up to {limit}")),
        }
    });
    let environment: Vec<(String, String)> =
        list(&spec, "env").iter().map(|entry| (text(entry, "name").to_owned(), source_words(entry))).collect();
    let ports: Vec<String> = list(&spec, "ports")
        .iter()
        .map(|port| {
            format!(
                "{}{}",
                scalar(at(port, "containerPort")),
                match text(port, "name") {
                    "" => String::new(),
                    name => format!(" ({name})"),
                }
            )
        })
        .collect();
    let command: Vec<String> = list(&spec, "command").iter().chain(list(&spec, "args")).map(scalar).collect();
    let mounts: Vec<String> = list(&spec, "volumeMounts")
        .iter()
        .map(|mount| format!("{} ← {}", text(mount, "mountPath"), text(mount, "name")))
        .collect();
    let probes = [("Startup", "startupProbe"), ("Readiness", "readinessProbe"), ("Liveness", "livenessProbe")]
        .map(|(name, field)| fact_if(name, &probe_words(at(&spec, field))))
        .collect_view();
    let role = container.role;
    view! {
        <section class="card container" data-testid=format!("container-{}", container.name)>
            <h3>{container.name.clone()}{(role != Role::Main).then(|| tag(role.word()))}<span class="grow"></span>
                {(container.restarts > 0).then(|| view! { <span class="dim">{format!("{} restarts", container.restarts)}</span> })}
                {state(container.tone, container.state.clone())}
                {(!container.since.is_empty()).then(|| view! { <span class="dim">{age(&container.since)}</span> })}
            </h3>
            {(!container.why.is_empty()).then(|| view! { <p class="why">{container.why.clone()}</p> })}
            <dl class="facts">
                {fact("Image", view! { <code>{container.image.clone()}</code> })}
                {fact_if("Before that", &container.last)}
                {fact_if("Command", &command.join(" "))}
                {fact_if("Ports", &ports.join(", "))}
                {fact_if("Resources", &resources.collect::<Vec<_>>().join(", "))}
                {probes}
                {(!environment.is_empty()).then(|| fact("Environment", chips(&environment)))}
                {fact_if("Mounts", &mounts.join(", "))}
            </dl>
            <p class="card-links"><a href=format!("{}?container={}", route.clone().with_tab("logs").href(), container.name)>{icon("logs")}"Logs"</a></p>
        </section>
    }
}

/// Where the value of a variable comes from.
fn source_words(entry: &Value) -> String {
    let from = at(entry, "valueFrom");
    let key = |kind: &str, word: &str| {
        from.get(kind).map(|source| format!("{word} {} · {}", text(source, "name"), text(source, "key")))
    };
    key("configMapKeyRef", "ConfigMap")
        .or_else(|| key("secretKeyRef", "Secret"))
        .or_else(|| from.get("fieldRef").map(|source| text(source, "fieldPath").to_owned()))
        .or_else(|| from.get("resourceFieldRef").map(|source| text(source, "resource").to_owned()))
        .unwrap_or_else(|| text(entry, "value").to_owned())
}

fn probe_words(probe: &Value) -> String {
    if probe.is_null() {
        return String::new();
    }
    let what = if let Some(get) = probe.get("httpGet") {
        format!(
            "GET {}:{}",
            scalar(at(get, "port")),
            if text(get, "path").is_empty() { "/" } else { text(get, "path") }
        )
    } else if let Some(tcp) = probe.get("tcpSocket") {
        format!("connects to {}", scalar(at(tcp, "port")))
    } else if let Some(grpc) = probe.get("grpc") {
        format!("gRPC on {}", scalar(at(grpc, "port")))
    } else {
        list(probe, "exec/command").iter().map(scalar).collect::<Vec<_>>().join(" ")
    };
    let or = |field: &str, default: i64| if at(probe, field).is_null() { default } else { number(probe, field) };
    format!("{what}, every {} s, fails after {}", or("periodSeconds", 10), or("failureThreshold", 3))
}

fn volumes(pod: &Value) -> AnyView {
    let all = list(pod, "spec/volumes");
    if all.is_empty() {
        return ().into_any();
    }
    let namespace = text(pod, "metadata/namespace").to_owned();
    let row = |volume: &Value| {
        let kind =
            volume.as_object().and_then(|map| map.keys().find(|key| *key != "name")).cloned().unwrap_or_default();
        let source = at(volume, &kind);
        let link = |resource: &str, name: &str| {
            view! { <a href=Route::object(resource, &namespace, name).href()>{name.to_owned()}</a> }.into_any()
        };
        let what = match kind.as_str() {
            "configMap" => link("configmaps", text(source, "name")),
            "secret" => link("secrets", text(source, "secretName")),
            "persistentVolumeClaim" => link("persistentvolumeclaims", text(source, "claimName")),
            "hostPath" => text(source, "path").to_owned().into_any(),
            _ => pairs(source, "")
                .into_iter()
                .filter(|(_, value)| !value.starts_with(['[', '{']))
                .map(|(key, value)| format!("{key} {value}"))
                .collect::<Vec<_>>()
                .join(", ")
                .into_any(),
        };
        view! { <tr><td>{text(volume, "name").to_owned()}</td><td class="dim">{kind}</td><td class="wrap">{what}</td></tr> }
    };
    view! { <section class="card"><h3>"Volumes"</h3><table class="plain"><tbody>{all.iter().map(row).collect_view()}</tbody></table></section> }.into_any()
}
