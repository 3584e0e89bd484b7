//! `StorageObjectInUseProtection`: claims and volumes in use stay until they are not.

use pilothouse_api::Status;
use serde_json::json;

use super::object::list_at;
use super::{Context, Operation, Plugin, Request};

pub(super) const PLUGIN: Plugin = Plugin { name: "StorageObjectInUseProtection", admit: Some(admit), validate: None };

fn admit(_: &Context<'_>, request: &mut Request) -> Result<(), Status> {
    if request.operation != Operation::Create || !request.subresource.is_empty() {
        return Ok(());
    }
    let finalizer = match (request.group.as_str(), request.resource.as_str()) {
        ("", "persistentvolumeclaims") => "kubernetes.io/pvc-protection",
        ("", "persistentvolumes") => "kubernetes.io/pv-protection",
        ("storage.k8s.io", "volumeattributesclasses") => "kubernetes.io/vac-protection",
        _ => return Ok(()),
    };
    if let Some(object) = &mut request.object {
        let list = list_at(object, &["metadata", "finalizers"]);
        if !list.iter().any(|known| known == finalizer) {
            list.push(json!(finalizer));
        }
    }
    Ok(())
}
