//! CustomResourceDefinition.
//! Source: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/>

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use pilothouse_schema::structural;
use serde_json::{Value, json};

use crate::{
    checks::{immutable, one_of, required},
    kinds::webhook,
    strategy::{Generation, StatusMeta, Strategy},
    value::{Look, MapExt, child, dig, object},
};

mod versions;

pub(crate) static STRATEGY: Strategy = Strategy {
    generation: Generation::Spec,
    status_meta: StatusMeta::Keep,
    default,
    prepare_create: store_version,
    prepare_update: |new, _| store_version(new),
    validate: |definition, errors| {
        named_after_spec(definition, errors);
        validate(definition, errors);
    },
    validate_update,
    validate_status_update: |new, _, errors| {
        accepted_names(new.at("status.acceptedNames"), &Path::new("status").child("acceptedNames"), errors);
    },
    warn,
    unconditional_update: false,
    ..Strategy::PLAIN
};

/// Formats that say nothing, as far as they are new.
fn warn(new: &Value, old: Option<&Value>, warnings: &mut Vec<String>) {
    let formats = |definition: &Value| -> Vec<String> {
        let versions = definition.list("spec.versions").iter();
        versions.flat_map(|v| structural::unknown_formats(v.at("schema.openAPIV3Schema"))).collect()
    };
    let before = old.map(formats).unwrap_or_default();
    let found = formats(new).into_iter().filter(|format| !before.contains(format));
    warnings.extend(found.map(|format| format!("unrecognized format {format:?}")));
}

const NAMES: [&str; 4] = ["plural", "singular", "kind", "listKind"];

fn default(definition: &mut Value) {
    let spec = object(definition, "spec");
    let named = child(spec, "names");
    let kind = named.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !kind.is_empty() {
        named.or_set("singular", kind.to_lowercase());
        named.or_set("listKind", format!("{kind}List"));
    }
    spec.or_set("conversion", json!({"strategy": "None"}));
    if let Some(service) = dig(definition, "spec.conversion.webhook.clientConfig.service") {
        service.or_set("port", 443);
    }
}

/// The storage version joins the versions that objects may be stored in.
fn store_version(definition: &mut Value) {
    let storage = definition.list("spec.versions").iter().find(|v| v.flag("storage"));
    let Some(storage) = storage.map(|v| v.text("name").to_owned()) else { return };
    let status = object(definition, "status");
    status.or_set("storedVersions", json!([]));
    if let Some(stored) = status.get_mut("storedVersions")
        && let Some(list) = stored.as_array_mut()
        && !list.iter().any(|version| *version == storage)
    {
        list.push(storage.into());
    }
}

fn named_after_spec(definition: &Value, errors: &mut ErrorList) {
    let name = definition.text("metadata.name");
    let wanted = format!("{}.{}", definition.text("spec.names.plural"), definition.text("spec.group"));
    if !name.is_empty() && name != wanted {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(Error::invalid(Path::new("metadata").child("name"), name, detail));
    }
}

fn validate(definition: &Value, errors: &mut ErrorList) {
    spec(definition.at("spec"), &Path::new("spec"), errors);
    stored_versions(definition, errors);
    approval(definition, errors);
    if definition.flag("spec.preserveUnknownFields") {
        let at = Path::new("spec").child("preserveUnknownFields");
        let detail =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(Error::invalid(at, true, detail));
    }
}

fn spec(spec: &Value, path: &Path, errors: &mut ErrorList) {
    group(spec.text("group"), &path.child("group"), errors);
    one_of(spec, path, "scope", &["Cluster", "Namespaced"], errors);
    versions::each(spec, path, errors);
    names(spec.at("names"), &path.child("names"), errors);
    versions::shared(spec, path, errors);
    conversion(spec.at("conversion"), &path.child("conversion"), errors);
}

/// Groups of the Kubernetes project are for what it has approved.
fn approval(definition: &Value, errors: &mut ErrorList) {
    let group = definition.text("spec.group");
    if !(group.ends_with(".k8s.io") || group.ends_with(".kubernetes.io")) {
        return;
    }
    let key = "api-approved.kubernetes.io";
    let at = Path::new("metadata").child("annotations").key(key);
    let place = "see https://github.com/kubernetes/enhancements/pull/1111";
    match definition.at("metadata.annotations").get(key).and_then(Value::as_str).unwrap_or_default() {
        "" => {
            let detail = format!("protected groups must have approval annotation {key:?}, {place}");
            errors.push(Error::required(at, detail));
        }
        text if text.starts_with("unapproved") || text.contains("://") => {}
        text => {
            let detail = format!(
                "protected groups must have approval annotation {key:?} with either a URL or a reason starting with \"unapproved\", {place}"
            );
            errors.push(Error::invalid(at, text, detail));
        }
    }
}

fn group(group: &str, path: &Path, errors: &mut ErrorList) {
    let wrong = names::is_dns1123_subdomain(group);
    if group.is_empty() {
        errors.push(Error::required(path.clone(), ""));
    } else if !wrong.is_empty() {
        errors.push(Error::invalid(path.clone(), group, wrong.join(",")));
    } else if !group.contains('.') {
        errors.push(Error::invalid(path.clone(), group, "should be a domain with at least one dot"));
    }
}

fn names(named: &Value, path: &Path, errors: &mut ErrorList) {
    for key in NAMES {
        required(named, path, key, errors);
    }
    accepted_names(named, path, errors);
}

/// Names, of which in a status none need be there.
fn accepted_names(named: &Value, path: &Path, errors: &mut ErrorList) {
    for key in NAMES {
        let text = named.text(key);
        let mixed = matches!(key, "kind" | "listKind");
        let wrong = names::is_dns1035_label(&if mixed { text.to_lowercase() } else { text.to_owned() });
        if !text.is_empty() && !wrong.is_empty() {
            let prefix = if mixed { "may have mixed case, but should otherwise match: " } else { "" };
            errors.push(Error::invalid(path.child(key), text, format!("{prefix}{}", wrong.join(","))));
        }
    }
    words(named, "shortNames", path, errors);
    if !named.text("kind").is_empty() && named.text("kind") == named.text("listKind") {
        let detail = "kind and listKind may not be the same";
        errors.push(Error::invalid(path.child("listKind"), named.text("listKind"), detail));
    }
    words(named, "categories", path, errors);
}

fn words(named: &Value, key: &str, path: &Path, errors: &mut ErrorList) {
    for (index, text) in named.texts(key).enumerate() {
        let wrong = names::is_dns1035_label(text);
        if !wrong.is_empty() {
            errors.push(Error::invalid(path.child(key).index(index), text, wrong.join(",")));
        }
    }
}

fn conversion(conversion: &Value, path: &Path, errors: &mut ErrorList) {
    one_of(conversion, path, "strategy", &["None", "Webhook"], errors);
    let (client, versions) = (conversion.at("webhook.clientConfig"), conversion.at("webhook.conversionReviewVersions"));
    let (at_client, at_versions) = (path.child("webhookClientConfig"), path.child("conversionReviewVersions"));
    if conversion.text("strategy") == "Webhook" {
        if client.is_object() {
            webhook::client_config(client, &at_client, errors);
        } else {
            errors.push(Error::required(at_client, "required when strategy is set to Webhook"));
        }
        webhook::review_versions(versions, "", &at_versions, errors);
        return;
    }
    let detail = "should not be set when strategy is not set to Webhook";
    if client.is_object() {
        errors.push(Error::forbidden(at_client, detail));
    }
    if versions.as_array().is_some_and(|list| !list.is_empty()) {
        errors.push(Error::forbidden(at_versions, detail));
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    // What has been accepted stays acceptable: a definition whose spec does not change is not judged again.
    if new.at("spec") != old.at("spec") {
        validate(new, errors);
    } else {
        stored_versions(new, errors);
    }
    let path = Path::new("spec");
    let established = |c: &Value| c.text("type") == "Established" && c.text("status") == "True";
    if old.list("status.conditions").iter().any(established) {
        immutable(new.at("spec.scope"), old.at("spec.scope"), &path.child("scope"), errors);
        immutable(new.at("spec.names.kind"), old.at("spec.names.kind"), &path.child("names").child("kind"), errors);
    }
    immutable(new.at("spec.group"), old.at("spec.group"), &path.child("group"), errors);
    immutable(new.at("spec.names.plural"), old.at("spec.names.plural"), &path.child("names").child("plural"), errors);
}

/// Objects may lie in the storage version, and in those that were it.
fn stored_versions(definition: &Value, errors: &mut ErrorList) {
    let path = Path::new("status").child("storedVersions");
    let stored: Vec<&str> = definition.texts("status.storedVersions").collect();
    let shown = || if stored.is_empty() { Value::Null } else { definition.at("status.storedVersions").clone() };
    if stored.is_empty() {
        return errors.push(Error::invalid(path, shown(), "must have at least one stored version"));
    }
    let mut left: Vec<(usize, &str)> = stored.iter().copied().enumerate().collect();
    for version in definition.list("spec.versions") {
        let name = version.text("name");
        if version.flag("storage") && !left.iter().any(|(_, own)| *own == name) {
            errors.push(Error::invalid(path.clone(), shown(), format!("must have the storage version {name}")));
        }
        left.retain(|(_, own)| *own != name);
    }
    for (index, version) in left {
        let detail = format!(
            "missing from spec.versions; {version} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {version} and removes {version} from status.storedVersions"
        );
        errors.push(Error::invalid(path.index(index), version, detail));
    }
}
