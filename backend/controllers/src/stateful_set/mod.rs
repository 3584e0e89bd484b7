//! Runs the pods of a StatefulSet: each with a name, a place in the order and claims of its own.
//!
//! Invariants:
//! - What to do is decided by `plan`, purely, from the set and its pods; this file only carries it out.
//! - A pod is created after its claims; a claim is never deleted here, only handed to owners with whom it goes.
//!
//! Source: <https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/>

mod claims;
mod identity;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};

use self::plan::{Action, Revision, plan};
use crate::error::{Error, Next, Result, ignore_not_found};
use crate::expectations::{Expectations, LOOK_AGAIN};
use crate::history::{self, History, Keeper, REVISION_HASH};
use crate::key::Key;
use crate::owner::{self, Claim};
use crate::run::{Context, Controller, Reconcile, reconciler};
use crate::selector::Selector;
use crate::write;

pub const CONTROLLER: Controller = Controller { name: "statefulset-controller", workers: 5, start };

struct State {
    cx: Context,
    pods: Expectations,
    claims: Expectations,
    revisions: Expectations,
}

fn start(cx: Context) -> Reconcile {
    cx.caches.stateful_sets.on(cx.enqueue());
    cx.caches.pods.on(cx.enqueue_controller("StatefulSet"));
    cx.caches.pods.on({
        let (queue, sets) = (cx.queue.clone(), cx.caches.stateful_sets.clone());
        move |change| {
            let Some(pod) = change.new.filter(|p| owner::controller_of(&p.metadata).is_none()) else { return };
            for set in sets.list(Some(&change.key.namespace)) {
                if identity::ordinal_of(&set, pod).is_some()
                    && selector(&set).is_ok_and(|s| s.matches_meta(&pod.metadata))
                {
                    queue.add(Key::of(&set.metadata));
                }
            }
        }
    });
    cx.caches.controller_revisions.on(cx.enqueue_controller("StatefulSet"));
    let (pods, claims, revisions) = (Expectations::default(), Expectations::default(), Expectations::default());
    reconciler(State { cx, pods, claims, revisions }, reconcile)
}

fn selector(set: &StatefulSet) -> Result<Selector> {
    Selector::new(&set.spec.as_ref().map(|s| s.selector.clone()).unwrap_or_default())
}

async fn reconcile(state: Arc<State>, key: Key) -> Result<Next> {
    let cx = &state.cx;
    let Some(set) = cx.caches.stateful_sets.get(&key) else {
        [&state.pods, &state.claims, &state.revisions].iter().for_each(|e| e.forget(&key));
        return Ok(None);
    };
    let Some(spec) = &set.spec else { return Ok(None) };
    if !state.revisions.settled(&key, &cx.caches.controller_revisions) {
        return Ok(Some(LOOK_AGAIN));
    }
    let settled =
        state.pods.settled(&key, &cx.caches.pods) && state.claims.settled(&key, &cx.caches.persistent_volume_claims);
    let selector = selector(&set)?;
    let keeper = Keeper {
        cx,
        expect: &state.revisions,
        owner: &*set,
        key: &key,
        selector: &selector,
        template: &spec.template,
        collisions: set.status.as_ref().and_then(|s| s.collision_count),
    };
    let history = keeper.sync().await?;
    let pods = claim(cx, &set, &key, &selector).await?;
    let (current_name, current_template) = current(&set, &history);
    let current = Revision { name: &current_name, template: &current_template };
    let update = Revision { name: history::name(&history.present), template: &spec.template };
    let mut plan = plan(&set, &current, &update, &pods, settled, Timestamp::now());
    plan.status.collision_count = history.collisions.or(plan.status.collision_count);
    let mut result = Ok(());
    if settled && set.metadata.deletion_timestamp.is_none() {
        result = claims::keep_owners(cx, &state.claims, &set, &key, &pods).await;
        for action in plan.actions {
            if result.is_ok() {
                result = act(&state, &set, &key, action).await;
            }
        }
        let revision = |p: &'_ Arc<Pod>| p.metadata.labels.as_ref()?.get(REVISION_HASH).cloned();
        let mut live: BTreeSet<String> = pods.iter().filter_map(revision).collect();
        live.insert(current_name.clone());
        let live = live.iter().map(String::as_str).collect();
        keeper.trim(&history, &live, spec.revision_history_limit.unwrap_or(10)).await?;
    }
    let new = StatefulSet { status: Some(plan.status), ..(*set).clone() };
    let api: Api<StatefulSet> = Api::namespaced(cx.client.clone(), &key.namespace);
    ignore_not_found(write::update_status(&api, &*set, &new).await)?;
    match result {
        Err(error) if error.is_namespace_terminating() => Ok(None),
        Err(error) => Err(error),
        Ok(()) => Ok(if settled { plan.wake } else { Some(LOOK_AGAIN) }),
    }
}

/// The revision that was current before a rollout began; without one, the present one.
fn current(set: &StatefulSet, history: &History) -> (String, k8s_openapi::api::core::v1::PodTemplateSpec) {
    let name = set.status.as_ref().and_then(|s| s.current_revision.as_deref());
    let known = history.all.iter().find(|r| Some(history::name(r)) == name);
    let revision = known.unwrap_or(&history.present);
    let own = || set.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
    (history::name(revision).to_owned(), history::template(revision).unwrap_or_else(own))
}

async fn claim(cx: &Context, set: &StatefulSet, key: &Key, selector: &Selector) -> Result<Vec<Arc<Pod>>> {
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let deleting = set.metadata.deletion_timestamp.is_some();
    let api: Api<Pod> = Api::namespaced(cx.client.clone(), &key.namespace);
    let owners: Api<StatefulSet> = Api::namespaced(cx.client.clone(), &key.namespace);
    let mut mine = Vec::new();
    for pod in cx.caches.pods.owned_by(uid).into_iter().chain(cx.caches.pods.orphans(&key.namespace)) {
        let member = identity::ordinal_of(set, &pod).is_some();
        match owner::claim(uid, deleting, selector, &pod.metadata) {
            Claim::Own if member => mine.push(pod),
            Claim::Adopt if member => {
                mine.extend(ignore_not_found(owner::adopt(&owners, set, &api, &*pod).await)?.map(Arc::new));
            }
            Claim::Release => owner::release(set, &api, &*pod).await?,
            _ => {}
        }
    }
    Ok(mine)
}

async fn act(state: &State, set: &StatefulSet, key: &Key, action: Action) -> Result<()> {
    let cx = &state.cx;
    let api: Api<Pod> = Api::namespaced(cx.client.clone(), &key.namespace);
    match action {
        Action::Create(ordinal, pod) => {
            claims::make(cx, &state.claims, set, key, ordinal, None).await?;
            let name = pod.metadata.name.clone().unwrap_or_default();
            match api.create(&PostParams::default(), &pod).await.map_err(Error::from) {
                Ok(created) => {
                    state.pods.written(key, &created.metadata);
                    let message = format!("create Pod {name} in StatefulSet {} successful", key.name);
                    cx.events.normal(set, "SuccessfulCreate", message);
                    Ok(())
                }
                Err(error) => {
                    if !error.is_namespace_terminating() {
                        let message = format!("create Pod {name} in StatefulSet {} failed error: {error}", key.name);
                        cx.events.warning(set, "FailedCreate", message);
                    }
                    Err(error)
                }
            }
        }
        Action::Claims(ordinal, pod) => claims::make(cx, &state.claims, set, key, ordinal, Some(&pod)).await,
        Action::Correct(old, new) => {
            if let Some(Some(written)) = ignore_not_found(write::update(&api, &*old, &new).await)? {
                state.pods.written(key, &written.metadata);
            }
            Ok(())
        }
        Action::Delete(pod) => delete(state, set, key, &pod).await,
    }
}

async fn delete(state: &State, set: &StatefulSet, key: &Key, pod: &Pod) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(state.cx.client.clone(), &key.namespace);
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let preconditions = Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None });
    let params = DeleteParams { preconditions, ..Default::default() };
    match api.delete(name, &params).await.map_err(Error::from) {
        Ok(_) => {
            state.pods.deleted(key, &pod.metadata);
            let message = format!("delete Pod {name} in StatefulSet {} successful", key.name);
            state.cx.events.normal(set, "SuccessfulDelete", message);
            Ok(())
        }
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        Err(error) => {
            let message = format!("delete Pod {name} in StatefulSet {} failed error: {error}", key.name);
            state.cx.events.warning(set, "FailedDelete", message);
            Err(error)
        }
    }
}
