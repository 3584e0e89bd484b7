//! CustomResourceDefinition.
//! Source: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/>

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use pilothouse_schema::{Gvk, structural};
use serde_json::{Value, json};

use super::webhook;
use crate::{
    checks::{immutable, one_of, required},
    jsonpath::JsonPath,
    strategy::{Generation, StatusMeta, Strategy},
    value::{Look, MapExt, child, dig, object},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    generation: Generation::Spec,
    status_meta: StatusMeta::Keep,
    default,
    prepare_create: store_version,
    prepare_update: |new, _| store_version(new),
    validate,
    validate_update,
    unconditional_update: false,
    ..Strategy::PLAIN
};

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 9] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "name", "password"];
const MAX_SELECTABLE: usize = 8;
const MAX_WARNING_BYTES: usize = 256;

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

fn validate(definition: &Value, errors: &mut ErrorList) {
    let (spec, path) = (definition.at("spec"), Path::new("spec"));
    let name = definition.text("metadata.name");
    if !name.is_empty() && name != format!("{}.{}", spec.text("names.plural"), spec.text("group")) {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(Error::invalid(Path::new("metadata").child("name"), name, detail));
    }
    group(spec.text("group"), &path.child("group"), errors);
    approval(definition, errors);
    one_of(spec, &path, "scope", &["Cluster", "Namespaced"], errors);
    versions(spec, &path, errors);
    self::names(spec.at("names"), &path.child("names"), errors);
    if spec.flag("preserveUnknownFields") {
        let detail =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        errors.push(Error::invalid(path.child("preserveUnknownFields"), true, detail));
    }
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

/// What every version says alike is told of once, in the place it had before there were versions.
fn place(versions: &[Value], key: &str, path: &Path, index: usize) -> Option<Path> {
    let alike = versions.iter().all(|version| version.at(key) == versions[0].at(key));
    match (alike, index) {
        (true, 0) => Some(path.clone()),
        (true, _) => None,
        (false, index) => Some(path.child("versions").index(index)),
    }
}

fn versions(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let (versions, top, path) = (spec.list("versions"), path, path.child("versions"));
    let all: Vec<&str> = versions.iter().map(|v| v.text("name")).collect();
    for (index, version) in versions.iter().enumerate() {
        let path = path.index(index);
        let wrong = names::is_dns1035_label(all[index]);
        if !wrong.is_empty() {
            errors.push(Error::invalid(path.child("name"), all[index], wrong.join(",")));
        }
        if version.has("deprecationWarning") {
            deprecation(version, &path.child("deprecationWarning"), errors);
        }
        let schema = version.at("schema.openAPIV3Schema");
        if schema.is_null() {
            errors.push(Error::required(path.child("schema").child("openAPIV3Schema"), ""));
        } else if let Some(at) = place(versions, "schema", top, index) {
            let below = if at == *top { at.child("validation") } else { at.child("schema") };
            let gvk = Gvk::new(spec.text("group"), all[index], spec.text("names.kind"));
            errors.extend(structural::lint(gvk, schema, &below.child("openAPIV3Schema")));
        }
        if let Some(at) = place(versions, "additionalPrinterColumns", top, index) {
            columns(version, &at, errors);
        }
        if let Some(at) = place(versions, "subresources", top, index) {
            scale(version.at("subresources.scale"), &at.child("subresources"), errors);
        }
        if let Some(at) = place(versions, "selectableFields", top, index) {
            selectable(version, &at.child("selectableFields"), errors);
        }
    }
    let shown = || spec.at("versions").clone();
    if (1..all.len()).any(|index| all[..index].contains(&all[index])) {
        errors.push(Error::invalid(path.clone(), shown(), "must contain unique version names"));
    }
    if versions.iter().filter(|v| v.flag("storage")).count() != 1 {
        errors.push(Error::invalid(path, shown(), "must have exactly one version marked as storage version"));
    }
}

/// Warnings go into a header.
fn deprecation(version: &Value, path: &Path, errors: &mut ErrorList) {
    let text = version.text("deprecationWarning");
    let mut wrong = |detail: String| errors.push(Error::invalid(path.clone(), text, detail));
    if !version.flag("deprecated") {
        return wrong("can only be set for deprecated versions".into());
    }
    if text.is_empty() {
        wrong("must not be an empty string".into());
    }
    if text.len() > MAX_WARNING_BYTES {
        wrong(format!("must be <= {MAX_WARNING_BYTES} characters long"));
    }
    if let Some((at, _)) = text.char_indices().find(|(_, c)| c.is_control()) {
        wrong(format!("must only contain printable UTF-8 characters; non-printable character found at index {at}"));
    }
}

fn columns(version: &Value, path: &Path, errors: &mut ErrorList) {
    for (index, column) in version.list("additionalPrinterColumns").iter().enumerate() {
        let path = path.child("additionalPrinterColumns").index(index);
        required(column, &path, "name", errors);
        let (kind, format) = (column.text("type"), column.text("format"));
        let one_of_types = format!("must be one of {}", COLUMN_TYPES.join(","));
        if kind.is_empty() {
            errors.push(Error::required(path.child("type"), one_of_types));
        } else if !COLUMN_TYPES.contains(&kind) {
            errors.push(Error::invalid(path.child("type"), kind, one_of_types));
        }
        if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
            let detail = format!("must be one of {}", COLUMN_FORMATS.join(","));
            errors.push(Error::invalid(path.child("format"), format, detail));
        }
        match column.text("jsonPath") {
            "" => errors.push(Error::required(path.child("JSONPath"), "")),
            text => json_path(text, &path.child("JSONPath"), errors),
        }
    }
}

fn json_path(text: &str, path: &Path, errors: &mut ErrorList) {
    if !text.starts_with('.') {
        errors.push(Error::invalid(path.clone(), text, "must be a simple json path starting with ."));
    } else if let Err(wrong) = JsonPath::parse(text) {
        errors.push(Error::invalid(path.clone(), text, format!("is an invalid JSON path: {wrong}")));
    }
}

fn scale(scale: &Value, path: &Path, errors: &mut ErrorList) {
    if !scale.is_object() {
        return;
    }
    for (key, root) in [("specReplicasPath", "spec"), ("statusReplicasPath", "status")] {
        let (text, at) = (scale.text(key), path.child(&format!("scale.{key}")));
        if text.is_empty() {
            errors.push(Error::required(at, ""));
        } else if !text.starts_with('.') || text.starts_with(&format!(".{root}.")) {
            json_path(text, &at, errors);
        } else {
            errors.push(Error::invalid(at, text, format!("should be a json path under .{root}")));
        }
    }
    let text = scale.text("labelSelectorPath");
    let at = path.child("scale.labelSelectorPath");
    if !text.is_empty() && !text.starts_with('.') {
        json_path(text, &at, errors);
    } else if !text.is_empty() && !text.starts_with(".spec.") && !text.starts_with(".status.") {
        let detail = "should be a json path under either .spec or .status";
        errors.push(Error::invalid(at, text, detail));
    }
}

fn selectable(version: &Value, path: &Path, errors: &mut ErrorList) {
    let fields = version.list("selectableFields");
    let schema = version.at("schema.openAPIV3Schema");
    let mut seen = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let (text, path) = (field.text("jsonPath"), path.index(index).child("jsonPath"));
        if text.is_empty() {
            errors.push(Error::required(path, ""));
            continue;
        }
        let of = match led_to(schema, text) {
            Ok(of) => of,
            Err(why) => {
                errors.push(Error::invalid(path, text, format!("is an invalid path: {why}")));
                continue;
            }
        };
        if text.starts_with(".metadata.") {
            errors.push(Error::invalid(path.clone(), text, "must not point to fields in metadata"));
        }
        if !matches!(of.text("type"), "string" | "boolean" | "integer") {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(Error::invalid(path.clone(), text, detail));
        }
        if seen.contains(&text) {
            errors.push(Error::duplicate(path, text));
        } else {
            seen.push(text);
        }
    }
    if seen.len() > MAX_SELECTABLE {
        errors.push(Error::too_many(path.clone(), seen.len(), MAX_SELECTABLE));
    }
}

/// The schema of the field that a path of field names leads to; an error says why there is none.
fn led_to<'s>(schema: &'s Value, path: &str) -> Result<&'s Value, String> {
    let Some(rest) = path.strip_prefix('.') else {
        let first = path.split(['.', '[']).next().unwrap_or_default();
        return Err(format!("expected [ or . but got: {first}"));
    };
    if rest.contains('[') {
        return Err("array notation is not allowed".into());
    }
    rest.split('.').try_fold(schema, |of, name| {
        let declared = of.at("properties").get(name).or_else(|| of.get("additionalProperties"));
        declared.filter(|of| of.is_object()).ok_or_else(|| "does not refer to a valid field".into())
    })
}

fn names(named: &Value, path: &Path, errors: &mut ErrorList) {
    for key in ["plural", "singular", "kind", "listKind"] {
        if !required(named, path, key, errors) {
            continue;
        }
        let text = named.text(key);
        let mixed = matches!(key, "kind" | "listKind");
        let wrong = names::is_dns1035_label(&if mixed { text.to_lowercase() } else { text.to_owned() });
        if !wrong.is_empty() {
            let prefix = if mixed { "may have mixed case, but should otherwise match: " } else { "" };
            errors.push(Error::invalid(path.child(key), text, format!("{prefix}{}", wrong.join(","))));
        }
    }
    if !named.text("kind").is_empty() && named.text("kind") == named.text("listKind") {
        let detail = "kind and listKind may not be the same";
        errors.push(Error::invalid(path.child("listKind"), named.text("listKind"), detail));
    }
    for key in ["shortNames", "categories"] {
        for (index, text) in named.texts(key).enumerate() {
            let wrong = names::is_dns1035_label(text);
            if !wrong.is_empty() {
                errors.push(Error::invalid(path.child(key).index(index), text, wrong.join(",")));
            }
        }
    }
}

fn conversion(conversion: &Value, path: &Path, errors: &mut ErrorList) {
    one_of(conversion, path, "strategy", &["None", "Webhook"], errors);
    let config = conversion.at("webhook");
    match (conversion.text("strategy"), config.is_object()) {
        ("Webhook", _) => {
            if config.at("clientConfig").is_object() {
                webhook::client_config(config.at("clientConfig"), &path.child("webhookClientConfig"), errors);
            } else {
                let detail = "required when strategy is set to Webhook";
                errors.push(Error::required(path.child("webhookClientConfig"), detail));
            }
            review_versions(config, &path.child("conversionReviewVersions"), errors);
        }
        (_, true) => {
            let detail = "should not be set when strategy is not set to Webhook";
            for (key, at) in
                [("clientConfig", "webhookClientConfig"), ("conversionReviewVersions", "conversionReviewVersions")]
            {
                if config.has(key) {
                    errors.push(Error::forbidden(path.child(at), detail));
                }
            }
        }
        _ => {}
    }
}

/// The versions of ConversionReview that a webhook speaks: one of them at least is one of ours.
fn review_versions(config: &Value, path: &Path, errors: &mut ErrorList) {
    let all: Vec<&str> = config.texts("conversionReviewVersions").collect();
    if all.is_empty() {
        errors.push(Error::required(path.clone(), ""));
        return;
    }
    for (index, version) in all.iter().enumerate() {
        let wrong = names::is_dns1035_label(version);
        if all[..index].contains(version) {
            errors.push(Error::invalid(path.index(index), *version, "duplicate version"));
        } else if !wrong.is_empty() {
            errors.push(Error::invalid(path.index(index), *version, wrong.join(",")));
        }
    }
    if !all.iter().any(|version| matches!(*version, "v1" | "v1beta1")) {
        let detail = "must include at least one of v1, v1beta1";
        errors.push(Error::invalid(path.clone(), config.at("conversionReviewVersions").clone(), detail));
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    // What has been accepted stays acceptable: a definition whose spec does not change is not judged again.
    if new.at("spec") != old.at("spec") {
        validate(new, errors);
    }
    let path = Path::new("spec");
    let established = |c: &Value| c.text("type") == "Established" && c.text("status") == "True";
    if old.list("status.conditions").iter().any(established) {
        immutable(new.at("spec.scope"), old.at("spec.scope"), &path.child("scope"), errors);
        immutable(new.at("spec.names.kind"), old.at("spec.names.kind"), &path.child("names").child("kind"), errors);
    }
    immutable(new.at("spec.group"), old.at("spec.group"), &path.child("group"), errors);
    immutable(new.at("spec.names.plural"), old.at("spec.names.plural"), &path.child("names").child("plural"), errors);
    stored_versions(new, errors);
}

fn stored_versions(definition: &Value, errors: &mut ErrorList) {
    let path = Path::new("status").child("storedVersions");
    for (index, version) in definition.texts("status.storedVersions").enumerate() {
        if !definition.list("spec.versions").iter().any(|v| v.text("name") == version) {
            let detail = format!(
                "missing from spec.versions; {version} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {version} and removes {version} from status.storedVersions"
            );
            errors.push(Error::invalid(path.index(index), version, detail));
        }
    }
}
