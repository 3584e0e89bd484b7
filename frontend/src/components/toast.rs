//! Short messages that come and go, with the call they stand for and an undo where there is one.

use gloo_timers::callback::Timeout;
use leptos::prelude::*;
use leptos::task::spawn_local;
use pilothouse_api::Status;

use crate::api::call::Call;
use crate::api::mutate::{in_words, perform};
use crate::app::{App, app};
use crate::components::call::call_details;
use crate::components::icon::icon;
use crate::model::health::Tone;

const SHOWN_MS: u32 = 8_000;
const MAX_TOASTS: usize = 3;

#[derive(Clone)]
pub struct Toast {
    id: u32,
    tone: Tone,
    text: String,
    causes: Vec<String>,
    call: Option<Call>,
    undo: Option<Call>,
}

impl App {
    fn push_toast(&self, tone: Tone, text: String, causes: Vec<String>, call: Option<Call>, undo: Option<Call>) {
        let toasts = self.toasts;
        let id = toasts.with_untracked(|all| all.iter().map(|toast| toast.id).max().unwrap_or_default() + 1);
        toasts.update(|all| {
            all.push(Toast { id, tone, text, causes, call, undo });
            let extra = all.len().saturating_sub(MAX_TOASTS);
            all.drain(..extra);
        });
        let stay = if tone == Tone::Bad { SHOWN_MS * 2 } else { SHOWN_MS };
        // A toast whose call is being read stays.
        Timeout::new(stay, move || toasts.update(|all| all.retain(|toast| toast.id != id))).forget();
    }

    pub fn done(&self, text: impl Into<String>, call: Call, undo: Option<Call>) {
        self.push_toast(Tone::Good, text.into(), Vec::new(), Some(call), undo);
    }

    pub fn note(&self, text: impl Into<String>) {
        self.push_toast(Tone::Idle, text.into(), Vec::new(), None, None);
    }

    pub fn failed(&self, what: &str, status: &Status, call: Option<Call>) {
        let causes = status
            .details
            .iter()
            .flat_map(|details| &details.causes)
            .filter(|cause| !matches!(cause.field.as_str(), "" | "<nil>"));
        let causes: Vec<String> = causes.map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let words = if causes.is_empty() { in_words(status) } else { String::new() };
        if status.code == 403 {
            self.forget_rules();
        }
        self.push_toast(
            Tone::Bad,
            if words.is_empty() { what.to_owned() } else { format!("{what}. {words}") },
            causes,
            call,
            None,
        );
    }

    /// Performs a call and tells its outcome; `then` runs on success.
    pub fn act(self, text: impl Into<String>, call: Call, undo: Option<Call>, then: impl FnOnce() + 'static) {
        let text = text.into();
        spawn_local(async move {
            match perform(self, &call).await {
                Ok(_) => {
                    self.done(text, call, undo);
                    then();
                }
                Err(status) => self.failed("That was refused", &status, Some(call)),
            }
        });
    }
}

#[component]
pub fn Toasts() -> impl IntoView {
    let app = app();
    view! {
        <div class="toasts" role="status" aria-live="polite" data-testid="toasts">
            <For each=move || app.toasts.get() key=|toast| toast.id let:toast>{show(toast)}</For>
        </div>
    }
}

fn show(toast: Toast) -> impl IntoView {
    let app = app();
    let id = toast.id;
    let close = move || app.toasts.update(|all| all.retain(|other| other.id != id));
    let undo = toast.undo.map(|undo| {
        let act = move |_| {
            close();
            app.act("Undone", undo.clone(), None, || {});
        };
        view! { <button class="link" data-testid="toast-undo" on:click=act>{icon("back")}"Undo"</button> }
    });
    let causes = (!toast.causes.is_empty()).then(
        || view! { <ul>{toast.causes.iter().map(|cause| view! { <li>{cause.clone()}</li> }).collect_view()}</ul> },
    );
    view! {
        <div class=format!("toast {}", toast.tone.class()) data-testid=if toast.tone == Tone::Bad { "toast-error" } else { "toast" }>
            <div class="toast-row">
                <span class="grow">{toast.text}</span>
                {undo}
                <button class="button icon-only quiet" aria-label="Dismiss" on:click=move |_| close()>{icon("close")}</button>
            </div>
            {causes}
            {toast.call.map(|call| call_details(vec![call]))}
        </div>
    }
}
