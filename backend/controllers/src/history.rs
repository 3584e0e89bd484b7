//! The history of pod templates that DaemonSets and StatefulSets keep in ControllerRevisions.
//!
//! Invariants:
//! - One revision per template: going back to an old template raises its revision's number.
//! - The form of `data` is an interface: `kubectl rollout history` and `undo` read and apply it as a patch.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use serde_json::{Value, json};

use crate::cache::{Cached, LAST_APPLIED};
use crate::error::{Error, Result, ignore_not_found};
use crate::expectations::Expectations;
use crate::key::Key;
use crate::owner::{self, Claim};
use crate::run::Context;
use crate::selector::Selector;
use crate::template_hash::hash;
use crate::write;

/// On pods and revisions: which template they are of.
pub const REVISION_HASH: &str = "controller-revision-hash";
/// Names tried when the hash of another template has taken one.
const MAX_COLLISIONS: i32 = 20;

/// The owner's revisions, oldest first, and which of them is the present template's.
#[derive(Debug)]
pub struct History {
    pub all: Vec<Arc<ControllerRevision>>,
    pub present: Arc<ControllerRevision>,
    pub collisions: Option<i32>,
}

/// Who keeps a history here.
pub struct Keeper<'a, O> {
    pub cx: &'a Context,
    pub expect: &'a Expectations,
    pub owner: &'a O,
    pub key: &'a Key,
    pub selector: &'a Selector,
    pub template: &'a PodTemplateSpec,
    pub collisions: Option<i32>,
}

pub fn name(revision: &ControllerRevision) -> &str {
    revision.metadata.name.as_deref().unwrap_or_default()
}

pub fn hash_of(revision: &ControllerRevision) -> &str {
    let label = revision.metadata.labels.as_ref().and_then(|l| l.get(REVISION_HASH));
    label.map(String::as_str).unwrap_or_default()
}

/// The template a revision holds.
pub fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.as_ref()?.0.pointer("/spec/template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

/// A strategic merge patch that brings the template back, whatever there is by then.
fn data(template: &PodTemplateSpec) -> Result<Value> {
    let mut template = serde_json::to_value(template).map_err(|e| Error::invalid(e.to_string()))?;
    template["$patch"] = "replace".into();
    Ok(json!({"spec": {"template": template}}))
}

fn sort(revisions: &mut [Arc<ControllerRevision>]) {
    revisions.sort_by(|a, b| {
        let created = |r: &ControllerRevision| r.metadata.creation_timestamp.clone();
        a.revision.cmp(&b.revision).then_with(|| created(a).cmp(&created(b))).then_with(|| name(a).cmp(name(b)))
    });
}

impl<O: Cached + kube::Resource<Scope = NamespaceResourceScope>> Keeper<'_, O> {
    fn api(&self) -> Api<ControllerRevision> {
        Api::namespaced(self.cx.client.clone(), &self.key.namespace)
    }

    /// The owner's revisions, with one for the present template, made if there was none.
    pub async fn sync(&self) -> Result<History> {
        let mut all = self.claim().await?;
        sort(&mut all);
        let wanted = data(self.template)?;
        let next = all.last().map_or(0, |last| last.revision) + 1;
        let same = |r: &&Arc<ControllerRevision>| r.data.as_ref().is_some_and(|d| d.0 == wanted);
        let (present, collisions) = match all.iter().rfind(same).cloned() {
            Some(present) if all.last().is_some_and(|last| last.metadata.uid == present.metadata.uid) => {
                (present, self.collisions)
            }
            Some(old) => {
                let mut new = (*old).clone();
                new.revision = next;
                let written = write::update(&self.api(), &*old, &new).await?.unwrap_or(new);
                self.expect.written(self.key, &written.metadata);
                let written = Arc::new(written);
                all.retain(|r| r.metadata.uid != written.metadata.uid);
                all.push(written.clone());
                (written, self.collisions)
            }
            None => {
                let (created, collisions) = self.create(wanted, next).await?;
                let created = Arc::new(created);
                all.push(created.clone());
                (created, collisions)
            }
        };
        Ok(History { all, present, collisions })
    }

    async fn claim(&self) -> Result<Vec<Arc<ControllerRevision>>> {
        let meta = self.owner.meta();
        let (uid, deleting) = (meta.uid.as_deref().unwrap_or_default(), meta.deletion_timestamp.is_some());
        let owners: Api<O> = Api::namespaced(self.cx.client.clone(), &self.key.namespace);
        let cache = &self.cx.caches.controller_revisions;
        let mut mine = Vec::new();
        for revision in cache.owned_by(uid).into_iter().chain(cache.orphans(&self.key.namespace)) {
            match owner::claim(uid, deleting, self.selector, &revision.metadata) {
                Claim::Own => mine.push(revision),
                Claim::Adopt => {
                    let adopted = owner::adopt(&owners, self.owner, &self.api(), &*revision).await;
                    mine.extend(ignore_not_found(adopted)?.map(Arc::new));
                }
                Claim::Release => owner::release(self.owner, &self.api(), &*revision).await?,
                Claim::Ignore => {}
            }
        }
        Ok(mine)
    }

    async fn create(&self, data: Value, revision: i64) -> Result<(ControllerRevision, Option<i32>)> {
        let mut collisions = self.collisions;
        let mut annotations = self.owner.meta().annotations.clone().unwrap_or_default();
        annotations.remove(LAST_APPLIED);
        for _ in 0..MAX_COLLISIONS {
            let hash = hash(&data, collisions);
            let name = format!("{}-{hash}", self.key.name);
            let mut labels = self.template.metadata.as_ref().and_then(|m| m.labels.clone()).unwrap_or_default();
            labels.insert(REVISION_HASH.into(), hash);
            let metadata = ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(self.key.namespace.to_string()),
                labels: Some(labels),
                annotations: Some(annotations.clone()),
                owner_references: Some(vec![owner::controller_ref(self.owner)]),
                ..Default::default()
            };
            let new = ControllerRevision { metadata, data: Some(RawExtension(data.clone())), revision };
            match self.api().create(&PostParams::default(), &new).await.map_err(Error::from) {
                Ok(created) => {
                    self.expect.written(self.key, &created.metadata);
                    return Ok((created, collisions));
                }
                Err(error) if error.is_already_exists() => {
                    let there = self.api().get(&name).await?;
                    let ours = owner::controller_of(&there.metadata).map(|o| &o.uid);
                    if ours == self.owner.meta().uid.as_ref() && there.data.as_ref().is_some_and(|d| d.0 == data) {
                        return Ok((there, collisions));
                    }
                    collisions = Some(collisions.unwrap_or(0) + 1);
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::stale("every name for a new revision is taken"))
    }

    /// Removes the oldest revisions beyond `limit` that nothing is made of any more.
    pub async fn trim(&self, history: &History, live: &BTreeSet<&str>, limit: i32) -> Result<()> {
        for old in surplus(history, live, limit) {
            let preconditions = Some(Preconditions { uid: old.metadata.uid.clone(), resource_version: None });
            let params = DeleteParams { preconditions, ..Default::default() };
            let deleted = self.api().delete(name(old), &params).await.map_err(Error::from);
            if ignore_not_found(deleted)?.is_some() {
                self.expect.deleted(self.key, &old.metadata);
            }
        }
        Ok(())
    }
}

/// `live`: names or hashes of revisions that are in use.
fn surplus<'a>(history: &'a History, live: &BTreeSet<&str>, limit: i32) -> Vec<&'a Arc<ControllerRevision>> {
    let used = |r: &ControllerRevision| live.contains(name(r)) || live.contains(hash_of(r));
    let dead: Vec<_> =
        history.all.iter().filter(|r| r.metadata.uid != history.present.metadata.uid && !used(r)).collect();
    let surplus = dead.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    dead.into_iter().take(surplus).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(name: &str, number: i64) -> Arc<ControllerRevision> {
        let metadata = ObjectMeta {
            name: Some(name.into()),
            uid: Some(name.into()),
            labels: Some([(REVISION_HASH.to_owned(), format!("hash-{name}"))].into()),
            ..Default::default()
        };
        Arc::new(ControllerRevision { metadata, data: None, revision: number })
    }

    #[test]
    fn the_oldest_unused_revisions_are_surplus() {
        let mut all = vec![revision("c", 3), revision("a", 1), revision("d", 4), revision("b", 2), revision("e", 5)];
        sort(&mut all);
        let history = History { present: all[4].clone(), all, collisions: None };
        let names = |live: &[&str], limit| {
            let live = live.iter().copied().collect();
            surplus(&history, &live, limit).iter().map(|r| name(r).to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&[], 2), "a b");
        assert_eq!(names(&["a", "hash-b"], 1), "c");
        assert_eq!(names(&[], 0), "a b c d");
        assert_eq!(names(&[], 10), "");
    }

    #[test]
    fn a_revision_holds_its_template() {
        let template: PodTemplateSpec =
            serde_json::from_value(json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}})).unwrap();
        let mut holder = (*revision("a", 1)).clone();
        holder.data = Some(RawExtension(data(&template).unwrap()));
        assert_eq!(holder.data.as_ref().unwrap().0["spec"]["template"]["$patch"], "replace");
        assert_eq!(super::template(&holder), Some(template));
    }
}
