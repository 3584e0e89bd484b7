//! Live collections: drives `watch`'s state machine over fetch streams and keeps what it yields.
//!
//! Invariants: a collection never shows less than it knew while it reconnects; everything it starts ends when the
//! page that asked for it goes away; views are told of changes at most once per frame.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use gloo_timers::callback::{Interval, Timeout};
use gloo_timers::future::TimeoutFuture;
use leptos::prelude::*;
use pilothouse_api::Status;
use serde::Deserialize;
use serde_json::value::RawValue;
use web_sys::AbortController;

use crate::api::decode::{Decode, Key};
use crate::api::http::{self, Chunks};
use crate::api::lines::Lines;
use crate::api::watch::{Action, Input, State, step};
use crate::link::{Link, Links};

/// Objects on the first page of a list, so that something is painted early, and on later pages.
const FIRST_PAGE: u32 = 250;
const NEXT_PAGE: u32 = 2000;
/// The server is asked to end a watch after this time; the client then resumes.
const WATCH_SECONDS: u32 = 540;
/// A watch on which not even a bookmark came for so long is taken for dead and resumed.
const SILENCE_MS: f64 = 95_000.0;
/// Views are told of changes this often at most.
const FRAME_MS: u32 = 33;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Of the collection, such as `/api/v1/pods`.
    pub path: String,
    /// Selectors and the like, already encoded: `labelSelector=app%3Dweb`.
    pub parameters: Vec<String>,
    pub accept: &'static str,
    /// More objects than this are counted, not loaded.
    pub at_most: Option<u64>,
}

impl Query {
    pub fn new(path: impl Into<String>, accept: &'static str) -> Self {
        Self { path: path.into(), parameters: Vec::new(), accept, at_most: None }
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.parameters.push(format!("{key}={}", crate::routes::encode(value)));
        self
    }

    #[must_use]
    pub fn at_most(mut self, count: u64) -> Self {
        self.at_most = Some(count);
        self
    }

    fn url(&self, more: &[String]) -> String {
        let all: Vec<&str> = self.parameters.iter().chain(more).map(String::as_str).collect();
        format!("{}?{}", self.path, all.join("&"))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    Loading,
    /// Something is there, more pages are coming.
    Partial {
        remaining: u64,
    },
    Ready,
    /// So many that they are not loaded.
    TooMany(u64),
    Failed(Status),
}

/// A collection that stays up to date. Reading it in a view subscribes the view.
pub struct Live<T: 'static> {
    items: StoredValue<BTreeMap<Key, (u32, T)>>,
    changed: RwSignal<u64>,
    pub phase: RwSignal<Phase>,
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Live<T> {}

impl<T: Clone + Send + Sync + 'static> Live<T> {
    /// Starts a subscription that ends with the current owner.
    pub fn start<D: Decode<Item = T>>(query: Query, decode: D) -> Self {
        let live = Self {
            items: StoredValue::new(BTreeMap::new()),
            changed: RwSignal::new(0),
            phase: RwSignal::new(Phase::Loading),
        };
        let driver = Rc::new(Driver {
            query,
            decode,
            live,
            links: expect_context::<Links>(),
            link: Cell::new(0),
            generation: Cell::new(0),
            flushing: Rc::new(Cell::new(false)),
            ended: Cell::new(false),
            abort: RefCell::new(None),
        });
        driver.link.set(driver.links.add());
        let stop = StoredValue::new_local(driver.clone());
        on_cleanup(move || {
            if let Some(driver) = stop.try_get_value() {
                driver.stop();
            }
        });
        wasm_bindgen_futures::spawn_local(driver.run());
        live
    }

    pub fn with<R>(&self, read: impl FnOnce(&BTreeMap<Key, (u32, T)>) -> R) -> R {
        self.changed.track();
        self.items.with_value(read)
    }

    pub fn values(&self) -> Vec<T> {
        self.with(|items| items.values().map(|(_, item)| item.clone()).collect())
    }

    pub fn first(&self) -> Option<T> {
        self.with(|items| items.values().next().map(|(_, item)| item.clone()))
    }

    pub fn len(&self) -> usize {
        self.with(BTreeMap::len)
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.phase.get(), Phase::Ready)
    }

    /// The count of a collection that is too large to be loaded.
    pub fn too_many(&self) -> Option<u64> {
        match self.phase.get() {
            Phase::TooMany(count) => Some(count),
            _ => None,
        }
    }

    pub fn is_loading(&self) -> bool {
        matches!(self.phase.get(), Phase::Loading)
    }
}

struct Driver<D: Decode> {
    query: Query,
    decode: D,
    live: Live<D::Item>,
    links: Links,
    link: Cell<u32>,
    /// Of the last list: what an older list had and this one has not is gone.
    generation: Cell<u32>,
    flushing: Rc<Cell<bool>>,
    ended: Cell<bool>,
    abort: RefCell<Option<AbortController>>,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    type_: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

impl<D: Decode> Driver<D> {
    fn stop(&self) {
        self.ended.set(true);
        self.links.remove(self.link.get());
        self.abort();
    }

    fn abort(&self) {
        if let Some(controller) = self.abort.borrow_mut().take() {
            controller.abort();
        }
    }

    async fn run(self: Rc<Self>) {
        let mut state = State::Stopped;
        let mut input = Input::Start;
        while !self.ended.get() {
            let jitter = (js_sys::Math::random() * 255.0) as u8;
            let (next, action) = step(state, input, jitter);
            state = next;
            input = match action {
                Action::List { token, first } => self.list(token, first).await,
                Action::ListedThenWatch { revision } => {
                    self.forget_unseen();
                    self.set_phase(Phase::Ready);
                    self.watch(revision, &mut state).await
                }
                Action::Watch { revision } => self.watch(revision, &mut state).await,
                Action::Wait(ms) => {
                    self.links.set(self.link.get(), Link::Waiting);
                    self.sleep(ms).await;
                    Input::WaitIsOver
                }
                Action::Continue => return,
                Action::Stop => {
                    self.links.remove(self.link.get());
                    return;
                }
            };
        }
    }

    /// Waits, but not longer than until the browser says that it is online again or the tab is looked at.
    async fn sleep(&self, ms: u32) {
        let (mut left, wake) = (ms, self.links.wake_count());
        while left > 0 && !self.ended.get() && self.links.wake_count() == wake {
            let part = left.min(200);
            TimeoutFuture::new(part).await;
            left -= part;
        }
    }

    fn set_phase(&self, phase: Phase) {
        if !self.ended.get() {
            self.live.phase.try_set(phase);
        }
    }

    fn failed(&self, status: Status) -> Input {
        match status.code {
            410 => Input::Expired,
            0 | 408 | 409 | 425 | 429 | 500..=599 => {
                // Nothing to show yet: say why, and go on trying.
                if self.live.phase.try_get_untracked().is_some_and(|phase| matches!(phase, Phase::Loading))
                    && status.code != 0
                {
                    self.links.say(status.message);
                }
                Input::Fault
            }
            _ => {
                self.set_phase(Phase::Failed(status));
                Input::Refused
            }
        }
    }

    async fn open(&self, parameters: &[String]) -> Result<web_sys::Response, Status> {
        let controller = AbortController::new().map_err(|_| Status::internal("no AbortController"))?;
        let signal = controller.signal();
        *self.abort.borrow_mut() = Some(controller);
        http::open(&http::get(self.query.url(parameters)), self.query.accept, Some(&signal)).await
    }

    async fn list(&self, token: Option<String>, first: bool) -> Input {
        if first {
            self.generation.set(self.generation.get() + 1);
        }
        let limit = if first { FIRST_PAGE } else { NEXT_PAGE };
        let mut parameters = vec![format!("limit={limit}")];
        parameters.extend(token.map(|token| format!("continue={}", crate::routes::encode(&token))));
        let body = match self.open(&parameters).await {
            Ok(response) => http::body(&response).await,
            Err(status) => Err(status),
        };
        let page = match body.and_then(|body| self.decode.page(&body).map_err(Status::internal)) {
            Ok(page) => page,
            Err(status) => return self.failed(status),
        };
        self.links.set(self.link.get(), Link::Live);
        let count = page.items.len() as u64 + page.meta.remaining_item_count.unwrap_or_default();
        if first && self.query.at_most.is_some_and(|most| count > most) {
            self.set_phase(Phase::TooMany(count));
            return Input::Refused;
        }
        self.put(page.items);
        let token = Some(page.meta.token).filter(|token| !token.is_empty());
        if token.is_some() && !matches!(self.live.phase.try_get_untracked(), Some(Phase::Ready) | None) {
            self.set_phase(Phase::Partial { remaining: page.meta.remaining_item_count.unwrap_or_default() });
        }
        Input::Page { revision: page.meta.resource_version, token }
    }

    async fn watch(self: &Rc<Self>, revision: String, state: &mut State) -> Input {
        let parameters = [
            "watch=true".to_owned(),
            "allowWatchBookmarks=true".to_owned(),
            format!("resourceVersion={revision}"),
            format!("timeoutSeconds={WATCH_SECONDS}"),
        ];
        let chunks = match self.open(&parameters).await.and_then(|response| Chunks::of(&response)) {
            Ok(chunks) => chunks,
            Err(status) => return self.failed(status),
        };
        self.links.set(self.link.get(), Link::Live);
        let heard = Rc::new(Cell::new(js_sys::Date::now()));
        let (driver, last) = (self.clone(), heard.clone());
        let _watchdog = Interval::new(5_000, move || {
            if js_sys::Date::now() - last.get() > SILENCE_MS {
                driver.abort();
            }
        });
        let mut lines = Lines::default();
        loop {
            let chunk = match chunks.next().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Input::Ended,
                Err(_) => return Input::Fault,
            };
            if self.ended.get() {
                return Input::Refused;
            }
            heard.set(js_sys::Date::now());
            self.links.heard(self.link.get());
            let mut end = None;
            let cut = lines.push(&chunk, |line| {
                if end.is_none() && !line.is_empty() {
                    end = self.event(line, state);
                }
            });
            if let Some(input) = end {
                return input;
            }
            if cut.is_err() {
                return Input::Fault;
            }
        }
    }

    /// Applies one event; `Some` when the watch cannot go on.
    fn event(&self, line: &[u8], state: &mut State) -> Option<Input> {
        let Ok(event) = serde_json::from_slice::<Event>(line) else { return Some(Input::Fault) };
        let object = event.object.get().as_bytes();
        if event.type_ == "ERROR" {
            let status =
                serde_json::from_slice::<Status>(object).unwrap_or_else(|_| Status::internal("unreadable watch error"));
            return Some(self.failed(status));
        }
        let Ok(change) = self.decode.event(object) else { return Some(Input::Fault) };
        if !change.revision.is_empty() {
            *state = step(state.clone(), Input::Progress { revision: change.revision }, 0).0;
        }
        match event.type_.as_str() {
            "ADDED" | "MODIFIED" => self.put(change.items),
            "DELETED" => {
                self.live.items.try_update_value(|items| {
                    for (key, _) in &change.items {
                        items.remove(key);
                    }
                });
                self.flush();
            }
            _ => {}
        }
        None
    }

    fn put(&self, new: Vec<(Key, D::Item)>) {
        let generation = self.generation.get();
        self.live
            .items
            .try_update_value(|items| items.extend(new.into_iter().map(|(key, item)| (key, (generation, item)))));
        self.flush();
    }

    fn forget_unseen(&self) {
        let generation = self.generation.get();
        self.live.items.try_update_value(|items| items.retain(|_, (seen, _)| *seen == generation));
        self.flush();
    }

    fn flush(&self) {
        if self.flushing.replace(true) {
            return;
        }
        let (changed, flag) = (self.live.changed, self.flushing.clone());
        Timeout::new(FRAME_MS, move || {
            flag.set(false);
            changed.try_update(|count| *count += 1);
        })
        .forget();
    }
}
