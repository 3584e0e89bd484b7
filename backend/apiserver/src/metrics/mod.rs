//! Prometheus metrics under upstream's names where they exist.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::request::RequestInfo;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Labels {
    verb: String,
    group: String,
    resource: String,
    subresource: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    verb: String,
    group: String,
    resource: String,
    subresource: String,
    code: u16,
}

pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<Outcome, Counter>,
    duration: Family<Labels, Histogram, fn() -> Histogram>,
    pub watches: Gauge<i64, std::sync::atomic::AtomicI64>,
    pub watch_events: Counter<u64, AtomicU64>,
}

fn histogram() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let (requests, duration) = (Family::default(), Family::new_with_constructor(histogram as fn() -> Histogram));
        let (watches, watch_events) = (Gauge::default(), Counter::default());
        registry.register("apiserver_request", "Requests by verb, resource and code", requests.clone());
        registry.register("apiserver_request_duration_seconds", "Time to the response's head", duration.clone());
        registry.register("apiserver_registered_watchers", "Watches that are open", watches.clone());
        registry.register("apiserver_watch_events", "Events sent to watchers", watch_events.clone());
        Self { registry: Mutex::new(registry), requests, duration, watches, watch_events }
    }
}

impl Metrics {
    pub fn labels(&self, info: &RequestInfo) -> Labels {
        Labels {
            verb: info.verb.to_ascii_uppercase(),
            group: info.group.clone(),
            // What names no resource is one series, or paths would be without bound.
            resource: if info.is_resource { info.resource.clone() } else { String::new() },
            subresource: info.subresource.clone(),
        }
    }

    pub fn observe(&self, labels: Labels, status: StatusCode, took: Duration) {
        // Unknown resources come from outside and must not make series.
        let labels = if status == StatusCode::NOT_FOUND {
            Labels { resource: String::new(), group: String::new(), subresource: String::new(), ..labels }
        } else {
            labels
        };
        self.duration.get_or_create(&labels).observe(took.as_secs_f64());
        let Labels { verb, group, resource, subresource } = labels;
        self.requests.get_or_create(&Outcome { verb, group, resource, subresource, code: status.as_u16() }).inc();
    }

    /// Lets another part of the process put its metrics beside ours.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.lock());
    }

    pub fn text(&self) -> String {
        let mut text = String::new();
        match encode(&mut text, &self.registry.lock()) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }
}
