//! Keeping a number of identical pods: what ReplicaSet and ReplicationController have in common.
//!
//! Invariants:
//! - Counts are decided only when the pod cache shows every pod this controller created or deleted before.
//! - At most `BURST` pods are created or deleted in one pass.
//!
//! Source: <https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/>

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, Resource};
use serde::Serialize;

use crate::cache::{Cached, Store};
use crate::error::{Error, Next, Result, ignore_not_found};
use crate::expectations::{Expectations, LOOK_AGAIN};
use crate::key::Key;
use crate::owner::{self, Claim};
use crate::run::Context;
use crate::selector::Selector;
use crate::{pods, write};

const BURST: usize = 500;
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What the shared code must know of the two kinds.
pub trait Replicated: Cached + Serialize + Resource<Scope = NamespaceResourceScope> {
    fn store(cx: &Context) -> &Store<Self>;
    fn wanted(&self) -> i32;
    fn selector(&self) -> Result<Selector>;
    fn template(&self) -> Option<Cow<'_, PodTemplateSpec>>;
    fn min_ready_seconds(&self) -> i32;
    /// The pods that count for spreading: the more of them on a node, the earlier one of ours there goes.
    fn siblings(&self, cx: &Context) -> Vec<Arc<Pod>>;
    fn with_status(&self, counts: Counts, failure: Option<Failure>, now: Timestamp) -> Self;
    /// The failure the object's conditions name now.
    fn failure(&self) -> Option<Failure>;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub replicas: i32,
    pub fully_labeled: i32,
    pub ready: i32,
    pub available: i32,
    pub terminating: i32,
}

/// Condition `ReplicaFailure`: `FailedCreate` or `FailedDelete`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub reason: String,
    pub message: String,
}

/// A zero is left out, as in upstream's JSON.
pub fn non_zero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

pub struct Shared {
    pub cx: Context,
    expect: Expectations,
}

/// Subscribes to the pods that matter to this kind.
pub fn start<R: Replicated>(cx: Context) -> Shared {
    R::store(&cx).on(cx.enqueue());
    let kind: &'static str = match R::kind(&()) {
        Cow::Borrowed(kind) => kind,
        Cow::Owned(_) => "",
    };
    cx.caches.pods.on(cx.enqueue_controller(kind));
    cx.caches.pods.on({
        let (queue, owners) = (cx.queue.clone(), R::store(&cx).clone());
        move |change| {
            // A pod nobody controls may be ours to adopt.
            let Some(pod) = change.new.filter(|p| owner::controller_of(&p.metadata).is_none()) else { return };
            for owner in owners.list(Some(&change.key.namespace)) {
                if owner.selector().is_ok_and(|s| s.matches_meta(&pod.metadata)) {
                    queue.add(Key::of(owner.meta()));
                }
            }
        }
    });
    Shared { cx, expect: Expectations::default() }
}

pub async fn reconcile<R: Replicated>(shared: Arc<Shared>, key: Key) -> Result<Next> {
    let cx = &shared.cx;
    let Some(owner) = R::store(cx).get(&key) else {
        shared.expect.forget(&key);
        return Ok(None);
    };
    let settled = shared.expect.settled(&key, &cx.caches.pods);
    let selector = owner.selector()?;
    let now = Timestamp::now();
    let claimed = claim(cx, &*owner, &key, &selector).await?;
    let active: Vec<Arc<Pod>> = claimed.iter().filter(|p| pods::is_active(p)).cloned().collect();

    let (mut failure, mut error) = (owner.failure(), None);
    if settled && owner.meta().deletion_timestamp.is_none() {
        let plan = plan(owner.wanted(), &active, &owner.siblings(cx), now);
        error = execute(&shared, &*owner, &key, plan).await.err();
        failure = error.as_ref().and_then(|e| failed(e, &active, owner.wanted()));
    }
    let counts = count(&*owner, &claimed, now);
    let new = owner.with_status(counts, failure, now);
    let api: Api<R> = Api::namespaced(cx.client.clone(), &key.namespace);
    ignore_not_found(write::update_status(&api, &*owner, &new).await)?;
    if let Some(error) = error {
        return if error.is_namespace_terminating() { Ok(None) } else { Err(error) };
    }
    let ripening = active.iter().filter_map(|p| pods::available_in(p, owner.min_ready_seconds(), now)).min();
    Ok(if settled { ripening } else { Some(LOOK_AGAIN) })
}

fn failed(error: &Error, active: &[Arc<Pod>], wanted: i32) -> Option<Failure> {
    let have = i32::try_from(active.len()).unwrap_or(i32::MAX);
    let reason = if have < wanted { "FailedCreate" } else { "FailedDelete" };
    (!error.is_namespace_terminating()).then(|| Failure { reason: reason.into(), message: error.to_string() })
}

/// The pods this object controls, after adopting and releasing.
async fn claim<R: Replicated>(cx: &Context, owner: &R, key: &Key, selector: &Selector) -> Result<Vec<Arc<Pod>>> {
    let uid = owner.meta().uid.as_deref().unwrap_or_default();
    let deleting = owner.meta().deletion_timestamp.is_some();
    let api: Api<Pod> = Api::namespaced(cx.client.clone(), &key.namespace);
    let owners: Api<R> = Api::namespaced(cx.client.clone(), &key.namespace);
    let mut mine = Vec::new();
    for pod in cx.caches.pods.owned_by(uid).into_iter().chain(cx.caches.pods.orphans(&key.namespace)) {
        match owner::claim(uid, deleting, selector, &pod.metadata) {
            Claim::Own => mine.push(pod),
            // Finished pods are of no use as replicas.
            Claim::Adopt if pods::is_finished(&pod) => {}
            Claim::Adopt => {
                if let Some(adopted) = ignore_not_found(owner::adopt(&owners, owner, &api, &pod).await)? {
                    mine.push(Arc::new(adopted));
                }
            }
            Claim::Release => owner::release(owner, &api, &*pod).await?,
            Claim::Ignore => {}
        }
    }
    Ok(mine)
}

fn count<R: Replicated>(owner: &R, claimed: &[Arc<Pod>], now: Timestamp) -> Counts {
    let template = owner.template();
    let labels = template.as_ref().and_then(|t| t.metadata.as_ref()).and_then(|m| m.labels.as_ref());
    let mut counts = Counts::default();
    for pod in claimed.iter().filter(|p| !pods::is_finished(p)) {
        if pods::is_deleting(pod) {
            counts.terminating += 1;
            continue;
        }
        counts.replicas += 1;
        let has = |(k, v): (&String, &String)| pod.metadata.labels.as_ref().and_then(|l| l.get(k)) == Some(v);
        counts.fully_labeled += i32::from(labels.into_iter().flatten().all(has));
        counts.ready += i32::from(pods::is_ready(pod));
        counts.available += i32::from(pods::is_available(pod, owner.min_ready_seconds(), now));
    }
    counts
}

#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub create: usize,
    pub delete: Vec<Arc<Pod>>,
}

/// How many pods to create, or which to delete.
pub fn plan(wanted: i32, active: &[Arc<Pod>], siblings: &[Arc<Pod>], now: Timestamp) -> Plan {
    let wanted = usize::try_from(wanted).unwrap_or(0);
    if active.len() <= wanted {
        return Plan { create: (wanted - active.len()).min(BURST), ..Default::default() };
    }
    let surplus = (active.len() - wanted).min(BURST);
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in siblings.iter().filter(|p| pods::is_active(p)) {
        *on_node.entry(pods::node_name(pod)).or_default() += 1;
    }
    let mut ranked: Vec<(usize, &Arc<Pod>)> =
        active.iter().map(|p| (on_node.get(pods::node_name(p)).copied().unwrap_or(0), p)).collect();
    ranked.sort_by(|a, b| deletion_order(*a, *b, now));
    Plan { create: 0, delete: ranked.into_iter().take(surplus).map(|(_, p)| p.clone()).collect() }
}

/// Less means: goes first. The rank is the number of related pods on the pod's node.
fn deletion_order((rank_a, a): (usize, &Arc<Pod>), (rank_b, b): (usize, &Arc<Pod>), now: Timestamp) -> Ordering {
    let phase = |p: &Pod| match pods::phase(p) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    // Ages are compared by their logarithm so that not all pods of one busy minute go together.
    let age = |at: Option<Timestamp>| match at {
        None => i64::MIN,
        Some(at) => i64::from(u64::try_from(now.duration_since(at).as_secs()).unwrap_or(0).max(1).ilog2()),
    };
    let ready_age = |p: &Pod| age(pods::ready_since(p));
    let created_age = |p: &Pod| age(p.metadata.creation_timestamp.as_ref().map(|t| t.0));
    (!pods::node_name(a).is_empty())
        .cmp(&!pods::node_name(b).is_empty())
        .then_with(|| phase(a).cmp(&phase(b)))
        .then_with(|| pods::is_ready(a).cmp(&pods::is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| Reverse(rank_a).cmp(&Reverse(rank_b)))
        .then_with(|| ready_age(a).cmp(&ready_age(b)))
        .then_with(|| Reverse(pods::restarts(a)).cmp(&Reverse(pods::restarts(b))))
        .then_with(|| created_age(a).cmp(&created_age(b)))
        .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

fn deletion_cost(pod: &Pod) -> i32 {
    let cost = pod.metadata.annotations.as_ref().and_then(|a| a.get(DELETION_COST));
    cost.and_then(|c| c.parse().ok()).unwrap_or(0)
}

async fn execute<R: Replicated>(shared: &Shared, owner: &R, key: &Key, plan: Plan) -> Result<()> {
    if plan.create > 0 {
        return create_pods(shared, owner, key, plan.create).await;
    }
    let deletions = plan.delete.iter().map(|pod| delete_pod(&shared.cx, &shared.expect, owner, key, pod));
    join_all(deletions).await.into_iter().collect()
}

async fn create_pods<R: Replicated>(shared: &Shared, owner: &R, key: &Key, count: usize) -> Result<()> {
    let template = owner.template().ok_or_else(|| Error::invalid("spec.template is missing"))?;
    let pod = pods::from_template(&template, &key.name, &key.namespace, owner::controller_ref(owner));
    let (_, error) = pods::slow_start(count, |_| create_pod(&shared.cx, &shared.expect, owner, key, &pod)).await;
    error.map_or(Ok(()), Err)
}

/// Creates a pod for `owner`, records it as an event and among the expectations.
pub async fn create_pod<O: Cached>(cx: &Context, expect: &Expectations, owner: &O, key: &Key, pod: &Pod) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(cx.client.clone(), &key.namespace);
    match api.create(&PostParams::default(), pod).await {
        Ok(created) => {
            expect.written(key, &created.metadata);
            cx.events.normal(owner, "SuccessfulCreate", format!("Created pod: {}", name(&created.metadata)));
            Ok(())
        }
        Err(error) => {
            let error = Error::from(error);
            if !error.is_namespace_terminating() {
                cx.events.warning(owner, "FailedCreate", format!("Error creating: {error}"));
            }
            Err(error)
        }
    }
}

/// Deletes exactly this pod (not a later one of its name) for `owner`.
pub async fn delete_pod<O: Cached>(cx: &Context, expect: &Expectations, owner: &O, key: &Key, pod: &Pod) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(cx.client.clone(), &key.namespace);
    let preconditions = Some(Preconditions { uid: pod.metadata.uid.clone(), resource_version: None });
    let params = DeleteParams { preconditions, ..Default::default() };
    match api.delete(name(&pod.metadata), &params).await.map_err(Error::from) {
        Ok(_) => {
            expect.deleted(key, &pod.metadata);
            cx.events.normal(owner, "SuccessfulDelete", format!("Deleted pod: {}", name(&pod.metadata)));
            Ok(())
        }
        // Gone, or replaced by another of the same name.
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        Err(error) => {
            cx.events.warning(owner, "FailedDelete", format!("Error deleting: {error}"));
            Err(error)
        }
    }
}

fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pods::make;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(seconds, 0).unwrap()
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.delete.iter().map(|p| name(&p.metadata)).collect()
    }

    #[test]
    fn the_least_useful_pods_go_first() {
        let now = at(100_000);
        let mut unassigned = make::pod("unassigned", "Pending", None);
        unassigned.spec.as_mut().unwrap().node_name = None;
        let pending = make::pod("pending", "Pending", None);
        let unready = make::pod("unready", "Running", None);
        let mut cheap = make::pod("cheap", "Running", Some(at(0)));
        cheap.metadata.annotations = Some([(DELETION_COST.to_owned(), "-1".to_owned())].into());
        let mut crowded = make::pod("crowded", "Running", Some(at(0)));
        crowded.spec.as_mut().unwrap().node_name = Some("crowded".into());
        let young = make::pod("young", "Running", Some(at(99_990)));
        let old = make::pod("old", "Running", Some(at(0)));
        let active: Vec<Arc<Pod>> =
            [&old, &young, &crowded, &cheap, &unready, &pending, &unassigned].map(|p| Arc::new(p.clone())).into();
        let mut siblings = active.clone();
        siblings.extend((0..7).map(|_| Arc::new(crowded.clone())));
        let order = names(&plan(0, &active, &siblings, now)).join(" ");
        assert_eq!(order, "unassigned pending unready cheap crowded young old");
        assert_eq!(names(&plan(6, &active, &siblings, now)), ["unassigned"]);
    }

    proptest! {
        #[test]
        fn a_plan_leads_to_the_wanted_number(wanted in 0i32..1200, have in 0usize..1200) {
            let active: Vec<Arc<Pod>> = (0..have).map(|i| Arc::new(make::pod(&i.to_string(), "Running", None))).collect();
            let plan = plan(wanted, &active, &active, at(0));
            prop_assert!(plan.create <= BURST && plan.delete.len() <= BURST);
            prop_assert!(plan.create == 0 || plan.delete.is_empty());
            let after = i64::try_from(have + plan.create - plan.delete.len()).unwrap();
            let (before, wanted) = (i64::try_from(have).unwrap(), i64::from(wanted));
            // Never past the goal, and there unless the burst limit holds.
            prop_assert!((after - wanted).abs() <= (before - wanted).abs());
            prop_assert!(after == wanted || (before - after).unsigned_abs() == BURST as u64);
            prop_assert!((before <= wanted) == (after <= wanted) || after == wanted);
        }
    }
}
