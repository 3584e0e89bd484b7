//! Rolls a Deployment's pods from one template to the next by scaling its ReplicaSets.
//!
//! Invariants:
//! - What to do is decided by `plan`, purely, from the Deployment and its ReplicaSets; this file only carries it out.
//! - A plan is made only when the ReplicaSet cache shows what the last plan wrote.
//!
//! Source: <https://kubernetes.io/docs/concepts/workloads/controllers/deployment/>

mod plan;
mod progress;
mod revision;
mod rolling;
mod scale;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions, PropagationPolicy};

use self::plan::{Plan, plan};
use crate::error::{Error, Next, Result, ignore_not_found};
use crate::expectations::{Expectations, LOOK_AGAIN};
use crate::key::Key;
use crate::owner::{self, Claim};
use crate::run::{Context, Controller, Reconcile, reconciler};
use crate::selector::Selector;
use crate::{pods, write};

pub const CONTROLLER: Controller = Controller { name: "deployment-controller", workers: 5, start };

struct State {
    cx: Context,
    expect: Expectations,
}

fn start(cx: Context) -> Reconcile {
    cx.caches.deployments.on(cx.enqueue());
    cx.caches.replica_sets.on(cx.enqueue_controller("Deployment"));
    cx.caches.replica_sets.on({
        let (queue, deployments) = (cx.queue.clone(), cx.caches.deployments.clone());
        move |change| {
            let Some(set) = change.new.filter(|s| owner::controller_of(&s.metadata).is_none()) else { return };
            for deployment in deployments.list(Some(&change.key.namespace)) {
                if selector(&deployment).is_ok_and(|s| s.matches_meta(&set.metadata)) {
                    queue.add(Key::of(&deployment.metadata));
                }
            }
        }
    });
    // A Recreate waits for the end of the old pods.
    cx.caches.pods.on({
        let (queue, sets) = (cx.queue.clone(), cx.caches.replica_sets.clone());
        move |change| {
            let ended = change.new.is_none_or(|p| pods::is_finished(p));
            let Some(pod) = change.old.filter(|_| ended) else { return };
            let Some(set) = owner::controller_of(&pod.metadata).filter(|o| o.kind == "ReplicaSet") else { return };
            let set = sets.get(&Key::new(&change.key.namespace, &set.name));
            if let Some(owner) = set.as_ref().and_then(|s| owner::controller_of(&s.metadata)) {
                queue.add(Key::new(&change.key.namespace, &owner.name));
            }
        }
    });
    reconciler(State { cx, expect: Expectations::default() }, reconcile)
}

fn selector(deployment: &Deployment) -> Result<Selector> {
    Selector::new(&deployment.spec.as_ref().map(|s| s.selector.clone()).unwrap_or_default())
}

async fn reconcile(state: Arc<State>, key: Key) -> Result<Next> {
    let cx = &state.cx;
    let Some(deployment) = cx.caches.deployments.get(&key) else {
        state.expect.forget(&key);
        return Ok(None);
    };
    if !state.expect.settled(&key, &cx.caches.replica_sets) {
        return Ok(Some(LOOK_AGAIN));
    }
    let selector = selector(&deployment)?;
    if selector.is_everything() {
        let message = "This deployment is selecting all pods. A non-empty selector is required.";
        cx.events.warning(&*deployment, "SelectingAll", message);
        return Ok(None);
    }
    let sets = claim(cx, &deployment, &key, &selector).await?;
    let running = |set: &ReplicaSet| {
        let pods = cx.caches.pods.owned_by(set.metadata.uid.as_deref().unwrap_or_default());
        pods.iter().any(|p| !pods::is_finished(p))
    };
    let now = Timestamp::now();
    let plan = plan(&deployment, sets, running, now);
    let next = plan.next;
    execute(&state, &key, &deployment, plan, now).await?;
    Ok(next)
}

/// The ReplicaSets this Deployment controls, after adopting and releasing.
async fn claim(cx: &Context, deployment: &Deployment, key: &Key, selector: &Selector) -> Result<Vec<Arc<ReplicaSet>>> {
    let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
    let deleting = deployment.metadata.deletion_timestamp.is_some();
    let sets: Api<ReplicaSet> = Api::namespaced(cx.client.clone(), &key.namespace);
    let owners: Api<Deployment> = Api::namespaced(cx.client.clone(), &key.namespace);
    let mut mine = Vec::new();
    let cache = &cx.caches.replica_sets;
    for set in cache.owned_by(uid).into_iter().chain(cache.orphans(&key.namespace)) {
        match owner::claim(uid, deleting, selector, &set.metadata) {
            Claim::Own => mine.push(set),
            Claim::Adopt => {
                if let Some(adopted) = ignore_not_found(owner::adopt(&owners, deployment, &sets, &*set).await)? {
                    mine.push(Arc::new(adopted));
                }
            }
            Claim::Release => owner::release(deployment, &sets, &*set).await?,
            Claim::Ignore => {}
        }
    }
    Ok(mine)
}

async fn execute(state: &State, key: &Key, deployment: &Deployment, plan: Plan, now: Timestamp) -> Result<()> {
    let cx = &state.cx;
    let sets: Api<ReplicaSet> = Api::namespaced(cx.client.clone(), &key.namespace);
    if let Some(set) = &plan.create {
        create(state, key, deployment, set, &plan, now).await?;
    }
    for set in &plan.sets {
        if let Some(written) = write::update(&sets, &set.before, &set.after).await? {
            state.expect.written(key, &written.metadata);
            for message in &set.events {
                cx.events.normal(deployment, "ScalingReplicaSet", message.clone());
            }
        }
    }
    for set in &plan.delete {
        let preconditions =
            Preconditions { uid: set.metadata.uid.clone(), resource_version: set.metadata.resource_version.clone() };
        let params = DeleteParams {
            preconditions: Some(preconditions),
            propagation_policy: Some(PropagationPolicy::Background),
            ..Default::default()
        };
        let name = set.metadata.name.as_deref().unwrap_or_default();
        ignore_not_found(sets.delete(name, &params).await.map_err(Error::from))?;
        state.expect.deleted(key, &set.metadata);
    }
    write_deployment(cx, key, deployment, &plan.deployment).await
}

/// Writes the annotations (revision), then the status.
async fn write_deployment(cx: &Context, key: &Key, old: &Deployment, new: &Deployment) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(cx.client.clone(), &key.namespace);
    let mut base = old.clone();
    if old.metadata.annotations != new.metadata.annotations {
        let mut annotated = old.clone();
        annotated.metadata.annotations = new.metadata.annotations.clone();
        if let Some(written) = write::update(&api, old, &annotated).await? {
            base.metadata = written.metadata;
        }
    }
    let wanted = Deployment { metadata: base.metadata.clone(), spec: base.spec.clone(), status: new.status.clone() };
    ignore_not_found(write::update_status(&api, &base, &wanted).await)?;
    Ok(())
}

async fn create(
    state: &State,
    key: &Key,
    deployment: &Deployment,
    set: &ReplicaSet,
    plan: &Plan,
    now: Timestamp,
) -> Result<()> {
    let cx = &state.cx;
    let sets: Api<ReplicaSet> = Api::namespaced(cx.client.clone(), &key.namespace);
    let name = set.metadata.name.as_deref().unwrap_or_default();
    match sets.create(&PostParams::default(), set).await.map_err(Error::from) {
        Ok(created) => {
            state.expect.written(key, &created.metadata);
            let replicas = set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(0);
            if replicas > 0 {
                let message = format!("Scaled up replica set {name} from 0 to {replicas}");
                cx.events.normal(deployment, "ScalingReplicaSet", message);
            }
            Ok(())
        }
        Err(error) if error.is_already_exists() => {
            let there = sets.get(name).await?;
            let ours =
                owner::controller_of(&there.metadata).is_some_and(|o| Some(&o.uid) == deployment.metadata.uid.as_ref());
            if ours && revision::same_template(deployment, &there) {
                state.expect.written(key, &there.metadata);
                return Err(Error::stale("the new ReplicaSet is there already, the cache is behind"));
            }
            // The hash of another template, or a stranger's object: try another name.
            let mut new = deployment.clone();
            let status = new.status.get_or_insert_default();
            status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
            write_deployment(cx, key, deployment, &new).await?;
            Err(Error::stale(format!("the name {name} of the new ReplicaSet is taken")))
        }
        Err(error) if error.is_namespace_terminating() => Err(error),
        Err(error) => {
            let message = format!("Failed to create new replica set {name:?}: {error}");
            cx.events.warning(deployment, "ReplicaSetCreateError", message.clone());
            let mut new = plan.deployment.clone();
            if progress::has_deadline(deployment) {
                let condition = progress::condition("Progressing", "False", "FailedCreate", &message, now);
                progress::set_condition(new.status.get_or_insert_default(), condition);
            }
            write_deployment(cx, key, deployment, &new).await?;
            Err(error)
        }
    }
}
