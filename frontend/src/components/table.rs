//! A live table of one resource: kubectl's columns, only the rows in sight in the document.
//!
//! Keys: ↑ ↓ Home End PageUp PageDown move, Enter opens, Space selects, Delete asks to delete the selection.

use std::collections::BTreeSet;
use std::sync::Arc;

use leptos::ev::KeyboardEvent;
use leptos::html;
use leptos::prelude::*;

use crate::api::decode::Key;
use crate::api::discovery::Resource;
use crate::api::live::{Live, Phase, Query};
use crate::api::table::{Cell, Column, Row, Tables};
use crate::app::app;
use crate::components::icon::icon;
use crate::components::status::{dot, empty, problem, skeleton};
use crate::model::columns::template;
use crate::model::filter::{By, Filter, Order, view};
use crate::model::health::{Tone, tone_of_word};
use crate::model::time;
use crate::routes::Route;

pub const ACCEPT: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const ROW_HEIGHT: usize = 33;
/// Rows kept above and below the window.
const MARGIN: usize = 8;

/// What a table shows and how; shared between the table and the bar above it.
#[derive(Clone, Copy)]
pub struct Model {
    pub rows: Live<Arc<Row>>,
    pub columns: RwSignal<Vec<Column>>,
    pub filter: RwSignal<String>,
    pub order: RwSignal<Option<Order>>,
    /// Names of columns that are shown against their default, or hidden against it.
    pub toggled: RwSignal<BTreeSet<String>>,
    pub selected: RwSignal<BTreeSet<Key>>,
    pub shown: Memo<Arc<Vec<Arc<Row>>>>,
    pub resource: StoredValue<Arc<Resource>>,
    pub namespaces: bool,
}

impl Model {
    /// Subscribes to `query`. `namespaces` shows where each row lives.
    pub fn start(resource: Arc<Resource>, query: Query, namespaces: bool) -> Self {
        let columns = RwSignal::new(Vec::new());
        let on_columns = move |new: Vec<Column>| {
            if columns.try_with_untracked(|known| *known != new) == Some(true) {
                columns.set(new);
            }
        };
        // Events are shown by when they last happened, which their metadata does not tell.
        let events = resource.kind == "Event";
        let query = Query { accept: ACCEPT, ..query }.with("includeObject", if events { "Object" } else { "Metadata" });
        let rows = Live::start(query, Tables::new(on_columns));
        let (filter, order) = (
            RwSignal::new(String::new()),
            RwSignal::new(events.then_some(Order { by: By::Column(0), descending: false })),
        );
        let shown = Memo::new_with_compare(
            move |_| {
                let (filter, order) = (Filter::parse(&filter.get()), order.get());
                columns.with(|columns| {
                    rows.with(|rows| Arc::new(view(rows.values().map(|(_, row)| row), columns, &filter, order)))
                })
            },
            |_, _| true,
        );
        // Where a pod runs is worth its width; kubectl shows it when asked only.
        let first = if resource.group_resource() == "pods" { "Node" } else { "" };
        let hidden = crate::browser::recall(&format!("columns.{}", resource.group_resource()))
            .unwrap_or_else(|| first.to_owned());
        let toggled = RwSignal::new(hidden.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect());
        Self {
            rows,
            columns,
            filter,
            order,
            toggled,
            selected: RwSignal::new(BTreeSet::new()),
            shown,
            resource: StoredValue::new(resource),
            namespaces,
        }
    }

    pub fn is_shown(&self, column: &Column) -> bool {
        (column.priority == 0) != self.toggled.with(|toggled| toggled.contains(&column.name))
    }

    pub fn toggle_column(&self, name: &str) {
        self.toggled.update(|toggled| {
            if !toggled.remove(name) {
                toggled.insert(name.to_owned());
            }
        });
        let key = format!("columns.{}", self.resource.with_value(|resource| resource.group_resource()));
        crate::browser::remember(
            &key,
            &self.toggled.with_untracked(|toggled| toggled.iter().cloned().collect::<Vec<_>>().join(",")),
        );
    }

    fn shown_columns(&self) -> Vec<(usize, Column)> {
        self.columns.get().into_iter().enumerate().filter(|(_, column)| self.is_shown(column)).collect()
    }

    fn toggle_selected(&self, row: &Row) {
        let key = Key { namespace: row.namespace.clone(), name: row.name.clone() };
        self.selected.update(|selected| {
            if !selected.remove(&key) {
                selected.insert(key);
            }
        });
    }

    fn sort(&self, by: By) {
        self.order.update(|order| {
            *order = match *order {
                Some(now) if now.by == by && now.descending => None,
                Some(now) if now.by == by => Some(Order { by, descending: true }),
                _ => Some(Order { by, descending: false }),
            }
        });
    }

    fn route(&self, row: &Row) -> Route {
        Route::object(&self.resource.with_value(|resource| resource.group_resource()), &row.namespace, &row.name)
    }
}

/// `select` offers checkboxes; `on_delete` is asked for by the Delete key.
#[component]
pub fn ResourceTable(
    model: Model,
    #[prop(optional)] select: bool,
    #[prop(optional)] on_delete: Option<Callback<()>>,
) -> impl IntoView {
    let app = app();
    let scroller = NodeRef::<html::Div>::new();
    let (top, height) = (RwSignal::new(0_usize), RwSignal::new(800_usize));
    let cursor = RwSignal::new(None::<usize>);
    let columns = Memo::new(move |_| model.shown_columns());
    let grid = Memo::new(move |_| {
        columns.with(|columns| model.shown.with(|rows| template(columns, rows, model.namespaces, select)))
    });
    let range = Memo::new(move |_| {
        let count = model.shown.with(|rows| rows.len());
        let first = (top.get() / ROW_HEIGHT).saturating_sub(MARGIN).min(count);
        (first, (first + height.get() / ROW_HEIGHT + 2 * MARGIN + 1).min(count))
    });
    let measure = move || {
        if let Some(element) = scroller.get_untracked() {
            top.set(usize::try_from(element.scroll_top()).unwrap_or_default());
            height.set(usize::try_from(element.client_height()).unwrap_or_default().max(ROW_HEIGHT));
        }
    };
    Effect::new(move || {
        if let Some(element) = scroller.get() {
            measure();
            // The keys work at once in a list's page, unless something is being typed.
            if select && !crate::browser::is_typing() {
                let _ = element.focus();
            }
        }
    });
    let resized = window_event_listener(leptos::ev::resize, move |_| measure());
    on_cleanup(move || resized.remove());

    let move_to = move |index: usize| {
        let last = model.shown.with_untracked(|rows| rows.len()).saturating_sub(1);
        let index = index.min(last);
        cursor.set(Some(index));
        if let Some(element) = scroller.get_untracked() {
            let (from, view) = (index * ROW_HEIGHT, height.get_untracked().saturating_sub(2 * ROW_HEIGHT));
            let now = usize::try_from(element.scroll_top()).unwrap_or_default();
            let next = if from < now {
                from
            } else if from > now + view {
                from - view
            } else {
                now
            };
            element.set_scroll_top(i32::try_from(next).unwrap_or(i32::MAX));
        }
    };
    let keys = move |event: KeyboardEvent| {
        if event.ctrl_key() || event.meta_key() || event.alt_key() {
            return;
        }
        let at = cursor.get_untracked();
        let page = (height.get_untracked() / ROW_HEIGHT).saturating_sub(2).max(1);
        let row = || at.and_then(|at| model.shown.with_untracked(|rows| rows.get(at).cloned()));
        match event.key().as_str() {
            "ArrowDown" | "j" => move_to(at.map_or(0, |at| at + 1)),
            "ArrowUp" | "k" => move_to(at.unwrap_or(1).saturating_sub(1)),
            "PageDown" => move_to(at.unwrap_or_default() + page),
            "PageUp" => move_to(at.unwrap_or_default().saturating_sub(page)),
            "Home" => move_to(0),
            "End" => move_to(usize::MAX),
            "Enter" => {
                let Some(row) = row() else { return };
                app.go(model.route(&row));
            }
            " " | "x" if select => {
                let Some(row) = row() else { return };
                model.toggle_selected(&row);
            }
            "Delete" => match on_delete {
                Some(ask) if !model.selected.with_untracked(BTreeSet::is_empty) => ask.run(()),
                _ => return,
            },
            "Escape" => model.selected.set(BTreeSet::new()),
            _ => return,
        }
        event.prevent_default();
    };

    let head = move || {
        let column = |place: usize, (index, column): (usize, Column)| {
            let namespace = (place == 0 && model.namespaces)
                .then(|| header(model, By::Namespace, "Namespace".into(), String::new(), false));
            let right = place > 0 && is_right(&column);
            view! { {header(model, By::Column(index), column.name, column.description, right)}{namespace} }
        };
        columns.get().into_iter().enumerate().map(|(place, found)| column(place, found)).collect_view()
    };
    let visible = move || {
        let (from, to) = range.get();
        model.shown.with(|rows| {
            rows.iter()
                .enumerate()
                .take(to.min(rows.len()))
                .skip(from)
                .map(|(index, row)| (index, row.clone()))
                .collect::<Vec<_>>()
        })
    };
    let body = move || match model.rows.phase.get() {
        Phase::Failed(status) => problem(&status).into_any(),
        Phase::Loading => skeleton(8).into_any(),
        phase if model.shown.with(|rows| rows.is_empty()) => {
            let title = model.resource.with_value(|resource| crate::model::nav::plural_title(&resource.kind));
            if !model.filter.with(String::is_empty) {
                empty(
                    "search",
                    format!("No {title} match the filter"),
                    "Words match anywhere; app=web matches a label, status:pending a column, !word excludes.",
                )
                .into_any()
            } else if matches!(phase, Phase::Partial { .. }) {
                skeleton(8).into_any()
            } else {
                empty("list", format!("No {title}"), "This list is live: what is created appears here at once.")
                    .into_any()
            }
        }
        _ => view! {
            <div class="rows" style:height=move || format!("{}px", model.shown.with(|rows| rows.len()) * ROW_HEIGHT)>
                <div style:transform=move || format!("translateY({}px)", range.get().0 * ROW_HEIGHT)>
                    <For each=visible key=|(index, row)| (*index, Arc::as_ptr(row) as usize) let:item>
                        <TableRow index=item.0 row=item.1 model columns cursor select/>
                    </For>
                </div>
            </div>
        }
        .into_any(),
    };
    let all_selected = move || {
        let count = model.shown.with(|rows| rows.len());
        count > 0 && model.selected.with(BTreeSet::len) >= count
    };
    let select_all = move |_| {
        let all = if all_selected() {
            BTreeSet::new()
        } else {
            model.shown.with(|rows| {
                rows.iter().map(|row| Key { namespace: row.namespace.clone(), name: row.name.clone() }).collect()
            })
        };
        model.selected.set(all);
    };
    view! {
        <div class="table" role="grid" tabindex="0" node_ref=scroller style:--columns=move || grid.get().0 style:--least=move || grid.get().1 data-testid="table"
            aria-rowcount=move || model.shown.with(|rows| rows.len()).to_string() on:scroll=move |_| measure() on:keydown=keys>
            <div class="row head" role="row">
                {select.then(|| view! { <span class="cell check"><input type="checkbox" aria-label="Select all" prop:checked=all_selected on:change=select_all/></span> })}
                {head}
            </div>
            {body}
        </div>
    }
}

/// Numbers and ages line up at their right end.
fn is_right(column: &Column) -> bool {
    column.is_age() || matches!(column.type_.as_str(), "integer" | "number")
}

fn header(model: Model, by: By, name: String, description: String, right: bool) -> impl IntoView {
    let sorted = move || model.order.get().filter(|order| order.by == by).map(|order| order.descending);
    let aria = move || match sorted() {
        None => "none",
        Some(false) => "ascending",
        Some(true) => "descending",
    };
    view! {
        <span class="cell" class:right=right role="columnheader" aria-sort=aria>
            <button class="sort" title=description on:click=move |_| model.sort(by)>{name}<i class="sort-mark" aria-hidden="true">{move || match sorted() { None => "", Some(false) => "▲", Some(true) => "▼" }}</i></button>
        </span>
    }
}

#[component]
fn TableRow(
    index: usize,
    row: Arc<Row>,
    model: Model,
    columns: Memo<Vec<(usize, Column)>>,
    cursor: RwSignal<Option<usize>>,
    select: bool,
) -> impl IntoView {
    let key = Key { namespace: row.namespace.clone(), name: row.name.clone() };
    let is_selected = {
        let key = key.clone();
        move || model.selected.with(|selected| selected.contains(&key))
    };
    let checkbox = select.then(|| {
        let (row, checked) = (row.clone(), is_selected.clone());
        view! { <span class="cell check"><input type="checkbox" tabindex="-1" aria-label=format!("Select {}", row.name) prop:checked=checked on:change=move |_| model.toggle_selected(&row)/></span> }
    });
    let cells = {
        let row = row.clone();
        move || {
            let one = |place: usize, (index, column): (usize, Column)| {
                let namespace = (place == 0 && model.namespaces)
                    .then(|| view! { <span class="cell dim" role="gridcell">{row.namespace.to_string()}</span> });
                view! { {cell(&row, index, &column, place == 0, model)}{namespace} }
            };
            columns.get().into_iter().enumerate().map(|(place, found)| one(place, found)).collect_view()
        }
    };
    let name = row.name.to_string();
    view! {
        <div class="row" role="row" class:cursor=move || cursor.get() == Some(index) class:selected=is_selected class:leaving=row.deleting
            data-testid="row" data-name=name on:mousedown=move |_| cursor.set(Some(index))>
            {checkbox}{cells}
        </div>
    }
}

fn cell(row: &Arc<Row>, index: usize, column: &Column, first: bool, model: Model) -> AnyView {
    let app = app();
    if column.is_age() && row.created > 0 {
        let created = row.created;
        let counting = move || time::span(app.now.get() - created);
        let text = if first {
            view! { <a tabindex="-1" href=model.route(row).href()>{counting}</a> }.into_any()
        } else {
            counting.into_any()
        };
        return view! { <span class=if first { "cell num dim" } else { "cell num dim right" } role="gridcell">{text}</span> }.into_any();
    }
    let value = row.cells.get(index).unwrap_or(&Cell::Empty);
    let text = value.text();
    if first {
        let leaving = row.deleting.then(|| view! { <i class="leaving-mark" title="Being deleted">{icon("trash")}</i> });
        return view! { <span class="cell name" role="gridcell"><a tabindex="-1" href=model.route(row).href() title=text.clone()>{if text.is_empty() { row.name.to_string() } else { text.clone() }}</a>{leaving}</span> }.into_any();
    }
    let states = matches!(
        column.name.as_str(),
        "Status" | "Phase" | "Ready" | "State" | "Established" | "Available" | "Completions" | "Condition"
    ) || (column.name == "Type" && (text == "Normal" || text == "Warning"));
    // What has ended in order is not ready, and need not be.
    let ended = column.name == "Ready"
        && row
            .cells
            .iter()
            .any(|cell| matches!(cell, Cell::Text(text) if &**text == "Completed" || &**text == "Succeeded"));
    let tone = if ended { Tone::Idle } else { tone_of_word(&text) };
    if states && !text.is_empty() {
        let mark =
            (column.name != "Ready" && column.name != "Completions" && column.name != "Available").then(|| dot(tone));
        return view! { <span class=format!("cell state {}", tone.class()) role="gridcell" title=text.clone()>{mark}{text.clone()}</span> }.into_any();
    }
    let class = match (is_right(column), matches!(value, Cell::Number(_))) {
        (true, _) => "cell num right",
        (false, true) => "cell num",
        (false, false) => "cell",
    };
    let none = text.is_empty() || text == "<none>";
    view! { <span class=class class:dim=none role="gridcell" title=text.clone()>{if none { "–".to_owned() } else { text.clone() }}</span> }.into_any()
}
