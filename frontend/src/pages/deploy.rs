//! The deploy form. What it makes is shown as it is filled in: the objects as YAML, the calls, kubectl's words.

use leptos::prelude::*;
use leptos::task::spawn_local;
use serde_json::Value;

use crate::api::access::Ask;
use crate::api::call::Call;
use crate::api::http;
use crate::api::mutate::{in_words, perform};
use crate::app::app;
use crate::components::call::{call_details, code};
use crate::components::icon::icon;
use crate::components::shell::PageHead;
use crate::components::topbar::namespace_names;
use crate::model::deploy::{Expose, Form, Port, input_of_field, name_from_image, short};
use crate::model::json;
use crate::model::yaml::print;
use crate::routes::Route;

fn collection(object: &Value) -> String {
    let namespace = json::namespace(object);
    match json::text(object, "kind") {
        "Service" => format!("/api/v1/namespaces/{namespace}/services"),
        _ => format!("/apis/apps/v1/namespaces/{namespace}/deployments"),
    }
}

/// A problem with the input it belongs to (empty for none).
type Problem = (String, String);

fn problems_of(status: &pilothouse_api::Status) -> Vec<Problem> {
    let causes: Vec<Problem> = status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .filter(|cause| !cause.field.is_empty())
        .map(|cause| (input_of_field(&cause.field).unwrap_or_default().to_owned(), short(&cause.message)))
        .collect();
    if causes.is_empty() {
        vec![(if status.reason == "AlreadyExists" { "name".into() } else { String::new() }, in_words(status))]
    } else {
        causes
    }
}

pub fn deploy() -> impl IntoView {
    let app = app();
    let namespace = app.namespace.get_untracked();
    let form = RwSignal::new(Form {
        namespace: if namespace.is_empty() { "default".into() } else { namespace },
        ..Form::default()
    });
    let named = RwSignal::new(false);
    let busy = RwSignal::new(false);
    let problems = RwSignal::new(Vec::<Problem>::new());
    // What the server refused is no longer said of an input that has changed since.
    Effect::new(move |before: Option<Form>| {
        let now = form.get();
        if let Some(before) = before {
            problems.update(|all| all.retain(|(input, _)| !before.differs(&now, input)));
        }
        now
    });
    let namespaces = namespace_names();
    let about = move |input: &'static str| {
        move || problems.with(|all| all.iter().find(|(place, _)| place == input).map(|(_, text)| text.clone()))
    };
    let error = move |input: &'static str| view! { <small class="field-error" role="alert">{about(input)}</small> };
    let may =
        Memo::new(move |_| app.may(&form.with(|form| form.namespace.clone()), &Ask::new("create", "deployments.apps")));
    let calls = move || {
        form.with(|form| {
            form.objects().iter().map(|object| Call::create(&collection(object), object)).collect::<Vec<_>>()
        })
    };
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        busy.set(true);
        problems.set(Vec::new());
        let (objects, calls) = (form.with_untracked(Form::objects), calls());
        spawn_local(async move {
            // A rehearsal of all of it first: nothing is left behind by half.
            for call in &calls {
                if let Err(status) = http::send(&call.clone().dry_run()).await {
                    problems.try_set(problems_of(&status));
                    busy.try_set(false);
                    return;
                }
            }
            for (call, object) in calls.into_iter().zip(&objects) {
                let what = format!("{} {}", json::text(object, "kind"), json::name(object));
                match perform(app, &call).await {
                    Ok(made) => {
                        let path = format!("{}/{}", collection(object), json::name(&made));
                        let undo = Call::delete(
                            &path,
                            &serde_json::json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background" }),
                        );
                        app.done(format!("{what} was created"), call, Some(undo));
                    }
                    Err(status) => {
                        problems.try_set(problems_of(&status));
                        busy.try_set(false);
                        return;
                    }
                }
            }
            let first = &objects[0];
            app.go(Route::object("deployments.apps", json::namespace(first), json::name(first)));
        });
    };
    let text = move |test: &'static str, get: fn(&Form) -> String, set: fn(&mut Form, String)| {
        view! { <input class="input" data-testid=test prop:value=move || form.with(get) on:input=move |event| form.update(|form| set(form, event_target_value(&event)))/> }
    };
    let image = move |event: leptos::ev::Event| {
        let image = event_target_value(&event);
        form.update(|form| {
            if !named.get_untracked() {
                form.name = name_from_image(&image);
            }
            form.image = image;
        });
    };
    let name = move |event: leptos::ev::Event| {
        named.set(true);
        form.update(|form| form.name = event_target_value(&event));
    };
    let preview = move || form.with(|form| form.objects().iter().map(print).collect::<Vec<_>>().join("---\n"));
    view! {
        <div class="page">
            <PageHead title="Deploy an app"/>
            <div class="columns deploy">
                <form class="column" on:submit=submit>
                    <section class="card">
                        <label class="field"><span>"Image"</span><input class="input mono" autofocus required placeholder="pilothouse.local/demo:1" data-testid="deploy-image" prop:value=move || form.with(|form| form.image.clone()) on:input=image/>{error("image")}</label>
                        <div class="field-row">
                            <label class="field grow"><span>"Name"</span><input class="input" required data-testid="deploy-name" prop:value=move || form.with(|form| form.name.clone()) on:input=name/>{error("name")}</label>
                            <label class="field grow"><span>"Namespace"</span>
                                <input class="input" list="namespaces" required data-testid="deploy-namespace" prop:value=move || form.with(|form| form.namespace.clone()) on:input=move |event| form.update(|form| form.namespace = event_target_value(&event))/>
                                <datalist id="namespaces">{move || namespaces.values().into_iter().map(|name| view! { <option value=name></option> }).collect_view()}</datalist>
                                {error("namespace")}
                            </label>
                            <label class="field short"><span>"Replicas"</span>{text("deploy-replicas", |form| form.replicas.clone(), |form, value| form.replicas = value)}{error("replicas")}</label>
                        </div>
                    </section>
                    {ports(form, error("ports").into_any())}
                    {environment(form, error("environment").into_any())}
                    <section class="card">
                        <h3>"Resources"<small class="dim">"optional; requests are what the scheduler sets aside, limits what cannot be passed"</small></h3>
                        <div class="field-row">
                            <label class="field grow"><span>"CPU request"</span>{text("deploy-cpu-request", |form| form.cpu_request.clone(), |form, value| form.cpu_request = value)}</label>
                            <label class="field grow"><span>"CPU limit"</span>{text("deploy-cpu-limit", |form| form.cpu_limit.clone(), |form, value| form.cpu_limit = value)}</label>
                            <label class="field grow"><span>"Memory request"</span>{text("deploy-memory-request", |form| form.memory_request.clone(), |form, value| form.memory_request = value)}</label>
                            <label class="field grow"><span>"Memory limit"</span>{text("deploy-memory-limit", |form| form.memory_limit.clone(), |form, value| form.memory_limit = value)}</label>
                        </div>
                        {error("resources")}
                    </section>
                    <p class="field-error" role="alert" data-testid="deploy-error">{move || problems.with(|all| match all.iter().find(|(place, _)| place.is_empty()) {
                        Some((_, text)) => text.clone(),
                        None if all.is_empty() => String::new(),
                        None => "Nothing was created: the server refuses what is marked above.".to_owned(),
                    })}</p>
                    <div class="form-end">
                        <button class="button primary big" type="submit" data-testid="deploy-submit" disabled=move || busy.get() || !may.get() || !form.with(Form::is_complete)>{icon("deploy")}{move || if busy.get() { "Deploying…" } else { "Deploy" }}</button>
                        <Show when=move || !may.get()><span class="dim">"Your roles do not allow creating deployments in this namespace."</span></Show>
                    </div>
                </form>
                <aside class="column" aria-label="Resulting objects">
                    <section class="card preview" data-testid="deploy-yaml"><h3>"What will be created"</h3>{move || code(preview())}{move || call_details(calls())}</section>
                </aside>
            </div>
        </div>
    }
}

fn ports(form: RwSignal<Form>, error: AnyView) -> impl IntoView {
    let rows = move || {
        let row = |index: usize| {
            view! {
                <div class="field-row">
                    <label class="field short"><span>"Port"</span><input class="input" inputmode="numeric" data-testid=format!("deploy-port-{index}") prop:value=move || form.with(|form| form.ports.get(index).map(|port| port.number.clone())) on:input=move |event| form.update(|form| form.ports[index].number = event_target_value(&event))/></label>
                    <label class="field grow"><span>"Name"</span><input class="input" placeholder="http" prop:value=move || form.with(|form| form.ports.get(index).map(|port| port.name.clone())) on:input=move |event| form.update(|form| form.ports[index].name = event_target_value(&event))/></label>
                    <button type="button" class="button icon-only quiet" aria-label="Remove the port" on:click=move |_| form.update(|form| { form.ports.remove(index); })>{icon("close")}</button>
                </div>
            }
        };
        (0..form.with(|form| form.ports.len())).map(row).collect_view()
    };
    let count = Memo::new(move |_| form.with(|form| form.ports.len()));
    let option = move |value: &'static str, expose: Expose, title: &'static str, hint: &'static str| {
        view! { <label class="choice"><input type="radio" name="expose" value=value data-testid=format!("deploy-expose-{value}") prop:checked=move || form.with(|form| form.expose == expose) on:change=move |_| form.update(|form| form.expose = expose)/><span><b>{title}</b><small>{hint}</small></span></label> }
    };
    view! {
        <section class="card">
            <h3>"Ports"<span class="grow"></span><button type="button" class="link" data-testid="deploy-port-add" on:click=move |_| form.update(|form| form.ports.push(Port::default()))>{icon("plus")}"Add"</button></h3>
            {move || { count.track(); untrack(rows) }}
            {error}
            <div class="choices" role="radiogroup" aria-label="Expose" data-testid="deploy-expose">
                {option("none", Expose::None, "Not exposed", "no Service")}
                {option("clusterip", Expose::ClusterIp, "In the cluster", "a Service with a ClusterIP")}
                {option("nodeport", Expose::NodePort, "On every node", "a Service with a NodePort")}
            </div>
        </section>
    }
}

fn environment(form: RwSignal<Form>, error: AnyView) -> impl IntoView {
    let count = Memo::new(move |_| form.with(|form| form.environment.len()));
    let row = move |index: usize| {
        view! {
            <div class="field-row">
                <label class="field grow"><span>"Name"</span><input class="input mono" data-testid=format!("deploy-env-name-{index}") prop:value=move || form.with(|form| form.environment.get(index).map(|pair| pair.0.clone())) on:input=move |event| form.update(|form| form.environment[index].0 = event_target_value(&event))/></label>
                <label class="field grow"><span>"Value"</span><input class="input mono" data-testid=format!("deploy-env-value-{index}") prop:value=move || form.with(|form| form.environment.get(index).map(|pair| pair.1.clone())) on:input=move |event| form.update(|form| form.environment[index].1 = event_target_value(&event))/></label>
                <button type="button" class="button icon-only quiet" aria-label="Remove the variable" on:click=move |_| form.update(|form| { form.environment.remove(index); })>{icon("close")}</button>
            </div>
        }
    };
    view! {
        <section class="card">
            <h3>"Environment"<span class="grow"></span><button type="button" class="link" data-testid="deploy-env-add" on:click=move |_| form.update(|form| form.environment.push(Default::default()))>{icon("plus")}"Add"</button></h3>
            {move || (0..count.get()).map(row).collect_view()}
            {error}
        </section>
    }
}
