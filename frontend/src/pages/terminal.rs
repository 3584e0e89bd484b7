//! A shell in a container of a pod.

use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use wasm_bindgen::JsValue;
use wasm_bindgen::closure::Closure;

use crate::browser;
use crate::components::icon::icon;
use crate::components::script;
use crate::components::status::{empty, state};
use crate::model::health::Tone;
use crate::model::pod::{Role, containers};
use crate::pages::object::Subject;
use crate::routes::encode;

/// The best shell that the image has.
const SHELL: &str = "export TERM=xterm-256color; command -v bash >/dev/null 2>&1 && exec bash; exec sh";

fn url(namespace: &str, pod: &str, container: &str) -> String {
    let command: String = ["sh", "-c", SHELL].iter().map(|word| format!("&command={}", encode(word))).collect();
    format!(
        "{}/api/v1/namespaces/{namespace}/pods/{pod}/exec?container={container}&stdin=true&stdout=true&tty=true{command}",
        browser::socket_origin()
    )
}

pub fn terminal(subject: &Subject) -> impl IntoView + use<> {
    let object = subject.object;
    let running = Memo::new(move |_| {
        object.with(|object| {
            containers(object)
                .into_iter()
                .filter(|container| container.state == "Running" && container.role != Role::Init)
                .map(|container| container.name)
                .collect::<Vec<_>>()
        })
    });
    let chosen = RwSignal::new(String::new());
    let container = Memo::new(move |_| {
        let chosen = chosen.get();
        if chosen.is_empty() { running.with(|names| names.first().cloned().unwrap_or_default()) } else { chosen }
    });
    let may = Memo::new({
        let subject = subject.clone();
        move |_| subject.may("create", "exec")
    });
    let refusal = subject.refusal("create", "exec");
    // Raised for each session.
    let session = RwSignal::new(0_u32);
    let (tone, word) = (RwSignal::new(Tone::Idle), RwSignal::new("Not connected".to_owned()));
    let (namespace, pod) = (subject.namespace.clone(), subject.name.clone());
    let body = move || {
        if !may.get() {
            return empty("shield", "You may not open a shell here", refusal.clone()).into_any();
        }
        if container.with(String::is_empty) {
            return empty("terminal", "No container is running", "A shell can be opened in a running container.")
                .into_any();
        }
        session.track();
        let url = url(&namespace, &pod, &container.get());
        view! { <Screen url tone word/> }.into_any()
    };
    view! {
        <section class="card terminal-card">
            <div class="bar" class:hidden=move || running.with(Vec::is_empty)>
                <select class="input" aria-label="Container" data-testid="terminal-container" on:change=move |event| chosen.set(event_target_value(&event))>
                    {move || running.get().into_iter().map(|name| view! { <option value=name.clone()>{name.clone()}</option> }).collect_view()}
                </select>
                <span class="grow" data-testid="terminal-state">{move || state(tone.get(), word.get())}</span>
                <button class="button" data-testid="terminal-start" on:click=move |_| session.update(|count| *count += 1)>{icon("restart")}"New session"</button>
            </div>
            {body}
        </section>
    }
}

#[component]
fn Screen(url: String, tone: RwSignal<Tone>, word: RwSignal<String>) -> impl IntoView {
    let node = NodeRef::<html::Div>::new();
    let session = StoredValue::new_local(None::<JsValue>);
    let tell = move |next: Tone, text: String| {
        tone.try_set(next);
        word.try_set(text);
    };
    Effect::new(move || {
        let (Some(parent), url) = (node.get(), url.clone()) else { return };
        tell(Tone::Busy, "Connecting…".into());
        spawn_local(async move {
            let Ok(module) = script::load("terminal").await else {
                return tell(Tone::Bad, "The terminal could not be loaded".into());
            };
            let heard =
                Closure::<dyn FnMut(String, String)>::new(move |state: String, message: String| match state.as_str() {
                    "open" => tell(Tone::Good, "Connected".into()),
                    "closed" => tell(Tone::Idle, message),
                    _ => tell(Tone::Bad, message),
                });
            match script::call(&module, "open", &[parent.into(), url.into(), heard.into_js_value()]) {
                Ok(view) => {
                    if session.try_update_value(|slot| *slot = Some(view.clone())).is_none() {
                        script::tell(&view, "close", &[]);
                    }
                }
                Err(_) => tell(Tone::Bad, "The terminal could not be opened".into()),
            }
        });
    });
    on_cleanup(move || {
        session.try_with_value(|session| {
            if let Some(session) = session {
                script::tell(session, "close", &[]);
            }
        });
    });
    view! { <div class="terminal" data-testid="terminal" node_ref=node></div> }
}
