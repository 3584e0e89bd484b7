//! Validation of a container's environment, and of references to a pod's own fields.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
    quantity::Quantity,
};
use serde_json::Value;

use super::spec::Context;
use crate::{
    checks::{push_all, required},
    value::{Look, bare},
};

const FIELD_PATHS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCE_FIELDS: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(super) fn env(context: &Context<'_>, container: &Value, path: &Path, errors: &mut ErrorList) {
    for (index, variable) in container.list("env").iter().enumerate() {
        let path = path.index(index);
        if required(variable, &path, "name", errors) {
            let name = variable.text("name");
            push_all(names::is_relaxed_env_var_name(name), name, &path.child("name"), errors);
        }
        if variable.has("valueFrom") {
            value_from(context, variable, &path.child("valueFrom"), errors);
        }
    }
}

fn value_from(context: &Context<'_>, variable: &Value, path: &Path, errors: &mut ErrorList) {
    let from = variable.at("valueFrom");
    let mut sources = 0;
    if from.has("fieldRef") {
        sources += 1;
        field_ref(from.at("fieldRef"), FIELD_PATHS, &path.child("fieldRef"), errors);
    }
    if from.has("resourceFieldRef") {
        sources += 1;
        resource_field_ref(from.at("resourceFieldRef"), false, &path.child("resourceFieldRef"), errors);
    }
    for key in ["configMapKeyRef", "secretKeyRef"] {
        if from.has(key) {
            sources += 1;
            let (reference, path) = (from.at(key), path.child(key));
            push_all(
                names::is_dns1123_subdomain(reference.text("name")),
                reference.text("name"),
                &path.child("name"),
                errors,
            );
            if required(reference, &path, "key", errors) {
                push_all(
                    names::is_config_map_key(reference.text("key")),
                    reference.text("key"),
                    &path.child("key"),
                    errors,
                );
            }
        }
    }
    if from.has("fileKeyRef") {
        sources += 1;
        file_key_ref(context, from.at("fileKeyRef"), &path.child("fileKeyRef"), errors);
    }
    if sources == 0 {
        let detail =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.push(Error::invalid(path.clone(), "", detail));
    } else if !variable.text("value").is_empty() {
        errors.push(Error::invalid(path.clone(), "", "may not be specified when `value` is not empty"));
    } else if sources > 1 {
        errors.push(Error::invalid(path.clone(), "", "may not have more than one field specified at a time"));
    }
}

fn file_key_ref(context: &Context<'_>, reference: &Value, path: &Path, errors: &mut ErrorList) {
    if required(reference, path, "key", errors) {
        push_all(
            names::is_relaxed_env_var_name(reference.text("key")),
            reference.text("key"),
            &path.child("key"),
            errors,
        );
    }
    required(reference, path, "path", errors);
    if required(reference, path, "volumeName", errors) {
        let name = reference.text("volumeName");
        match context.spec.list("volumes").iter().find(|v| v.text("name") == name) {
            None => errors.push(Error::not_found(path.child("volumeName"), name)),
            Some(volume) if !volume.has("emptyDir") => {
                let detail = "referenced volume must be of type emptyDir";
                errors.push(Error::invalid(path.child("volumeName"), name, detail));
            }
            Some(_) => {}
        }
    }
}

/// A reference to a field of the pod, by the downward API.
pub(super) fn field_ref(reference: &Value, allowed: &[&str], path: &Path, errors: &mut ErrorList) {
    if !required(reference, path, "apiVersion", errors) || !required(reference, path, "fieldPath", errors) {
        return;
    }
    let field = reference.text("fieldPath");
    if reference.text("apiVersion") != "v1" {
        let detail = format!("error converting fieldPath: unsupported pod version: {}", reference.text("apiVersion"));
        return errors.push(Error::invalid(path.child("fieldPath"), field, detail));
    }
    if let Some((base, key)) = field.strip_suffix("']").and_then(|f| f.split_once("['")) {
        match base {
            "metadata.annotations" => push_all(names::is_qualified_name(&key.to_lowercase()), key, path, errors),
            "metadata.labels" => push_all(names::is_qualified_name(key), key, path, errors),
            _ => {
                let detail = format!("error converting fieldPath: field label does not support subscript: {field}");
                errors.push(Error::invalid(path.child("fieldPath"), field, detail));
            }
        }
    } else if !allowed.contains(&field) {
        let known =
            ["metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase"];
        if known.contains(&field) || FIELD_PATHS.contains(&field) {
            errors.push(Error::not_supported(path.child("fieldPath"), field, allowed));
        } else {
            let detail = format!("error converting fieldPath: field label not supported: {field}");
            errors.push(Error::invalid(path.child("fieldPath"), field, detail));
        }
    }
}

/// A reference to a request or limit of a container.
pub(super) fn resource_field_ref(reference: &Value, in_volume: bool, path: &Path, errors: &mut ErrorList) {
    let resource = reference.text("resource");
    let huge = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if in_volume && reference.text("containerName").is_empty() {
        errors.push(Error::required(path.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(Error::required(path.child("resource"), ""));
    } else if !RESOURCE_FIELDS.contains(&resource) && !huge {
        errors.push(Error::not_supported(path.child("resource"), resource, RESOURCE_FIELDS));
    }
    let divisor = bare(reference.at("divisor"));
    let Ok(divisor) = Quantity::parse(&divisor) else { return };
    if divisor.is_zero() {
        return;
    }
    let text = divisor.to_string();
    const SIZES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let (what, fine) = match resource.split_once('.').map_or("", |(_, name)| name) {
        "cpu" => ("cpu resource", ["1m", "1"].contains(&text.as_str())),
        "memory" => ("memory resource", SIZES.contains(&text.as_str())),
        "ephemeral-storage" => ("local ephemeral storage resource", SIZES.contains(&text.as_str())),
        _ if huge => ("hugepages resource", SIZES.contains(&text.as_str())),
        _ => return,
    };
    if !fine {
        let values = if what == "cpu resource" { "1m and 1".to_owned() } else { SIZES.join(", ") };
        let detail = format!("only divisor's values {values} are supported with the {what}");
        errors.push(Error::invalid(path.child("divisor"), resource, detail));
    }
}

pub(super) fn env_from(container: &Value, path: &Path, errors: &mut ErrorList) {
    for (index, from) in container.list("envFrom").iter().enumerate() {
        let item = path.index(index);
        let prefix = from.text("prefix");
        if !prefix.is_empty() {
            push_all(names::is_relaxed_env_var_name(prefix), prefix, &item.child("prefix"), errors);
        }
        let mut sources = 0;
        for key in ["configMapRef", "secretRef"] {
            if from.has(key) {
                sources += 1;
                if required(from.at(key), &item.child(key), "name", errors) {
                    let name = from.at(key).text("name");
                    push_all(names::is_dns1123_subdomain(name), name, &item.child(key).child("name"), errors);
                }
            }
        }
        match sources {
            0 => errors.push(Error::invalid(path.clone(), "", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errors.push(Error::invalid(path.clone(), "", "may not have more than one field specified at a time")),
        }
    }
}
