//! Logs that follow, of one pod or of all pods of a workload; a lost stream goes on where it was.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use gloo_timers::callback::Timeout;
use gloo_timers::future::TimeoutFuture;
use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;
use web_sys::AbortController;

use crate::api::call::JSON;
use crate::api::collections::{Object, objects};
use crate::api::http::{self, Chunks};
use crate::api::lines::Lines;
use crate::api::live::Query;
use crate::api::mutate::in_words;
use crate::browser;
use crate::components::icon::icon;
use crate::components::status::empty;
use crate::model::json;
use crate::model::log::{LogBuffer, LogLine};
use crate::model::pod::{Role, containers};
use crate::pages::object::{Subject, selector_text};
use crate::routes::encode;

const TAIL: u32 = 500;
const LINE_HEIGHT: usize = 19;
/// Streams open at once: the logs of a large workload are shown for the first pods only.
const MAX_STREAMS: usize = 20;
const REFRESH_MS: u32 = 80;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    pod: String,
    container: String,
}

/// A container that has or had logs; `turn` changes when there is something new to open.
#[derive(Clone, Debug, PartialEq)]
struct Found {
    source: Source,
    turn: i64,
    running: bool,
}

struct Open {
    abort: AbortController,
    turn: i64,
}

fn found_in(pod: &serde_json::Value) -> Vec<Found> {
    let started = |state: &str| !matches!(state, "Waiting" | "ContainerCreating" | "PodInitializing");
    containers(pod)
        .into_iter()
        .filter(|container| started(&container.state) || container.restarts > 0)
        .map(|container| Found {
            source: Source { pod: json::name(pod).to_owned(), container: container.name },
            turn: container.restarts * 2 + i64::from(container.state == "Running"),
            running: container.state == "Running" && container.role != Role::Init,
        })
        .collect()
}

#[derive(Clone)]
struct Streams {
    namespace: String,
    buffer: Rc<RefCell<LogBuffer>>,
    open: Rc<RefCell<BTreeMap<Source, Open>>>,
    last: Rc<RefCell<BTreeMap<Source, String>>>,
    names: Rc<RefCell<Vec<Source>>>,
    refreshing: Rc<Cell<bool>>,
    changed: RwSignal<u64>,
    problem: RwSignal<String>,
}

impl Streams {
    fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            buffer: Rc::default(),
            open: Rc::default(),
            last: Rc::default(),
            names: Rc::default(),
            refreshing: Rc::default(),
            changed: RwSignal::new(0),
            problem: RwSignal::new(String::new()),
        }
    }

    fn close_all(&self) {
        for (_, open) in std::mem::take(&mut *self.open.borrow_mut()) {
            open.abort.abort();
        }
    }

    fn reset(&self) {
        self.close_all();
        self.buffer.borrow_mut().clear();
        self.last.borrow_mut().clear();
        self.problem.try_set(String::new());
        self.refresh();
    }

    fn index(&self, source: &Source) -> usize {
        let mut names = self.names.borrow_mut();
        names.iter().position(|known| known == source).unwrap_or_else(|| {
            names.push(source.clone());
            names.len() - 1
        })
    }

    fn refresh(&self) {
        if self.refreshing.replace(true) {
            return;
        }
        let (flag, changed) = (self.refreshing.clone(), self.changed);
        Timeout::new(REFRESH_MS, move || {
            flag.set(false);
            changed.try_update(|count| *count += 1);
        })
        .forget();
    }

    /// Opens what is new and closes what is not wanted any more.
    fn want(&self, wanted: &[Found], previous: bool) {
        let gone: Vec<Source> = self
            .open
            .borrow()
            .keys()
            .filter(|source| !wanted.iter().any(|found| found.source == **source))
            .cloned()
            .collect();
        for source in gone {
            if let Some(open) = self.open.borrow_mut().remove(&source) {
                open.abort.abort();
            }
        }
        for found in wanted.iter().take(MAX_STREAMS) {
            if self.open.borrow().get(&found.source).is_some_and(|open| open.turn == found.turn || previous) {
                continue;
            }
            let Ok(abort) = AbortController::new() else { return };
            if let Some(old) =
                self.open.borrow_mut().insert(found.source.clone(), Open { abort: abort.clone(), turn: found.turn })
            {
                old.abort.abort();
            }
            let (streams, found) = (self.clone(), found.clone());
            spawn_local(async move { streams.follow(found, abort, previous).await });
        }
    }

    async fn follow(&self, found: Found, abort: AbortController, previous: bool) {
        let index = self.index(&found.source);
        let mut wait = 500;
        loop {
            let after = self.last.borrow().get(&found.source).cloned().unwrap_or_default();
            let mut path = format!(
                "/api/v1/namespaces/{}/pods/{}/log?container={}&timestamps=true",
                self.namespace, found.source.pod, found.source.container
            );
            match () {
                () if previous => path.push_str("&previous=true"),
                () if after.is_empty() => path.push_str(&format!("&follow=true&tailLines={TAIL}")),
                () => path.push_str(&format!("&follow=true&sinceTime={}", encode(&after))),
            }
            let outcome = self.read(&path, index, &found.source, &after, &abort).await;
            if abort.signal().aborted() {
                return;
            }
            match outcome {
                // The container ended, or the server cut a long stream: a new turn or another try continues it.
                Ok(_) if previous || !found.running => return,
                Ok(lines) => wait = if lines > 0 { 500 } else { wait * 2 },
                Err(status) if status.code == 0 || status.code >= 500 || status.code == 429 => wait *= 2,
                Err(status) => {
                    self.problem.try_set(format!("{}: {}", found.source.container, in_words(&status)));
                    return;
                }
            }
            wait = wait.min(15_000);
            TimeoutFuture::new(wait).await;
            if abort.signal().aborted() {
                return;
            }
        }
    }

    async fn read(
        &self,
        path: &str,
        index: usize,
        source: &Source,
        after: &str,
        abort: &AbortController,
    ) -> Result<usize, pilothouse_api::Status> {
        let response = http::open(&http::get(path), "*/*", Some(&abort.signal())).await?;
        self.problem.try_set(String::new());
        let chunks = Chunks::of(&response)?;
        let (mut lines, mut count) = (Lines::default(), 0);
        let mut push = |line: &[u8]| {
            if let Some(time) = self.buffer.borrow_mut().push(index, line, after) {
                count += 1;
                if !time.is_empty() {
                    self.last.borrow_mut().insert(source.clone(), time);
                }
            }
        };
        while let Some(chunk) = chunks.next().await? {
            if lines.push(&chunk, &mut push).is_err() {
                break;
            }
            self.refresh();
        }
        if !lines.rest().is_empty() {
            push(lines.rest());
        }
        self.refresh();
        Ok(count)
    }
}

pub fn logs(subject: &Subject) -> impl IntoView + use<> {
    let is_pod = subject.resource.kind == "Pod";
    let pods: Signal<Vec<Object>> = if is_pod {
        let object = subject.object;
        Signal::derive(move || vec![object.get()])
    } else {
        let selector = subject.object.with_untracked(|object| selector_text(object));
        let live = objects(
            Query::new(format!("/api/v1/namespaces/{}/pods", subject.namespace), JSON).with("labelSelector", &selector),
        );
        Signal::derive(move || live.values())
    };
    let found = Memo::new(move |_| pods.with(|pods| pods.iter().flat_map(|pod| found_in(pod)).collect::<Vec<_>>()));
    let names = Memo::new(move |_| {
        let mut names: Vec<String> =
            found.with(|found| found.iter().map(|found| found.source.container.clone()).collect());
        names.sort();
        names.dedup();
        names
    });
    let asked = browser::query().strip_prefix("?container=").unwrap_or_default().to_owned();
    let container = RwSignal::new(asked);
    let (previous, stamps, following, search) =
        (RwSignal::new(false), RwSignal::new(false), RwSignal::new(true), RwSignal::new(String::new()));
    let streams = Streams::new(&subject.namespace);
    let (changed, problem) = (streams.changed, streams.problem);
    let shared = StoredValue::new_local(streams);
    Effect::new(move |before: Option<(String, bool)>| {
        let now = (container.get(), previous.get());
        let Some(streams) = shared.try_get_value() else { return now };
        if before.is_some_and(|before| before != now) {
            streams.reset();
        }
        let wanted: Vec<Found> = found.with(|found| {
            found.iter().filter(|found| now.0.is_empty() || found.source.container == now.0).cloned().collect()
        });
        streams.want(&wanted, now.1);
        now
    });
    on_cleanup(move || {
        shared.try_with_value(Streams::close_all);
    });
    // While paused the lines on the screen stay as they are.
    let held = StoredValue::new(Vec::<LogLine>::new());
    let lines = Memo::new_with_compare(
        move |_| {
            changed.track();
            let word = search.get();
            if following.get() || !word.is_empty() {
                let now = shared.try_with_value(|streams| streams.buffer.borrow().matching(&word)).unwrap_or_default();
                held.set_value(now);
            }
            held.get_value()
        },
        |_, _| true,
    );
    let name = subject.name.clone();
    let download = move |_| {
        let text = shared.with_value(|streams| {
            let names = streams.names.borrow();
            let line = |line: LogLine| {
                format!("{} {} {}", line.time, names.get(line.source).map_or("", |source| &source.container), line.text)
            };
            streams.buffer.borrow().matching("").into_iter().map(line).collect::<Vec<_>>().join("\n")
        });
        browser::download(&format!("{name}.log"), &text);
    };
    let toggle = |signal: RwSignal<bool>, title: &'static str, test: &'static str| view! { <label class="check-line"><input type="checkbox" data-testid=test prop:checked=signal on:change=move |event| signal.set(event_target_checked(&event))/>{title}</label> };
    let waiting = move || !following.get();
    view! {
        <section class="card logs" data-testid="logs">
            <div class="bar">
                <select class="input" aria-label="Container" data-testid="logs-container" on:change=move |event| container.set(event_target_value(&event))>
                    <option value="" selected=move || container.get().is_empty()>"All containers"</option>
                    {move || names.get().into_iter().map(|name| { let value = name.clone(); view! { <option value=name.clone() selected=move || container.get() == value>{name.clone()}</option> } }).collect_view()}
                </select>
                <label class="filter">{icon("search")}<input class="input" type="search" placeholder="Search" aria-label="Search the log" data-testid="logs-search" prop:value=search on:input=move |event| search.set(event_target_value(&event))/></label>
                {toggle(stamps, "Times", "logs-timestamps")}
                {toggle(previous, "Before the restart", "logs-previous")}
                <span class="grow"></span>
                <span class="dim num">{move || format!("{} lines", lines.with(Vec::len))}</span>
                <button class="button" data-testid="logs-follow" aria-pressed=move || following.get().to_string() on:click=move |_| following.update(|on| *on = !*on)>
                    {move || if following.get() { view! { {icon("pause")}"Pause" }.into_any() } else { view! { {icon("play")}"Follow" }.into_any() }}
                </button>
                <button class="button icon-only" aria-label="Download" title="Download" data-testid="logs-download" on:click=download>{icon("download")}</button>
            </div>
            <Show when=move || !problem.with(String::is_empty)><p class="problems" role="alert">{problem}</p></Show>
            <Show when=waiting><p class="dim log-note">"Paused. New lines are kept and shown when you follow again."</p></Show>
            {move || if is_pod || !found.with(Vec::is_empty) { ().into_any() } else { empty("logs", "No logs yet", "Containers that have started appear here.").into_any() }}
            <LogView lines following stamps names=Signal::derive_local(move || shared.try_with_value(|streams| streams.names.borrow().clone()).unwrap_or_default()) pods=!is_pod/>
        </section>
    }
}

/// The lines in sight only; stays at the end while following, and pauses when the reader scrolls up.
#[component]
fn LogView(
    lines: Memo<Vec<LogLine>>,
    following: RwSignal<bool>,
    stamps: RwSignal<bool>,
    names: Signal<Vec<Source>, LocalStorage>,
    pods: bool,
) -> impl IntoView {
    let node = NodeRef::<html::Div>::new();
    let (top, height) = (RwSignal::new(0_usize), RwSignal::new(600_usize));
    Effect::new(move || {
        let count = lines.with(Vec::len);
        let Some(element) = node.get() else { return };
        height.set(usize::try_from(element.client_height()).unwrap_or_default().max(LINE_HEIGHT));
        if following.get() {
            let end = (count * LINE_HEIGHT + 24).saturating_sub(height.get_untracked());
            top.set(end);
            // After the new lines are laid out.
            request_animation_frame(move || element.set_scroll_top(i32::MAX));
        }
    });
    let scrolled = move |_| {
        let Some(element) = node.get_untracked() else { return };
        let (now, view) = (element.scroll_top(), element.client_height());
        if usize::try_from(now).unwrap_or_default() + 4 * LINE_HEIGHT < top.get_untracked()
            && element.scroll_height() - now - view > 4 * LINE_HEIGHT as i32
        {
            following.set(false);
        }
        top.set(usize::try_from(now).unwrap_or_default());
    };
    let range = move || {
        let count = lines.with(Vec::len);
        let first = (top.get() / LINE_HEIGHT).saturating_sub(20).min(count);
        (first, (first + height.get() / LINE_HEIGHT + 40).min(count))
    };
    let visible = move || {
        let (from, to) = range();
        lines.with(|lines| lines[from.min(lines.len())..to.min(lines.len())].to_vec())
    };
    let row = move |line: LogLine| {
        let source = names.with(|names| names.get(line.source).cloned());
        let several = names.with(|names| names.len() > 1);
        let label = source.filter(|_| several).map(|source| {
            if pods {
                format!("{} ", source.pod.rsplit('-').next().unwrap_or_default()) + &source.container
            } else {
                source.container
            }
        });
        let time = line.time.clone();
        view! {
            <div class="log-line">
                {move || stamps.get().then(|| view! { <time>{time.get(..23).unwrap_or(&time).to_owned()}</time> })}
                {label.map(|label| view! { <b class=format!("log-source s{}", line.source % 6)>{label}</b> })}
                {line.text}
            </div>
        }
    };
    view! {
        <div class="log-view" node_ref=node tabindex="0" role="log" aria-label="Log" data-testid="logs-text" on:scroll=scrolled>
            <div class="log-all" style:height=move || format!("{}px", lines.with(Vec::len) * LINE_HEIGHT)>
                <div style:transform=move || format!("translateY({}px)", range().0 * LINE_HEIGHT)>
                    <For each=visible key=|line| line.id let:line>{row(line)}</For>
                </div>
            </div>
        </div>
    }
}
