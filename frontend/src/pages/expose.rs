//! The Services in front of a workload, and the dialog that makes one.

use leptos::prelude::*;
use leptos::task::spawn_local;
use serde_json::json;

use crate::api::access::Ask;
use crate::api::call::{Call, JSON};
use crate::api::collections::objects;
use crate::api::live::Query;
use crate::api::mutate::{in_words, perform};
use crate::app::app;
use crate::components::call::call_details;
use crate::components::dialog::Dialog;
use crate::components::icon::icon;
use crate::components::status::skeleton;
use crate::model::expose::{Opening, container_ports, pod_labels, port_words, selects, service};
use crate::model::json::{self as read, text};
use crate::pages::object::Subject;
use crate::routes::Route;

/// The Services that lead to a workload's pods, live.
pub fn services_card(subject: &Subject) -> impl IntoView + use<> {
    let app = app();
    let object = subject.object;
    let live = objects(Query::new(format!("/api/v1/namespaces/{}/services", subject.namespace), JSON));
    let open = RwSignal::new(false);
    let namespace = subject.namespace.clone();
    let may = Memo::new({
        let namespace = namespace.clone();
        move |_| app.may(&namespace, &Ask::new("create", "services"))
    });
    let rows = move || {
        if live.is_loading() {
            return skeleton(1).into_any();
        }
        let labels = object.with(|object| pod_labels(object));
        let found: Vec<_> = live.values().into_iter().filter(|service| selects(service, &labels)).collect();
        if found.is_empty() {
            return view! { <p class="dim">"No Service leads to these pods: they are reached by their own addresses only."</p> }.into_any();
        }
        let row = |service: crate::api::collections::Object| {
            let (name, space) = (read::name(&service).to_owned(), read::namespace(&service).to_owned());
            let address = text(&service, "spec/clusterIP").to_owned();
            view! {
                <tr>
                    <td><a href=Route::object("services", &space, &name).href()>{name.clone()}</a></td>
                    <td class="dim">{text(&service, "spec/type").to_owned()}</td>
                    <td class="num">{if address == "None" { "headless".to_owned() } else { address }}</td>
                    <td>{port_words(&service).into_iter().map(|port| view! { <div class="num">{port}</div> }).collect_view()}</td>
                </tr>
            }
        };
        view! { <table class="plain"><tbody>{found.into_iter().map(row).collect_view()}</tbody></table> }.into_any()
    };
    let dialog = dialog(subject, open);
    view! {
        <section class="card" data-testid="services"><h3>"Services"<span class="grow"></span>{move || may.get().then(|| view! { <button class="link" data-testid="expose-open" on:click=move |_| open.set(true)>{icon("plus")}"Expose"</button> })}</h3>{rows}</section>
        {dialog}
    }
}

fn dialog(subject: &Subject, open: RwSignal<bool>) -> impl IntoView + use<> {
    let app = app();
    let object = subject.object;
    let (name, namespace) = (subject.name.clone(), subject.namespace.clone());
    let title = format!("Expose {name}");
    let body = move || {
        let mut first: Vec<Opening> = object
            .with_untracked(|object| container_ports(object))
            .into_iter()
            .map(|(port, name)| Opening { name, port: port.clone(), target: port })
            .collect();
        if first.is_empty() {
            first.push(Opening::default());
        }
        let (typed_name, type_, openings) =
            (RwSignal::new(name.clone()), RwSignal::new("ClusterIP"), RwSignal::new(first));
        let (problem, busy) = (RwSignal::new(String::new()), RwSignal::new(false));
        let path = format!("/api/v1/namespaces/{namespace}/services");
        let call = {
            let path = path.clone();
            move || {
                object.with(|object| {
                    Call::create(&path, &service(object, &typed_name.get(), type_.get(), &openings.get()))
                })
            }
        };
        let made = call.clone();
        let act = move |event: leptos::ev::SubmitEvent| {
            event.prevent_default();
            busy.set(true);
            problem.set(String::new());
            let (call, path) = (untrack(&made), path.clone());
            spawn_local(async move {
                match perform(app, &call).await {
                    Ok(made) => {
                        let undo = Call::delete(
                            &format!("{path}/{}", read::name(&made)),
                            &json!({ "apiVersion": "v1", "kind": "DeleteOptions" }),
                        );
                        app.done(format!("Service {} was created", read::name(&made)), call, Some(undo));
                        open.try_set(false);
                    }
                    Err(status) => {
                        let causes: Vec<String> = status
                            .details
                            .iter()
                            .flat_map(|details| &details.causes)
                            .filter(|cause| !cause.field.is_empty())
                            .map(|cause| format!("{}: {}", cause.field, cause.message))
                            .collect();
                        problem.try_set(if causes.is_empty() { in_words(&status) } else { causes.join("\n") });
                    }
                }
                busy.try_set(false);
            });
        };
        let row = move |index: usize| {
            let field = move |title: &'static str,
                              test: &'static str,
                              get: fn(&Opening) -> String,
                              set: fn(&mut Opening, String)| {
                view! { <label class="field grow"><span>{title}</span><input class="input" data-testid=format!("{test}-{index}") prop:value=move || openings.with(|all| all.get(index).map(get)) on:input=move |event| openings.update(|all| if let Some(opening) = all.get_mut(index) { set(opening, event_target_value(&event)) })/></label> }
            };
            view! {
                <div class="field-row">
                    {field("Port", "expose-port", |opening| opening.port.clone(), |opening, value| opening.port = value)}
                    {field("Container port", "expose-target", |opening| opening.target.clone(), |opening, value| opening.target = value)}
                    {field("Name", "expose-name", |opening| opening.name.clone(), |opening, value| opening.name = value)}
                    <button type="button" class="button icon-only quiet" aria-label="Remove the port" disabled=move || openings.with(Vec::len) < 2 on:click=move |_| openings.update(|all| { all.remove(index); })>{icon("close")}</button>
                </div>
            }
        };
        let count = Memo::new(move |_| openings.with(Vec::len));
        let choice = move |value: &'static str, title: &'static str, hint: &'static str| view! { <label class="choice"><input type="radio" name="expose-type" data-testid=format!("expose-{}", value.to_lowercase()) prop:checked=move || type_.get() == value on:change=move |_| type_.set(value)/><span><b>{title}</b><small>{hint}</small></span></label> };
        view! {
            <form on:submit=act>
                <label class="field"><span>"Name of the Service"</span><input class="input" data-testid="expose-service" required autofocus prop:value=typed_name on:input=move |event| typed_name.set(event_target_value(&event))/></label>
                {move || (0..count.get()).map(row).collect_view()}
                <div><button type="button" class="link" on:click=move |_| openings.update(|all| all.push(Opening::default()))>{icon("plus")}"Another port"</button></div>
                <div class="choices" role="radiogroup" aria-label="Reachable">
                    {choice("ClusterIP", "In the cluster", "a ClusterIP")}
                    {choice("NodePort", "On every node", "a NodePort")}
                </div>
                <Show when=move || !problem.with(String::is_empty)><p class="problems pre-line" role="alert" data-testid="expose-error">{problem}</p></Show>
                {move || call_details(vec![call()])}
                <footer><button type="button" class="button" on:click=move |_| open.set(false)>"Cancel"</button><button class="button primary" type="submit" data-testid="expose-submit" disabled=move || busy.get()>"Expose"</button></footer>
            </form>
        }
    };
    view! { <Dialog title=title open=open>{body.clone()}</Dialog> }
}
