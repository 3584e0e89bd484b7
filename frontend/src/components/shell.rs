//! The frame around every page.

use leptos::prelude::*;

use crate::api::call::JSON;
use crate::api::collections::extracts;
use crate::api::discovery::Resource;
use crate::api::live::{Live, Query};
use crate::app::app;
use crate::components::call::CallLog;
use crate::components::nav::Nav;
use crate::components::shortcuts::Shortcuts;
use crate::components::topbar::TopBar;
use crate::model::{health, json};

#[component]
pub fn Shell(children: Children) -> impl IntoView {
    let app = app();
    follow_custom_kinds();
    view! {
        <a class="skip" href="#main">"Skip to content"</a>
        <div class="shell" class:nav-open=move || app.nav_open.get()>
            <Nav/>
            <div class="scrim" on:click=move |_| app.nav_open.set(false)></div>
            <div class="deck">
                <TopBar/>
                <main id="main" tabindex="-1">{children()}</main>
            </div>
        </div>
        <CallLog/>
        <Shortcuts/>
    }
}

/// New, changed and removed custom kinds change what discovery says.
fn follow_custom_kinds() {
    let app = app();
    let known = Memo::new(move |_| {
        app.discovery.with(|discovery| discovery.get("customresourcedefinitions.apiextensions.k8s.io"))
    });
    let start = |resource: std::sync::Arc<Resource>| {
        extracts(Query::new(resource.collection(None), JSON), |object| {
            (json::name(&object).to_owned(), health::condition_is(&object, "Established", "True"))
        })
    };
    let found = Memo::new_with_compare(move |_| known.get().map(start), |_, _| true);
    Effect::new(move |before: Option<Vec<(String, bool)>>| {
        let now = found.get().filter(Live::is_ready).map(|live| live.values()).unwrap_or_default();
        if before.is_some_and(|before| before != now) {
            app.discover();
        }
        now
    });
}

/// The head of a page: where it is, what it is called, what can be done. Sets the tab's title too.
#[component]
pub fn PageHead(
    #[prop(into)] title: String,
    #[prop(optional, into)] above: Option<AnyView>,
    #[prop(optional, into)] beside: Option<AnyView>,
    #[prop(optional)] children: Option<Children>,
) -> impl IntoView {
    crate::browser::set_title(&title);
    view! {
        <header class="page-head">
            <div class="page-name">
                {above.map(|above| view! { <p class="crumbs">{above}</p> })}
                <h1 data-testid="page-title">{title}{beside}</h1>
            </div>
            <div class="actions">{children.map(|children| children())}</div>
        </header>
    }
}
