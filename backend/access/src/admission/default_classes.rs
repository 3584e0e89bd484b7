//! `DefaultStorageClass` and `DefaultIngressClass`: a claim or an Ingress that names no class gets the default one.

use std::cmp::Reverse;

use pilothouse_api::Status;
use serde_json::{Value, json};

use super::object::{annotation, map_at};
use super::{Context, Plugin, Request};
use crate::{name_of, text};

pub(super) const STORAGE: Plugin = Plugin { name: "DefaultStorageClass", admit: Some(storage), validate: None };
pub(super) const INGRESS: Plugin = Plugin { name: "DefaultIngressClass", admit: Some(ingress), validate: None };

/// Of several defaults the newest, then the first by name.
fn default_class(context: &Context<'_>, resource: &str, marks: &[&str]) -> Option<String> {
    let marked = |class: &Value| marks.iter().any(|mark| annotation(class, mark) == Some("true"));
    let mut all = context.reader.list(resource, None);
    all.retain(|class| marked(class));
    // RFC 3339 in UTC sorts as text.
    let key =
        |class: &Value| (Reverse(text(class, "/metadata/creationTimestamp").to_owned()), name_of(class).to_owned());
    all.iter().min_by_key(|class| key(class)).map(|class| name_of(class).to_owned())
}

fn storage(context: &Context<'_>, request: &mut Request) -> Result<(), Status> {
    let creates = request.creates("", "persistentvolumeclaims");
    let Some(claim) = request.object.as_mut().filter(|_| creates) else { return Ok(()) };
    // An empty name is a choice: no class at all.
    let chosen = claim.pointer("/spec/storageClassName").is_some_and(|name| !name.is_null());
    if chosen || annotation(claim, "volume.beta.kubernetes.io/storage-class").is_some() {
        return Ok(());
    }
    let marks = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    if let Some(name) = default_class(context, "storageclasses.storage.k8s.io", &marks) {
        map_at(claim, &["spec"]).insert("storageClassName".into(), json!(name));
    }
    Ok(())
}

fn ingress(context: &Context<'_>, request: &mut Request) -> Result<(), Status> {
    let creates = request.creates("networking.k8s.io", "ingresses");
    let Some(ingress) = request.object.as_mut().filter(|_| creates) else { return Ok(()) };
    let chosen = ingress.pointer("/spec/ingressClassName").is_some_and(|name| !name.is_null());
    if chosen || annotation(ingress, "kubernetes.io/ingress.class").is_some() {
        return Ok(());
    }
    let marks = ["ingressclass.kubernetes.io/is-default-class"];
    if let Some(name) = default_class(context, "ingressclasses.networking.k8s.io", &marks) {
        map_at(ingress, &["spec"]).insert("ingressClassName".into(), json!(name));
    }
    Ok(())
}
