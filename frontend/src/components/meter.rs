//! Bars: parts of a whole.

use leptos::prelude::*;

/// A share of a capacity, with a tick at another (what is asked for beside what is used). Shares are 0 to 1 and may exceed it.
pub fn meter(label: String, share: f64, tick: Option<f64>) -> impl IntoView {
    let percent = |share: f64| (share.clamp(0.0, 1.0) * 100.0).round();
    let tone = match share {
        share if share > 0.95 => "bad",
        share if share > 0.8 => "warn",
        _ => "",
    };
    view! {
        <span class="meter" role="meter" aria-label=label.clone() aria-valuemin="0" aria-valuemax="100" aria-valuenow=percent(share).to_string() title=label>
            <i class=format!("meter-fill {tone}") style=format!("width:{}%", percent(share))></i>
            {tick.map(|tick| view! { <i class="meter-tick" style=format!("left:{}%", percent(tick))></i> })}
        </span>
    }
}

/// Counts side by side: `(class, count)`.
pub fn stack(parts: Vec<(&'static str, usize)>) -> impl IntoView {
    let total: usize = parts.iter().map(|(_, count)| count).sum();
    let part = move |(class, count): (&'static str, usize)| {
        (count > 0).then(|| view! { <i class=format!("stack-part {class}") style=format!("flex-grow:{count}") title=format!("{count} of {total}")></i> })
    };
    view! { <span class="stack" aria-hidden="true">{parts.into_iter().map(part).collect_view()}</span> }
}
