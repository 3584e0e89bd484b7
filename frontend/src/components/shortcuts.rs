//! Keys that work on every page, and the list of them.
//!
//! Invariant: no key is a command while something is typed, and none takes what the browser itself uses.

use leptos::prelude::*;
use web_sys::KeyboardEvent;

use crate::app::{App, app};
use crate::browser;
use crate::components::dialog::Dialog;
use crate::routes::Route;

/// `g` and then this key leads to a list; an empty name is the overview.
const PLACES: [(&str, &str, &str); 7] = [
    ("o", "", "Overview"),
    ("d", "deployments.apps", "Deployments"),
    ("p", "pods", "Pods"),
    ("s", "services", "Services"),
    ("c", "configmaps", "ConfigMaps"),
    ("n", "nodes", "Nodes"),
    ("e", "events", "Events"),
];

/// The second key is waited for this long.
const PAUSE_MS: f64 = 1_500.0;

/// Listens for as long as the page lives.
pub fn listen(app: App) {
    let after_g = std::cell::Cell::new(0.0);
    browser::on_key(move |event: KeyboardEvent| {
        if (event.ctrl_key() || event.meta_key()) && event.key().eq_ignore_ascii_case("k") {
            event.prevent_default();
            app.palette.update(|open| *open = !*open);
            return;
        }
        let inside = matches!(app.login.get_untracked(), crate::api::session::Login::In(_));
        if !inside
            || event.ctrl_key()
            || event.meta_key()
            || event.alt_key()
            || browser::is_typing()
            || app.palette.get_untracked()
        {
            return;
        }
        let key = event.key();
        let waited = js_sys::Date::now() - after_g.replace(0.0) < PAUSE_MS;
        match key.as_str() {
            "?" => app.help.set(true),
            "g" => after_g.set(js_sys::Date::now()),
            _ if waited => {
                let Some((_, name, _)) = PLACES.iter().find(|(known, _, _)| *known == key) else { return };
                event.prevent_default();
                app.go(if name.is_empty() { Route::Overview } else { Route::list(name) });
            }
            _ => {}
        }
    });
}

#[component]
pub fn Shortcuts() -> impl IntoView {
    let app = app();
    let row = |keys: &'static [&'static str], what: &'static str| {
        view! { <div class="fact"><dt>{keys.iter().map(|key| view! { <kbd>{*key}</kbd>" " }).collect_view()}</dt><dd>{what}</dd></div> }
    };
    let body = move || {
        view! {
            <h4>"Everywhere"</h4>
            <dl class="facts">
                {row(&["Ctrl", "K"], "Search, jump, act")}
                {row(&["?"], "This list")}
                {PLACES.map(|(key, _, title)| view! { <div class="fact"><dt><kbd>"g"</kbd>" "<kbd>{key}</kbd></dt><dd>{title}</dd></div> }).collect_view()}
            </dl>
            <h4>"In a list"</h4>
            <dl class="facts">
                {row(&["/"], "Filter")}
                {row(&["↑", "↓", "j", "k"], "Up and down; also Home, End, PageUp, PageDown")}
                {row(&["Enter"], "Open")}
                {row(&["x", "Space"], "Select")}
                {row(&["Delete"], "Delete what is selected, after asking")}
                {row(&["Esc"], "Clear the selection, close what is open")}
            </dl>
        }
    };
    view! { <Dialog title="Keyboard" open=app.help>{body}</Dialog> }
}
