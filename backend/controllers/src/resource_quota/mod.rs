//! Keeps the status of ResourceQuotas: what a namespace uses of what it may use. Refusing more is admission's business,
//! which counts for itself.
//!
//! Source: <https://kubernetes.io/docs/concepts/policy/resource-quotas/>

mod counters;
mod plan;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaSpec, Service};
use kube::Api;
use parking_lot::Mutex;
use pilothouse_api::quota::{scopes, usage};
use pilothouse_api::resources::Resources;
use serde_json::Value;

use self::counters::Counters;
use self::plan::{MEASURED, hard, resource_of};
use crate::cache::{Cached, Change};
use crate::error::{Error, Next, Result, ignore_not_found};
use crate::key::Key;
use crate::run::{Context, Controller, Reconcile, reconciler};
use crate::{pods, write};

pub const CONTROLLER: Controller = Controller { name: "resourcequota-controller", workers: 5, start };

struct State {
    cx: Context,
    counters: Counters,
    memos: Mutex<HashMap<Key, Memo>>,
}

/// What each object was found to use of a quota, by the object's version: measuring a pod costs far more than adding up.
#[derive(Default)]
struct Memo {
    spec: Option<ResourceQuotaSpec>,
    known: HashMap<(&'static str, Key), (String, Resources)>,
}

fn start(cx: Context) -> Reconcile {
    cx.caches.resource_quotas.on(cx.enqueue());
    cx.caches.pods.on(enqueue_quotas(&cx, |old: &Pod, new: &Pod| {
        old.spec == new.spec
            && pods::is_finished(old) == pods::is_finished(new)
            && old.metadata.deletion_timestamp == new.metadata.deletion_timestamp
    }));
    cx.caches.services.on(enqueue_quotas(&cx, |old: &Service, new: &Service| old.spec == new.spec));
    cx.caches
        .persistent_volume_claims
        .on(enqueue_quotas(&cx, |old: &PersistentVolumeClaim, new| old.spec == new.spec && old.status == new.status));
    reconciler(State { counters: Counters::new(cx.clone()), cx, memos: Mutex::default() }, reconcile)
}

/// A handler that enqueues the quotas of an object's namespace, unless the change means nothing to them.
fn enqueue_quotas<K: Cached>(cx: &Context, same: fn(&K, &K) -> bool) -> impl Fn(&Change<'_, K>) + Send + Sync + use<K> {
    let (queue, quotas) = (cx.queue.clone(), cx.caches.resource_quotas.clone());
    move |change| {
        if let (Some(old), Some(new)) = (change.old, change.new)
            && same(old, new)
        {
            return;
        }
        for quota in quotas.list(Some(&change.key.namespace)) {
            queue.add(Key::of(&quota.metadata));
        }
    }
}

async fn reconcile(state: Arc<State>, key: Key) -> Result<Next> {
    let cx = &state.cx;
    let next = state.counters.keep(&cx.caches.resource_quotas.list(None)).await?;
    let Some(quota) = cx.caches.resource_quotas.get(&key) else {
        state.memos.lock().remove(&key);
        return Ok(None);
    };
    let (measured, wake) = measure(&state, &quota, &key)?;
    let counts: BTreeMap<&str, usize> = plan::counted(&quota)
        .into_iter()
        .filter_map(|resource| {
            let count = if has_scopes(&quota) { 0 } else { state.counters.count(resource, &key.namespace)? };
            Some((resource, count))
        })
        .collect();
    let new = ResourceQuota { status: Some(plan::status(&quota, &measured, &counts)), ..(*quota).clone() };
    let api: Api<ResourceQuota> = Api::namespaced(cx.client.clone(), &key.namespace);
    ignore_not_found(write::update_status_listed(&api, &*quota, &new).await)?;
    Ok(next.into_iter().chain(wake).min())
}

/// Scopes are about pods and claims; nothing else is in any.
fn has_scopes(quota: &ResourceQuota) -> bool {
    let spec = quota.spec.as_ref();
    spec.is_some_and(|s| s.scopes.as_ref().is_some_and(|s| !s.is_empty()) || s.scope_selector.is_some())
}

/// What each object that is measured uses, and when the first of those on their way out counts no more.
fn measure(state: &State, quota: &ResourceQuota, key: &Key) -> Result<(Vec<Resources>, Next)> {
    let caches = &state.cx.caches;
    let mut memo = state.memos.lock().remove(key).unwrap_or_default();
    if memo.spec != quota.spec {
        memo = Memo { spec: quota.spec.clone(), known: HashMap::new() };
    }
    let json = serde_json::to_value(quota).map_err(|e| Error::invalid(e.to_string()))?;
    let mut meter = Meter { quota: &json, before: memo.known, known: HashMap::new(), measured: Vec::new() };
    let (now, mut wake) = (Timestamp::now(), None);
    for resource in MEASURED.iter().filter(|r| hard(quota).any(|limit| resource_of(limit) == Some(**r))) {
        match *resource {
            "pods" => {
                for pod in caches.pods.list(Some(&key.namespace)) {
                    let left = pods::is_deleting(&pod).then(|| grace_left(&pod, now)).flatten();
                    wake = wake.into_iter().chain(left).min();
                    let over = pods::is_deleting(&pod) && left.is_none();
                    meter.take(resource, &*pod, over)?;
                }
            }
            "services" => {
                for service in caches.services.list(Some(&key.namespace)) {
                    meter.take(resource, &*service, false)?;
                }
            }
            _ => {
                for claim in caches.persistent_volume_claims.list(Some(&key.namespace)) {
                    meter.take(resource, &*claim, false)?;
                }
            }
        }
    }
    let Meter { known, measured, .. } = meter;
    state.memos.lock().insert(key.clone(), Memo { spec: memo.spec, known });
    Ok((measured, wake))
}

/// The time until a deleted pod's grace period has passed; none when it has.
fn grace_left(pod: &Pod, now: Timestamp) -> Option<Duration> {
    let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(0).max(0).unsigned_abs();
    let end = pod.metadata.deletion_timestamp.as_ref()?.0 + Duration::from_secs(grace + 1);
    Duration::try_from(end.duration_since(now)).ok().filter(|left| !left.is_zero())
}

struct Meter<'a> {
    quota: &'a Value,
    before: HashMap<(&'static str, Key), (String, Resources)>,
    known: HashMap<(&'static str, Key), (String, Resources)>,
    measured: Vec<Resources>,
}

impl Meter<'_> {
    fn take<K: Cached + serde::Serialize>(&mut self, resource: &'static str, object: &K, over: bool) -> Result<()> {
        let id = (resource, Key::of(object.meta()));
        let version = object.meta().resource_version.clone().unwrap_or_default();
        let remembered = self.before.remove(&id).filter(|(of, _)| *of == version && !over);
        let used = match remembered {
            Some((_, used)) => used,
            None => {
                let value = serde_json::to_value(object).map_err(|e| Error::invalid(e.to_string()))?;
                if scopes::matches(self.quota, resource, &value) {
                    usage::of(resource, &value, over)
                } else {
                    Resources::new()
                }
            }
        };
        self.measured.push(used.clone());
        if !over {
            self.known.insert(id, (version, used));
        }
        Ok(())
    }
}
