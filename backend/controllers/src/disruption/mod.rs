//! Keeps the status of PodDisruptionBudgets: how many of the pods a budget is about may be disrupted now. The eviction
//! API spends from it.
//!
//! Invariants:
//! - When it cannot be computed, nothing may be disrupted.
//! - The status is written on the version it was derived from, so an eviction meanwhile is never forgotten.
//!
//! Source: <https://kubernetes.io/docs/tasks/run-application/configure-pdb/>

mod plan;
mod scale;
pub mod stale;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use kube::Api;

use crate::cache::{Cached, Change, Store};
use crate::error::{Error, Next, Result, ignore_not_found};
use crate::key::Key;
use crate::run::{Context, Controller, Reconcile, reconciler};
use crate::selector::Selector;
use crate::write;

pub const CONTROLLER: Controller = Controller { name: "disruption-controller", workers: 3, start };

const UNMANAGED: &str = "Pods selected by this PodDisruptionBudget were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.";

fn start(cx: Context) -> Reconcile {
    let caches = &cx.caches;
    caches.pod_disruption_budgets.on(cx.enqueue());
    caches.pods.on({
        let (queue, budgets) = (cx.queue.clone(), caches.pod_disruption_budgets.clone());
        move |change| {
            for pod in [change.old, change.new].into_iter().flatten() {
                selecting(&budgets, pod).into_iter().for_each(|key| queue.add(key));
            }
        }
    });
    caches.deployments.on(enqueue_namespace(&cx, |d: &Deployment| d.spec.as_ref().and_then(|s| s.replicas)));
    caches.replica_sets.on(enqueue_namespace(&cx, |r: &ReplicaSet| r.spec.as_ref().and_then(|s| s.replicas)));
    caches
        .replication_controllers
        .on(enqueue_namespace(&cx, |r: &ReplicationController| r.spec.as_ref().and_then(|s| s.replicas)));
    caches.stateful_sets.on(enqueue_namespace(&cx, |s: &StatefulSet| s.spec.as_ref().and_then(|s| s.replicas)));
    reconciler(cx, reconcile)
}

/// A handler that enqueues the namespace's budgets when the number of wanted pods changes.
fn enqueue_namespace<K: Cached>(
    cx: &Context,
    replicas: fn(&K) -> Option<i32>,
) -> impl Fn(&Change<'_, K>) + Send + Sync + use<K> {
    let (queue, budgets) = (cx.queue.clone(), cx.caches.pod_disruption_budgets.clone());
    move |change| {
        if change.old.map(|o| replicas(o)) == change.new.map(|n| replicas(n)) {
            return;
        }
        for budget in budgets.list(Some(&change.key.namespace)) {
            queue.add(Key::of(&budget.metadata));
        }
    }
}

fn selecting(budgets: &Store<PodDisruptionBudget>, pod: &Pod) -> Vec<Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let selects = |b: &Arc<PodDisruptionBudget>| selector(b).is_some_and(|s| s.matches_meta(&pod.metadata));
    budgets.list(Some(namespace)).iter().filter(|b| selects(b)).map(|b| Key::of(&b.metadata)).collect()
}

/// None when it selects nothing: no selector, or one that cannot be read.
fn selector(budget: &PodDisruptionBudget) -> Option<Selector> {
    Selector::new(budget.spec.as_ref()?.selector.as_ref()?).ok()
}

async fn reconcile(cx: Arc<Context>, key: Key) -> Result<Next> {
    let Some(budget) = cx.caches.pod_disruption_budgets.get(&key) else { return Ok(None) };
    let selector = selector(&budget);
    let mut pods = cx.caches.pods.list(Some(&key.namespace));
    pods.retain(|pod| selector.as_ref().is_some_and(|s| s.matches_meta(&pod.metadata)));
    if pods.is_empty() {
        cx.events.normal(&*budget, "NoPods", "No matching pods found");
    }
    let now = Timestamp::now();
    let wanted = match wanted(&cx, &budget, &key, &pods).await {
        Ok(wanted) => wanted,
        Err(error) => {
            let message = format!("Failed to calculate the number of expected pods: {error}");
            cx.events.warning(&*budget, "CalculateExpectedPodCountFailed", message);
            write(&cx, &budget, &key, plan::failed(&budget, &error.to_string(), now)).await?;
            return Err(error);
        }
    };
    let plan = plan::plan(&budget, &pods, wanted, now);
    for pod in &plan.not_deleted {
        let message = format!(
            "Pod was expected by PDB {} to be deleted but it wasn't",
            budget.metadata.name.as_deref().unwrap_or_default()
        );
        cx.events.warning(&**pod, "NotDeleted", message);
    }
    write(&cx, &budget, &key, plan.status).await?;
    Ok(plan.wake)
}

async fn wanted(cx: &Context, budget: &PodDisruptionBudget, key: &Key, pods: &[Arc<Pod>]) -> Result<plan::Wanted> {
    let expected = if plan::needs_scale(budget) {
        let (expected, unmanaged) = scale::expected(cx, &key.namespace, pods).await?;
        if unmanaged {
            cx.events.warning(budget, "UnmanagedPods", UNMANAGED);
        }
        expected
    } else {
        i32::try_from(pods.len()).unwrap_or(i32::MAX)
    };
    plan::wanted(budget, expected).ok_or_else(|| Error::invalid("the budget is neither a number nor a percentage"))
}

async fn write(cx: &Context, budget: &PodDisruptionBudget, key: &Key, status: PodDisruptionBudgetStatus) -> Result<()> {
    let new = PodDisruptionBudget { status: Some(status), ..budget.clone() };
    let api: Api<PodDisruptionBudget> = Api::namespaced(cx.client.clone(), &key.namespace);
    ignore_not_found(write::update_status(&api, budget, &new).await)?;
    Ok(())
}
