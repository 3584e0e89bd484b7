//! Health as a mark and a word. The mark differs in shape as well as in colour.

use leptos::prelude::*;

use crate::model::health::{Health, Tone};

pub fn dot(tone: Tone) -> impl IntoView {
    view! { <i class=format!("dot {}", tone.class()) aria-hidden="true"></i> }
}

/// Mark and word in a line of text.
pub fn state(tone: Tone, word: impl Into<String>) -> AnyView {
    let word = word.into();
    view! { <span class=format!("state {}", tone.class())>{dot(tone)}{word}</span> }.into_any()
}

/// Mark and word as a badge, for headings.
pub fn badge(health: Health) -> impl IntoView {
    view! {
        <span class=format!("badge {}", health.tone.class()) title=health.why data-testid="health">
            {dot(health.tone)}{health.word}
        </span>
    }
}

/// A small neutral label.
pub fn tag(text: impl Into<String>) -> AnyView {
    view! { <span class="tag">{text.into()}</span> }.into_any()
}

/// What is shown where there is nothing.
pub fn empty(icon: &'static str, title: impl Into<String>, hint: impl Into<String>) -> AnyView {
    let (title, hint) = (title.into(), hint.into());
    view! { <div class="empty">{super::icon::icon(icon)}<strong>{title}</strong><p>{hint}</p></div> }.into_any()
}

/// Grey lines while something loads.
pub fn skeleton(lines: usize) -> impl IntoView {
    let widths = ["72%", "54%", "86%", "63%", "78%", "47%"];
    let line = |index: usize| view! { <i style=format!("width:{}", widths[index % widths.len()])></i> };
    view! { <div class="skeleton" aria-busy="true" aria-label="Loading">{(0..lines).map(line).collect_view()}</div> }
}

/// A refusal or a fault, with a way on.
pub fn problem(status: &pilothouse_api::Status) -> impl IntoView + use<> {
    let app = crate::app::app();
    let title = match status.code {
        403 => "You may not see this",
        404 => "There is nothing here",
        _ => "This did not work",
    };
    let hint = if status.code == 403 && app.namespace.with(String::is_empty) {
        " Choose a namespace above that your roles cover."
    } else {
        ""
    };
    let text = format!("{}{hint}", status.message);
    view! {
        <div class="empty" data-testid="problem">
            {super::icon::icon("alert")}
            <strong>{title}</strong>
            <p>{text}</p>
            <button class="button" on:click=move |_| { app.forget_rules(); app.remount.update(|count| *count += 1) }>"Try again"</button>
        </div>
    }
}
