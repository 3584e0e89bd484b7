//! The command palette (Ctrl+K): jump to a kind, an object, a namespace or an action.

use leptos::html;
use leptos::prelude::*;

use crate::api::discovery::Discovery;
use crate::api::live::{Live, Query};
use crate::api::table::{Row, Tables};
use crate::app::{App, app};
use crate::components::icon::icon;
use crate::components::table::ACCEPT;
use crate::components::topbar::{choose_namespace, namespace_names};
use crate::model::filter::natural;
use crate::model::nav::{place, plural_title};
use crate::routes::Route;

const MAX_SHOWN: usize = 12;
/// Kinds whose objects can be jumped to.
const SEARCHED: [&str; 4] = ["deployments.apps", "pods", "services", "nodes"];

#[derive(Clone, PartialEq)]
enum Target {
    Go(Route),
    Namespace(String),
    Calls,
    Keys,
}

#[derive(Clone, PartialEq)]
struct Entry {
    icon: &'static str,
    title: String,
    hint: String,
    target: Target,
}

#[component]
pub fn Palette() -> impl IntoView {
    let app = app();
    view! { <Show when=move || app.palette.get()><PaletteBody/></Show> }
}

/// Subscribes to what can be jumped to only while it is open.
fn collections(app: App) -> Vec<(&'static str, String, Live<std::sync::Arc<Row>>)> {
    let found = app
        .discovery
        .with_untracked(|discovery| SEARCHED.map(|name| discovery.get(name).map(|resource| (name, resource))));
    let start = |(name, resource): (&'static str, std::sync::Arc<crate::api::discovery::Resource>)| {
        let query = Query::new(resource.collection(None), ACCEPT).with("includeObject", "Metadata");
        (name, resource.kind.clone(), Live::start(query, Tables::new(|_| {})))
    };
    found.into_iter().flatten().map(start).collect()
}

/// Lower is better; `None` where it does not match. Letters must come in order.
fn score(text: &str, typed: &str) -> Option<usize> {
    let (text, typed) = (text.to_lowercase(), typed.to_lowercase());
    if typed.is_empty() {
        return Some(50);
    }
    if let Some(at) = text.find(&typed) {
        return Some(if at == 0 { 0 } else { 5 + at.min(20) });
    }
    let mut letters = text.chars();
    typed.chars().all(|wanted| letters.any(|letter| letter == wanted)).then_some(60 + text.len().min(40))
}

fn kinds(discovery: &Discovery, typed: &str, out: &mut Vec<(usize, Entry)>) {
    for resource in discovery.all().filter(|resource| resource.is_listed()) {
        let id = resource.group_resource();
        let Some((_, _, folded)) = place(&id) else { continue };
        let short = resource.short_names.iter().any(|short| short == typed);
        let found =
            if short { Some(0) } else { score(&resource.kind, typed).or_else(|| score(&resource.plural, typed)) };
        let Some(found) = found else { continue };
        let entry = Entry {
            icon: "list",
            title: plural_title(&resource.kind),
            hint: if resource.group.is_empty() { "kind".into() } else { resource.group.clone() },
            target: Target::Go(Route::list(&id)),
        };
        out.push((found + usize::from(folded) * 2, entry));
    }
}

#[component]
fn PaletteBody() -> impl IntoView {
    let app = app();
    let typed = RwSignal::new(String::new());
    let at = RwSignal::new(0_usize);
    let (objects, namespaces) = (StoredValue::new(collections(app)), namespace_names());
    let input = NodeRef::<html::Input>::new();
    Effect::new(move || {
        if let Some(input) = input.get() {
            let _ = input.focus();
        }
    });
    let entries = Memo::new(move |_| {
        let word = typed.get().trim().to_owned();
        let mut out: Vec<(usize, Entry)> = Vec::new();
        let fixed = [
            ("deploy", "Deploy an app", "action", Target::Go(Route::Deploy)),
            ("edit", "Apply YAML", "action", Target::Go(Route::Apply)),
            ("overview", "Overview of the cluster", "page", Target::Go(Route::Overview)),
            ("access", "My access", "page", Target::Go(Route::Access)),
            ("history", "Your API calls", "page", Target::Calls),
            ("list", "Keyboard shortcuts", "help", Target::Keys),
        ];
        for (icon, title, hint, target) in fixed {
            if let Some(found) = score(title, &word) {
                out.push((found + 1, Entry { icon, title: title.into(), hint: hint.into(), target }));
            }
        }
        app.discovery.with(|discovery| kinds(discovery, &word, &mut out));
        if !word.is_empty() {
            for name in namespaces.values() {
                if let Some(found) = score(&name, &word) {
                    out.push((
                        found + 3,
                        Entry {
                            icon: "cluster",
                            title: name.clone(),
                            hint: "switch namespace".into(),
                            target: Target::Namespace(name),
                        },
                    ));
                }
            }
            objects.with_value(|objects| {
                for (resource, kind, live) in objects {
                    let mut found: Vec<(usize, Entry)> = live.with(|rows| {
                        let hit = |row: &Row| {
                            score(&row.name, &word).map(|found| {
                                let hint = if row.namespace.is_empty() {
                                    kind.clone()
                                } else {
                                    format!("{kind} in {}", row.namespace)
                                };
                                (
                                    found + 2,
                                    Entry {
                                        icon: "workloads",
                                        title: row.name.to_string(),
                                        hint,
                                        target: Target::Go(Route::object(resource, &row.namespace, &row.name)),
                                    },
                                )
                            })
                        };
                        rows.values().filter_map(|(_, row)| hit(row)).collect()
                    });
                    found.sort_by_key(|(score, _)| *score);
                    out.extend(found.into_iter().take(MAX_SHOWN));
                }
            });
        }
        out.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| natural(&a.1.title, &b.1.title)));
        out.into_iter().take(MAX_SHOWN).map(|(_, entry)| entry).collect::<Vec<_>>()
    });
    let owner = StoredValue::new(Owner::current());
    let choose = move |entry: Entry| {
        app.palette.set(false);
        match entry.target {
            Target::Go(route) => app.go(route),
            Target::Namespace(name) => owner.with_value(|owner| {
                if let Some(owner) = owner {
                    owner.with(|| choose_namespace(&name))
                }
            }),
            Target::Calls => app.calls_open.set(true),
            Target::Keys => app.help.set(true),
        }
    };
    let keys = move |event: leptos::ev::KeyboardEvent| {
        let count = entries.with(Vec::len).max(1);
        match event.key().as_str() {
            "ArrowDown" => at.update(|at| *at = (*at + 1) % count),
            "ArrowUp" => at.update(|at| *at = (*at + count - 1) % count),
            "Enter" => {
                if let Some(entry) = entries.with(|entries| entries.get(at.get_untracked()).cloned()) {
                    choose(entry);
                }
            }
            "Escape" => app.palette.set(false),
            _ => return,
        }
        event.prevent_default();
    };
    let row = move |(index, entry): (usize, Entry)| {
        let chosen = entry.clone();
        view! {
            <button class="palette-item" role="option" tabindex="-1" aria-selected=move || (at.get() == index).to_string() on:mousemove=move |_| at.set(index) on:click=move |_| choose(chosen.clone())>
                {icon(entry.icon)}<span class="grow">{entry.title}</span><small>{entry.hint}</small>
            </button>
        }
    };
    view! {
        <div class="palette-scrim" on:mousedown=move |_| app.palette.set(false)>
            <div class="palette" role="dialog" aria-label="Jump to" data-testid="palette" on:mousedown=|event| event.stop_propagation()>
                <div class="palette-input">{icon("search")}
                    <input node_ref=input placeholder="Kind, object, namespace or action" aria-label="Jump to" data-testid="palette-input" prop:value=typed on:input=move |event| { at.set(0); typed.set(event_target_value(&event)) } on:keydown=keys/>
                </div>
                <div class="palette-list" role="listbox">
                    {move || {
                        let entries = entries.get();
                        if entries.is_empty() { view! { <p class="palette-none">"Nothing by that name"</p> }.into_any() } else { entries.into_iter().enumerate().map(row).collect_view().into_any() }
                    }}
                </div>
            </div>
        </div>
    }
}
