//! Navigation by discovery: every listed kind has its place, rarely used ones are folded away.

use std::sync::Arc;

use leptos::prelude::*;

use crate::api::discovery::{Discovery, Resource};
use crate::app::app;
use crate::browser;
use crate::components::icon::{icon, mark};
use crate::model::nav::{Section, place, plural_title};
use crate::routes::Route;

fn section_icon(section: Section) -> &'static str {
    match section {
        Section::Workloads => "workloads",
        Section::Network => "network",
        Section::Config => "config",
        Section::Storage => "storage",
        Section::Access => "access",
        Section::Cluster => "cluster",
        Section::Custom => "custom",
    }
}

/// The kinds of a section in display order, with whether each is folded away.
fn entries(discovery: &Discovery, section: Section) -> Vec<(Arc<Resource>, bool)> {
    let mut found: Vec<_> = discovery
        .all()
        .filter(|resource| resource.is_listed())
        .filter_map(|resource| {
            place(&resource.group_resource())
                .filter(|place| place.0 == section)
                .map(|place| (place.1, resource.clone(), place.2))
        })
        .collect();
    found.sort_by(|a, b| (a.0, &a.1.kind, &a.1.group).cmp(&(b.0, &b.1.kind, &b.1.group)));
    found.into_iter().map(|(_, resource, folded)| (resource, folded)).collect()
}

#[component]
pub fn Nav() -> impl IntoView {
    let app = app();
    let top = |route: Route, name: &'static str, title: &'static str, test: &'static str| {
        let here = route.clone();
        view! { <a class="nav-top" href=route.href() data-testid=test aria-current=move || (app.route.get() == here).then_some("page")>{icon(name)}{title}</a> }
    };
    view! {
        <nav class="nav" aria-label="Main" data-testid="nav">
            <a class="brand" href=Route::Overview.href()>{mark()}<span>"Pilothouse"</span></a>
            <div class="nav-scroll">
                {top(Route::Overview, "overview", "Overview", "nav-overview")}
                {Section::ALL.map(|section| view! { <NavSection section/> }).collect_view()}
            </div>
            <div class="nav-foot">{top(Route::Access, "user", "My access", "nav-access")}</div>
        </nav>
    }
}

#[component]
fn NavSection(section: Section) -> impl IntoView {
    let app = app();
    let key = format!("nav.{}", section.title());
    let saved = browser::recall(&key);
    let open = RwSignal::new(
        saved.as_deref().map_or(!matches!(section, Section::Storage | Section::Access), |saved| saved == "open"),
    );
    let more = RwSignal::new(false);
    let here = move || match app.route.get() {
        Route::List { resource } | Route::Object { resource, .. } => resource,
        _ => String::new(),
    };
    let all = Memo::new(move |_| app.discovery.with(|discovery| entries(discovery, section)));
    let link = move |resource: &Arc<Resource>| {
        let id = resource.group_resource();
        let current = id.clone();
        let title = plural_title(&resource.kind);
        let hint = if section == Section::Custom { resource.group.clone() } else { String::new() };
        view! {
            <a class="nav-item" href=Route::list(&id).href() title=hint data-testid=format!("nav-{}", resource.plural) aria-current=move || (here() == current).then_some("page")>{title}</a>
        }
    };
    let toggle = move |_| {
        open.update(|open| *open = !*open);
        browser::remember(&key, if open.get_untracked() { "open" } else { "closed" });
    };
    let items = move || {
        let all = all.get();
        let folded = all.iter().filter(|(_, folded)| *folded).count();
        // A folded kind that is looked at stays in sight.
        let shown =
            all.iter().filter(|(resource, folded)| !folded || more.get() || here() == resource.group_resource());
        let fold = (folded > 0).then(|| {
            view! { <button class="nav-item nav-more" on:click=move |_| more.update(|more| *more = !*more)>{move || if more.get() { "fewer".to_owned() } else { format!("{folded} more") }}</button> }
        });
        view! { {shown.map(|(resource, _)| link(resource)).collect_view()}{fold} }
    };
    view! {
        <Show when=move || all.with(|all| !all.is_empty())>
            <section class="nav-section">
                <button class="nav-title" aria-expanded=move || open.get().to_string() on:click=toggle.clone()>{icon(section_icon(section))}<span>{section.title()}</span><i class="fold" aria-hidden="true">{icon("chevron")}</i></button>
                <Show when=move || open.get()>{items}</Show>
            </section>
        </Show>
    }
}
