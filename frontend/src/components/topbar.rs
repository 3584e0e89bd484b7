//! The bar above the page: namespace, search, the state of the connection, theme, user.

use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::api::collections::extracts;
use crate::api::live::{Live, Query};
use crate::api::session;
use crate::app::app;
use crate::browser;
use crate::components::icon::icon;
use crate::link::{Connection, Links};
use crate::model::json;
use crate::routes::Route;

/// Namespaces used last that are offered first.
const MAX_RECENT: usize = 5;
pub const METADATA: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json";
/// A connection lost for less than this is not worth a word.
const GRACE_MS: f64 = 1_500.0;

#[component]
pub fn TopBar() -> impl IntoView {
    let app = app();
    let dark = RwSignal::new(browser::is_dark());
    let flip = move |_| {
        dark.update(|dark| *dark = !*dark);
        browser::set_theme(if dark.get_untracked() { "dark" } else { "light" });
    };
    let leave = move |_| {
        spawn_local(async move {
            // Without an answer the session is dropped here all the same.
            let _ = session::logout().await;
            app.left();
        });
    };
    view! {
        <header class="topbar">
            <button class="button icon-only quiet nav-toggle" aria-label="Navigation" on:click=move |_| app.nav_open.update(|open| *open = !*open)>{icon("menu")}</button>
            <NamespacePicker/>
            <button class="search-button" data-testid="palette-open" on:click=move |_| app.palette.set(true)>{icon("search")}<span>"Search or jump to…"</span><kbd>"Ctrl K"</kbd></button>
            <span class="grow"></span>
            <ConnectionState/>
            <button class="button icon-only quiet" aria-label="Your API calls" title="Your API calls" data-testid="call-log" on:click=move |_| app.calls_open.set(true)>{icon("history")}</button>
            <button class="button icon-only quiet" aria-label="Switch between dark and light" data-testid="theme-toggle" on:click=flip>{move || if dark.get() { icon("sun").into_any() } else { icon("moon").into_any() }}</button>
            <details class="menu user-menu">
                <summary aria-label="User" data-testid="user-menu"><span class="avatar" aria-hidden="true">{move || app.user().username.chars().next().unwrap_or('?').to_uppercase().to_string()}</span></summary>
                <div class="menu-body">
                    <p class="menu-note">{move || app.user().username}<small>{move || app.user().groups.iter().filter(|group| !group.starts_with("system:authenticated")).cloned().collect::<Vec<_>>().join(", ")}</small></p>
                    <a class="menu-item" href=Route::Access.href()>{icon("access")}"My access"</a>
                    <button class="menu-item" data-testid="shortcuts" on:click=move |_| app.help.set(true)>{icon("list")}"Keyboard"<kbd>"?"</kbd></button>
                    <button class="menu-item" data-testid="logout" on:click=leave>{icon("back")}"Log out"</button>
                </div>
            </details>
            <a class="button primary" href=Route::Deploy.href() data-testid="nav-deploy">{icon("plus")}<span>"Deploy"</span></a>
        </header>
    }
}

/// Live, or how old what is shown is. Heals by itself.
#[component]
fn ConnectionState() -> impl IntoView {
    let (app, links) = (app(), expect_context::<Links>());
    let shown = Memo::new(move |_| {
        app.now.track();
        match links.connection() {
            Connection::Idle => ("idle", String::new()),
            Connection::Connecting => ("busy", "connecting…".to_owned()),
            Connection::Live => ("good", "live".to_owned()),
            Connection::Lost { since } => {
                let age = js_sys::Date::now() - since;
                if age < GRACE_MS {
                    ("good", "live".to_owned())
                } else {
                    ("bad", format!("reconnecting… data {} s old", (age / 1000.0).round()))
                }
            }
        }
    });
    view! {
        <span class=move || format!("connection {}", shown.get().0) role="status" data-testid="connection" title=move || links.said.get()>
            <i class="pulse" aria-hidden="true"></i>{move || shown.get().1}
        </span>
    }
}

fn recent() -> Vec<String> {
    browser::recall("recent-namespaces")
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The live names of all namespaces; empty where the user may not list them.
pub fn namespace_names() -> Live<String> {
    extracts(Query::new("/api/v1/namespaces", METADATA), |object| json::name(&object).to_owned())
}

/// Makes a namespace the chosen one, in the address of a list too.
pub fn choose_namespace(name: &str) {
    let app = app();
    if !name.is_empty() {
        let mut names = recent();
        names.retain(|known| known != name);
        names.insert(0, name.to_owned());
        names.truncate(MAX_RECENT);
        browser::remember("recent-namespaces", &names.join(","));
    }
    app.namespace.set(name.to_owned());
}

#[component]
fn NamespacePicker() -> impl IntoView {
    let app = app();
    let open = RwSignal::new(false);
    let typed = RwSignal::new(String::new());
    let names = namespace_names();
    let owner = Owner::current();
    let choose = move |name: String| {
        let act = || choose_namespace(&name);
        match &owner {
            Some(owner) => owner.with(act),
            None => act(),
        }
        open.set(false);
        typed.set(String::new());
    };
    let choose = StoredValue::new(choose);
    let input = NodeRef::<leptos::html::Input>::new();
    Effect::new(move || {
        if let Some(input) = input.get() {
            let _ = input.focus();
        }
    });
    let matching = move || {
        let (all, word) = (names.values(), typed.get().to_lowercase());
        let recent = recent();
        let mut found: Vec<(usize, String)> = all
            .into_iter()
            .filter(|name| name.contains(&word))
            .map(|name| (recent.iter().position(|known| *known == name).unwrap_or(MAX_RECENT), name))
            .collect();
        found.sort();
        // Someone who may not list namespaces can still name one.
        if found.is_empty() && !word.is_empty() {
            found.push((MAX_RECENT, word));
        }
        found
    };
    let option = move |(rank, name): (usize, String)| {
        let (value, current, test) = (name.clone(), name.clone(), format!("namespace-{name}"));
        view! {
            <button class="menu-item" role="option" data-testid=test aria-selected=move || (app.namespace.get() == current).to_string() on:click=move |_| choose.with_value(|choose| choose(value.clone()))>
                {name}{(rank < MAX_RECENT).then(|| view! { <small>"recent"</small> })}
            </button>
        }
    };
    let submit = move |event: leptos::ev::KeyboardEvent| match event.key().as_str() {
        "Enter" => {
            if let Some((_, name)) = matching().into_iter().next() {
                choose.with_value(|choose| choose(name));
            }
        }
        "Escape" => open.set(false),
        _ => {}
    };
    view! {
        <div class="menu picker" class:open=move || open.get()>
            <button class="picker-button" aria-haspopup="listbox" aria-expanded=move || open.get().to_string() data-testid="namespace-picker" on:click=move |_| open.update(|open| *open = !*open)>
                <small>"Namespace"</small><b>{move || match app.namespace.get() { name if name.is_empty() => "All".to_owned(), name => name }}</b>{icon("chevron")}
            </button>
            <Show when=move || open.get()>
                <div class="scrim-clear" on:click=move |_| open.set(false)></div>
                <div class="menu-body" role="listbox">
                    <input node_ref=input class="input" placeholder="Find a namespace" aria-label="Find a namespace" prop:value=typed on:input=move |event| typed.set(event_target_value(&event)) on:keydown=submit/>
                    <button class="menu-item" role="option" data-testid="namespace-all" on:click=move |_| choose.with_value(|choose| choose(String::new()))>"All namespaces"</button>
                    <div class="menu-scroll">{move || matching().into_iter().take(200).map(option).collect_view()}</div>
                </div>
            </Show>
        </div>
    }
}
