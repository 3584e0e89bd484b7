//! Priority and fairness: which requests run now, which wait, which are told to come back.
//!
//! ```text
//! request ─► FlowSchema (matching, config) ─► level (queues, demand) ─► turn
//! PriorityLevelConfigurations ─► seats by shares, lent and borrowed by need (sharing), fewer while behind (pressure)
//! ```
//!
//! Source: <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/>
//!
//! Invariants: choosing a schema takes no lock; a level's lock is held for moments and never while anything waits; a
//! turn that is held is given back however its request ends.
//!
//! Apart from upstream: a write takes one seat while it runs and none afterwards, since an event is encoded once
//! however many watch it; a server that falls behind has fewer seats.

mod body;
mod config;
mod demand;
mod follow;
mod level;
mod matching;
mod measures;
mod pressure;
mod queues;
mod sharing;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderValue, Response};
use parking_lot::Mutex;
use pilothouse_access::UserInfo;
use pilothouse_api::Status;
use prometheus_client::registry::Registry;
use serde_json::Value;

use self::config::{Distinguisher, Specs};
use self::level::{Level, State};
use self::matching::Rule;
use self::measures::{Figures, FlowMeasures, Measures};
use self::pressure::Pressure;
use self::sharing::Need;
use crate::body::Body;
use crate::request::RequestInfo;

pub use body::hold;
pub use config::dangling;
pub use follow::start;
pub use level::Turn;

/// Requests that run at once in all (upstream: 400 reading and 200 writing).
const TOTAL_SEATS: u32 = 600;
/// Objects of a list that make one seat.
const OBJECTS_PER_SEAT: usize = 100;
/// No request is estimated at more seats, and none at more than this part of its level's.
const MAX_SEATS: u32 = 10;
const MAX_PART: f64 = 0.15;

const SCHEMA_HEADER: &str = "x-kubernetes-pf-flowschema-uid";
const LEVEL_HEADER: &str = "x-kubernetes-pf-prioritylevel-uid";

/// A FlowSchema at work.
pub struct Flow {
    name: String,
    schema_uid: HeaderValue,
    level_uid: HeaderValue,
    level: Arc<Level>,
    max_seats: u32,
    distinguisher: Distinguisher,
    rules: Vec<Rule>,
    measures: Arc<FlowMeasures>,
}

#[derive(Default)]
struct Plan {
    flows: Vec<Arc<Flow>>,
    levels: Vec<(config::LevelSpec, Arc<Level>)>,
}

pub struct Fairness {
    plan: ArcSwap<Plan>,
    measures: Measures,
    pressure: Pressure,
    /// One change of the plan at a time.
    changing: Mutex<()>,
    /// Tells who keeps the objects in order that they have changed.
    pub changed: tokio::sync::Notify,
}

impl Default for Fairness {
    fn default() -> Self {
        let fairness = Self {
            plan: ArcSwap::default(),
            measures: Measures::default(),
            pressure: Pressure::default(),
            changing: Mutex::default(),
            changed: tokio::sync::Notify::new(),
        };
        fairness.configure(&[], &[]);
        fairness
    }
}

/// Seats that a list of so many objects takes.
pub fn list_seats(objects: usize) -> u32 {
    u32::try_from(objects.div_ceil(OBJECTS_PER_SEAT)).unwrap_or(MAX_SEATS).clamp(1, MAX_SEATS)
}

impl Fairness {
    pub fn register(&self, registry: &mut Registry) {
        self.measures.register(registry);
    }

    /// The first schema that is about this request. None only when not even the catch-all is: a user of no group.
    pub fn classify(&self, user: &UserInfo, info: &RequestInfo) -> Option<Arc<Flow>> {
        let plan = self.plan.load();
        let found = plan.flows.iter().find(|flow| flow.rules.iter().any(|rule| rule.is(user, info)));
        found.or_else(|| plan.flows.last()).map(Arc::clone)
    }

    /// Waits for a turn of the flow.
    ///
    /// # Errors
    /// 429 when its queue is full or no turn came in time.
    pub async fn enter(&self, flow: &Flow, user: &UserInfo, info: &RequestInfo, seats: u32) -> Result<Turn, Status> {
        if self.pressure.probe().await {
            self.press();
        }
        let by = match flow.distinguisher {
            Distinguisher::None => "",
            Distinguisher::User => &user.name,
            Distinguisher::Namespace => &info.namespace,
        };
        let mut hasher = DefaultHasher::new();
        (&flow.name, by).hash(&mut hasher);
        let seats = seats.min(flow.max_seats);
        level::enter(&flow.level, &flow.measures, hasher.finish(), seats).await.map_err(|reason| {
            self.measures.refused(&flow.level.name, &flow.name, reason);
            Status::too_many_requests("too many requests, please try again later", 1)
        })
    }

    /// Takes over the objects as they are now. Levels of the same name go on with who runs and waits on them.
    fn configure(&self, levels: &[Value], schemas: &[Value]) {
        let _one = self.changing.lock();
        let Specs { levels, schemas } = config::read(levels, schemas);
        let bounds = sharing::bounds(TOTAL_SEATS, &levels.iter().map(|level| level.shares).collect::<Vec<_>>());
        let old = self.plan.load_full();
        let levels: Vec<(config::LevelSpec, Arc<Level>)> = levels
            .into_iter()
            .zip(bounds)
            .map(|(spec, bounds)| {
                let known = old.levels.iter().find(|(_, level)| level.name == spec.name);
                let level = known.map_or_else(|| Level::new(&spec, bounds), |(_, level)| Arc::clone(level));
                level.state.lock().bounds = bounds;
                (spec, level)
            })
            .collect();
        let header = |uid: &str| HeaderValue::from_str(uid).unwrap_or(HeaderValue::from_static(""));
        let flows = schemas.into_iter().map(|schema| {
            let (spec, level) = &levels[schema.level];
            Arc::new(Flow {
                schema_uid: header(&schema.uid),
                level_uid: header(&spec.uid),
                max_seats: max_seats(spec, level),
                measures: Arc::new(self.measures.flow(&spec.name, &schema.name)),
                name: schema.name,
                level: Arc::clone(level),
                distinguisher: schema.distinguisher,
                rules: schema.rules,
            })
        });
        let plan = Plan { flows: flows.collect(), levels };
        self.share(&plan);
        self.plan.store(Arc::new(plan));
    }

    /// Looks at what each level needed, and lends.
    fn borrow(&self) {
        let _one = self.changing.lock();
        let plan = self.plan.load_full();
        for (_, level) in &plan.levels {
            let seen = level.observe();
            let mut state = level.state.lock();
            state.smoothed.update(&seen);
            state.seen = seen;
        }
        self.share(&plan);
    }

    /// Has each level run fewer requests or more, by how far behind the server is.
    fn press(&self) {
        let _one = self.changing.lock();
        for (spec, level) in &self.plan.load().levels {
            let seats = level.state.lock().seats;
            level.configure(spec, self.pressure.apply(&spec.shares, seats));
        }
        self.measures.seats_part(self.pressure.part());
    }

    fn share(&self, plan: &Plan) {
        let states: Vec<State> = plan.levels.iter().map(|(_, level)| *level.state.lock()).collect();
        let needs: Vec<Need> = plan
            .levels
            .iter()
            .zip(&states)
            .map(|((spec, _), state)| Need {
                exempt: spec.exempt,
                bounds: state.bounds,
                high: state.seen.high,
                smoothed: state.smoothed.0,
            })
            .collect();
        let (seats, fraction) = sharing::divide(&needs);
        self.measures.fair_fraction(fraction);
        for (((spec, level), state), (need, current)) in plan.levels.iter().zip(&states).zip(needs.iter().zip(seats)) {
            level.state.lock().seats = current;
            level.configure(spec, self.pressure.apply(&spec.shares, current));
            let figures = Figures {
                bounds: state.bounds,
                current,
                seen: state.seen,
                smoothed: state.smoothed.0,
                target: need.target(),
            };
            self.measures.level(&spec.name, &figures);
        }
    }
}

/// What one request of the level may be estimated at.
fn max_seats(spec: &config::LevelSpec, level: &Level) -> u32 {
    if spec.shape.queues == 0 {
        return MAX_SEATS;
    }
    let nominal = level.state.lock().bounds.nominal;
    let part = (f64::from(nominal) * MAX_PART).ceil() as u32;
    let hand = u32::try_from(spec.shape.hand).unwrap_or(u32::MAX);
    part.min(nominal / hand.max(1)).clamp(1, MAX_SEATS)
}

impl Flow {
    /// Tells the client which schema and level its request fell under.
    pub fn mark(&self, response: &mut Response<Body>) {
        let headers = response.headers_mut();
        headers.insert(SCHEMA_HEADER, self.schema_uid.clone());
        headers.insert(LEVEL_HEADER, self.level_uid.clone());
    }
}

#[cfg(test)]
mod tests;
