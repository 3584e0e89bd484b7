//! Runs one pod of a DaemonSet on every node it is for.
//!
//! Invariants:
//! - What to do is decided by `plan`, purely, from the set, its pods and the nodes; this file only carries it out.
//! - At most `BURST` pods are created or deleted in one pass.
//! - A pod that keeps ending on its node is replaced with growing pauses.
//!
//! Source: <https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/>

mod placement;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod, PodTemplateSpec};
use kube::Api;
use parking_lot::Mutex;

use self::plan::{Plan, Seen, plan};
use crate::error::{Error, Next, Result, ignore_not_found};
use crate::expectations::{Expectations, LOOK_AGAIN};
use crate::history::{self, Keeper, REVISION_HASH};
use crate::key::Key;
use crate::owner::{self, Claim};
use crate::replication::{create_pod, delete_pod};
use crate::run::{Context, Controller, Reconcile, reconciler};
use crate::selector::Selector;
use crate::{pods, write};

pub const CONTROLLER: Controller = Controller { name: "daemon-set-controller", workers: 2, start };

const BURST: usize = 250;
/// The pause before an ended pod is replaced: doubling up to the maximum, forgotten after twice that.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(15 * 60);
const GENERATION: &str = "pod-template-generation";
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

struct State {
    cx: Context,
    pods: Expectations,
    revisions: Expectations,
    pauses: Mutex<Pauses>,
}

/// How often pods have ended, by set and node.
#[derive(Default)]
struct Pauses(HashMap<(Key, String), (Duration, Instant)>);

impl Pauses {
    /// None: the ended pod may go now, and the next pause is longer.
    fn wait(&mut self, set: &Key, node: &str, now: Instant) -> Option<Duration> {
        self.0.retain(|_, (_, since)| now.duration_since(*since) < 2 * MAX_PAUSE);
        let id = (set.clone(), node.to_owned());
        let pause = match self.0.get(&id) {
            Some((pause, since)) if now < *since + *pause => return Some(*since + *pause - now),
            Some((pause, _)) => (*pause * 2).min(MAX_PAUSE),
            None => FIRST_PAUSE,
        };
        self.0.insert(id, (pause, now));
        None
    }
}

fn start(cx: Context) -> Reconcile {
    cx.caches.daemon_sets.on(cx.enqueue());
    cx.caches.pods.on(cx.enqueue_controller("DaemonSet"));
    cx.caches.pods.on({
        let (queue, sets) = (cx.queue.clone(), cx.caches.daemon_sets.clone());
        move |change| {
            let Some(pod) = change.new.filter(|p| owner::controller_of(&p.metadata).is_none()) else { return };
            for set in sets.list(Some(&change.key.namespace)) {
                if selector(&set).is_ok_and(|s| s.matches_meta(&pod.metadata)) {
                    queue.add(Key::of(&set.metadata));
                }
            }
        }
    });
    cx.caches.controller_revisions.on(cx.enqueue_controller("DaemonSet"));
    cx.caches.nodes.on({
        let (queue, sets) = (cx.queue.clone(), cx.caches.daemon_sets.clone());
        move |change| {
            let place = |n: &Arc<Node>| (n.metadata.labels.clone(), n.spec.as_ref().and_then(|s| s.taints.clone()));
            if change.old.map(place) != change.new.map(place) {
                sets.keys().into_iter().for_each(|key| queue.add(key));
            }
        }
    });
    let (pods, revisions, pauses) = (Expectations::default(), Expectations::default(), Mutex::default());
    reconciler(State { cx, pods, revisions, pauses }, reconcile)
}

fn selector(set: &DaemonSet) -> Result<Selector> {
    Selector::new(&set.spec.as_ref().map(|s| s.selector.clone()).unwrap_or_default())
}

async fn reconcile(state: Arc<State>, key: Key) -> Result<Next> {
    let cx = &state.cx;
    let Some(set) = cx.caches.daemon_sets.get(&key) else {
        state.pods.forget(&key);
        state.revisions.forget(&key);
        return Ok(None);
    };
    let Some(spec) = &set.spec else { return Ok(None) };
    let selector = selector(&set)?;
    if selector.is_everything() {
        let message = "This daemon set is selecting all pods. A non-empty selector is required.";
        cx.events.warning(&*set, "SelectingAll", message);
        return Ok(None);
    }
    if !state.revisions.settled(&key, &cx.caches.controller_revisions) {
        return Ok(Some(LOOK_AGAIN));
    }
    let settled = state.pods.settled(&key, &cx.caches.pods);
    let keeper = Keeper {
        cx,
        expect: &state.revisions,
        owner: &*set,
        key: &key,
        selector: &selector,
        template: &spec.template,
        collisions: set.status.as_ref().and_then(|s| s.collision_count),
    };
    let history = match set.metadata.deletion_timestamp {
        None => Some(keeper.sync().await?),
        Some(_) => None,
    };
    let hash = history.as_ref().map(|h| history::hash_of(&h.present).to_owned()).unwrap_or_default();
    let pods = claim(cx, &set, &key, &selector).await?;
    let template = template(&set, &spec.template, &hash);
    let nodes = cx.caches.nodes.list(None);
    let pod_spec = template.spec.clone().unwrap_or_default();
    let seen = Seen { set: &set, spec: &pod_spec, hash: &hash, nodes: &nodes, pods: &pods, now: Timestamp::now() };
    let mut plan = plan(&seen);
    if let Some(history) = &history {
        plan.status.collision_count = history.collisions;
    }
    let mut wake = plan.wake;
    let acted = if let (true, Some(history)) = (settled, &history) {
        let acted = act(&state, &set, &key, &template, &plan).await;
        let live = pods.iter().filter_map(|p| p.metadata.labels.as_ref()?.get(REVISION_HASH)).map(String::as_str);
        keeper.trim(history, &live.collect::<BTreeSet<_>>(), spec.revision_history_limit.unwrap_or(10)).await?;
        acted
    } else {
        Ok(None)
    };
    let new = DaemonSet { status: Some(plan.status), ..(*set).clone() };
    let api: Api<DaemonSet> = Api::namespaced(cx.client.clone(), &key.namespace);
    ignore_not_found(write::update_status(&api, &*set, &new).await)?;
    wake = wake.into_iter().chain(acted?).min();
    Ok(if settled { wake } else { Some(LOOK_AGAIN) })
}

/// The template as the pods get it, but for the node.
fn template(set: &DaemonSet, template: &PodTemplateSpec, hash: &str) -> PodTemplateSpec {
    let mut template = template.clone();
    placement::tolerate(template.spec.get_or_insert_default());
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(REVISION_HASH.into(), hash.to_owned());
    if let Some(generation) = set.metadata.annotations.as_ref().and_then(|a| a.get(TEMPLATE_GENERATION)) {
        labels.insert(GENERATION.into(), generation.clone());
    }
    template
}

async fn claim(cx: &Context, set: &DaemonSet, key: &Key, selector: &Selector) -> Result<Vec<Arc<Pod>>> {
    let uid = set.metadata.uid.as_deref().unwrap_or_default();
    let deleting = set.metadata.deletion_timestamp.is_some();
    let api: Api<Pod> = Api::namespaced(cx.client.clone(), &key.namespace);
    let owners: Api<DaemonSet> = Api::namespaced(cx.client.clone(), &key.namespace);
    let mut mine = Vec::new();
    for pod in cx.caches.pods.owned_by(uid).into_iter().chain(cx.caches.pods.orphans(&key.namespace)) {
        match owner::claim(uid, deleting, selector, &pod.metadata) {
            Claim::Own => mine.push(pod),
            Claim::Adopt => {
                mine.extend(ignore_not_found(owner::adopt(&owners, set, &api, &*pod).await)?.map(Arc::new));
            }
            Claim::Release => owner::release(set, &api, &*pod).await?,
            Claim::Ignore => {}
        }
    }
    Ok(mine)
}

/// Returns when an ended pod that has to wait may go.
async fn act(state: &State, set: &DaemonSet, key: &Key, template: &PodTemplateSpec, plan: &Plan) -> Result<Next> {
    let (cx, expect) = (&state.cx, &state.pods);
    let (mut delete, mut wake) = (plan.delete.clone(), None);
    for (node, pod) in &plan.ended {
        let wait = state.pauses.lock().wait(key, node, Instant::now());
        if wait.is_some() {
            wake = wake.into_iter().chain(wait).min();
            continue;
        }
        let (which, name) = (pods::phase(pod), pod.metadata.name.as_deref().unwrap_or_default());
        let reason = if which == "Failed" { "FailedDaemonPod" } else { "SucceededDaemonPod" };
        let what = format!("Found {} daemon pod {}/{name} on node {node}", which.to_lowercase(), key.namespace);
        if which == "Failed" {
            cx.events.warning(set, reason, format!("{what}, will try to kill it"));
        } else {
            cx.events.normal(set, reason, format!("{what}, will try to delete it"));
        }
        delete.push(pod.clone());
    }
    let nodes = &plan.create[..plan.create.len().min(BURST)];
    let create = |i: usize| {
        let mut pod = pods::from_template(template, &key.name, &key.namespace, owner::controller_ref(set));
        placement::tie(pod.spec.get_or_insert_default(), &nodes[i]);
        async move { create_pod(cx, expect, set, key, &pod).await }
    };
    let (_, error) = pods::slow_start(nodes.len(), create).await;
    let deletions = delete.iter().take(BURST).map(|pod| delete_pod(cx, expect, set, key, pod));
    join_all(deletions).await.into_iter().collect::<Result<()>>()?;
    match error.filter(|e: &Error| !e.is_namespace_terminating()) {
        Some(error) => Err(error),
        None => Ok(wake),
    }
}
