//! Empties a deleted namespace, then lets it go.
//!
//! Invariants:
//! - The namespace's finalizer is removed only after every namespaced resource that discovery names has been found
//!   empty; a group that cannot be read keeps the namespace.
//! - Pods go first: while they run, the network policies, secrets and so on they depend on stay.
//!
//! Source: <https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/>, KEP-5080

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceSpec, NamespaceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams, Preconditions, PropagationPolicy};

use crate::discovery::{self, Resource};
use crate::error::{Error, Next, Result, ignore_not_found};
use crate::key::Key;
use crate::run::{Context, Controller, Reconcile, reconciler};
use crate::write;

pub const CONTROLLER: Controller = Controller { name: "namespace-controller", workers: 3, start };

const FINALIZER: &str = "kubernetes";
/// Content that is on its way out is looked at again this soon.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const LOOK_AGAIN_SLOWLY: Duration = Duration::from_secs(5);
const PAGE: u32 = 500;

fn start(cx: Context) -> Reconcile {
    cx.caches.namespaces.on({
        let queue = cx.queue.clone();
        move |change| {
            if change.new.is_some_and(|ns| ns.metadata.deletion_timestamp.is_some()) {
                queue.add(change.key.clone());
            }
        }
    });
    // The last pod of a namespace that is going away lets the rest go.
    cx.caches.pods.on({
        let (queue, namespaces) = (cx.queue.clone(), cx.caches.namespaces.clone());
        move |change| {
            let key = Key::cluster(&change.key.namespace);
            if change.new.is_none() && namespaces.get(&key).is_some_and(|ns| ns.metadata.deletion_timestamp.is_some()) {
                queue.add(key);
            }
        }
    });
    reconciler(cx, reconcile)
}

/// What is left of one resource in the namespace.
#[derive(Debug)]
struct Left {
    resource: String,
    count: usize,
    finalizers: Vec<String>,
}

/// What a pass over the namespace found.
#[derive(Debug, Default)]
struct Pass {
    discovery_failures: Vec<String>,
    delete_failures: Vec<String>,
    left: Vec<Left>,
    /// Resources not looked at yet because pods remain.
    waiting_for_pods: bool,
}

impl Pass {
    fn is_done(&self) -> bool {
        self.discovery_failures.is_empty() && self.delete_failures.is_empty() && self.left.is_empty()
    }
}

async fn reconcile(cx: Arc<Context>, key: Key) -> Result<Next> {
    let Some(namespace) = cx.caches.namespaces.get(&key) else { return Ok(None) };
    if namespace.metadata.deletion_timestamp.is_none() {
        return Ok(None);
    }
    let api: Api<Namespace> = Api::all(cx.client.clone());
    let has_finalizer =
        |ns: &Namespace| ns.spec.as_ref().is_some_and(|s| s.finalizers.iter().flatten().any(|f| f == FINALIZER));
    if !has_finalizer(&namespace) {
        return Ok(None);
    }
    let mut current = (*namespace).clone();
    if current.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Terminating") {
        let mut new = current.clone();
        new.status.get_or_insert_default().phase = Some("Terminating".into());
        match ignore_not_found(write::update_status(&api, &current, &new).await)? {
            None => return Ok(None),
            Some(written) => current = written.unwrap_or(new),
        }
    }
    let pass = empty(&cx, &key.name).await?;
    let mut new = current.clone();
    set_conditions(new.status.get_or_insert_default(), &pass, Timestamp::now());
    if new != current {
        match ignore_not_found(write::update_status(&api, &current, &new).await)? {
            None => return Ok(None),
            Some(written) => current = written.unwrap_or(new),
        }
    }
    if !pass.is_done() {
        let failed = !pass.discovery_failures.is_empty() || !pass.delete_failures.is_empty();
        let age = current.metadata.deletion_timestamp.as_ref().map(|t| Timestamp::now().duration_since(t.0).as_secs());
        // Pods announce their end; what else remains has finalizers that others remove.
        let slow = failed || age.is_some_and(|s| s > 30);
        return Ok(Some(if slow { LOOK_AGAIN_SLOWLY } else { LOOK_AGAIN }));
    }
    finalize(&cx, &api, current).await?;
    Ok(None)
}

/// Removes our finalizer; the API removes a namespace without finalizers.
async fn finalize(cx: &Context, api: &Api<Namespace>, mut namespace: Namespace) -> Result<()> {
    let name = namespace.metadata.name.clone().unwrap_or_default();
    let uid = namespace.metadata.uid.clone();
    let spec = namespace.spec.get_or_insert_with(NamespaceSpec::default);
    if let Some(finalizers) = &mut spec.finalizers {
        finalizers.retain(|f| f != FINALIZER);
    }
    let finalized: kube::Result<Namespace> =
        api.replace_subresource("finalize", &name, &PostParams::default(), &namespace).await;
    if ignore_not_found(finalized.map_err(Error::from))?.is_none() {
        return Ok(());
    }
    let none_left = |ns: &Namespace| {
        ns.spec.as_ref().and_then(|s| s.finalizers.as_ref()).is_none_or(Vec::is_empty)
            && ns.metadata.finalizers.as_ref().is_none_or(Vec::is_empty)
    };
    // Normally gone by now; a deletion of a namespace without finalizers finishes it otherwise.
    if let Some(rest) = api.get_opt(&name).await?.filter(|ns| none_left(ns) && ns.metadata.uid == uid) {
        let preconditions = Some(Preconditions { uid: rest.metadata.uid, resource_version: None });
        let params = DeleteParams { preconditions, ..Default::default() };
        ignore_not_found(api.delete(&name, &params).await.map_err(Error::from))?;
    }
    tracing::info!(namespace = %name, leader = %cx.deps.identity, "a namespace is empty and finalized");
    Ok(())
}

async fn empty(cx: &Context, namespace: &str) -> Result<Pass> {
    let found = discovery::discover(&cx.client).await?;
    let mut pass = Pass { discovery_failures: found.failures, ..Default::default() };
    let (pods, others): (Vec<_>, Vec<_>) = found
        .resources
        .into_iter()
        .filter(|r| r.namespaced && r.can("list") && (r.can("delete") || r.can("deletecollection")))
        .partition(|r| r.group.is_empty() && r.plural == "pods");
    for resource in pods {
        clear(cx, namespace, &resource, &mut pass).await;
    }
    if !pass.left.is_empty() {
        pass.waiting_for_pods = true;
        return Ok(pass);
    }
    for resource in others {
        clear(cx, namespace, &resource, &mut pass).await;
    }
    Ok(pass)
}

/// Deletes all objects of a resource and notes what is left.
async fn clear(cx: &Context, namespace: &str, resource: &Resource, pass: &mut Pass) {
    match try_clear(cx, namespace, resource).await {
        Ok(Some(left)) => pass.left.push(left),
        Ok(None) => {}
        Err(error) => pass.delete_failures.push(format!("{}: {error}", resource.group_resource())),
    }
}

async fn try_clear(cx: &Context, namespace: &str, resource: &Resource) -> Result<Option<Left>> {
    let api: Api<DynamicObject> = Api::namespaced_with(cx.client.clone(), namespace, &resource.api_resource());
    let page = ListParams::default().limit(PAGE);
    let before = api.list_metadata(&page).await?;
    if before.items.is_empty() {
        return Ok(None);
    }
    let params = DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..Default::default() };
    if resource.can("deletecollection") {
        api.delete_collection(&params, &ListParams::default()).await?;
    } else {
        for object in before.items {
            let name = object.metadata.name.unwrap_or_default();
            ignore_not_found(api.delete(&name, &params).await.map_err(Error::from))?;
        }
    }
    let after = api.list_metadata(&page).await?;
    let more = usize::try_from(after.metadata.remaining_item_count.unwrap_or(0)).unwrap_or(0);
    let count = after.items.len() + more;
    let finalizers = after.items.into_iter().flat_map(|o| o.metadata.finalizers.unwrap_or_default()).collect();
    Ok((count > 0).then(|| Left { resource: named(resource), count, finalizers }))
}

/// `pods.` and `deployments.apps`, as upstream's messages name resources.
fn named(resource: &Resource) -> String {
    format!("{}.{}", resource.plural, resource.group)
}

fn set_conditions(status: &mut NamespaceStatus, pass: &Pass, now: Timestamp) {
    let join = |messages: &[String]| messages.join(", ");
    let (failed, cleaned) = (&pass.discovery_failures, "All resources successfully discovered");
    let discovery = (!failed.is_empty()).then(|| {
        (
            "DiscoveryFailed",
            format!(
                "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
                failed.len(),
                join(failed)
            ),
        )
    });
    set(status, "NamespaceDeletionDiscoveryFailure", discovery, ("ResourcesDiscovered", cleaned), now);
    let parsed = "All legacy kube types successfully parsed";
    set(status, "NamespaceDeletionGroupVersionParsingFailure", None, ("ParsedGroupVersions", parsed), now);
    let failed = &pass.delete_failures;
    let content = (!failed.is_empty()).then(|| {
        (
            "ContentDeletionFailed",
            format!("Failed to delete all resource types, {} remaining: {}", failed.len(), join(failed)),
        )
    });
    let deleted = "All content successfully deleted, may be waiting on finalization";
    set(status, "NamespaceDeletionContentFailure", content, ("ContentDeleted", deleted), now);
    let left: Vec<String> =
        pass.left.iter().map(|l| format!("{} has {} resource instances", l.resource, l.count)).collect();
    let remain =
        (!left.is_empty()).then(|| ("SomeResourcesRemain", format!("Some resources are remaining: {}", join(&left))));
    set(status, "NamespaceContentRemaining", remain, ("ContentRemoved", "All content successfully removed"), now);
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for finalizer in pass.left.iter().flat_map(|l| &l.finalizers) {
        *finalizers.entry(finalizer).or_default() += 1;
    }
    let held: Vec<String> = finalizers.iter().map(|(f, n)| format!("{f} in {n} resource instances")).collect();
    let remain = (!held.is_empty()).then(|| {
        ("SomeFinalizersRemain", format!("Some content in the namespace has finalizers remaining: {}", join(&held)))
    });
    let none = ("ContentHasNoFinalizers", "All content-preserving finalizers finished");
    set(status, "NamespaceFinalizersRemaining", remain, none, now);
}

/// Sets a condition True with the trouble, or False with the all-clear.
fn set(
    status: &mut NamespaceStatus,
    type_: &str,
    trouble: Option<(&str, String)>,
    clear: (&str, &str),
    now: Timestamp,
) {
    let state = if trouble.is_some() { "True" } else { "False" };
    let (reason, message) = trouble.unwrap_or((clear.0, clear.1.to_owned()));
    let conditions = status.conditions.get_or_insert_default();
    let old = conditions.iter_mut().find(|c| c.type_ == type_);
    let mut new = NamespaceCondition {
        type_: type_.into(),
        status: state.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_transition_time: Some(Time(now)),
    };
    match old {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.take();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_what_remains_and_why() {
        let mut status = NamespaceStatus::default();
        let left = vec![
            Left { resource: "pods.".into(), count: 2, finalizers: vec!["a/b".into(), "a/b".into()] },
            Left { resource: "jobs.batch".into(), count: 1, finalizers: vec![] },
        ];
        let pass = Pass { left, ..Default::default() };
        set_conditions(&mut status, &pass, Timestamp::UNIX_EPOCH);
        let find =
            |s: &NamespaceStatus, t: &str| s.conditions.iter().flatten().find(|c| c.type_ == t).cloned().unwrap();
        let remaining = find(&status, "NamespaceContentRemaining");
        assert_eq!(remaining.status, "True");
        let expect =
            "Some resources are remaining: pods. has 2 resource instances, jobs.batch has 1 resource instances";
        assert_eq!(remaining.message.as_deref(), Some(expect));
        let held = find(&status, "NamespaceFinalizersRemaining");
        let expect = "Some content in the namespace has finalizers remaining: a/b in 2 resource instances";
        assert_eq!(held.message.as_deref(), Some(expect));
        assert_eq!(find(&status, "NamespaceDeletionContentFailure").status, "False");

        let later = Timestamp::UNIX_EPOCH + Duration::from_secs(9);
        set_conditions(&mut status, &Pass::default(), later);
        assert_eq!(find(&status, "NamespaceContentRemaining").last_transition_time, Some(Time(later)));
        let unchanged = find(&status, "NamespaceDeletionContentFailure");
        assert_eq!(unchanged.last_transition_time, Some(Time(Timestamp::UNIX_EPOCH)));
        assert_eq!(status.conditions.unwrap().len(), 5);
    }
}
