//! The state that all pages share, and what is on the screen: login or the shell with a page.

use std::collections::BTreeMap;

use gloo_timers::callback::Interval;
use gloo_timers::future::TimeoutFuture;
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::api::access::{Ask, Rules};
use crate::api::call::{Call, Method};
use crate::api::discovery::{self, Discovery};
use crate::api::http;
use crate::api::mutate::Record;
use crate::api::session::{self, Login, User};
use crate::browser;
use crate::components::palette::Palette;
use crate::components::shell::Shell;
use crate::components::shortcuts;
use crate::components::toast::{Toast, Toasts};
use crate::link::Links;
use crate::pages;
use crate::routes::Route;

/// Signals only, so it is copied freely.
#[derive(Clone, Copy)]
pub struct App {
    pub login: RwSignal<Login>,
    pub route: RwSignal<Route>,
    pub discovery: RwSignal<Discovery>,
    /// Of lists; empty for all.
    pub namespace: RwSignal<String>,
    /// Seconds since 1970, once a second.
    pub now: RwSignal<i64>,
    pub toasts: RwSignal<Vec<Toast>>,
    pub calls: RwSignal<Vec<Record>>,
    pub palette: RwSignal<bool>,
    /// The list of keys.
    pub help: RwSignal<bool>,
    pub calls_open: RwSignal<bool>,
    pub nav_open: RwSignal<bool>,
    /// What the user may do, by namespace.
    rules: RwSignal<BTreeMap<String, Option<Rules>>>,
    /// Raised to build the present page anew.
    pub remount: RwSignal<u32>,
}

/// Cluster-wide permissions are part of the answer for any namespace.
const ANY_NAMESPACE: &str = "default";

impl App {
    fn new() -> Self {
        Self {
            login: RwSignal::new(Login::Asking),
            route: RwSignal::new(Route::parse(&browser::path())),
            discovery: RwSignal::new(Discovery::default()),
            namespace: RwSignal::new(browser::recall("namespace").unwrap_or_default()),
            now: RwSignal::new(browser::now()),
            toasts: RwSignal::new(Vec::new()),
            calls: RwSignal::new(Vec::new()),
            palette: RwSignal::new(false),
            help: RwSignal::new(false),
            calls_open: RwSignal::new(false),
            nav_open: RwSignal::new(false),
            rules: RwSignal::new(BTreeMap::new()),
            remount: RwSignal::new(0),
        }
    }

    pub fn go(&self, route: Route) {
        self.follow(&route.href());
    }

    /// Goes to an address of ours, query included; false for any other.
    pub fn follow(&self, address: &str) -> bool {
        let route = Route::parse(address.split('?').next().unwrap_or_default());
        if matches!(route, Route::Unknown(_)) {
            return false;
        }
        browser::push(address);
        self.nav_open.set(false);
        if self.route.with_untracked(|here| *here != route) {
            self.route.set(route);
        }
        true
    }

    pub fn user(&self) -> User {
        match self.login.get() {
            Login::In(user) => user,
            _ => User::default(),
        }
    }

    pub fn entered(&self, user: User) {
        self.rules.set(BTreeMap::new());
        self.login.set(Login::In(user));
        self.discover();
    }

    pub fn left(&self) {
        if !matches!(self.login.get_untracked(), Login::Out) {
            session::ended();
            self.login.set(Login::Out);
        }
    }

    /// Reads which kinds there are; tries again until the server answers.
    pub fn discover(self) {
        spawn_local(async move {
            loop {
                match discover().await {
                    Ok(found) => {
                        if self.discovery.try_with_untracked(|known| *known != found) == Some(true) {
                            self.discovery.try_set(found);
                        }
                        return;
                    }
                    Err(status) if status.code == 401 => return,
                    Err(_) => TimeoutFuture::new(2_000).await,
                }
            }
        });
    }

    /// Whether the user may do this; yes as long as it is not known.
    pub fn may(&self, namespace: &str, ask: &Ask) -> bool {
        let place = if namespace.is_empty() { ANY_NAMESPACE } else { namespace };
        if let Some(known) =
            self.rules.with(|rules| rules.get(place).map(|rules| rules.as_ref().is_none_or(|rules| rules.allow(ask))))
        {
            return known;
        }
        let (app, place) = (*self, place.to_owned());
        spawn_local(async move {
            if app.rules.with_untracked(|rules| rules.contains_key(&place)) {
                return;
            }
            app.rules.update_untracked(|rules| {
                rules.insert(place.clone(), None);
            });
            let found = review(&place).await.ok();
            app.rules.try_update(|rules| rules.insert(place, found));
        });
        true
    }

    /// Asks again what is allowed: a refusal showed that it has changed.
    pub fn forget_rules(&self) {
        self.rules.set(BTreeMap::new());
    }
}

async fn discover() -> Result<Discovery, pilothouse_api::Status> {
    let mut bodies = Vec::new();
    for path in ["/api", "/apis"] {
        let response = http::open(&http::get(path), discovery::ACCEPT, None).await?;
        bodies.push(http::body(&response).await?);
    }
    let slices: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
    Discovery::read(&slices).map_err(pilothouse_api::Status::internal)
}

/// The user's rules in a namespace.
pub async fn review(namespace: &str) -> Result<Rules, pilothouse_api::Status> {
    let body = serde_json::json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": { "namespace": namespace },
    });
    let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let call = Call {
        method: Method::Post,
        path: path.into(),
        content_type: crate::api::call::JSON,
        body: body.to_string(),
        kubectl: String::new(),
    };
    let mut answer = http::send(&call).await?;
    serde_json::from_value(answer["status"].take()).map_err(pilothouse_api::Status::internal)
}

pub fn app() -> App {
    expect_context::<App>()
}

thread_local! {
    static THE_APP: std::cell::Cell<Option<App>> = const { std::cell::Cell::new(None) };
}

#[component]
pub fn Dashboard() -> impl IntoView {
    let app = App::new();
    let links = Links::new();
    provide_context(app);
    provide_context(links);
    THE_APP.set(Some(app));
    http::on_unauthorized(|| {
        if let Some(app) = THE_APP.get() {
            app.left();
        }
    });

    Interval::new(1_000, move || app.now.set(browser::now())).forget();
    browser::on_window("popstate", move |_| app.route.set(Route::parse(&browser::path())));
    browser::on_window("online", move |_| links.wake());
    browser::on_window("focus", move |_| links.wake());
    browser::on_link(move |address| app.follow(address));
    shortcuts::listen(app);
    Effect::new(move || browser::remember("namespace", &app.namespace.get()));

    spawn_local(async move {
        loop {
            match session::current().await {
                Ok(user) => return app.entered(user),
                Err(status) if status.code == 0 || status.code >= 500 || status.code == 429 => {
                    app.login.set(Login::Unreachable(status.message));
                    TimeoutFuture::new(1_500).await;
                }
                Err(_) => return app.left(),
            }
        }
    });

    view! {
        {move || match app.login.get() {
            Login::Asking => ().into_any(),
            Login::Unreachable(message) => pages::login::waiting(&message).into_any(),
            Login::Out => view! { <pages::login::LoginPage/> }.into_any(),
            Login::In(_) => view! { <Shell><Page/></Shell> <Palette/> }.into_any(),
        }}
        <Toasts/>
    }
}

/// The page of the route. A change of tab keeps the page; everything else builds a new one.
#[component]
fn Page() -> impl IntoView {
    let app = app();
    let shown = Memo::new(move |_| app.route.get().with_tab(""));
    view! {
        {move || {
            app.remount.track();
            browser::scroll_to_top();
            match shown.get() {
                Route::Overview => pages::overview::overview().into_any(),
                Route::Deploy => pages::deploy::deploy().into_any(),
                Route::Apply => pages::with_discovery(pages::apply::apply),
                Route::Access => pages::access::access().into_any(),
                Route::List { resource } => pages::with_resource(resource, pages::list::list),
                Route::Object { resource, namespace, name, .. } => {
                    pages::with_resource(resource, move |resource| pages::object::object(resource, namespace.clone(), name.clone()))
                }
                Route::Unknown(path) => pages::not_found(&path).into_any(),
            }
        }}
    }
}
