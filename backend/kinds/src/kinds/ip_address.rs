//! IPAddress: an allocated cluster IP; its name is the address.

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names, status,
};
use serde_json::Value;

use crate::{
    checks::{immutable, push_all, required},
    columns::{AGE, Column, NAME, age, name},
    strategy::Strategy,
    value::Look,
};

pub(crate) static STRATEGY: Strategy = Strategy {
    name: |name, _| names::is_canonical_ip(name),
    validate,
    validate_update: |new, old, errors| {
        if new.at("spec.parentRef") != old.at("spec.parentRef") {
            validate(new, errors);
        }
        immutable(new.at("spec.parentRef"), old.at("spec.parentRef"), &Path::new("spec").child("parentRef"), errors);
    },
    columns: &[NAME, Column::text("ParentRef"), AGE],
    row,
    ..Strategy::PLAIN
};

fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let parent = object.at("spec.parentRef");
    let text = if parent.is_object() {
        let mut text = status::group_resource(parent.text("group"), parent.text("resource")).to_lowercase();
        if !parent.text("namespace").is_empty() {
            text = format!("{text}/{}", parent.text("namespace"));
        }
        format!("{text}/{}", parent.text("name"))
    } else {
        "<none>".to_owned()
    };
    vec![name(object), text.into(), age(object, now)]
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let (parent, path) = (object.at("spec.parentRef"), Path::new("spec").child("parentRef"));
    if parent.is_null() {
        return errors.push(Error::required(path, ""));
    }
    let group = parent.text("group");
    if !group.is_empty() {
        push_all(names::is_dns1123_subdomain(group), group, &path.child("group"), errors);
    }
    let namespace = parent.text("namespace");
    if !namespace.is_empty() {
        push_all(names::is_path_segment_name(namespace), namespace, &path.child("namespace"), errors);
    }
    for key in ["resource", "name"] {
        if required(parent, &path, key, errors) {
            push_all(names::is_path_segment_name(parent.text(key)), parent.text(key), &path.child(key), errors);
        }
    }
}
