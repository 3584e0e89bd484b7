//! Namespace. Source: <https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::{Value, json};

use crate::{
    checks::push_all,
    columns::{AGE, Column, NAME, age, name},
    meta::finalizer_domain,
    strategy::{Field, Strategy, label_name},
    value::{Look, MapExt, child, object},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    name: label_name,
    default,
    prepare_create,
    prepare_update: |new, old| new.keep(old, "spec"),
    prepare_subresource_update,
    validate: |namespace, errors| finalizers(namespace, false, errors),
    validate_status_update,
    validate_subresource_update: |new, _, _, errors| finalizers(new, true, errors),
    columns: &[NAME, Column::text("Status"), AGE],
    row,
    fields: &[Field::path("status.phase")],
    ..Strategy::PLAIN
};

/// The label every namespace carries, so that selectors can name it.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// The finalizer behind which the namespace's contents are deleted.
pub const FINALIZER: &str = "kubernetes";

fn row(namespace: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(namespace), namespace.text("status.phase").into(), age(namespace, now)]
}

fn default(namespace: &mut Value) {
    let name = namespace.text("metadata.name").to_owned();
    if !name.is_empty() {
        child(object(namespace, "metadata"), "labels").insert(NAME_LABEL.into(), name.into());
    }
    object(namespace, "status").or_set("phase", "Active");
}

fn prepare_create(namespace: &mut Value) {
    default(namespace);
    if let Some(map) = namespace.as_object_mut() {
        map.insert("status".into(), json!({"phase": "Active"}));
    }
    let spec = object(namespace, "spec");
    let have = spec.entry("finalizers").or_insert_with(|| json!([]));
    if let Some(list) = have.as_array_mut()
        && !list.iter().any(|finalizer| finalizer == FINALIZER)
    {
        list.push(FINALIZER.into());
    }
}

/// `finalize` changes the finalizers and nothing else.
fn prepare_subresource_update(new: &mut Value, old: &Value, _subresource: &str) {
    new.keep(old, "status");
}

fn finalizers(namespace: &Value, with_index: bool, errors: &mut ErrorList) {
    let path = Path::new("spec").child("finalizers");
    for (index, finalizer) in namespace.texts("spec.finalizers").enumerate() {
        let path = if with_index { path.index(index) } else { path.clone() };
        push_all(names::is_qualified_name(finalizer), finalizer, &path, errors);
        finalizer_domain(finalizer, path, errors);
    }
}

fn validate_status_update(new: &Value, _old: &Value, errors: &mut ErrorList) {
    let (phase, path) = (new.text("status.phase"), Path::new("status").child("Phase"));
    let deleting = new.has("metadata.deletionTimestamp");
    if !deleting && phase != "Active" {
        errors.push(Error::invalid(path, phase, "may only be 'Active' if `deletionTimestamp` is empty"));
    } else if deleting && phase != "Terminating" {
        errors.push(Error::invalid(path, phase, "may only be 'Terminating' if `deletionTimestamp` is not empty"));
    }
}

/// Is there nothing left that must be finalized?
pub fn is_finalized(namespace: &Value) -> bool {
    namespace.list("spec.finalizers").is_empty()
}
