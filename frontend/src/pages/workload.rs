//! What can be done to a workload: scale it, restart it, change its images.

use leptos::prelude::*;
use serde_json::{Value, json};

use crate::api::call::{Call, MERGE, STRATEGIC};
use crate::app::app;
use crate::components::call::call_details;
use crate::components::dialog::Dialog;
use crate::components::icon::icon;
use crate::model::json::{at, list, text};
use crate::pages::object::Subject;

/// More than this is not typed by mistake.
const MAX_REPLICAS: i64 = 100_000;

pub fn actions(subject: &Subject) -> impl IntoView + use<> {
    let kind = subject.resource.kind.as_str();
    let scale = subject.resource.has_subresource("scale").then(|| scale(subject));
    let rolls = matches!(kind, "Deployment" | "StatefulSet" | "DaemonSet");
    let more = rolls.then(|| view! { {image(subject)}{restart(subject)} });
    view! { {scale}{more} }
}

fn scale_call(subject: &Subject, replicas: i64) -> Call {
    Call::patch(&format!("{}/scale", subject.path()), MERGE, &json!({ "spec": { "replicas": replicas } }))
        .kubectl(format!("kubectl scale {} --replicas={replicas}", subject.kubectl()))
}

fn scale(subject: &Subject) -> impl IntoView + use<> {
    let app = app();
    let open = RwSignal::new(false);
    let subject = subject.clone();
    let object = subject.object;
    let now = move || object.with_untracked(|object| at(object, "spec/replicas").as_i64().unwrap_or(1));
    let button = subject.action("patch", "scale", "scale", "Scale", "scale-open", move || open.set(true));
    let (name, subject) = (subject.name.clone(), StoredValue::new(subject));
    let body = move || {
        let (typed, before) = (RwSignal::new(now().to_string()), now());
        let wanted = move || typed.get().trim().parse::<i64>().ok().filter(|count| (0..=MAX_REPLICAS).contains(count));
        let step = move |by: i64| typed.set((wanted().unwrap_or(before) + by).max(0).to_string());
        let call = move |count: i64| subject.with_value(|subject| scale_call(subject, count));
        let act = move |event: leptos::ev::SubmitEvent| {
            event.prevent_default();
            let Some(count) = wanted() else { return };
            open.set(false);
            let name = subject.with_value(|subject| subject.name.clone());
            app.act(format!("{name} is scaled from {before} to {count}"), call(count), Some(call(before)), || {});
        };
        view! {
            <form on:submit=act>
                <div class="stepper">
                    <button type="button" class="button icon-only" aria-label="Fewer" data-testid="scale-minus" on:click=move |_| step(-1)>{icon("minus")}</button>
                    <input class="input" inputmode="numeric" autofocus aria-label="Replicas" data-testid="scale-input" prop:value=typed on:input=move |event| typed.set(event_target_value(&event))/>
                    <button type="button" class="button icon-only" aria-label="More" data-testid="scale-plus" on:click=move |_| step(1)>{icon("plus")}</button>
                    <span class="dim">{format!("replicas, now {before}")}</span>
                </div>
                {move || wanted().map(|count| call_details(vec![call(count)]))}
                <footer><button type="button" class="button" on:click=move |_| open.set(false)>"Cancel"</button><button class="button primary" type="submit" data-testid="scale-submit" disabled=move || wanted().is_none()>"Scale"</button></footer>
            </form>
        }
    };
    view! { {button}<Dialog title=format!("Scale {name}") open=open>{body.clone()}</Dialog> }
}

fn restart(subject: &Subject) -> impl IntoView + use<> {
    let app = app();
    let open = RwSignal::new(false);
    let button = subject.action("patch", "", "restart", "Restart", "restart", move || open.set(true));
    let (name, subject) = (subject.name.clone(), StoredValue::new(subject.clone()));
    let body = move || {
        let stamp = String::from(js_sys::Date::new_0().to_iso_string());
        let patch = json!({ "spec": { "template": { "metadata": { "annotations": { "kubectl.kubernetes.io/restartedAt": stamp } } } } });
        let call = subject.with_value(|subject| {
            Call::patch(&subject.path(), STRATEGIC, &patch)
                .kubectl(format!("kubectl rollout restart {}", subject.kubectl()))
        });
        let sent = call.clone();
        let act = move |_| {
            open.set(false);
            app.act(
                format!("{} restarts, pod by pod", subject.with_value(|subject| subject.name.clone())),
                sent.clone(),
                None,
                || {},
            );
        };
        view! {
            <p>"Replaces its pods one after the other, as a rollout of the same version does."</p>
            {call_details(vec![call])}
            <footer><button class="button" on:click=move |_| open.set(false)>"Cancel"</button><button class="button primary" autofocus data-testid="restart-confirm" on:click=act>"Restart"</button></footer>
        }
    };
    view! { {button}<Dialog title=format!("Restart {name}") open=open>{body.clone()}</Dialog> }
}

fn containers(object: &Value) -> Vec<(String, String)> {
    list(object, "spec/template/spec/containers")
        .iter()
        .map(|container| (text(container, "name").to_owned(), text(container, "image").to_owned()))
        .collect()
}

fn image(subject: &Subject) -> impl IntoView + use<> {
    let app = app();
    let open = RwSignal::new(false);
    let button = subject.action("patch", "", "deploy", "Update image", "image-open", move || open.set(true));
    let object = subject.object;
    let (name, subject) = (subject.name.clone(), StoredValue::new(subject.clone()));
    let body = move || {
        let before = object.with_untracked(|object| containers(object));
        let typed = RwSignal::new(before.clone());
        let call = {
            let before = before.clone();
            move |images: &[(String, String)]| {
                let changed: Vec<_> = images.iter().filter(|pair| !before.contains(pair)).collect();
                let list: Vec<Value> =
                    changed.iter().map(|(name, image)| json!({ "name": name, "image": image.trim() })).collect();
                let words: Vec<String> =
                    changed.iter().map(|(name, image)| format!("{name}={}", image.trim())).collect();
                subject.with_value(|subject| {
                    Call::patch(
                        &subject.path(),
                        STRATEGIC,
                        &json!({ "spec": { "template": { "spec": { "containers": list } } } }),
                    )
                    .kubectl(format!(
                        "kubectl set image {} {}",
                        subject.kubectl(),
                        words.join(" ")
                    ))
                })
            }
        };
        let changed = {
            let before = before.clone();
            move || typed.with(|typed| *typed != before && typed.iter().all(|(_, image)| !image.trim().is_empty()))
        };
        let undo = {
            let before = before.clone();
            move || {
                let list: Vec<Value> =
                    before.iter().map(|(name, image)| json!({ "name": name, "image": image })).collect();
                subject.with_value(|subject| {
                    Call::patch(
                        &subject.path(),
                        STRATEGIC,
                        &json!({ "spec": { "template": { "spec": { "containers": list } } } }),
                    )
                })
            }
        };
        let shown = call.clone();
        let act = move |event: leptos::ev::SubmitEvent| {
            event.prevent_default();
            open.set(false);
            let name = subject.with_value(|subject| subject.name.clone());
            app.act(format!("{name} rolls out"), typed.with_untracked(|typed| call(typed)), Some(undo()), || {});
        };
        let input = |(index, (name, image)): (usize, (String, String))| {
            let change =
                move |event: leptos::ev::Event| typed.update(|typed| typed[index].1 = event_target_value(&event));
            view! { <label class="field"><span>{name.clone()}</span><input class="input mono" data-testid=format!("image-input-{name}") prop:value=image on:input=change/></label> }
        };
        let enabled = changed.clone();
        view! {
            <form on:submit=act>
                {before.into_iter().enumerate().map(input).collect_view()}
                {move || changed().then(|| call_details(vec![typed.with(|typed| shown(typed))]))}
                <footer><button type="button" class="button" on:click=move |_| open.set(false)>"Cancel"</button><button class="button primary" type="submit" data-testid="image-submit" disabled=move || !enabled()>"Roll out"</button></footer>
            </form>
        }
    };
    view! { {button}<Dialog title=format!("Update images of {name}") open=open>{body.clone()}</Dialog> }
}
