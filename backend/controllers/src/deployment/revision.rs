//! Revisions: which ReplicaSet is the current template's, the numbers in annotations, and how many are kept.
//! The annotations are an interface: `kubectl rollout history` and `undo` read them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use kube::api::ObjectMeta;

use super::plan::{Limits, Set, Sets};
use super::{progress, rolling};
use crate::cache::LAST_APPLIED;
use crate::template_hash::hash;
use crate::{owner, pods};

pub const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
pub const HASH_LABEL: &str = "pod-template-hash";
/// Not taken over from the Deployment to its ReplicaSets.
const OWN_ANNOTATIONS: [&str; 6] = [LAST_APPLIED, REVISION, HISTORY, DESIRED, MAX, ROLLBACK_TO];
/// Keeps the list of former revisions within reason.
const MAX_HISTORY: usize = 2000;

fn number<T: std::str::FromStr>(meta: &ObjectMeta, annotation: &str) -> Option<T> {
    meta.annotations.as_ref()?.get(annotation)?.parse().ok()
}

/// The Deployment's size for which a ReplicaSet was last sized.
pub fn desired(meta: &ObjectMeta) -> Option<i32> {
    number(meta, DESIRED)
}

/// The Deployment's size with surge at that time.
pub fn max_replicas(meta: &ObjectMeta) -> Option<i32> {
    number(meta, MAX)
}

pub fn remember_size(meta: &mut ObjectMeta, limits: &Limits) {
    let annotations = meta.annotations.get_or_insert_default();
    annotations.insert(DESIRED.into(), limits.replicas.to_string());
    annotations.insert(MAX.into(), limits.max_total().to_string());
}

/// Whether a ReplicaSet's template is the Deployment's, the hash label apart.
pub fn same_template(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let Some(wanted) = deployment.spec.as_ref().map(|s| &s.template) else { return false };
    let Some(have) = set.spec.as_ref().and_then(|s| s.template.as_ref()) else { return false };
    let plain = |labels: Option<&BTreeMap<String, String>>| {
        let mut labels = labels.cloned().unwrap_or_default();
        labels.remove(HASH_LABEL);
        labels
    };
    let (a, b) = (wanted.metadata.as_ref(), have.metadata.as_ref());
    let annotations = |m: Option<&ObjectMeta>| m.and_then(|m| m.annotations.clone()).unwrap_or_default();
    wanted.spec == have.spec
        && plain(a.and_then(|m| m.labels.as_ref())) == plain(b.and_then(|m| m.labels.as_ref()))
        && annotations(a) == annotations(b)
}

fn max_old_revision(sets: &Sets) -> i64 {
    sets.old.iter().filter_map(|s| number(&s.after.metadata, REVISION)).max().unwrap_or(0)
}

/// Gives the current template's ReplicaSet the highest revision, and the Deployment the same number.
pub fn sync(deployment: &mut Deployment, sets: &mut Sets, now: Timestamp) {
    let revision = max_old_revision(sets) + 1;
    let Some(new) = &mut sets.new else { return };
    annotate(&mut new.after.metadata, deployment, revision);
    let min_ready = deployment.spec.as_ref().and_then(|s| s.min_ready_seconds);
    if let Some(spec) = &mut new.after.spec {
        spec.min_ready_seconds = min_ready;
    }
    let revision: Option<i64> = number(&new.after.metadata, REVISION);
    if let Some(revision) = revision {
        deployment.metadata.annotations.get_or_insert_default().insert(REVISION.into(), revision.to_string());
    }
    let status = deployment.status.get_or_insert_default();
    let known = status.conditions.iter().flatten().any(|c| c.type_ == "Progressing");
    if !known && deployment.spec.as_ref().is_some_and(progress::spec_has_deadline) {
        let message = format!("Found new replica set {:?}", new.name());
        progress::set_condition(
            status,
            progress::condition("Progressing", "True", "FoundNewReplicaSet", &message, now),
        );
    }
}

/// Takes over the Deployment's annotations and raises the revision.
fn annotate(meta: &mut ObjectMeta, deployment: &Deployment, revision: i64) {
    let annotations = meta.annotations.get_or_insert_default();
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !OWN_ANNOTATIONS.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    let old = annotations.get(REVISION).cloned();
    let old_number: i64 = old.as_deref().and_then(|r| r.parse().ok()).unwrap_or(0);
    if old_number >= revision {
        return;
    }
    annotations.insert(REVISION.into(), revision.to_string());
    if let Some(old) = old {
        // Rolled back to: the revisions it had before stay known.
        let history = annotations.entry(HISTORY.into()).or_default();
        if !history.is_empty() {
            history.push(',');
        }
        history.push_str(&old);
        while history.len() > MAX_HISTORY {
            match history.find(',') {
                Some(at) => drop(history.drain(..=at)),
                None => break,
            }
        }
    }
}

/// The ReplicaSet of a template that has none, sized as the strategy allows. Notes the revision and the progress.
pub fn new_set(deployment: &mut Deployment, sets: &Sets, limits: &Limits, now: Timestamp) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let collisions = deployment.status.as_ref().and_then(|s| s.collision_count);
    let hash = hash(&spec.template, collisions);
    let mut template = spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.into(), hash.clone());
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.into(), hash.clone());
    let labels = labels.clone();
    let name = format!("{}{hash}", pods::generate_name(deployment.metadata.name.as_deref().unwrap_or_default()));
    let mut metadata = ObjectMeta {
        name: Some(name.clone()),
        namespace: deployment.metadata.namespace.clone(),
        labels: Some(labels),
        owner_references: Some(vec![owner::controller_ref(deployment)]),
        ..Default::default()
    };
    let revision = max_old_revision(sets) + 1;
    annotate(&mut metadata, deployment, revision);
    remember_size(&mut metadata, limits);
    deployment.metadata.annotations.get_or_insert_default().insert(REVISION.into(), revision.to_string());
    if progress::spec_has_deadline(&spec) {
        let message = format!("Created new replica set {name:?}");
        let condition = progress::condition("Progressing", "True", "NewReplicaSetCreated", &message, now);
        progress::set_condition(deployment.status.get_or_insert_default(), condition);
    }
    ReplicaSet {
        metadata,
        spec: Some(ReplicaSetSpec {
            replicas: Some(rolling::new_size(sets.total(), 0, limits)),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

/// The old ReplicaSets beyond `revisionHistoryLimit` that nothing runs in.
pub fn surplus(deployment: &Deployment, sets: &Sets) -> Vec<Arc<ReplicaSet>> {
    let limit = deployment.spec.as_ref().and_then(|s| s.revision_history_limit).unwrap_or(10);
    let mut alive: Vec<&Set> = sets.old.iter().filter(|s| s.before.metadata.deletion_timestamp.is_none()).collect();
    let excess = alive.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    alive.sort_by_key(|s| number::<i64>(&s.before.metadata, REVISION).unwrap_or(0));
    let idle = |set: &&Set| {
        let status = set.before.status.clone().unwrap_or_default();
        status.replicas == 0
            && set.replicas() == 0
            && set.before.spec.as_ref().is_some_and(|s| s.replicas == Some(0))
            && set.before.metadata.generation <= status.observed_generation
    };
    alive.into_iter().take(excess).filter(idle).map(|s| s.before.clone()).collect()
}
