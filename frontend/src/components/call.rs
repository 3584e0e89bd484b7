//! The API calls behind what the dashboard does, for those who want to see or repeat them.

use leptos::prelude::*;

use crate::api::call::Call;
use crate::app::app;
use crate::browser;
use crate::components::dialog::Dialog;
use crate::components::icon::icon;
use crate::components::status::{empty, state};
use crate::model::health::Tone;
use crate::model::time;

/// Text in a frame, with a button that copies it.
pub fn code(text: String) -> impl IntoView {
    let (app, copied) = (app(), text.clone());
    let copy = move |_| {
        browser::copy(&copied);
        app.note("Copied");
    };
    view! { <div class="code"><pre tabindex="0">{text}</pre><button class="button icon-only quiet" aria-label="Copy" on:click=copy>{icon("copy")}</button></div> }
}

/// Folded away until asked for.
pub fn call_details(calls: Vec<Call>) -> impl IntoView {
    let title = if calls.len() == 1 { "API call".to_owned() } else { format!("{} API calls", calls.len()) };
    details(title, calls)
}

fn details(title: String, calls: Vec<Call>) -> impl IntoView {
    let all = calls.into_iter().map(one).collect_view();
    view! { <details class="calls" data-testid="api-call"><summary>{title}</summary>{all}</details> }
}

fn one(call: Call) -> impl IntoView {
    let http = call.as_http();
    let kubectl = (!call.kubectl.is_empty()).then(|| view! { <h5>"kubectl"</h5>{code(call.kubectl)} });
    view! { <h5>"HTTP"</h5>{code(http)}{kubectl} }
}

/// Every change made since the page was loaded.
#[component]
pub fn CallLog() -> impl IntoView {
    let app = app();
    let rows = move || {
        let calls = app.calls.get();
        if calls.is_empty() {
            return empty(
                "history",
                "No changes yet",
                "Every change you make here is an API call; they are listed as you go.",
            )
            .into_any();
        }
        let row = |record: crate::api::mutate::Record| {
            let tone = if record.code == 200 { Tone::Good } else { Tone::Bad };
            let word = if record.code == 0 { "no answer".to_owned() } else { record.code.to_string() };
            let path = record.call.path.clone();
            let at = record.at;
            view! {
                <li>
                    <div class="call-row">{state(tone, word)}<code>{record.call.method.word()}" "{path}</code><span class="dim">{record.took_ms}" ms · "{move || time::span(app.now.get() - at)}" ago"</span></div>
                    {(!record.message.is_empty()).then(|| view! { <p class="dim">{record.message}</p> })}
                    {details("Details".into(), vec![record.call])}
                </li>
            }
        };
        view! { <ol class="call-log">{calls.into_iter().map(row).collect_view()}</ol> }.into_any()
    };
    view! { <Dialog title="Your API calls" open=app.calls_open wide=true>{rows}</Dialog> }
}
