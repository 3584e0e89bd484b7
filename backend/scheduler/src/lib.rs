//! The scheduler: gives each pod without a node the node where it runs best.
//!
//! Invariants:
//! - It sees only a `kube::Client` and holds no state that the API cannot give back.
//! - Deciding is pure (pod and cluster in, node or reasons out); binding happens apart and may fail without harm.
//!
//! Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/>

mod api;
mod bind;
mod cluster;
mod counters;
mod cycle;
mod info;
pub mod metrics;
mod plugins;
mod preempt;
mod queue;
mod resources;
mod scheduler;
pub mod synthetic;
#[cfg_attr(not(test), expect(dead_code, reason = "the rate example uses a part of it"))]
mod testing;

pub use plugins::node_resources_fit::Strategy as ScoringStrategy;
pub use scheduler::run;
