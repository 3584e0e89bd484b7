//! Differences of two texts, line by line.

use leptos::prelude::*;

use crate::model::diff::{Line, hunks};

pub fn diff(old: &str, new: &str) -> AnyView {
    let parts = hunks(old, new);
    if parts.is_empty() {
        return view! { <p class="dim" data-testid="diff-none">"No difference."</p> }.into_any();
    }
    let line = |line: Line| {
        let (class, sign, text) = match line {
            Line::Same(text) => ("", " ", text),
            Line::Removed(text) => ("gone", "−", text),
            Line::Added(text) => ("new", "+", text),
        };
        view! { <div class=format!("diff-line {class}")><i aria-hidden="true">{sign}</i>{text}</div> }
    };
    let hunk = |(from, lines): (usize, Vec<Line>)| view! { <div class="diff-at">{format!("line {from}")}</div>{lines.into_iter().map(line).collect_view()} };
    view! { <div class="diff" data-testid="diff" tabindex="0">{parts.into_iter().map(hunk).collect_view()}</div> }
        .into_any()
}
