//! Keeps storage that is in use: what is deleted stays until nobody uses it, then its finalizer goes. Admission puts the
//! finalizers on.
//! Source: <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection>

pub mod attributes_classes;
pub mod claims;
pub mod volumes;

use kube::Api;
use kube::api::ObjectMeta;
use serde::Serialize;

use crate::cache::Cached;
use crate::error::{Result, ignore_not_found};
use crate::write;

/// On its way out, and held by this finalizer.
fn is_held(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.deletion_timestamp.is_some() && meta.finalizers.iter().flatten().any(|f| f == finalizer)
}

async fn let_go<K: Cached + Serialize>(api: &Api<K>, object: &K, finalizer: &str) -> Result<()> {
    let mut new = object.clone();
    let mut finalizers = new.meta_mut().finalizers.take().unwrap_or_default();
    finalizers.retain(|f| f != finalizer);
    new.meta_mut().finalizers = (!finalizers.is_empty()).then_some(finalizers);
    ignore_not_found(write::update(api, object, &new).await)?;
    Ok(())
}
