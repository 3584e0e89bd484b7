//! `PersistentVolumeClaimResize`: a claim grows only when it is bound and its class can.

use pilothouse_api::Status;
use pilothouse_api::quantity::Quantity;
use serde_json::Value;

use super::object::{annotation, is_true};
use super::{Context, Notes, Plugin, Request};
use crate::text;

pub(super) const PLUGIN: Plugin = Plugin { name: "PersistentVolumeClaimResize", admit: None, validate: Some(validate) };

fn size(claim: &Value) -> Quantity {
    Quantity::parse(text(claim, "/spec/resources/requests/storage")).unwrap_or_default()
}

fn class(claim: &Value) -> &str {
    annotation(claim, "volume.beta.kubernetes.io/storage-class")
        .unwrap_or_else(|| text(claim, "/spec/storageClassName"))
}

fn validate(context: &Context<'_>, request: &Request, _: &mut Notes) -> Result<(), Status> {
    if !request.updates("", "persistentvolumeclaims") {
        return Ok(());
    }
    let (Some(new), Some(old)) = (&request.object, &request.old) else { return Ok(()) };
    if size(new) <= size(old) {
        return Ok(());
    }
    if text(old, "/status/phase") != "Bound" {
        return Err(request.forbidden("Only bound persistent volume claims can be expanded"));
    }
    let name = class(new);
    let storage = context.reader.get("storageclasses.storage.k8s.io", "", name);
    let grows = storage.is_some_and(|storage| is_true(&storage, "/allowVolumeExpansion"));
    if name.is_empty() || name != class(old) || !grows {
        return Err(request.forbidden(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
             support resize",
        ));
    }
    Ok(())
}
