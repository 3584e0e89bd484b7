//! Owner references: who controls an object, and whether a controller may take it or must let it go.
//! Source: <https://kubernetes.io/docs/concepts/overview/working-with-objects/owners-dependents/>

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Api;
use kube::api::{ObjectMeta, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cache::Cached;
use crate::error::{Error, Result};
use crate::selector::Selector;

pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|o| o.controller == Some(true))
}

/// The reference by which `owner` controls an object.
pub fn controller_ref<K: Cached>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Controlled and selected.
    Own,
    /// Selected, and nobody's: to be adopted.
    Adopt,
    /// Controlled but selected no more: to be released.
    Release,
    Ignore,
}

/// What an object is to the controller with this uid and selector.
pub fn claim(owner_uid: &str, owner_deleting: bool, selector: &Selector, object: &ObjectMeta) -> Claim {
    match controller_of(object) {
        Some(owner) if owner.uid == owner_uid => match selector.matches_meta(object) {
            true => Claim::Own,
            false if owner_deleting => Claim::Ignore,
            false => Claim::Release,
        },
        Some(_) => Claim::Ignore,
        None if owner_deleting || object.deletion_timestamp.is_some() || !selector.matches_meta(object) => {
            Claim::Ignore
        }
        None => Claim::Adopt,
    }
}

/// A merge patch that sets the owner references, bound to the state they were derived from.
fn references_patch(meta: &ObjectMeta, references: &[OwnerReference]) -> Value {
    let references = if references.is_empty() { Value::Null } else { json!(references) };
    json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "ownerReferences": references}})
}

/// Makes `owner` the controller of `object`, if the owner still exists as we know it.
pub async fn adopt<O: Cached, K: Cached>(owners: &Api<O>, owner: &O, api: &Api<K>, object: &K) -> Result<K> {
    // A deleted and recreated owner of the same name must not adopt on behalf of the old one.
    let live = owners.get(owner.meta().name.as_deref().unwrap_or_default()).await?;
    if live.meta().uid != owner.meta().uid {
        return Err(Error::stale("the owner has been replaced by another of the same name"));
    }
    if live.meta().deletion_timestamp.is_some() {
        return Err(Error::stale("the owner has just been deleted"));
    }
    let mut references = object.meta().owner_references.clone().unwrap_or_default();
    references.retain(|r| Some(&r.uid) != owner.meta().uid.as_ref());
    references.push(controller_ref(owner));
    patch(api, object, &references_patch(object.meta(), &references)).await
}

/// Gives `object` up: `owner` controls it no more.
pub async fn release<O: Cached, K: Cached>(owner: &O, api: &Api<K>, object: &K) -> Result<()> {
    let mut references = object.meta().owner_references.clone().unwrap_or_default();
    references.retain(|r| Some(&r.uid) != owner.meta().uid.as_ref());
    match patch(api, object, &references_patch(object.meta(), &references)).await {
        Err(error) if error.is_not_found() => Ok(()),
        other => other.map(|_| ()),
    }
}

async fn patch<K: Cached>(api: &Api<K>, object: &K, patch: &Value) -> Result<K> {
    let name = object.meta().name.as_deref().unwrap_or_default();
    Ok(api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

    use super::*;

    #[test]
    fn claims() {
        let selector = Selector::new(&LabelSelector {
            match_labels: Some([("app".to_owned(), "web".to_owned())].into()),
            ..Default::default()
        })
        .unwrap();
        let object = |app: &str, owner: Option<&str>, deleting: bool| ObjectMeta {
            labels: Some([("app".to_owned(), app.to_owned())].into()),
            owner_references: owner
                .map(|uid| vec![OwnerReference { uid: uid.into(), controller: Some(true), ..Default::default() }]),
            deletion_timestamp: deleting.then(|| jiff::Timestamp::UNIX_EPOCH.into()),
            ..Default::default()
        };
        for (app, owner, object_deleting, owner_deleting, expect) in [
            ("web", Some("me"), false, false, Claim::Own),
            ("web", Some("me"), true, true, Claim::Own),
            ("db", Some("me"), false, false, Claim::Release),
            ("db", Some("me"), false, true, Claim::Ignore),
            ("web", Some("other"), false, false, Claim::Ignore),
            ("web", None, false, false, Claim::Adopt),
            ("web", None, true, false, Claim::Ignore),
            ("web", None, false, true, Claim::Ignore),
            ("db", None, false, false, Claim::Ignore),
        ] {
            let got = claim("me", owner_deleting, &selector, &object(app, owner, object_deleting));
            assert_eq!(got, expect, "{app} {owner:?} {object_deleting} {owner_deleting}");
        }
    }
}
