//! The metrics of one kind of request, found by what was asked.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use indexmap::{Equivalent, IndexMap};
use parking_lot::RwLock;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::{Labels, Level, Metrics, Outcome};
use crate::request::RequestInfo;

pub type Index = IndexMap<Owned, Arc<Series>>;

/// What is asked, as far as metrics tell it apart; borrowed, so that looking it up allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked<'a> {
    verb: &'a str,
    group: &'a str,
    version: &'a str,
    resource: &'a str,
    subresource: &'a str,
    scope: &'static str,
}

/// [`Asked`] as a key.
#[derive(PartialEq, Eq, Hash)]
pub struct Owned {
    // The order of the fields is that of `Asked`: equal things must have equal hashes.
    verb: Box<str>,
    group: Box<str>,
    version: Box<str>,
    resource: Box<str>,
    subresource: Box<str>,
    scope: &'static str,
}

impl Equivalent<Owned> for Asked<'_> {
    fn equivalent(&self, key: &Owned) -> bool {
        self.verb == &*key.verb
            && self.group == &*key.group
            && self.version == &*key.version
            && self.resource == &*key.resource
            && self.subresource == &*key.subresource
            && self.scope == key.scope
    }
}

impl<'a> Asked<'a> {
    pub fn new(info: &'a RequestInfo, is_known: bool) -> Self {
        if !info.is_resource || !is_known {
            // What names no resource is one series per verb, or paths would be without bound. So are odd methods.
            let verb = match info.verb.as_str() {
                verb @ ("get" | "list" | "watch" | "create" | "post" | "update" | "put" | "patch" | "delete") => verb,
                "deletecollection" => "deletecollection",
                _ => "other",
            };
            return Self { verb, group: "", version: "", resource: "", subresource: "", scope: "" };
        }
        let scope = match (info.name.as_str(), info.namespace.as_str()) {
            ("", "") => "cluster",
            ("", _) => "namespace",
            _ => "resource",
        };
        let (group, version, resource) = (&info.group, &info.version, &info.resource);
        // Subresources are few, but a client can write anything there.
        let subresource =
            if info.subresource.len() <= 32 && info.rest.is_empty() { &*info.subresource } else { "other" };
        Self { verb: &info.verb, group, version, resource, subresource, scope }
    }

    pub fn owned(self) -> Owned {
        Owned {
            verb: self.verb.into(),
            group: self.group.into(),
            version: self.version.into(),
            resource: self.resource.into(),
            subresource: self.subresource.into(),
            scope: self.scope,
        }
    }

    pub fn is_mutating(self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch" | "head" | "options" | "connect")
    }

    pub(super) fn labels(self) -> Labels {
        let verb = match self.verb {
            "create" => "POST".to_owned(),
            "update" => "PUT".to_owned(),
            verb => verb.to_ascii_uppercase(),
        };
        Labels {
            verb,
            group: self.group.to_owned(),
            version: self.version.to_owned(),
            resource: self.resource.to_owned(),
            subresource: self.subresource.to_owned(),
            scope: self.scope,
            component: "apiserver",
        }
    }
}

pub struct Series {
    labels: Labels,
    requests: Family<Outcome, Counter>,
    /// One per status that was answered so far.
    by_code: RwLock<Vec<(StatusCode, Counter)>>,
    duration: Histogram,
    long_running: Level,
    inflight: Level,
}

impl Series {
    pub(super) fn new(metrics: &Metrics, labels: &Labels, inflight: Level) -> Self {
        Self {
            requests: metrics.requests.clone(),
            by_code: RwLock::default(),
            duration: metrics.duration.get_or_create(labels).clone(),
            long_running: metrics.long_running.get_or_create(labels).clone(),
            labels: labels.clone(),
            inflight,
        }
    }

    pub fn observe(&self, status: StatusCode, took: Duration) {
        self.duration.observe(took.as_secs_f64());
        if let Some((_, counter)) = self.by_code.read().iter().find(|(code, _)| *code == status) {
            counter.inc();
            return;
        }
        let Labels { verb, group, version, resource, subresource, scope, component } = self.labels.clone();
        let code = status.as_u16();
        let outcome = Outcome { verb, group, version, resource, subresource, scope, component, code };
        let counter = self.requests.get_or_create(&outcome).clone();
        counter.inc();
        self.by_code.write().push((status, counter));
    }

    /// Counts a request as being answered until the guard is dropped.
    pub fn enter(&self) -> Inflight {
        self.inflight.inc();
        Inflight(self.inflight.clone())
    }
}

pub struct Inflight(Level);

impl Drop for Inflight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts a watch or a stream as open until it is dropped.
pub struct LongRunning(Level);

impl LongRunning {
    pub fn new(series: &Series) -> Self {
        series.long_running.inc();
        Self(series.long_running.clone())
    }
}

impl Drop for LongRunning {
    fn drop(&mut self) {
        self.0.dec();
    }
}
