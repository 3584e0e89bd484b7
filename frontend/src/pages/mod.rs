//! One file per page. `list` and `object` serve every kind; the others are for what deserves a page of its own.

pub mod access;
pub mod apply;
pub mod deploy;
pub mod deployment;
pub mod expose;
pub mod list;
pub mod login;
pub mod logs;
pub mod namespace;
pub mod node;
pub mod object;
pub mod overview;
pub mod overview_nodes;
pub mod pod;
pub mod revisions;
pub mod summary;
pub mod terminal;
pub mod workload;
pub mod yaml;

use std::sync::Arc;

use leptos::prelude::*;

use crate::api::discovery::Resource;
use crate::app::app;
use crate::components::status::{empty, skeleton};
use crate::routes::Route;

/// Builds a page for a resource once discovery knows it.
pub fn with_resource<V: IntoView + 'static>(
    name: String,
    page: impl Fn(Arc<Resource>) -> V + Send + Sync + 'static,
) -> AnyView {
    let app = app();
    let found = Memo::new(move |_| app.discovery.with(|discovery| (discovery.is_empty(), discovery.get(&name))));
    (move || match found.get() {
        (true, _) => view! { <div class="page">{skeleton(6)}</div> }.into_any(),
        (_, Some(resource)) => page(resource).into_any(),
        (_, None) => view! { <div class="page">{empty("search", "No such kind", "The server has no resource by this name. It may have been a custom one that was removed.")}</div> }.into_any(),
    })
    .into_any()
}

/// Builds a page once the kinds of the server are known.
pub fn with_discovery<V: IntoView + 'static>(page: impl Fn() -> V + Send + Sync + 'static) -> AnyView {
    let app = app();
    let known = Memo::new(move |_| app.discovery.with(|discovery| !discovery.is_empty()));
    (move || if known.get() { page().into_any() } else { view! { <div class="page">{skeleton(6)}</div> }.into_any() })
        .into_any()
}

pub fn not_found(path: &str) -> impl IntoView + use<> {
    let text = format!("{path} leads nowhere.");
    view! { <div class="page">{empty("search", "No such page", text)}<p class="centre"><a class="button" href=Route::Overview.href()>"To the overview"</a></p></div> }
}
