//! What is wrong with the versions of a definition: their schemas, subresources, columns and selectable fields.
//!
//! What every version says alike is told of once, in the place it had before there were versions.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use pilothouse_schema::{Gvk, structural};
use serde_json::Value;

use crate::{checks::required, value::Look};

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
const MAX_SELECTABLE: usize = 8;
const MAX_WARNING: usize = 256;
const SELECTABLE_TYPES: [&str; 3] = ["string", "boolean", "integer"];
/// What the root of a schema may say when its status is judged apart from the rest.
const AT_ROOT: [&str; 22] = [
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];
const AT_ROOT_TEXT: &str = "only [Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example XPreserveUnknownFields XValidations] fields are allowed at the root of the schema if the status subresource is enabled";

/// Versions one by one.
pub(super) fn each(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let (versions, at) = (spec.list("versions"), path.child("versions"));
    for (index, version) in versions.iter().enumerate() {
        if version.at("schema.openAPIV3Schema").is_null() {
            errors.push(Error::required(at.index(index).child("schema").child("openAPIV3Schema"), ""));
        }
    }
    let all: Vec<&str> = versions.iter().map(|v| v.text("name")).collect();
    for (index, version) in versions.iter().enumerate() {
        let path = at.index(index);
        let wrong = names::is_dns1035_label(all[index]);
        if !wrong.is_empty() {
            errors.push(Error::invalid(path.child("name"), all[index], wrong.join(",")));
        }
        deprecation(version, &path.child("deprecationWarning"), errors);
        let status = version.has("subresources.status");
        parts(spec, version, &path, "schema", status, |key| !alike(versions, key), errors);
    }
    let shown = || Value::from(versions);
    if (1..all.len()).any(|index| all[..index].contains(&all[index])) {
        errors.push(Error::invalid(at.clone(), shown(), "must contain unique version names"));
    }
    if versions.iter().filter(|v| v.flag("storage")).count() != 1 {
        errors.push(Error::invalid(at, shown(), "must have exactly one version marked as storage version"));
    }
    // The first is, in the form of old, the definition's version.
    if let Some(first) = all.first().filter(|first| !first.is_empty()) {
        let wrong = names::is_dns1035_label(first);
        if !wrong.is_empty() {
            errors.push(Error::invalid(path.child("version"), *first, wrong.join(",")));
        }
    }
}

/// What all versions have alike.
pub(super) fn shared(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let versions = spec.list("versions");
    let Some(first) = versions.first() else { return };
    let status = versions.iter().any(|version| version.has("subresources.status"));
    parts(spec, first, path, "validation", status, |key| alike(versions, key), errors);
}

fn alike(versions: &[Value], key: &str) -> bool {
    versions.iter().all(|version| version.at(key) == versions[0].at(key))
}

/// The parts of a version that belong to `path`.
fn parts(
    spec: &Value,
    version: &Value,
    path: &Path,
    schema_key: &str,
    status: bool,
    here: impl Fn(&str) -> bool,
    errors: &mut ErrorList,
) {
    let written = version.at("schema.openAPIV3Schema");
    if here("schema") && !written.is_null() {
        let at = path.child(schema_key).child("openAPIV3Schema");
        if status {
            root(written, &path.child(schema_key), errors);
        }
        let gvk = Gvk::new(spec.text("group"), version.text("name"), spec.text("names.kind"));
        errors.extend(structural::lint(gvk, written, &at));
    }
    if here("subresources") {
        scale(version.at("subresources.scale"), &path.child("subresources"), errors);
    }
    if here("additionalPrinterColumns") {
        columns(version, path, errors);
    }
    if here("selectableFields") && !version.list("selectableFields").is_empty() {
        let at = path.child("selectableFields");
        if !written.is_null() {
            selectable(version, written, &at, errors);
        } else if schema_key == "schema" {
            let detail = "may only be set when `version.schema.openAPIV3Schema` is not included";
            errors.push(Error::invalid(at, "", detail));
        } else {
            errors.push(Error::invalid(at, "", "may only be set when validations.schema is included"));
        }
    }
}

fn root(schema: &Value, path: &Path, errors: &mut ErrorList) {
    let of = schema.text("type");
    let set = |value: &Value| !matches!(value, Value::Null | Value::Bool(false)) && value.as_str() != Some("");
    if !matches!(of, "" | "object") {
        let detail =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.push(Error::invalid(path.child("openAPIV3Schema.type"), of, detail));
    } else if schema
        .as_object()
        .into_iter()
        .flatten()
        .any(|(key, value)| set(value) && !AT_ROOT.contains(&key.as_str()))
    {
        errors.push(Error::invalid(path.child("openAPIV3Schema"), schema.clone(), AT_ROOT_TEXT));
    }
}

fn deprecation(version: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(text) = version.at("deprecationWarning").as_str() else { return };
    let mut wrong = |detail: String| errors.push(Error::invalid(path.clone(), text, detail));
    if !version.flag("deprecated") {
        return wrong("can only be set for deprecated versions".into());
    }
    if text.len() > MAX_WARNING {
        wrong(format!("must be <= {MAX_WARNING} characters long"));
    }
    if text.is_empty() {
        wrong("must not be an empty string".into());
    }
    if let Some((index, _)) = text.char_indices().find(|(_, c)| c.is_control()) {
        wrong(format!("must only contain printable UTF-8 characters; non-printable character found at index {index}"));
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
            text => drop(simple_path(text, &path.child("JSONPath"), errors)),
        }
    }
}

/// Upstream looks no further: a path that leads nowhere shows nothing.
fn simple_path(text: &str, path: &Path, errors: &mut ErrorList) -> bool {
    let simple = text.starts_with('.');
    if !simple {
        errors.push(Error::invalid(path.clone(), text, "must be a simple json path starting with ."));
    }
    simple
}

fn scale(scale: &Value, path: &Path, errors: &mut ErrorList) {
    if !scale.is_object() {
        return;
    }
    for (key, root) in [("specReplicasPath", "spec"), ("statusReplicasPath", "status")] {
        let (text, at) = (scale.text(key), path.child(&format!("scale.{key}")));
        if text.is_empty() {
            errors.push(Error::required(at, ""));
        } else if simple_path(text, &at, errors) && !text.starts_with(&format!(".{root}.")) {
            errors.push(Error::invalid(at, text, format!("should be a json path under .{root}")));
        }
    }
    let (text, at) = (scale.text("labelSelectorPath"), path.child("scale.labelSelectorPath"));
    let inside = text.starts_with(".spec.") || text.starts_with(".status.");
    if !text.is_empty() && simple_path(text, &at, errors) && !inside {
        errors.push(Error::invalid(at, text, "should be a json path under either .spec or .status"));
    }
}

fn selectable(version: &Value, schema: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen = Vec::new();
    for (index, field) in version.list("selectableFields").iter().enumerate() {
        let (text, path) = (field.text("jsonPath"), path.index(index).child("jsonPath"));
        if text.is_empty() {
            errors.push(Error::required(path, ""));
            continue;
        }
        let of = match field_at(text, schema) {
            Ok(of) => of,
            Err(why) => {
                errors.push(Error::invalid(path, text, format!("is an invalid path: {why}")));
                continue;
            }
        };
        if text == ".metadata" || text.starts_with(".metadata.") {
            errors.push(Error::invalid(path.clone(), text, "must not point to fields in metadata"));
        }
        if !SELECTABLE_TYPES.contains(&of.text("type")) {
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

/// The schema of the field that a path such as `.spec.color` leads to.
fn field_at<'s>(path: &str, schema: &'s Value) -> Result<&'s Value, String> {
    const NOWHERE: &str = "does not refer to a valid field";
    let (mut here, mut rest) = (schema, path);
    while !rest.is_empty() {
        if rest.starts_with('[') {
            return Err("array notation is not allowed".into());
        }
        let Some(after) = rest.strip_prefix('.') else {
            let token = rest.split_inclusive(['.', '[', ']']).next().unwrap_or(rest);
            let token = if token.len() > 1 { token.trim_end_matches(['.', '[', ']']) } else { token };
            return Err(format!("expected [ or . but got: {token}"));
        };
        // A delimiter after a dot is a name, if one that no schema has.
        let end = match after.find(['.', '[', ']']) {
            Some(0) => 1,
            Some(end) => end,
            None if after.is_empty() => return Err("unexpected end of JSON path".into()),
            None => after.len(),
        };
        let (name, left) = after.split_at(end);
        here = match (here.at("properties").as_object(), here.at("additionalProperties")) {
            (Some(properties), _) => properties.get(name).ok_or(NOWHERE)?,
            (None, of @ Value::Object(_)) => of,
            _ => return Err(NOWHERE.into()),
        };
        rest = left;
    }
    Ok(here)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_at_paths() {
        let schema = json!({"properties": {
            "a": {"type": "string"}, "b": {"properties": {"c": {"type": "integer"}}},
            "m": {"additionalProperties": {"type": "boolean"}}}});
        let of = |path: &str| field_at(path, &schema).map(|of| of.text("type").to_owned());
        for (path, found) in [(".a", "string"), (".b.c", "integer"), (".m.x", "boolean"), (".b", "")] {
            assert_eq!(of(path), Ok(found.to_owned()), "{path}");
        }
        for (path, why) in [
            (".x", "does not refer to a valid field"),
            (".a.b", "does not refer to a valid field"),
            ("../x", "does not refer to a valid field"),
            (".b.", "unexpected end of JSON path"),
            (".b['c']", "array notation is not allowed"),
            ("a/b", "expected [ or . but got: a/b"),
            ("b.c", "expected [ or . but got: b"),
            ("].c", "expected [ or . but got: ]"),
        ] {
            assert_eq!(of(path), Err(why.to_owned()), "{path}");
        }
    }
}
