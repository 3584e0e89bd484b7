//! Names and values in two columns, labels, conditions.

use leptos::prelude::*;
use serde_json::Value;

use crate::app::app;
use crate::components::status::state;
use crate::model::health::{Tone, is_good_when_false};
use crate::model::json::{list, text};
use crate::model::time;

pub fn fact(name: &'static str, value: impl IntoView + 'static) -> AnyView {
    view! { <div class="fact"><dt>{name}</dt><dd>{value.into_any()}</dd></div> }.into_any()
}

/// A fact that is left out where there is nothing to say.
pub fn fact_if(name: &'static str, value: &str) -> AnyView {
    if value.is_empty() { ().into_any() } else { fact(name, value.to_owned()) }
}

/// How long ago, counting; the time itself on hover.
pub fn age(timestamp: &str) -> impl IntoView + use<> {
    let (app, at, title) = (app(), time::parse(timestamp), timestamp.to_owned());
    view! { <span class="num" title=title>{move || at.map_or(String::new(), |at| time::span(app.now.get() - at))}</span> }
}

pub fn chips(pairs: &[(String, String)]) -> AnyView {
    if pairs.is_empty() {
        return view! { <span class="dim">"none"</span> }.into_any();
    }
    let chip = |(key, value): &(String, String)| view! { <span class="chip" title=format!("{key}={value}")><b>{key.clone()}</b>{value.clone()}</span> };
    view! { <span class="chips">{pairs.iter().map(chip).collect_view()}</span> }.into_any()
}

pub fn conditions(object: &Value) -> AnyView {
    let all = list(object, "status/conditions");
    if all.is_empty() {
        return ().into_any();
    }
    let row = |condition: &Value| {
        let (type_, status) = (text(condition, "type").to_owned(), text(condition, "status"));
        let tone = match (status, is_good_when_false(&type_)) {
            ("True", false) | ("False", true) => Tone::Good,
            ("Unknown", _) => Tone::Warn,
            _ => Tone::Bad,
        };
        let since = text(condition, "lastTransitionTime");
        view! {
            <tr>
                <td>{state(tone, type_)}</td>
                <td class="dim">{status.to_owned()}</td>
                <td class="wrap">{text(condition, "reason").to_owned()}<small>{text(condition, "message").to_owned()}</small></td>
                <td class="right num dim">{age(since)}</td>
            </tr>
        }
    };
    view! {
        <section class="card">
            <h3>"Conditions"</h3>
            <table class="plain"><thead><tr><th>"Condition"</th><th>"Status"</th><th>"Reason"</th><th class="right">"Since"</th></tr></thead>
            <tbody>{all.iter().map(row).collect_view()}</tbody></table>
        </section>
    }
    .into_any()
}
