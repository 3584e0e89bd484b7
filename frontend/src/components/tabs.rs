//! Tabs of a detail page; each has an address of its own.

use leptos::prelude::*;

use crate::app::app;
use crate::components::icon::icon;
use crate::routes::Route;

/// Id (its place in the address; empty for the first), title, icon.
pub type Tab = (&'static str, &'static str, &'static str);

/// The tab that the address names; the first where it names none of them.
pub fn current(tabs: Vec<Tab>) -> Memo<&'static str> {
    let app = app();
    Memo::new(move |_| {
        let wanted = match app.route.get() {
            Route::Object { tab, .. } => tab,
            _ => String::new(),
        };
        tabs.iter().find(|(id, _, _)| *id == wanted).or(tabs.first()).map_or("", |(id, _, _)| *id)
    })
}

pub fn tabs(route: Route, all: Vec<Tab>, now: Memo<&'static str>) -> impl IntoView + use<> {
    let tab = |(id, title, name): Tab| {
        view! {
            <a href=route.clone().with_tab(id).href() class="tab" aria-current=move || (now.get() == id).then_some("page") data-testid=format!("tab-{}", if id.is_empty() { "summary" } else { id })>
                {icon(name)}{title}
            </a>
        }
    };
    view! { <nav class="tabs" aria-label="Parts of this page">{all.into_iter().map(tab).collect_view()}</nav> }
}
