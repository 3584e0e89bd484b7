//! The scheduler: gives each pod without a node the node where it runs best.
//!
//! Invariants:
//! - It sees only a `kube::Client` and holds no state that the API cannot give back.
//! - Deciding is pure (pod and snapshot in, node or reasons out); binding happens apart and may fail without harm.

use tokio_util::sync::CancellationToken;

/// Schedules until `shutdown`. The caller holds the leader's lease.
pub async fn run(client: kube::Client, shutdown: CancellationToken) {
    let _ = client;
    shutdown.cancelled().await;
}
