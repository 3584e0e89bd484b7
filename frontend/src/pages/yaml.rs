//! An object's YAML: shown live, edited, checked by a dry run whose outcome is shown as a difference, then saved.

use std::sync::Arc;

use leptos::prelude::*;
use leptos::task::spawn_local;
use pilothouse_api::Status;
use serde_json::Value;

use crate::api::call::Call;
use crate::api::collections::Object;
use crate::api::http;
use crate::api::mutate::{in_words, perform};
use crate::app::app;
use crate::components::call::call_details;
use crate::components::diff::diff;
use crate::components::editor::{Editor, EditorView};
use crate::components::icon::icon;
use crate::model::change::{Rebase, rebase};
use crate::model::json;
use crate::model::yaml::print;
use crate::model::yaml_lines::{line_in_message, line_of};
use crate::pages::object::Subject;

/// How often a save is carried over to a newer version of the object before the user is asked.
const MAX_REBASES: usize = 5;

#[derive(Clone, PartialEq)]
enum Mode {
    View,
    Edit,
    /// The object as it would be, with the call that makes it so.
    Review {
        outcome: Arc<Value>,
        call: Call,
    },
}

pub fn yaml(subject: &Subject) -> impl IntoView + use<> {
    let app = app();
    let subject = subject.clone();
    let (object, path) = (subject.object, subject.path());
    let noise = RwSignal::new(false);
    let mode = RwSignal::new(Mode::View);
    let busy = RwSignal::new(false);
    let problems = RwSignal::new(Vec::<String>::new());
    // What happened to the edit when the object changed meanwhile.
    let notice = RwSignal::new("");
    let render = move |object: &Value| if noise.get() { print(object) } else { print(&json::without_noise(object)) };
    let editor = Editor::new(object.with_untracked(|object| print(&json::without_noise(object)))).read_only();
    // What the edit began from.
    let base = StoredValue::new(Object::default());
    Effect::new(move || {
        let text = object.with(|object| render(object));
        if mode.with_untracked(|mode| *mode == Mode::View) {
            editor.replace(&text);
        }
    });
    let begin = move |_| {
        noise.set(false);
        let now = object.get_untracked();
        editor.replace(&print(&json::without_noise(&now)));
        base.set_value(now);
        editor.set_read_only(false);
        mode.set(Mode::Edit);
    };
    let cancel = move || {
        problems.set(Vec::new());
        notice.set("");
        editor.diagnose(&[]);
        editor.set_read_only(true);
        mode.set(Mode::View);
        editor.replace(&object.with_untracked(|object| print(&json::without_noise(object))));
    };
    let refuse = move |status: &Status| {
        let text = editor.text.get_untracked();
        let (marks, words) = explain(status, &text);
        editor.diagnose(&marks);
        problems.set(words);
        mode.set(Mode::Edit);
    };
    // A newer version of the object on the server: carry the edit over, or say why that cannot be.
    let settle = {
        let path = path.clone();
        async move || -> Option<bool> {
            let latest = http::get_json(path.clone()).await.ok()?;
            let old = base.try_get_value()?;
            let text = |object: &Value| print(&json::without_noise(object));
            let mine = editor.text.try_get_untracked()?;
            let outcome = rebase(&old, &text(&old), &latest, &text(&latest), &mine);
            base.set_value(Arc::new(latest));
            match outcome {
                Rebase::SaveAgain { text } => {
                    editor.replace(&text);
                    Some(true)
                }
                Rebase::Merged { text } => {
                    editor.replace(&text);
                    notice.set("Someone else changed this object meanwhile. Both edits were put together; look at the difference again.");
                    Some(false)
                }
                Rebase::Conflict => {
                    notice.set("Someone else changed the same lines meanwhile. The next difference shows the way from their version to yours; saving then keeps yours.");
                    let latest = base.try_get_value()?;
                    let version = |object: &Value| json::text(object, "metadata/resourceVersion").to_owned();
                    editor.replace(&crate::model::change::with_resource_version(
                        &mine,
                        &version(&old),
                        &version(&latest),
                    ));
                    Some(false)
                }
            }
        }
    };
    let settle = StoredValue::new_local(settle);
    let kubectl = StoredValue::new(subject.kubectl());
    let place = StoredValue::new(path);
    let review = move |_| {
        busy.set(true);
        problems.set(Vec::new());
        editor.diagnose(&[]);
        spawn_local(async move {
            for _ in 0..MAX_REBASES {
                let call = Call::replace(&place.get_value(), editor.text.get_untracked(), &kubectl.get_value());
                match http::send(&call.clone().dry_run()).await {
                    Ok(outcome) => {
                        editor.set_read_only(true);
                        mode.set(Mode::Review { outcome: Arc::new(outcome), call });
                        break;
                    }
                    Err(status) if status.code == 409 => {
                        let Some(settle) = settle.try_get_value() else { return };
                        if settle().await.is_none() {
                            refuse(&status);
                            break;
                        }
                    }
                    Err(status) => {
                        refuse(&status);
                        break;
                    }
                }
            }
            busy.try_set(false);
        });
    };
    let back = move |_| {
        editor.set_read_only(false);
        mode.set(Mode::Edit);
    };
    let save = move |_| {
        busy.set(true);
        spawn_local(async move {
            for _ in 0..MAX_REBASES {
                let call = Call::replace(&place.get_value(), editor.text.get_untracked(), &kubectl.get_value());
                match perform(app, &call).await {
                    Ok(_) => {
                        let before = base.with_value(|base| print(&without_version(base)));
                        app.done("Saved", call, Some(Call::replace(&place.get_value(), before, &kubectl.get_value())));
                        cancel();
                        break;
                    }
                    Err(status) if status.code == 409 => {
                        let Some(settle) = settle.try_get_value() else { return };
                        match settle().await {
                            Some(true) => {}
                            Some(false) => {
                                editor.set_read_only(false);
                                mode.set(Mode::Edit);
                                break;
                            }
                            None => {
                                refuse(&status);
                                break;
                            }
                        }
                    }
                    Err(status) => {
                        editor.set_read_only(false);
                        refuse(&status);
                        break;
                    }
                }
            }
            busy.try_set(false);
        });
    };
    let may = Memo::new({
        let subject = subject.clone();
        move |_| subject.may("update", "")
    });
    let refusal = subject.refusal("update", "");
    let (copy, file) = (
        move |_| {
            crate::browser::copy(&editor.text.get_untracked());
            app.note("Copied");
        },
        format!("{}.yaml", subject.name),
    );
    let bar = move || {
        match mode.get() {
        Mode::View => {
            let (refusal, file) = (refusal.clone(), file.clone());
            view! {
                <button class="button primary" data-testid="yaml-edit" disabled=move || !may.get() title=move || if may.get() { String::new() } else { refusal.clone() } on:click=begin>{icon("edit")}"Edit"</button>
                <button class="button" on:click=copy>{icon("copy")}"Copy"</button>
                <button class="button" on:click=move |_| crate::browser::download(&file, &editor.text.get_untracked())>{icon("download")}"Download"</button>
                <span class="grow"></span>
                <label class="check-line"><input type="checkbox" prop:checked=noise on:change=move |event| noise.set(event_target_checked(&event))/>"managedFields"</label>
            }
            .into_any()
        }
        Mode::Edit => view! {
            <button class="button primary" data-testid="yaml-review" disabled=move || busy.get() on:click=review>{icon("check")}"Check and review"</button>
            <button class="button" data-testid="yaml-cancel" on:click=move |_| cancel()>"Cancel"</button>
            <span class="dim">"Nothing is saved before you have seen the difference."</span>
        }
        .into_any(),
        Mode::Review { .. } => view! {
            <button class="button primary" data-testid="yaml-save" disabled=move || busy.get() on:click=save>{icon("check")}"Save"</button>
            <button class="button" on:click=back>"Back to the text"</button>
            <span class="dim">"The server accepted this in a dry run."</span>
        }
        .into_any(),
    }
    };
    let difference = move || match mode.get() {
        Mode::Review { outcome, call } => {
            let before = base.with_value(|base| print(&without_version(base)));
            view! { <section class="card">{diff(&before, &print(&without_version(&outcome)))}{call_details(vec![call])}</section> }.into_any()
        }
        _ => ().into_any(),
    };
    view! {
        <div class="bar">{bar}</div>
        <Show when=move || !problems.with(Vec::is_empty)>
            <ul class="problems" role="alert" data-testid="yaml-error">{move || problems.get().into_iter().map(|problem| view! { <li>{problem}</li> }).collect_view()}</ul>
        </Show>
        <Show when=move || !notice.with(|notice| notice.is_empty())><p class="notice" role="status" data-testid="yaml-notice">{notice}</p></Show>
        {difference}
        <div class="editor-frame" class:folded=move || matches!(mode.get(), Mode::Review { .. })><EditorView editor/></div>
    }
}

/// Without what every write changes.
pub fn without_version(object: &Value) -> Value {
    let mut copy = json::without_noise(object);
    if let Some(meta) = copy.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("resourceVersion");
        meta.remove("generation");
    }
    copy
}

/// Lines to mark, and all there is to say in words.
pub fn explain(status: &Status, text: &str) -> (Vec<(usize, String)>, Vec<String>) {
    let causes: Vec<_> = status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .filter(|cause| !matches!(cause.field.as_str(), "" | "<nil>"))
        .collect();
    if causes.is_empty() {
        // The parser names a line; the strict decoder names fields.
        let unknown = status
            .message
            .split("field \"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .filter_map(|path| line_of(text, path).map(|line| (line, format!("unknown or doubled: {path}"))));
        let marks = line_in_message(&status.message)
            .map(|line| (line, status.message.clone()))
            .into_iter()
            .chain(unknown)
            .collect();
        return (marks, vec![in_words(status)]);
    }
    let marks = causes
        .iter()
        .filter_map(|cause| line_of(text, &cause.field).map(|line| (line, cause.message.clone())))
        .collect();
    (marks, causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect())
}
