//! What is measured: one file per kind of load, one line per case in [`ALL`].

mod churn;
mod idle;
mod informers;
mod lists;
mod mixed;
mod reads;
mod watches;
mod writes;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::check::Check;
use crate::histogram::{Latencies, Summary};
use crate::load::Tally;
use crate::target::Target;

/// What a case may know.
#[derive(Clone)]
pub struct Setup {
    pub target: Target,
    /// Where watches go: another backend of the same cluster, perhaps.
    pub watched: Target,
    /// A namespace that is there, for this case alone.
    pub namespace: String,
    /// How long the load lasts.
    pub length: Duration,
    pub clients: usize,
    /// Bytes of payload in each object.
    pub size: usize,
    /// Objects that reads find, and lists list.
    pub objects: usize,
    pub watchers: usize,
    /// Requests a second of open loops.
    pub rate: f64,
}

impl Setup {
    pub fn collection(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps", self.namespace)
    }

    pub fn path(&self, name: &str) -> String {
        format!("/api/v1/namespaces/{}/configmaps/{name}", self.namespace)
    }
}

pub type Run = fn(Setup) -> BoxFuture<'static, Result<Outcome>>;

pub struct Case {
    pub name: &'static str,
    pub about: &'static str,
    pub clients: usize,
    pub run: Run,
}

/// A number beside throughput and latencies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub value: f64,
    pub unit: String,
}

/// What came of a case.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// What is counted: requests, deliveries, lists.
    pub unit: String,
    pub done: u64,
    pub seconds: f64,
    pub per_second: f64,
    pub bytes: u64,
    pub latencies: BTreeMap<String, Summary>,
    pub figures: BTreeMap<String, Figure>,
    pub failed: BTreeMap<String, u64>,
    pub check: Option<Check>,
}

impl Outcome {
    fn of(unit: &str, tally: &Tally) -> Self {
        let seconds = tally.elapsed.as_secs_f64();
        let latencies = BTreeMap::from([("latency".to_owned(), tally.latencies.summary())]);
        Self {
            unit: unit.to_owned(),
            done: tally.done,
            seconds,
            per_second: if seconds > 0.0 { tally.done as f64 / seconds } else { 0.0 },
            bytes: tally.bytes,
            latencies,
            failed: tally.failed.clone(),
            ..Self::default()
        }
    }

    fn latency(mut self, name: &str, latencies: &Latencies) -> Self {
        self.latencies.insert(name.to_owned(), latencies.summary());
        self
    }

    fn figure(mut self, name: &str, value: f64, unit: &str) -> Self {
        self.figures.insert(name.to_owned(), Figure { value, unit: unit.to_owned() });
        self
    }

    fn checked(mut self, check: Check) -> Self {
        self.check = Some(check);
        self
    }

    /// Whether every answer was right and everything acknowledged is there.
    pub fn is_sound(&self) -> bool {
        self.failed.is_empty() && self.check.as_ref().is_none_or(Check::is_sound)
    }
}

macro_rules! case {
    ($name:literal, $clients:literal, $run:path, $about:literal) => {
        Case { name: $name, about: $about, clients: $clients, run: |setup| Box::pin($run(setup)) }
    };
}

/// In the order they run: small state first.
pub const ALL: &[Case] = &[
    case!("idle", 0, idle::run, "nothing: what the server costs by itself"),
    case!("write-1", 1, writes::create, "creates, one after another"),
    case!("create-10", 10, writes::create, "creates, 10 clients"),
    case!("create-64", 64, writes::create, "creates, 64 clients"),
    case!("create-open", 32, writes::create_open, "creates at a fixed rate (--rate), latency from when each was due"),
    case!("update-10", 10, writes::update, "updates, 10 clients, each of its own objects"),
    case!("churn-10", 10, churn::run, "create, update, delete, and again"),
    case!("get-1", 1, reads::get, "GETs of one object, one after another"),
    case!("get-32", 32, reads::get, "GETs of single objects, 32 clients"),
    case!("mixed-32", 32, mixed::run, "70% GET, 10% LIST of 50, 15% update, 5% create and delete"),
    case!("list-500", 4, lists::page, "LISTs with limit=500, 4 clients"),
    case!("list-all", 1, lists::whole, "LIST of all objects (--objects)"),
    case!("informers", 50, informers::list_watch, "a storm of informers: all LIST and WATCH at once"),
    case!("informers-stream", 50, informers::streaming, "the same with streaming lists (sendInitialEvents)"),
    case!("watch-latency", 4, watches::latency, "updates at a fixed rate (--rate), from commit to each watcher"),
    case!("fan-out", 4, watches::fan_out, "updates as fast as they go, to every watcher (--watchers)"),
    case!("idle-watches", 0, watches::idle, "memory of open watches that see nothing"),
];
