//! Validation of `metadata`, the same for every kind, in upstream's words.
//! Source: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/>

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    limits, names,
};
use serde_json::Value;

use crate::{
    checks::immutable,
    strategy::NameRule,
    value::{Look, MapExt, object},
};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
const MANAGER_MAX: usize = 128;
const SUBRESOURCE_MAX: usize = 256;

/// What is wrong with the metadata of a new object.
pub fn validate_meta(object: &Value, namespaced: bool, rule: NameRule) -> ErrorList {
    let path = Path::new("metadata");
    let metadata = object.at("metadata");
    let mut errors = ErrorList::new();
    let generate = metadata.text("generateName");
    if !generate.is_empty() {
        errors
            .extend(rule(generate, true).into_iter().map(|e| Error::invalid(path.child("generateName"), generate, e)));
    }
    match metadata.text("name") {
        "" => errors.push(Error::required(path.child("name"), "name or generateName is required")),
        name => errors.extend(rule(name, false).into_iter().map(|e| Error::invalid(path.child("name"), name, e))),
    }
    match (metadata.text("namespace"), namespaced) {
        ("", true) => errors.push(Error::required(path.child("namespace"), "")),
        (namespace, true) => {
            let wrong = names::is_dns1123_label(namespace);
            errors.extend(wrong.into_iter().map(|e| Error::invalid(path.child("namespace"), namespace, e)));
        }
        ("", false) => {}
        (_, false) => errors.push(Error::forbidden(path.child("namespace"), "not allowed on this type")),
    }
    if let Some(generation) = metadata.int("generation").filter(|g| *g < 0) {
        errors.push(Error::invalid(path.child("generation"), generation, "must be greater than or equal to 0"));
    }
    validate_common(metadata, &path, &mut errors);
    validate_finalizers(metadata, &path.child("finalizers"), &mut errors);
    errors
}

/// What is wrong with the metadata of an object within another, of which it need not have any.
pub(crate) fn validate_embedded(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    let rules: [(&str, fn(&str) -> Vec<String>); 2] =
        [("name", names::is_path_segment_name), ("generateName", names::is_path_segment_prefix)];
    for (key, rule) in rules {
        let wrong = rule(metadata.text(key)).into_iter();
        errors.extend(wrong.map(|e| Error::invalid(path.child(key), metadata.text(key), e)));
    }
    let namespace = metadata.text("namespace");
    if !namespace.is_empty() {
        let wrong = names::is_dns1123_label(namespace);
        errors.extend(wrong.into_iter().map(|e| Error::invalid(path.child("namespace"), namespace, e)));
    }
    if let Some(generation) = metadata.int("generation").filter(|g| *g < 0) {
        errors.push(Error::invalid(path.child("generation"), generation, "must be greater than or equal to 0"));
    }
    validate_common(metadata, path, errors);
    validate_finalizers(metadata, &path.child("finalizers"), errors);
}

/// What is wrong with the metadata of an update.
pub fn validate_meta_update(new: &Value, old: &Value) -> ErrorList {
    let path = Path::new("metadata");
    let (new, old) = (new.at("metadata"), old.at("metadata"));
    let mut errors = ErrorList::new();
    if old.has("deletionTimestamp") {
        let had: Vec<&str> = old.texts("finalizers").collect();
        let added: Vec<&str> = new.texts("finalizers").filter(|f| !had.contains(f)).collect();
        if !added.is_empty() {
            let quoted: Vec<String> = added.iter().map(|f| format!("{f:?}")).collect();
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                quoted.join(", ")
            );
            errors.push(Error::forbidden(path.child("finalizers"), detail));
        }
    }
    let generation = |metadata: &Value| metadata.int("generation").unwrap_or_default();
    if generation(new) < generation(old) {
        errors.push(Error::invalid(path.child("generation"), generation(new), "must not be decremented"));
    }
    for key in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        immutable(new.at(key), old.at(key), &path.child(key), &mut errors);
    }
    validate_common(new, &path, &mut errors);
    // Finalizers written before they had to be qualified names may stay.
    if new.at("finalizers") != old.at("finalizers") {
        validate_finalizers(new, &path.child("finalizers"), &mut errors);
    }
    errors
}

/// Labels, annotations, owners and managers: checked on every write.
fn validate_common(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    validate_labels(metadata.at("labels"), &path.child("labels"), errors);
    validate_annotations(metadata.at("annotations"), &path.child("annotations"), errors);
    validate_owners(metadata, &path.child("ownerReferences"), errors);
    for (index, entry) in metadata.list("managedFields").iter().enumerate() {
        let path = path.child("managedFields").index(index);
        let operation = entry.text("operation");
        if !matches!(operation, "Apply" | "Update") {
            errors.push(Error::invalid(path.child("operation"), operation, "must be `Apply` or `Update`"));
        }
        let fields_type = entry.text("fieldsType");
        if !matches!(fields_type, "" | "FieldsV1") {
            errors.push(Error::invalid(path.child("fieldsType"), fields_type, "must be `FieldsV1`"));
        }
        if entry.text("manager").len() > MANAGER_MAX {
            errors.push(Error::too_long(path.child("manager"), MANAGER_MAX));
        }
        if entry.text("subresource").len() > SUBRESOURCE_MAX {
            errors.push(Error::too_long(path.child("subresource"), SUBRESOURCE_MAX));
        }
    }
}

/// Keys and values of a map of labels.
pub(crate) fn validate_labels(labels: &Value, path: &Path, errors: &mut ErrorList) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        errors.extend(names::is_qualified_name(key).into_iter().map(|e| Error::invalid(path.clone(), key.as_str(), e)));
        let value = value.as_str().unwrap_or_default();
        errors.extend(names::is_label_value(value).into_iter().map(|e| Error::invalid(path.clone(), value, e)));
    }
}

/// Keys and total size of annotations.
pub(crate) fn validate_annotations(annotations: &Value, path: &Path, errors: &mut ErrorList) {
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        let wrong = names::is_qualified_name(&key.to_lowercase());
        errors.extend(wrong.into_iter().map(|e| Error::invalid(path.clone(), key.as_str(), e)));
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > limits::MAX_ANNOTATION_BYTES {
        errors.push(Error::too_long(path.clone(), limits::MAX_ANNOTATION_BYTES));
    }
}

fn validate_owners(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    let mut controller: Option<String> = None;
    for owner in metadata.list("ownerReferences") {
        let api_version = owner.text("apiVersion");
        if api_version.is_empty() || api_version.ends_with('/') || api_version.matches('/').count() > 1 {
            errors.push(Error::invalid(path.child("apiVersion"), api_version, "version must not be empty"));
        }
        for key in ["kind", "name", "uid"] {
            if owner.text(key).is_empty() {
                errors.push(Error::invalid(path.child(key), "", "must not be empty"));
            }
        }
        if api_version == "v1" && owner.text("kind") == "Event" {
            let detail = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(Error::invalid(path.clone(), owner.clone(), detail));
        }
        if owner.flag("controller") {
            let this = format!("{}/{}", owner.text("kind"), owner.text("name"));
            match &controller {
                Some(first) => {
                    let detail = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    );
                    errors.push(Error::invalid(path.clone(), metadata.at("ownerReferences").clone(), detail));
                }
                None => controller = Some(this),
            }
        }
    }
}

fn validate_finalizers(metadata: &Value, path: &Path, errors: &mut ErrorList) {
    let all: Vec<&str> = metadata.texts("finalizers").collect();
    for finalizer in &all {
        errors.extend(
            names::is_qualified_name(finalizer).into_iter().map(|e| Error::invalid(path.clone(), *finalizer, e)),
        );
    }
    if all.contains(&FOREGROUND) && all.contains(&ORPHAN) {
        let detail = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        errors.push(Error::invalid(path.clone(), metadata.at("finalizers").clone(), detail));
    }
}

/// Finalizers of built-in kinds are qualified by a domain, or known.
pub(crate) fn validate_finalizer_domains(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("metadata").child("finalizers");
    for (index, finalizer) in object.texts("metadata.finalizers").enumerate() {
        finalizer_domain(finalizer, path.index(index), errors);
    }
}

pub(crate) fn finalizer_domain(finalizer: &str, path: Path, errors: &mut ErrorList) {
    if !finalizer.contains('/') && !matches!(finalizer, "kubernetes" | ORPHAN | FOREGROUND) {
        let detail = "name is neither a standard finalizer name nor is it fully qualified";
        errors.push(Error::invalid(path, finalizer, detail));
    }
}

/// What only the system writes comes from the stored object; a UID may be given and is then checked.
pub(crate) fn keep_system_fields(new: &mut Value, old: &Value) {
    let old = old.at("metadata");
    let metadata = object(new, "metadata");
    for key in ["generation", "creationTimestamp"] {
        metadata.keep(old, key);
    }
    // A deletion is not taken back; one that nobody asked for is for validation to refuse.
    if old.has("deletionTimestamp") {
        metadata.keep(old, "deletionTimestamp");
    }
    if old.has("deletionGracePeriodSeconds") && metadata.get("deletionGracePeriodSeconds").is_none_or(Value::is_null) {
        metadata.keep(old, "deletionGracePeriodSeconds");
    }
    if metadata.get("uid").and_then(Value::as_str).unwrap_or_default().is_empty() {
        metadata.keep(old, "uid");
    }
    metadata.remove("selfLink");
}

/// What users write into metadata comes from the stored object.
pub(crate) fn keep_user_fields(new: &mut Value, old: &Value) {
    let metadata = object(new, "metadata");
    for key in ["labels", "annotations", "finalizers", "ownerReferences"] {
        metadata.keep(old.at("metadata"), key);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::strategy::subdomain_name;

    fn check(metadata: Value, wrong: &[&str]) {
        let errors = validate_meta(&json!({"metadata": metadata}), true, subdomain_name);
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let short: Vec<&str> = texts.iter().map(|t| t.split(" (e.g.").next().unwrap_or(t)).collect();
        assert_eq!(short, wrong);
    }

    #[test]
    fn new_objects() {
        check(json!({"name": "a", "namespace": "b"}), &[]);
        check(json!({"generateName": "a-", "name": "a-x", "namespace": "b"}), &[]);
        check(json!({"namespace": "b"}), &["metadata.name: Required value: name or generateName is required"]);
        check(
            json!({"name": "Foo_Bar", "namespace": "b"}),
            &[
                "metadata.name: Invalid value: \"Foo_Bar\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            ],
        );
        check(
            json!({"name": "a", "namespace": "b", "labels": {"k": "a b"}}),
            &[
                "metadata.labels: Invalid value: \"a b\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            ],
        );
        check(
            json!({"name": "a", "namespace": "b", "annotations": {"k": "x".repeat(limits::MAX_ANNOTATION_BYTES)}}),
            &["metadata.annotations: Too long: may not be more than 262144 bytes"],
        );
        let owner =
            |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": "u", "controller": true});
        let errors = validate_meta(
            &json!({"metadata": {"name": "a", "namespace": "b", "ownerReferences": [owner("x"), owner("y")]}}),
            true,
            subdomain_name,
        );
        assert!(errors[0].detail.ends_with("references for Pod/x and Pod/y"));
        check(
            json!({"name": "a", "namespace": "b", "finalizers": ["x.io/a", "orphan", "foregroundDeletion"]}),
            &[
                "metadata.finalizers: Invalid value: [\"x.io/a\",\"orphan\",\"foregroundDeletion\"]: finalizer orphan and foregroundDeletion cannot be both set",
            ],
        );
    }

    #[test]
    fn updates() {
        let old = json!({"metadata": {"name": "a", "uid": "1", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a.io/x"]}});
        let mut new = json!({"metadata": {"name": "b", "uid": "2", "finalizers": ["a.io/x", "a.io/y"]}});
        keep_system_fields(&mut new, &old);
        let texts: Vec<String> = validate_meta_update(&new, &old).iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"a.io/y\"}",
                "metadata.name: Invalid value: \"b\": field is immutable",
                "metadata.uid: Invalid value: \"2\": field is immutable",
            ]
        );
    }
}
