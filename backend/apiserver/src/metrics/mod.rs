//! Prometheus metrics under upstream's names where they exist.
//!
//! Invariants: what clients send never makes a series: unknown resources and plain paths share one; a request looks its
//! series up once, without allocating.

mod process;
mod series;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use parking_lot::{Mutex, RwLock};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use self::process::Process;
use self::series::{Asked, Index};
pub use self::series::{LongRunning, Series};
use crate::request::RequestInfo;

type Level = Gauge<i64, AtomicI64>;

/// The labels of everything about a kind of request.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    component: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    component: &'static str,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestKind {
    request_kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Resource {
    group: String,
    version: String,
    resource: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Build {
    major: &'static str,
    minor: &'static str,
    git_version: String,
}

pub struct Metrics {
    registry: Mutex<Registry>,
    index: RwLock<Index>,
    requests: Family<Outcome, Counter>,
    duration: Family<Labels, Histogram, fn() -> Histogram>,
    long_running: Family<Labels, Level>,
    watch_events: Family<Resource, Counter>,
    reading: Level,
    writing: Level,
    pub watches: Level,
}

fn histogram() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let (requests, duration) = (Family::default(), Family::new_with_constructor(histogram as fn() -> Histogram));
        let (watches, watch_events) = (Level::default(), Family::default());
        let (long_running, inflight) = (Family::default(), Family::<RequestKind, Level>::default());
        let build = Family::<Build, Level>::default();
        registry.register("apiserver_request", "Requests by verb, resource and code", requests.clone());
        registry.register("apiserver_request_duration_seconds", "Time to the response's head", duration.clone());
        registry.register("apiserver_longrunning_requests", "Watches and streams that are open", long_running.clone());
        registry.register("apiserver_current_inflight_requests", "Requests being answered", inflight.clone());
        registry.register("apiserver_registered_watchers", "Watches that are open", watches.clone());
        registry.register("apiserver_watch_events", "Events sent to watchers", watch_events.clone());
        registry.register("kubernetes_build_info", "The API version that is served", build.clone());
        registry.register_collector(Box::new(Process::default()));
        let (major, minor) = (crate::discovery::MAJOR, crate::discovery::MINOR);
        build.get_or_create(&Build { major, minor, git_version: format!("v{major}.{minor}.0") }).set(1);
        let of = |request_kind| inflight.get_or_create(&RequestKind { request_kind }).clone();
        Self {
            index: RwLock::default(),
            reading: of("readOnly"),
            writing: of("mutating"),
            registry: Mutex::new(registry),
            requests,
            duration,
            long_running,
            watch_events,
            watches,
        }
    }
}

impl Metrics {
    /// The series of a request; `is_known`: the resource is one that is served.
    pub fn series(&self, info: &RequestInfo, is_known: bool) -> Arc<Series> {
        let asked = Asked::new(info, is_known);
        if let Some(series) = self.index.read().get(&asked) {
            return Arc::clone(series);
        }
        let labels = asked.labels();
        let level = if asked.is_mutating() { &self.writing } else { &self.reading };
        let series = Arc::new(Series::new(self, &labels, level.clone()));
        let mut index = self.index.write();
        Arc::clone(index.entry(asked.owned()).or_insert(series))
    }

    /// Lets another part of the process put its metrics beside ours.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.lock());
    }

    /// Counts the events sent to the watchers of a resource.
    pub fn watch_events(&self, group: &str, version: &str, resource: &str) -> Counter {
        let resource = Resource { group: group.into(), version: version.into(), resource: resource.into() };
        self.watch_events.get_or_create(&resource).clone()
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry.lock()) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, StatusCode};
    use std::time::Duration;

    fn info(method: &Method, uri: &str) -> RequestInfo {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        RequestInfo::new(method, path, query)
    }

    #[test]
    fn requests_are_counted_in_upstreams_words() {
        let metrics = Metrics::default();
        for (method, uri, known, code) in [
            (Method::GET, "/api/v1/namespaces/a/pods/b", true, 200),
            (Method::GET, "/api/v1/namespaces/a/pods/c", true, 404),
            (Method::POST, "/apis/apps/v1/namespaces/a/deployments", true, 201),
            (Method::GET, "/api/v1/namespaces/a/nonsense-1/b", false, 404),
            (Method::GET, "/api/v1/namespaces/a/nonsense-2/b", false, 404),
            (Method::GET, "/nonsense-3", false, 404),
        ] {
            let series = metrics.series(&info(&method, uri), known);
            series.observe(StatusCode::from_u16(code).unwrap(), Duration::from_millis(3));
        }
        let text = metrics.text();
        let labels =
            r#"verb="GET",group="",version="v1",resource="pods",subresource="",scope="resource",component="apiserver""#;
        for line in [
            format!("apiserver_request_total{{{labels},code=\"200\"}} 1"),
            format!("apiserver_request_total{{{labels},code=\"404\"}} 1"),
            format!("apiserver_request_duration_seconds_count{{{labels}}} 2"),
            "verb=\"POST\",group=\"apps\"".to_owned(),
            "apiserver_current_inflight_requests{request_kind=\"mutating\"} 0".to_owned(),
            "process_resident_memory_bytes ".to_owned(),
            "process_cpu_seconds_total ".to_owned(),
        ] {
            assert!(text.contains(&line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("nonsense"), "clients must not make series");
    }

    #[test]
    fn what_is_open_is_counted_until_it_is_dropped() {
        let metrics = Metrics::default();
        let series = metrics.series(&info(&Method::GET, "/api/v1/pods?watch=1"), true);
        let line = "apiserver_longrunning_requests{verb=\"WATCH\"";
        let value = |metrics: &Metrics| {
            let text = metrics.text();
            let line = text.lines().find(|l| l.starts_with(line)).map(|l| l.rsplit(' ').next().unwrap().to_owned());
            line.unwrap()
        };
        let open = LongRunning::new(&series);
        assert_eq!(value(&metrics), "1");
        drop(open);
        assert_eq!(value(&metrics), "0");
    }
}
