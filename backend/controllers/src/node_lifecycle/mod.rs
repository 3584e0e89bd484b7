//! Watches over nodes: says when one has gone silent, taints it so that no new pods come, and lets its pods move after
//! the time they tolerate.
//!
//! Invariants:
//! - Silence is measured by our own clock since a heartbeat last changed, never by comparing clocks with the node.
//! - While no node at all is ready, nothing is evicted: the fault is then rather ours, or there is nowhere to go.
//!
//! Source: <https://kubernetes.io/docs/concepts/architecture/nodes/#node-controller>

mod eviction;
mod health;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use self::eviction::Fate;
pub use self::eviction::tolerates;
use crate::error::{Error, Next, Result, ignore_not_found};
use crate::events::Type;
use crate::key::Key;
use crate::run::{Context, Controller, Reconcile, reconciler};
use crate::{events, pods, write};

pub const CONTROLLER: Controller = Controller { name: "node-controller", workers: 4, start };

/// Silence for this long means: unknown.
const GRACE: Duration = Duration::from_secs(40);
/// A node that has just been registered may take longer to its first heartbeat.
const STARTUP_GRACE: Duration = Duration::from_secs(60);

/// How soon to look again at a node that keeps its pods only because no node is ready.
const DISRUPTED: Duration = Duration::from_secs(5);

struct State {
    cx: Context,
    heartbeats: Mutex<HashMap<Key, Heartbeat>>,
}

/// What a node last said of itself, and when we heard it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Signs {
    lease: Option<Timestamp>,
    status: Option<Timestamp>,
}

#[derive(Clone, Debug)]
struct Heartbeat {
    signs: Signs,
    heard: Instant,
    was_ready: bool,
}

fn start(cx: Context) -> Reconcile {
    let state = Arc::new(State { cx: cx.clone(), heartbeats: Mutex::default() });
    cx.caches.nodes.on({
        let (queue, state) = (cx.queue.clone(), state.clone());
        move |change| {
            match change.new {
                Some(node) => {
                    state.hear(change.key, |s| s.status = health::heartbeat(node));
                }
                None => {
                    state.heartbeats.lock().remove(change.key);
                    if let Some(node) = change.old {
                        let name = &change.key.name;
                        let message = format!("Node {name} event: Removing Node {name} from Controller");
                        state.cx.events.normal(&**node, "RemovingNode", message);
                    }
                }
            }
            queue.add(change.key.clone());
        }
    });
    cx.caches.node_leases.on({
        let (queue, state) = (cx.queue.clone(), state.clone());
        move |change| {
            let key = Key::cluster(&change.key.name);
            let renewed = change.new.and_then(|l| l.spec.as_ref()?.renew_time.as_ref()).map(|t| t.0);
            // A renewal is news only for a node that was given up.
            if state.hear(&key, |s| s.lease = renewed) > GRACE {
                queue.add(key);
            }
        }
    });
    // Pods of tainted nodes: new ones, and those whose tolerations change.
    cx.caches.pods.on({
        let (queue, nodes) = (cx.queue.clone(), cx.caches.nodes.clone());
        move |change| {
            let Some(pod) = change.new else { return };
            let tolerations = |p: &Pod| p.spec.as_ref().and_then(|s| s.tolerations.clone());
            let same = change.old.is_some_and(|old| {
                pods::node_name(old) == pods::node_name(pod)
                    && tolerations(old) == tolerations(pod)
                    && pods::is_ready(old) == pods::is_ready(pod)
            });
            let key = Key::cluster(pods::node_name(pod));
            if !same && nodes.get(&key).is_some_and(|n| !health::is_ready(&n) || eviction::has_no_execute(&n)) {
                queue.add(key);
            }
        }
    });
    reconciler(state, |state, key| async move { reconcile(&state, &key).await })
}

impl State {
    /// Notes what a node says; how long it had been silent before.
    fn hear(&self, key: &Key, change: impl FnOnce(&mut Signs)) -> Duration {
        let mut heartbeats = self.heartbeats.lock();
        let now = Instant::now();
        let fresh = || Heartbeat { signs: Signs::default(), heard: now, was_ready: false };
        let heartbeat = heartbeats.entry(key.clone()).or_insert_with(fresh);
        let mut signs = heartbeat.signs.clone();
        change(&mut signs);
        let silence = now - heartbeat.heard;
        if signs != heartbeat.signs {
            heartbeat.signs = signs;
            heartbeat.heard = now;
        }
        silence
    }
}

async fn reconcile(state: &State, key: &Key) -> Result<Next> {
    let cx = &state.cx;
    let Some(node) = cx.caches.nodes.get(key) else { return Ok(None) };
    let Some(Heartbeat { heard, was_ready, .. }) = state.heartbeats.lock().get(key).cloned() else { return Ok(None) };
    let now = Timestamp::now();
    let silence = heard.elapsed();
    let grace = if health::heartbeat(&node).is_some() { GRACE } else { STARTUP_GRACE };
    let mut node = (*node).clone();
    if silence >= grace && health::mark_unknown(&mut node, now) {
        let api: Api<Node> = Api::all(cx.client.clone());
        let cached = cx.caches.nodes.get(key).ok_or_else(|| Error::stale("the node is gone"))?;
        let Some(written) = ignore_not_found(write::update_status(&api, &*cached, &node).await)? else {
            return Ok(None);
        };
        tracing::warn!(node = %key, ?silence, "a node has gone silent");
        node = written.unwrap_or(node);
    }
    let ready = health::is_ready(&node);
    announce(state, key, &node, was_ready, ready);
    let evict = ready || cx.caches.nodes.list(None).iter().any(|n| health::is_ready(n));
    let node = taint(cx, node, evict, now).await?;
    let pods = cx.caches.pods.with(&key.name);
    if !ready {
        for pod in pods.iter().filter(|p| pods::is_ready(p)) {
            mark_not_ready(cx, pod, now).await?;
        }
    }
    let mut next = (silence < grace).then(|| grace - silence);
    if !evict {
        // Another node that becomes ready ends this, and does not wake this one.
        next = Some(next.map_or(DISRUPTED, |n| n.min(DISRUPTED)));
    }
    for pod in &pods {
        match eviction::fate(&node, pod, now) {
            Fate::Stays => {}
            Fate::Goes => evict_pod(cx, pod, now).await?,
            Fate::GoesIn(delay) => next = Some(next.map_or(delay, |n| n.min(delay))),
        }
    }
    // A few milliseconds more, so that the time has certainly come.
    Ok(next.map(|n| n + Duration::from_millis(50)))
}

fn announce(state: &State, key: &Key, node: &Node, was_ready: bool, ready: bool) {
    if was_ready != ready {
        if let Some(heartbeat) = state.heartbeats.lock().get_mut(key) {
            heartbeat.was_ready = ready;
        }
        if was_ready {
            state.cx.events.normal(node, "NodeNotReady", format!("Node {} status is now: NodeNotReady", key.name));
        }
    }
}

/// Brings the node's taints in line with its conditions.
async fn taint(cx: &Context, node: Node, evict: bool, now: Timestamp) -> Result<Node> {
    let wanted = health::taints(&node, evict, now);
    let have = node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
    if wanted == have {
        return Ok(node);
    }
    let mut new = node.clone();
    new.spec.get_or_insert_default().taints = (!wanted.is_empty()).then_some(wanted);
    let api: Api<Node> = Api::all(cx.client.clone());
    Ok(write::update(&api, &node, &new).await?.unwrap_or(new))
}

/// A pod on a node that is not ready does not answer: it must leave its Services.
async fn mark_not_ready(cx: &Context, pod: &Pod, now: Timestamp) -> Result<()> {
    let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now);
    let patch = json!({
        "metadata": {"uid": pod.metadata.uid},
        "status": {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": time}]},
    });
    if patch_status(cx, pod, &patch).await? {
        cx.events.event(pod, Type::Warning, "NodeNotReady", "Node is not ready");
    }
    Ok(())
}

/// False if the pod is gone.
async fn patch_status(cx: &Context, pod: &Pod, patch: &serde_json::Value) -> Result<bool> {
    let api: Api<Pod> = Api::namespaced(cx.client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default());
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let written = api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await;
    match written.map_err(Error::from) {
        // Gone, or another pod of the same name by now.
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(false),
        other => other.map(|_| true),
    }
}

async fn evict_pod(cx: &Context, pod: &Pod, now: Timestamp) -> Result<()> {
    if pods::is_deleting(pod) {
        return Ok(());
    }
    let message = "Taint manager: deleting due to NoExecute taint";
    if !disrupt(cx, pod, "DeletionByTaintManager", message, None, now).await? {
        return Ok(());
    }
    let key = Key::of(&pod.metadata);
    cx.events.about(
        events::reference(pod),
        Type::Normal,
        "TaintManagerEviction",
        format!("Marking for deletion Pod {key}"),
    );
    delete(cx, pod, None).await
}

/// Notes on the pod why it is about to be deleted.
pub async fn disrupt(
    cx: &Context,
    pod: &Pod,
    reason: &str,
    message: &str,
    phase: Option<&str>,
    now: Timestamp,
) -> Result<bool> {
    let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now);
    let condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": reason, "message": message, "lastTransitionTime": time,
    });
    let mut status = json!({"conditions": [condition]});
    if let Some(phase) = phase {
        status["phase"] = phase.into();
    }
    patch_status(cx, pod, &json!({"metadata": {"uid": pod.metadata.uid}, "status": status})).await
}

/// Deletes exactly this pod; none: with its own grace period.
pub async fn delete(cx: &Context, pod: &Pod, grace_seconds: Option<u32>) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(cx.client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default());
    let preconditions = Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None });
    let params = DeleteParams { preconditions, grace_period_seconds: grace_seconds, ..Default::default() };
    match api.delete(pod.metadata.name.as_deref().unwrap_or_default(), &params).await.map_err(Error::from) {
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        other => other.map(|_| ()),
    }
}
