//! What flow control measures, under upstream's names.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct FlowLabels {
    priority_level: String,
    flow_schema: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RefusedLabels {
    priority_level: String,
    flow_schema: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct WaitLabels {
    priority_level: String,
    flow_schema: String,
    execute: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ExecutionLabels {
    priority_level: String,
    flow_schema: String,
    r#type: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LevelLabels {
    priority_level: String,
}

type Count = Counter<u64, AtomicU64>;
type Level = Gauge<i64, AtomicI64>;
type Number = Gauge<f64, AtomicU64>;
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

fn seconds() -> Histogram {
    Histogram::new([0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0])
}

fn lengths() -> Histogram {
    Histogram::new([0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0])
}

fn seats() -> Histogram {
    Histogram::new([1.0, 2.0, 4.0, 10.0])
}

pub struct Measures {
    refused: Family<RefusedLabels, Count>,
    dispatched: Family<FlowLabels, Count>,
    waiting: Family<FlowLabels, Level>,
    seats_waiting: Family<FlowLabels, Level>,
    running: Family<FlowLabels, Level>,
    seats_running: Family<FlowLabels, Level>,
    queue_length: Histograms<FlowLabels>,
    estimated: Histograms<FlowLabels>,
    waited: Histograms<WaitLabels>,
    executed: Histograms<ExecutionLabels>,
    nominal: Family<LevelLabels, Number>,
    lower: Family<LevelLabels, Number>,
    upper: Family<LevelLabels, Number>,
    current: Family<LevelLabels, Number>,
    high: Family<LevelLabels, Number>,
    average: Family<LevelLabels, Number>,
    deviation: Family<LevelLabels, Number>,
    smoothed: Family<LevelLabels, Number>,
    target: Family<LevelLabels, Number>,
    fair_fraction: Number,
    seats_part: Number,
}

impl Default for Measures {
    fn default() -> Self {
        let histograms = |constructor: fn() -> Histogram| constructor;
        Self {
            refused: Family::default(),
            dispatched: Family::default(),
            waiting: Family::default(),
            seats_waiting: Family::default(),
            running: Family::default(),
            seats_running: Family::default(),
            queue_length: Family::new_with_constructor(histograms(lengths)),
            estimated: Family::new_with_constructor(histograms(seats)),
            waited: Family::new_with_constructor(histograms(seconds)),
            executed: Family::new_with_constructor(histograms(seconds)),
            nominal: Family::default(),
            lower: Family::default(),
            upper: Family::default(),
            current: Family::default(),
            high: Family::default(),
            average: Family::default(),
            deviation: Family::default(),
            smoothed: Family::default(),
            target: Family::default(),
            fair_fraction: Gauge::default(),
            // All of them, until it is found otherwise.
            seats_part: {
                let part = Gauge::default();
                part.set(1.0);
                part
            },
        }
    }
}

/// What is measured of one schema's requests, found once.
pub struct FlowMeasures {
    pub dispatched: Count,
    pub waiting: Level,
    pub seats_waiting: Level,
    pub running: Level,
    pub seats_running: Level,
    pub queue_length: Histogram,
    pub estimated: Histogram,
    pub waited: Histogram,
    pub waited_in_vain: Histogram,
    pub executed: Histogram,
}

/// The figures of one level.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub bounds: super::sharing::Bounds,
    pub current: u32,
    pub seen: super::demand::Observed,
    pub smoothed: f64,
    pub target: f64,
}

impl Measures {
    pub fn flow(&self, level: &str, schema: &str) -> FlowMeasures {
        let labels = FlowLabels { priority_level: level.to_owned(), flow_schema: schema.to_owned() };
        let waited = |execute| {
            let FlowLabels { priority_level, flow_schema } = labels.clone();
            self.waited.get_or_create_owned(&WaitLabels { priority_level, flow_schema, execute })
        };
        FlowMeasures {
            dispatched: self.dispatched.get_or_create_owned(&labels),
            waiting: self.waiting.get_or_create_owned(&labels),
            seats_waiting: self.seats_waiting.get_or_create_owned(&labels),
            running: self.running.get_or_create_owned(&labels),
            seats_running: self.seats_running.get_or_create_owned(&labels),
            queue_length: self.queue_length.get_or_create_owned(&labels),
            estimated: self.estimated.get_or_create_owned(&labels),
            waited: waited("true"),
            waited_in_vain: waited("false"),
            executed: self.executed.get_or_create_owned(&ExecutionLabels {
                priority_level: labels.priority_level.clone(),
                flow_schema: labels.flow_schema.clone(),
                r#type: "regular",
            }),
        }
    }

    pub fn refused(&self, level: &str, schema: &str, reason: &'static str) {
        let labels = RefusedLabels { priority_level: level.to_owned(), flow_schema: schema.to_owned(), reason };
        self.refused.get_or_create(&labels).inc();
    }

    pub fn level(&self, name: &str, figures: &Figures) {
        let labels = LevelLabels { priority_level: name.to_owned() };
        let set = |family: &Family<LevelLabels, Number>, value: f64| {
            family.get_or_create(&labels).set(value);
        };
        set(&self.nominal, figures.bounds.nominal.into());
        set(&self.lower, figures.bounds.lower.into());
        set(&self.upper, figures.bounds.upper.into());
        set(&self.current, figures.current.into());
        set(&self.high, figures.seen.high.into());
        set(&self.average, figures.seen.average);
        set(&self.deviation, figures.seen.deviation);
        set(&self.smoothed, figures.smoothed);
        set(&self.target, figures.target);
    }

    pub fn fair_fraction(&self, fraction: f64) {
        self.fair_fraction.set(fraction);
    }

    pub fn seats_part(&self, part: f64) {
        self.seats_part.set(part);
    }

    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("apiserver_flowcontrol");
        registry.register("rejected_requests", "Requests that were refused", self.refused.clone());
        registry.register("dispatched_requests", "Requests that were begun", self.dispatched.clone());
        registry.register("current_inqueue_requests", "Requests that wait", self.waiting.clone());
        registry.register("current_inqueue_seats", "Seats that are waited for", self.seats_waiting.clone());
        registry.register("current_executing_requests", "Requests that run", self.running.clone());
        registry.register("current_executing_seats", "Seats that are taken", self.seats_running.clone());
        registry.register(
            "request_queue_length_after_enqueue",
            "Length of its queue as each request finds it",
            self.queue_length.clone(),
        );
        registry.register("work_estimated_seats", "Seats that requests were thought to need", self.estimated.clone());
        registry.register("request_wait_duration_seconds", "Time in the queue", self.waited.clone());
        registry.register("request_execution_seconds", "Time of holding seats", self.executed.clone());
        registry.register("nominal_limit_seats", "Seats of each level by its shares", self.nominal.clone());
        registry.register("lower_limit_seats", "Seats a level does not lend", self.lower.clone());
        registry.register("upper_limit_seats", "Seats a level may have with what it borrows", self.upper.clone());
        registry.register("current_limit_seats", "Seats each level has now", self.current.clone());
        registry.register("demand_seats_high_watermark", "Most seats wanted in the last period", self.high.clone());
        registry.register("demand_seats_average", "Seats wanted on average in the last period", self.average.clone());
        registry.register("demand_seats_stdev", "Standard deviation of the seats wanted", self.deviation.clone());
        registry.register("demand_seats_smoothed", "Seats wanted, smoothed", self.smoothed.clone());
        registry.register("target_seats", "Seats each level should have", self.target.clone());
        registry.register("seat_fair_frac", "Fraction of its target that each level gets", self.fair_fraction.clone());
        registry.register(
            "seats_in_use_frac",
            "Fraction of their seats that levels have: less than 1 while the server is behind",
            self.seats_part.clone(),
        );
    }
}
