//! The frame around every page.

use leptos::prelude::*;

use crate::app::app;
use crate::components::call::CallLog;
use crate::components::nav::Nav;
use crate::components::topbar::TopBar;

#[component]
pub fn Shell(children: Children) -> impl IntoView {
    let app = app();
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
    }
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
