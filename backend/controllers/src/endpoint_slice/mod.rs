//! The EndpointSlices of Services with a selector: which pods answer for the Service, and where.
//!
//! Invariants:
//! - Slices of other makers are left alone; ours carry the managed-by label and belong to the Service.
//! - At most `plan::MAX_ENDPOINTS` endpoints per slice, one slice holds one address family and one set of ports.
//! - A change of one pod changes one slice.
//!
//! Source: <https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/>

pub mod mirror;
pub mod plan;
mod pods;

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};

use self::plan::{Action, Owner};
pub use self::pods::{address, answers, families, hostname, port_of, publishes_not_ready, target};
use crate::cache::{Change, Store};
use crate::error::{Error, Next, Result, ignore_not_found};
use crate::expectations::{Expectations, LOOK_AGAIN};
use crate::key::Key;
use crate::owner;
use crate::run::{Context, Controller, Reconcile, reconciler};
use crate::selector::Selector;
use crate::write;

pub const CONTROLLER: Controller = Controller { name: "endpointslice-controller", workers: 5, start };

pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub const HEADLESS: &str = "service.kubernetes.io/headless";
const MANAGER: &str = "endpointslice-controller.k8s.io";

struct State {
    cx: Context,
    expect: Expectations,
}

fn start(cx: Context) -> Reconcile {
    cx.caches.services.on(cx.enqueue());
    cx.caches.pods.on(services_of_pods(&cx));
    cx.caches.endpoint_slices.on(enqueue_service(&cx, MANAGER));
    // A node's zone is part of its endpoints.
    cx.caches.nodes.on({
        let (queue, services, pods) = (cx.queue.clone(), cx.caches.services.clone(), cx.caches.pods.clone());
        move |change| {
            let zone = |n: Option<&Arc<k8s_openapi::api::core::v1::Node>>| {
                n.and_then(|n| n.metadata.labels.as_ref()?.get(pods::ZONE).cloned())
            };
            if zone(change.old) == zone(change.new) {
                return;
            }
            for pod in pods.with(&change.key.name) {
                matching_services(&services, &pod).into_iter().for_each(|key| queue.add(key));
            }
        }
    });
    reconciler(State { cx, expect: Expectations::default() }, reconcile)
}

/// A handler that enqueues the Service of a slice made by `manager`.
pub fn enqueue_service(
    cx: &Context,
    manager: &'static str,
) -> impl Fn(&Change<'_, EndpointSlice>) + Send + Sync + use<> {
    let queue = cx.queue.clone();
    move |change| {
        let labels = change.new.or(change.old).and_then(|s| s.metadata.labels.as_ref());
        let label = |key: &str| labels.and_then(|l| l.get(key));
        if let (Some(service), true) = (label(SERVICE_NAME), label(MANAGED_BY).is_some_and(|m| m == manager)) {
            queue.add(Key::new(&change.key.namespace, service));
        }
    }
}

/// A handler that enqueues the Services that select a pod, before or after a change that concerns endpoints.
pub fn services_of_pods(cx: &Context) -> impl Fn(&Change<'_, Pod>) + Send + Sync + use<> {
    let (queue, services) = (cx.queue.clone(), cx.caches.services.clone());
    move |change| {
        if let (Some(old), Some(new)) = (change.old, change.new)
            && pods::same_for_endpoints(old, new)
        {
            return;
        }
        for pod in [change.old, change.new].into_iter().flatten() {
            matching_services(&services, pod).into_iter().for_each(|key| queue.add(key));
        }
    }
}

fn matching_services(services: &Store<Service>, pod: &Pod) -> Vec<Key> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let labels = pod.metadata.labels.as_ref();
    let selects = |service: &Arc<Service>| {
        let selector = service.spec.as_ref().and_then(|s| s.selector.as_ref()).filter(|s| !s.is_empty());
        selector.is_some_and(|s| s.iter().all(|(k, v)| labels.and_then(|l| l.get(k)) == Some(v)))
    };
    services.list(Some(namespace)).iter().filter(|s| selects(s)).map(|s| Key::of(&s.metadata)).collect()
}

/// The pods a Service selects; none if it has no selector.
pub fn selected_pods(cx: &Context, service: &Service, namespace: &str) -> Result<Option<Vec<Arc<Pod>>>> {
    let labels = service.spec.as_ref().and_then(|s| s.selector.as_ref()).filter(|s| !s.is_empty());
    let Some(labels) = labels else { return Ok(None) };
    let selector = Selector::equality(labels)?;
    let pods = cx.caches.pods.list(Some(namespace));
    Ok(Some(pods.into_iter().filter(|p| selector.matches_meta(&p.metadata)).collect()))
}

async fn reconcile(state: Arc<State>, key: Key) -> Result<Next> {
    let cx = &state.cx;
    let Some(service) = cx.caches.services.get(&key) else {
        // The garbage collector removes the slices with their owner.
        state.expect.forget(&key);
        return Ok(None);
    };
    let external = service.spec.as_ref().and_then(|s| s.type_.as_deref()) == Some("ExternalName");
    let Some(pods) = selected_pods(cx, &service, &key.namespace)?.filter(|_| !external) else { return Ok(None) };
    if !state.expect.settled(&key, &cx.caches.endpoint_slices) {
        return Ok(Some(LOOK_AGAIN));
    }
    let zone = |node: &str| {
        let node = cx.caches.nodes.get(&Key::cluster(node))?;
        node.metadata.labels.as_ref()?.get(pods::ZONE).cloned()
    };
    let groups = pods::groups(&service, &pods, zone);
    let owner = Owner {
        namespace: &key.namespace,
        generate_name: crate::pods::generate_name(&key.name),
        reference: owner::controller_ref(&*service),
        labels: labels(&service),
        annotations: None,
    };
    let existing = slices(cx, &key, MANAGER);
    let mut actions = plan::plan(&owner, groups, existing);
    actions.retain(|action| is_allowed(&service, action));
    let result = execute(cx, &state.expect, &key, actions).await;
    if let Err(error) = &result {
        if error.is_namespace_terminating() {
            return Ok(None);
        }
        if !error.is_conflict() {
            let message = format!("Error updating Endpoint Slices for Service {key}: {error}");
            cx.events.warning(&*service, "FailedToUpdateEndpointSlices", message);
        }
    }
    result.map(|()| None)
}

/// A Service that waits for its slices to be deleted must not get new ones, or it would wait for ever.
fn is_allowed(service: &Service, action: &Action) -> bool {
    service.metadata.deletion_timestamp.is_none() || !matches!(action, Action::Create(_))
}

/// The slices of a Service made by `manager`.
pub fn slices(cx: &Context, key: &Key, manager: &str) -> Vec<Arc<EndpointSlice>> {
    let ours = |s: &Arc<EndpointSlice>| {
        s.metadata.namespace.as_deref() == Some(&*key.namespace)
            && s.metadata.deletion_timestamp.is_none()
            && s.metadata.labels.as_ref().and_then(|l| l.get(MANAGED_BY)).is_some_and(|m| m == manager)
    };
    cx.caches.endpoint_slices.with(&key.name).into_iter().filter(ours).collect()
}

fn labels(service: &Service) -> std::collections::BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    labels.insert(SERVICE_NAME.into(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    if service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels
}

pub async fn execute(cx: &Context, expect: &Expectations, key: &Key, actions: Vec<Action>) -> Result<()> {
    let api: Api<EndpointSlice> = Api::namespaced(cx.client.clone(), &key.namespace);
    let run = |action: Action| {
        let api = api.clone();
        async move {
            match action {
                Action::Create(slice) => {
                    let created = api.create(&PostParams::default(), &slice).await?;
                    expect.written(key, &created.metadata);
                }
                Action::Update(old, new) => {
                    if let Some(written) = write::update(&api, &*old, &new).await? {
                        expect.written(key, &written.metadata);
                    }
                }
                Action::Delete(slice) => {
                    let preconditions = Preconditions { uid: slice.metadata.uid.clone(), resource_version: None };
                    let params = DeleteParams { preconditions: Some(preconditions), ..Default::default() };
                    let name = slice.metadata.name.as_deref().unwrap_or_default();
                    ignore_not_found(api.delete(name, &params).await.map_err(Error::from))?;
                    expect.deleted(key, &slice.metadata);
                }
            }
            Ok(())
        }
    };
    join_all(actions.into_iter().map(run)).await.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_service_gets_no_new_slices() {
        let slice = EndpointSlice::default;
        let mut service = Service::default();
        for (deleting, expect) in [(false, [true, true, true]), (true, [false, true, true])] {
            service.metadata.deletion_timestamp = deleting.then(|| jiff::Timestamp::UNIX_EPOCH.into());
            let actions = [
                Action::Create(slice()),
                Action::Update(Arc::new(slice()), slice()),
                Action::Delete(Arc::new(slice())),
            ];
            assert_eq!(actions.map(|a| is_allowed(&service, &a)), expect, "{deleting}");
        }
    }
}
