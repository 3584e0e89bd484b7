//! Objects from text: each document is rehearsed first, what would come of it is shown, then all are applied.
//!
//! Invariant: nothing is stored before its outcome was shown; a text that was edited since is rehearsed anew.

use std::sync::Arc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use pilothouse_api::Status;
use serde_json::Value;

use crate::api::call::Call;
use crate::api::discovery::Resource;
use crate::api::http;
use crate::api::mutate::perform;
use crate::app::{App, app};
use crate::browser;
use crate::components::call::call_details;
use crate::components::diff::diff;
use crate::components::editor::{Editor, EditorView};
use crate::components::icon::icon;
use crate::components::shell::PageHead;
use crate::components::status::{empty, state};
use crate::model::health::Tone;
use crate::model::manifest::{Document, documents, template};
use crate::model::yaml::print;
use crate::pages::yaml::{explain, without_version};
use crate::routes::Route;

/// What would come of a document, or has.
#[derive(Clone, PartialEq)]
enum Outcome {
    New,
    Changed {
        before: Arc<Value>,
        after: Arc<Value>,
    },
    Same,
    /// Cannot be rehearsed: its namespace is made by a document before it.
    AfterNamespace,
    Refused(Vec<String>),
    Done,
}

#[derive(Clone, PartialEq)]
struct Step {
    title: String,
    namespace: String,
    call: Option<Call>,
    route: Option<Route>,
    outcome: Outcome,
}

impl Outcome {
    fn mark(&self) -> (Tone, &'static str) {
        match self {
            Self::New => (Tone::Good, "new"),
            Self::Changed { .. } => (Tone::Busy, "changes"),
            Self::Same => (Tone::Idle, "as it is"),
            Self::AfterNamespace => (Tone::Busy, "after its namespace"),
            Self::Refused(_) => (Tone::Bad, "refused"),
            Self::Done => (Tone::Good, "applied"),
        }
    }
}

/// The address and the call for a document; the words that say why there is none otherwise.
fn prepare(app: App, document: &Document, force: bool) -> Result<(Arc<Resource>, String, Call), String> {
    if let Some(problem) = document.problem() {
        return Err(problem.into());
    }
    let found = app.discovery.with_untracked(|discovery| discovery.by_kind(&document.api_version, &document.kind));
    let Some(found) = found else {
        return Err(format!("The server has no kind {} in {}.", document.kind, document.api_version));
    };
    let version = document.api_version.rsplit('/').next().unwrap_or_default().to_owned();
    let resource = Resource { version, ..(*found).clone() };
    let chosen = app.namespace.get_untracked();
    let namespace = match (resource.namespaced, document.namespace.as_str(), chosen.as_str()) {
        (false, _, _) => String::new(),
        (true, "", "") => "default".into(),
        (true, "", chosen) => chosen.into(),
        (true, own, _) => own.into(),
    };
    let call = if document.name.is_empty() {
        Call::create_from(&resource.collection(Some(&namespace)), document.text.clone())
    } else {
        Call::apply(&resource.object(&namespace, &document.name), document.text.clone(), force)
    };
    Ok((found, namespace, call))
}

async fn rehearse(app: App, document: &Document, made: &[String], force: bool) -> (Step, Vec<(usize, String)>) {
    let mut step =
        Step { title: document.title(), namespace: String::new(), call: None, route: None, outcome: Outcome::New };
    let at = |(line, text): (usize, String)| (document.line + line - 1, text);
    let (resource, namespace, call) = match prepare(app, document, force) {
        Ok(found) => found,
        Err(problem) => {
            step.outcome = Outcome::Refused(vec![problem.clone()]);
            return (step, vec![at((1, problem))]);
        }
    };
    step.namespace.clone_from(&namespace);
    if !document.name.is_empty() {
        step.route = Some(Route::object(&resource.group_resource(), &namespace, &document.name));
    }
    let path = call.path.split('?').next().unwrap_or_default().to_owned();
    let before = if document.name.is_empty() { None } else { http::get_json(path).await.ok() };
    let outcome = http::send(&call.clone().dry_run()).await;
    step.call = Some(call);
    let marks = match outcome {
        Ok(after) => {
            step.outcome = match before {
                None => Outcome::New,
                Some(before) if without_version(&before) == without_version(&after) => Outcome::Same,
                Some(before) => Outcome::Changed { before: Arc::new(before), after: Arc::new(after) },
            };
            Vec::new()
        }
        Err(status) if status.code == 404 && made.contains(&namespace) => {
            step.outcome = Outcome::AfterNamespace;
            Vec::new()
        }
        Err(status) => {
            let (marks, words) = explain(&status, &document.text);
            step.outcome = Outcome::Refused(words);
            marks.into_iter().map(at).collect()
        }
    };
    (step, marks)
}

/// The text to begin with: that of a kind which the address names.
fn first_text(app: App) -> String {
    let query = browser::query();
    let Some(wanted) = query.strip_prefix("?kind=") else { return String::new() };
    let namespace = app.namespace.get_untracked();
    app.discovery.with_untracked(|discovery| discovery.get(wanted)).map_or_else(String::new, |resource| {
        let namespace = match (resource.namespaced, namespace.is_empty()) {
            (false, _) => "",
            (true, true) => "default",
            (true, false) => &namespace,
        };
        template(&resource.api_version(), &resource.kind, namespace)
    })
}

pub fn apply() -> impl IntoView {
    let app = app();
    let editor = Editor::new(first_text(app));
    let (busy, force) = (RwSignal::new(false), RwSignal::new(false));
    // The outcome, and the text it is of.
    let plan = RwSignal::new(None::<(String, Vec<Step>)>);
    let current =
        Memo::new(move |_| editor.text.with(|text| plan.with(|plan| plan.as_ref().is_some_and(|(of, _)| of == text))));
    let ready = Memo::new(move |_| {
        let willing = |step: &Step| {
            matches!(step.outcome, Outcome::New | Outcome::Changed { .. } | Outcome::Same | Outcome::AfterNamespace)
        };
        current.get()
            && plan.with(|plan| plan.as_ref().is_some_and(|(_, steps)| !steps.is_empty() && steps.iter().all(willing)))
    });
    let check = move |_| {
        busy.set(true);
        editor.diagnose(&[]);
        let text = editor.text.get_untracked();
        spawn_local(async move {
            let (mut steps, mut marks, mut made) = (Vec::new(), Vec::new(), Vec::new());
            for document in documents(&text) {
                let (step, found) = rehearse(app, &document, &made, force.get_untracked()).await;
                if document.kind == "Namespace" && step.outcome == Outcome::New {
                    made.push(document.name.clone());
                }
                steps.push(step);
                marks.extend(found);
            }
            if busy.try_set(false).is_none() {
                editor.diagnose(&marks);
                plan.set(Some((text, steps)));
            }
        });
    };
    let run = move |_| {
        let Some((text, steps)) = plan.get_untracked() else { return };
        busy.set(true);
        spawn_local(async move {
            let (count, mut applied) = (steps.len(), 0);
            for (index, step) in steps.iter().enumerate() {
                let Some(call) = &step.call else { continue };
                let outcome = match perform(app, call).await {
                    Ok(_) => Outcome::Done,
                    Err(status) => Outcome::Refused(words(&status, &text)),
                };
                let refused = matches!(outcome, Outcome::Refused(_));
                plan.try_update(|plan| {
                    if let Some(step) = plan.as_mut().and_then(|(_, steps)| steps.get_mut(index)) {
                        step.outcome = outcome;
                    }
                });
                if refused {
                    break;
                }
                applied += 1;
            }
            busy.try_set(false);
            match (applied == count, steps.as_slice()) {
                (true, [Step { route: Some(route), title, .. }]) => {
                    app.note(format!("{title} was applied"));
                    app.go(route.clone());
                }
                (true, _) => app.note(format!("{count} objects were applied")),
                (false, _) => {
                    app.note(format!("{applied} of {count} objects were applied; the rest was left as it was"))
                }
            }
        });
    };
    let outcome = move || {
        match plan.get() {
        None => empty("edit", "Nothing is stored yet", "Write or drop one or several objects, separated by ---. What would come of each is shown here before anything is changed.").into_any(),
        Some((_, steps)) if steps.is_empty() => empty("edit", "No object in the text", "An object has at least apiVersion, kind and metadata.name.").into_any(),
        Some((_, steps)) => view! { <ol class="plan" class:stale=move || !current.get() data-testid="apply-plan">{steps.into_iter().map(step_view).collect_view()}</ol> }.into_any(),
    }
    };
    view! {
        <div class="page">
            <PageHead title="Apply YAML"/>
            <div class="bar">
                <button class="button" class:primary=move || !ready.get() data-testid="apply-check" disabled=move || busy.get() || editor.text.with(|text| text.trim().is_empty()) on:click=check>{icon("check")}"Check"</button>
                <button class="button" class:primary=move || ready.get() data-testid="apply-submit" disabled=move || busy.get() || !ready.get() on:click=run>{icon("deploy")}"Apply"</button>
                <label class="check-line"><input type="checkbox" prop:checked=force on:change=move |event| { force.set(event_target_checked(&event)); plan.set(None) }/>"Take over fields that others manage"</label>
            </div>
            <div class="columns wide-left apply">
                <div class="editor-frame"><EditorView editor/></div>
                <section class="card" aria-live="polite"><h3>"What would change"</h3>{outcome}</section>
            </div>
        </div>
    }
}

fn words(status: &Status, text: &str) -> Vec<String> {
    explain(status, text).1
}

fn step_view(step: Step) -> impl IntoView {
    let (tone, word) = step.outcome.mark();
    let title = match &step.route {
        Some(route) if matches!(step.outcome, Outcome::Done | Outcome::Same | Outcome::Changed { .. }) => {
            view! { <a href=route.href()>{step.title}</a> }.into_any()
        }
        _ => view! { <b>{step.title}</b> }.into_any(),
    };
    let body = match &step.outcome {
        Outcome::Changed { before, after } => diff(&print(&without_version(before)), &print(&without_version(after))),
        Outcome::Refused(words) => view! { <ul class="problems" role="alert" data-testid="apply-error">{words.iter().map(|word| view! { <li>{word.clone()}</li> }).collect_view()}</ul> }.into_any(),
        _ => ().into_any(),
    };
    let call = step.call.map(|call| call_details(vec![call]));
    view! {
        <li><div class="plan-head">{title}<span class="dim">{step.namespace}</span><span class="grow"></span>{state(tone, word)}</div>{body}{call}</li>
    }
}
