//! The list of any kind.

use std::sync::Arc;

use leptos::prelude::*;

use crate::api::access::Ask;
use crate::api::decode::Key;
use crate::api::discovery::Resource;
use crate::api::live::{Phase, Query};
use crate::app::app;
use crate::browser;
use crate::components::confirm::DeleteDialog;
use crate::components::icon::icon;
use crate::components::shell::PageHead;
use crate::components::table::{ACCEPT, Model, ResourceTable};
use crate::model::nav::{place, plural_title};
use crate::routes::Route;

pub fn list(resource: Arc<Resource>) -> impl IntoView {
    let app = app();
    let title = plural_title(&resource.kind);
    let section = place(&resource.group_resource()).map_or("", |(section, _, _)| section.title());
    let short = resource.short_names.join(", ");
    let above = view! { {section}{(!resource.group.is_empty()).then(|| format!(" · {}", resource.api_version()))}{(!short.is_empty()).then(|| format!(" · {short}"))} }.into_any();
    let create = create_button(&resource);
    view! {
        <div class="page page-list">
            <PageHead title=title above=above>{create}</PageHead>
            {move || {
                let namespace = if resource.namespaced { app.namespace.get() } else { String::new() };
                let all = namespace.is_empty();
                let query = Query::new(resource.collection(Some(&*namespace).filter(|_| !all)), ACCEPT);
                let model = Model::start(resource.clone(), query, all && resource.namespaced);
                table_with_bar(model, resource.clone(), namespace)
            }}
        </div>
    }
}

/// To a first text for an object of this kind; a Deployment has a form of its own.
fn create_button(resource: &Resource) -> impl IntoView + use<> {
    let app = app();
    let id = resource.group_resource();
    let href =
        if id == "deployments.apps" { Route::Deploy.href() } else { format!("{}?kind={id}", Route::Apply.href()) };
    let (namespaced, ask) = (resource.namespaced, Ask::new("create", &id));
    let may = Memo::new(move |_| app.may(&if namespaced { app.namespace.get() } else { String::new() }, &ask));
    let makes_sense = resource.has_verb("create")
        && !matches!(
            resource.kind.as_str(),
            "Event" | "Node" | "Lease" | "EndpointSlice" | "Endpoints" | "ControllerRevision"
        );
    move || {
        (makes_sense && may.get())
            .then(|| view! { <a class="button" href=href.clone() data-testid="create">{icon("plus")}"Create"</a> })
    }
}

fn table_with_bar(model: Model, resource: Arc<Resource>, namespace: String) -> impl IntoView {
    let app = app();
    // A filter may come with the address, such as from the overview.
    if let Some(text) = browser::query().strip_prefix("?filter=") {
        model.filter.set(js_sys::decode_uri_component(text).map(String::from).unwrap_or_default());
    }
    // So that going back, or passing the address on, finds the list as it was.
    Effect::new(move |before: Option<()>| {
        let text = model.filter.get();
        if before.is_some() {
            browser::replace_query(&if text.is_empty() {
                String::new()
            } else {
                format!("?filter={}", crate::routes::encode(&text))
            });
        }
    });
    let deleting = RwSignal::new(false);
    let ask = Ask::new("delete", &resource.group_resource());
    let may_delete = Memo::new(move |_| app.may(&namespace, &ask));
    let targets = Signal::derive(move || model.selected.get().into_iter().collect::<Vec<Key>>());
    let count = move || {
        let (shown, all) = (model.shown.with(|rows| rows.len()), model.rows.len());
        match model.rows.phase.get() {
            Phase::Loading => String::new(),
            Phase::Partial { remaining } => format!("{} of {}…", all, all as u64 + remaining),
            _ if shown == all => all.to_string(),
            _ => format!("{shown} of {all}"),
        }
    };
    let slash = leptos::prelude::window_event_listener(leptos::ev::keydown, move |event| {
        if event.key() == "/" && !browser::is_typing() {
            event.prevent_default();
            browser::focus("filter");
        }
    });
    on_cleanup(move || slash.remove());
    view! {
        <div class="bar">
            <label class="filter">{icon("search")}
                <input id="filter" class="input" type="search" placeholder="Filter:  name, app=web, status:pending, !word" aria-label="Filter" data-testid="filter" prop:value=model.filter on:input=move |event| model.filter.set(event_target_value(&event))/>
                <kbd>"/"</kbd>
            </label>
            <span class="num dim" data-testid="row-count" aria-live="polite">{count}</span>
            <span class="grow"></span>
            <Show when=move || !model.selected.with(std::collections::BTreeSet::is_empty)>
                <span class="dim">{move || format!("{} selected", model.selected.with(std::collections::BTreeSet::len))}</span>
                <button class="button danger" data-testid="bulk-delete" disabled=move || !may_delete.get() on:click=move |_| deleting.set(true)>{icon("trash")}"Delete"</button>
                <button class="button quiet" on:click=move |_| model.selected.set(Default::default())>"Clear"</button>
            </Show>
            <details class="menu">
                <summary class="button quiet" data-testid="columns">{icon("columns")}"Columns"</summary>
                <div class="menu-body">{move || model.columns.get().into_iter().map(|column| {
                    let (name, known) = (column.name.clone(), column.clone());
                    view! { <label class="menu-item" title=column.description><input type="checkbox" prop:checked=move || model.is_shown(&known) on:change=move |_| model.toggle_column(&name)/>{column.name}</label> }
                }).collect_view()}</div>
            </details>
        </div>
        <ResourceTable model select=true on_delete=Callback::new(move |()| if may_delete.get_untracked() { deleting.set(true) })/>
        <DeleteDialog resource targets open=deleting after=Callback::new(move |()| model.selected.set(Default::default()))/>
    }
}
