//! The garbage collector: deletes what nobody owns any more, and carries out foreground and orphaning deletions.
//!
//! Invariants:
//! - Nothing is deleted because of the graph alone: the object and the absence of its owners are confirmed with the API,
//!   and the deletion is bound to the uid and version that were judged.
//! - Owners are looked for in the dependent's own namespace or among cluster-scoped objects; a reference across
//!   namespaces is to nothing.
//! - Nothing is judged before every resource has been listed once.
//!
//! Source: <https://kubernetes.io/docs/concepts/architecture/garbage-collection/>

mod graph;
mod judge;
mod monitors;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use kube::Api;
use kube::api::{DeleteParams, DynamicObject, GetParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::Request;
use parking_lot::Mutex;
use serde_json::{Value, json};

use self::graph::{FOREGROUND, Graph, Metadata, ORPHAN, Object, Place, Uid};
use self::judge::{Owner, Verdict};
use crate::discovery::Resource;
use crate::error::{Error, Next, Result, ignore_not_found};
use crate::events::Type;
use crate::key::Key;
use crate::run::{Context, Controller, Reconcile, reconciler};

/// As many workers as upstream: each waits for the API most of the time.
pub const CONTROLLER: Controller = Controller { name: "generic-garbage-collector", workers: 20, start };

const NOT_READY: Duration = Duration::from_millis(200);
/// How soon to look again for an owner of a kind that is not served.
const UNKNOWN_KIND: Duration = Duration::from_secs(60);
/// Owners found absent are remembered for their other dependents.
const MAX_ABSENT: usize = 2000;

struct State {
    cx: Context,
    graph: Mutex<Graph>,
    /// By API group and kind.
    resources: Mutex<HashMap<(String, String), Arc<Resource>>>,
    absent: Mutex<VecDeque<Uid>>,
    discovered: AtomicBool,
    /// Resources that have not been listed yet.
    waiting_for: AtomicUsize,
}

fn start(cx: Context) -> Reconcile {
    let state = Arc::new(State {
        cx,
        graph: Mutex::default(),
        resources: Mutex::default(),
        absent: Mutex::default(),
        discovered: AtomicBool::new(false),
        waiting_for: AtomicUsize::new(0),
    });
    tokio::spawn(monitors::run(state.clone()));
    reconciler(state, |state, key| async move { reconcile(&state, &key).await })
}

impl State {
    fn look(&self, uids: Vec<Uid>) {
        for uid in uids {
            self.cx.queue.add(Key::cluster(&uid.key()));
        }
    }

    fn set_resources(&self, found: &[Resource]) {
        let entry = |r: &Resource| ((r.group.clone(), r.kind.clone()), Arc::new(r.clone()));
        *self.resources.lock() = found.iter().map(entry).collect();
    }

    /// The resource an owner reference is about; versions do not matter.
    fn resource(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.resources.lock().get(&(group.to_owned(), kind.to_owned())).cloned()
    }

    fn api(&self, resource: &Resource, namespace: &str) -> Api<DynamicObject> {
        let (client, ar) = (self.cx.client.clone(), resource.api_resource());
        if resource.namespaced { Api::namespaced_with(client, namespace, &ar) } else { Api::all_with(client, &ar) }
    }

    async fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Option<Metadata>> {
        let requests = Request::new(self.api(resource, namespace).resource_url());
        let request =
            requests.get_metadata(name, &GetParams::default()).map_err(|e| Error::Api(kube::Error::BuildRequest(e)))?;
        let answer = self.cx.client.request::<Object>(request).await.map_err(Error::from);
        Ok(ignore_not_found(answer)?.map(|o| o.metadata))
    }

    fn is_absent(&self, uid: Uid) -> bool {
        self.absent.lock().contains(&uid)
    }

    fn remember_absent(&self, uid: Uid) {
        let mut absent = self.absent.lock();
        if absent.len() >= MAX_ABSENT {
            absent.pop_front();
        }
        absent.push_back(uid);
    }
}

async fn reconcile(state: &State, key: &Key) -> Result<Next> {
    if !state.discovered.load(Ordering::Acquire) || state.waiting_for.load(Ordering::Acquire) > 0 {
        return Ok(Some(NOT_READY));
    }
    let Some(uid) = Uid::from_key(&key.name) else { return Ok(None) };
    let Some(node) = state.graph.lock().get(uid).cloned() else { return Ok(None) };
    let (resource, namespace, name) = match &node.place {
        Place::Seen { resource, namespace, name } => (resource.clone(), namespace.clone(), name.clone()),
        Place::Named { api_version, kind, namespace, name } => {
            // Is there such an owner? If it is of a kind nobody knows, it cannot be told yet.
            let Some(resource) = state.resource(api_version, kind) else { return Ok(Some(UNKNOWN_KIND)) };
            let found = state.get(&resource, namespace, name).await?;
            if found.is_none_or(|m| Uid::new(&m.uid) != uid) {
                state.remember_absent(uid);
                let look = state.graph.lock().remove(uid);
                state.look(look);
            }
            return Ok(None);
        }
    };
    let live = state.get(&resource, &namespace, &name).await?.filter(|m| Uid::new(&m.uid) == uid);
    let Some(live) = live else {
        let look = state.graph.lock().remove(uid);
        state.look(look);
        return Ok(None);
    };
    let target = Target { api: state.api(&resource, &namespace), resource, namespace, live, uid };
    if target.live.orphans_dependents() {
        return orphan(state, &target).await;
    }
    if target.live.deletes_dependents() {
        return foreground(state, &target).await;
    }
    if target.live.deletion_timestamp.is_some() || target.live.references().is_empty() {
        return Ok(None);
    }
    collect(state, &target).await
}

/// The object being judged, as it lives.
struct Target {
    api: Api<DynamicObject>,
    resource: Arc<Resource>,
    namespace: Arc<str>,
    live: Metadata,
    uid: Uid,
}

impl Target {
    async fn patch(&self, changes: Value) -> Result<()> {
        let mut meta = json!({"uid": self.live.uid, "resourceVersion": self.live.resource_version});
        if let (Some(meta), Value::Object(changes)) = (meta.as_object_mut(), changes) {
            meta.extend(changes);
        }
        let patch = Patch::Merge(json!({"metadata": meta}));
        let written = self.api.patch_metadata(&self.live.name, &PatchParams::default(), &patch).await;
        ignore_not_found(written.map_err(Error::from)).map(|_| ())
    }

    async fn remove_finalizer(&self, finalizer: &str) -> Result<()> {
        let rest: Vec<&String> = self.live.finalizers.iter().flatten().filter(|f| *f != finalizer).collect();
        self.patch(json!({"finalizers": rest})).await
    }

    async fn delete(&self, policy: PropagationPolicy) -> Result<()> {
        let preconditions = Preconditions {
            uid: Some(self.live.uid.clone()),
            resource_version: Some(self.live.resource_version.clone()),
        };
        let params =
            DeleteParams { propagation_policy: Some(policy), preconditions: Some(preconditions), ..Default::default() };
        ignore_not_found(self.api.delete(&self.live.name, &params).await.map_err(Error::from)).map(|_| ())
    }
}

/// Deletes the dependents that are waited for; without any, lets the object go.
async fn foreground(state: &State, target: &Target) -> Result<Next> {
    let (blocking, rest) = {
        let graph = state.graph.lock();
        let blocking = graph.blocking(target.uid);
        let rest = graph.dependents(target.uid);
        (blocking, rest)
    };
    if blocking.is_empty() {
        target.remove_finalizer(FOREGROUND).await?;
        return Ok(None);
    }
    // Each dependent finds that its owner waits for it; this one is woken when they are gone.
    state.look(rest);
    Ok(None)
}

/// Takes the object's reference off its dependents, then lets it go.
async fn orphan(state: &State, target: &Target) -> Result<Next> {
    let dependents = state.graph.lock().dependents(target.uid);
    for dependent in dependents {
        let place = state.graph.lock().get(dependent).map(|n| n.place.clone());
        let Some(Place::Seen { resource, namespace, name }) = place else { continue };
        let live = state.get(&resource, &namespace, &name).await?.filter(|m| Uid::new(&m.uid) == dependent);
        let Some(live) = live else { continue };
        let rest: Vec<_> = live.references().iter().filter(|r| Uid::new(&r.uid) != target.uid).cloned().collect();
        if rest.len() != live.references().len() {
            let api = state.api(&resource, &namespace);
            let dependent = Target { api, resource, namespace, live, uid: dependent };
            dependent.patch(json!({"ownerReferences": rest})).await?;
        }
    }
    target.remove_finalizer(ORPHAN).await?;
    Ok(None)
}

/// Judges an object by its owners.
async fn collect(state: &State, target: &Target) -> Result<Next> {
    let mut owners = Vec::new();
    for reference in target.live.references() {
        owners.push((reference.clone(), owner(state, target, reference).await?));
    }
    let has_dependents = state.graph.lock().has_dependents(target.uid);
    match judge::judge(&owners, has_dependents, &target.live) {
        Verdict::Keep => {}
        Verdict::DropReferences(rest) => target.patch(json!({"ownerReferences": rest})).await?,
        Verdict::Delete(policy) => {
            if matches!(policy, PropagationPolicy::Foreground) {
                unblock_cycle(state, target).await?;
            }
            tracing::debug!(resource = target.resource.plural, namespace = %target.namespace, name = target.live.name, "collected");
            target.delete(policy).await?;
        }
    }
    Ok(None)
}

/// What an owner reference stands for now.
async fn owner(state: &State, target: &Target, reference: &graph::Reference) -> Result<Owner> {
    let uid = Uid::new(&reference.uid);
    if state.is_absent(uid) {
        return Ok(Owner::Absent);
    }
    let Some(resource) = state.resource(&reference.api_version, &reference.kind) else {
        // Its kind may be served again; until then nothing is deleted.
        return Ok(Owner::Unknown);
    };
    if resource.namespaced && !target.resource.namespaced {
        warn_invalid(state, target, reference);
        return Ok(Owner::Unknown);
    }
    let found = state.get(&resource, &target.namespace, &reference.name).await?.filter(|m| Uid::new(&m.uid) == uid);
    Ok(match found {
        Some(owner) if owner.deletes_dependents() => Owner::Waits,
        Some(_) => Owner::Here,
        None => {
            let place = state.graph.lock().get(uid).map(|n| n.place.clone());
            let elsewhere = matches!(
                place,
                Some(Place::Seen { namespace, .. }) if resource.namespaced && namespace != target.namespace
            );
            if elsewhere {
                warn_invalid(state, target, reference);
            } else {
                state.remember_absent(uid);
            }
            Owner::Absent
        }
    })
}

fn warn_invalid(state: &State, target: &Target, reference: &graph::Reference) {
    let object = k8s_openapi::api::core::v1::ObjectReference {
        api_version: Some(target.resource.api_version()),
        kind: Some(target.resource.kind.clone()),
        name: Some(target.live.name.clone()),
        namespace: target.live.namespace.clone(),
        uid: Some(target.live.uid.clone()),
        ..Default::default()
    };
    let message = format!(
        "ownerRef [{}/{}, namespace: {}, name: {}, uid: {}] does not exist in namespace {:?}",
        reference.api_version, reference.kind, target.namespace, reference.name, reference.uid, &*target.namespace
    );
    state.cx.events.about(object, Type::Warning, "OwnerRefInvalidNamespace", message);
}

/// An object whose dependents wait for their own dependents in a circle would never go: they stop blocking it.
async fn unblock_cycle(state: &State, target: &Target) -> Result<()> {
    let dependents: Vec<Uid> = {
        let graph = state.graph.lock();
        let waits = |uid: &Uid| graph.get(*uid).is_some_and(|n| n.deletes_dependents);
        graph.dependents(target.uid).into_iter().filter(waits).collect()
    };
    if dependents.is_empty() {
        return Ok(());
    }
    let mut references = target.live.references().to_vec();
    references
        .iter_mut()
        .filter(|r| r.block_owner_deletion == Some(true))
        .for_each(|r| r.block_owner_deletion = Some(false));
    if references != target.live.references() {
        target.patch(json!({"ownerReferences": references})).await?;
        // The version has moved on; the change wakes it again.
        return Err(Error::stale("the object's references have just been unblocked"));
    }
    Ok(())
}
