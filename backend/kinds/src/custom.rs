//! Kinds of custom resources, built from their CustomResourceDefinition.
//! Source: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/>

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use pilothouse_api::field::{Error, ErrorList, Path};
use pilothouse_schema::{Gvk, Schema, structural};
use serde_json::Value;

use crate::{
    columns::{self, Column},
    human::human_duration,
    jsonpath::JsonPath,
    kind::{Behaviour, Kind, Subresource},
    meta,
    strategy::{ScalePaths, with_api_version},
    value::Look,
};

const VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// Most items in one list of a definition.
const MAX_ITEMS: usize = 256;

/// How objects of one version become objects of another.
#[derive(Clone, Debug, PartialEq)]
pub enum Conversion {
    /// Only `apiVersion` changes.
    None,
    /// An HTTPS server of the definition's author does it.
    Webhook {
        /// `clientConfig` of the definition.
        config: Value,
        /// The versions of ConversionReview that the server speaks, in its order of preference.
        review_versions: Vec<String>,
    },
}

/// What the versions of one definition share.
#[derive(Debug)]
pub struct Definition {
    pub group: String,
    pub kind: String,
    /// `group/version` of the version that is stored.
    pub storage_api_version: String,
    pub conversion: Conversion,
    /// Of every version, served or not: objects may be stored in any of them.
    schemas: BTreeMap<String, Arc<Schema>>,
}

impl Definition {
    /// Brings an object that was read from the store into the form that the schema of its own version demands today:
    /// fields that are no longer specified go, defaults that came later come in.
    pub fn normalize(&self, object: &mut Value) {
        let version = object.text("apiVersion").rsplit('/').next().unwrap_or_default();
        if let Some(schema) = self.schemas.get(version) {
            structural::prune(schema, object);
            structural::drop_nulls(schema, object);
            structural::apply_defaults(schema, object);
        }
    }
}

/// The behaviour of one version of a custom resource.
#[derive(Debug)]
pub(crate) struct Custom {
    pub(crate) columns: Vec<Column>,
    /// The path of each column after the name; none where what was written is no path.
    cells: Vec<Option<JsonPath>>,
    selectable: Vec<Cow<'static, str>>,
    pub(crate) scale: Option<ScalePaths>,
    pub(crate) schema: Arc<Schema>,
    /// The schema as the definition has it, for OpenAPI; null for none.
    pub(crate) written: Arc<Value>,
    pub(crate) deprecation: Option<String>,
    pub(crate) definition: Arc<Definition>,
}

impl Custom {
    /// Cuts what the schema does not know and nulls that stand for nothing, then fills in its defaults.
    pub(crate) fn default(&self, object: &mut Value) {
        structural::settle_numbers(object);
        structural::prune(&self.schema, object);
        structural::drop_nulls(&self.schema, object);
        structural::apply_defaults(&self.schema, object);
    }

    pub(crate) fn validate(&self, object: &Value, errors: &mut ErrorList) {
        errors.extend(structural::validate(&self.schema, object));
        self.embedded(object, errors);
        self.replicas(object, errors);
    }

    pub(crate) fn validate_update(&self, new: &Value, old: &Value, errors: &mut ErrorList) {
        errors.extend(structural::validate_update(&self.schema, new, old));
        self.embedded(new, errors);
        self.replicas(new, errors);
    }

    /// What is wrong with what an update lets be.
    pub(crate) fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        let old = old.filter(|old| !old.is_null());
        let found = old.map(|old| structural::unchanged(&self.schema, new, old)).unwrap_or_default();
        found.iter().map(ToString::to_string).collect()
    }

    /// What is an object of its own has metadata like any other.
    fn embedded(&self, object: &Value, errors: &mut ErrorList) {
        structural::embedded(&self.schema, object, &mut |path, resource| {
            meta::validate_embedded(resource.at("metadata"), &path.child("metadata"), errors);
        });
    }

    /// What the scale subresource reads must be something it can read.
    fn replicas(&self, object: &Value, errors: &mut ErrorList) {
        let Some(scale) = &self.scale else { return };
        for path in [&scale.spec_replicas, &scale.status_replicas] {
            // Upstream names the place by its JSON path.
            let at = Path::new(&format!(".{path}"));
            if let Some(value) = blocked(object, path) {
                let (shown, of) = (crate::value::bare(value), go_type(value));
                let detail =
                    format!("{at} accessor error: {shown} is of the type {of}, expected map[string]interface{{}}");
                errors.push(Error::invalid(at, 0, detail));
                continue;
            }
            match object.at(path) {
                Value::Null => {}
                value => match value.as_i64() {
                    Some(number) if number < 0 => {
                        errors.push(Error::invalid(at, number, "should be a non-negative integer"));
                    }
                    Some(_) => {}
                    None => {
                        let (shown, of) = (crate::value::bare(value), go_type(value));
                        let detail = format!("{at} accessor error: {shown} is of the type {of}, expected int64");
                        errors.push(Error::invalid(at, 0, detail));
                    }
                },
            }
        }
    }

    pub(crate) fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let mut row = vec![columns::name(object)];
        for (column, path) in self.columns[1..].iter().zip(&self.cells) {
            let found = path.as_ref().map_or_else(Vec::new, |path| path.find(object));
            row.push(cell(found, &column.type_, now));
        }
        row
    }

    pub(crate) fn selectable(&self, object: &Value) -> Vec<(Cow<'static, str>, String)> {
        self.selectable.iter().map(|path| (path.clone(), crate::value::bare(object.at(path)).into_owned())).collect()
    }

    pub(crate) fn to_storage(&self, object: Value) -> Value {
        with_api_version(object, self.definition.storage_api_version.clone())
    }
}

/// What stands in the way of a path because nothing can be below it.
fn blocked<'o>(object: &'o Value, path: &str) -> Option<&'o Value> {
    let mut at = object;
    for part in path.split('.') {
        match at {
            Value::Object(fields) => at = fields.get(part)?,
            Value::Null => return None,
            other => return Some(other),
        }
    }
    None
}

/// The Go type that JSON is read into.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// One cell from what a column's path found; a value of another type than the column's is left out.
fn cell(found: Vec<&Value>, type_: &str, now: Timestamp) -> Value {
    let Some(first) = found.first().copied() else { return Value::Null };
    match type_ {
        "integer" => first.as_i64().map_or(Value::Null, Value::from),
        "number" => first.as_f64().map_or(Value::Null, Value::from),
        "boolean" => first.as_bool().map_or(Value::Null, Value::from),
        "string" => {
            let texts: Vec<Cow<'_, str>> = found.iter().map(|v| crate::value::bare(v)).collect();
            texts.join(",").into()
        }
        "date" => match columns::seconds_since(first, now) {
            Some(seconds) => human_duration(seconds).into(),
            None if first.is_string() => "<invalid>".into(),
            None => "<unknown>".into(),
        },
        _ => Value::Null,
    }
}

/// The kinds of a definition, one per version, and whether it is served.
pub(crate) fn from_crd(definition: &Value) -> Result<Vec<(Kind, bool)>, String> {
    let spec = definition.at("spec");
    let group = spec.text("group").to_owned();
    let versions = spec.list("versions");
    let storage = versions.iter().find(|v| v.flag("storage")).ok_or("no version is the storage version")?;
    // Names are what the definition asks for until the naming controller has accepted them.
    let accepted = definition.at("status.acceptedNames");
    let names = if accepted.text("plural").is_empty() { spec.at("names") } else { accepted };
    let owned = |path: &str| -> Cow<'static, str> { names.text(path).to_owned().into() };
    let owned_list =
        |path: &str| -> Vec<Cow<'static, str>> { names.texts(path).map(|s| s.to_owned().into()).collect() };
    let or = |text: Cow<'static, str>, other: String| if text.is_empty() { other.into() } else { text };
    let mut schemas = BTreeMap::new();
    for version in versions {
        let gvk = Gvk::new(&group, version.text("name"), names.text("kind"));
        let schema = Schema::from_structural(gvk, version.at("schema.openAPIV3Schema"))?;
        schemas.insert(version.text("name").to_owned(), schema);
    }
    let shared = Arc::new(Definition {
        group: group.clone(),
        kind: names.text("kind").to_owned(),
        storage_api_version: format!("{group}/{}", storage.text("name")),
        conversion: conversion(spec.at("conversion")),
        schemas,
    });
    let mut kinds = Vec::new();
    for version in versions {
        let (kind, plural) = (owned("kind"), owned("plural"));
        let custom = Arc::new(custom(version, &shared)?);
        let made = Kind {
            group: group.clone().into(),
            version: version.text("name").to_owned().into(),
            list_kind: or(owned("listKind"), format!("{kind}List")),
            singular: or(owned("singular"), kind.to_lowercase()),
            storage: format!("{plural}.{group}").into(),
            namespaced: spec.text("scope") == "Namespaced",
            short: owned_list("shortNames"),
            categories: owned_list("categories"),
            verbs: VERBS.map(Cow::Borrowed).to_vec(),
            subresources: subresources(version, &group, &kind),
            fields: custom.selectable.clone(),
            behaviour: Behaviour::Custom(custom),
            kind,
            plural,
        };
        kinds.push((made, version.flag("served")));
    }
    Ok(kinds)
}

fn conversion(conversion: &Value) -> Conversion {
    if conversion.text("strategy") != "Webhook" {
        return Conversion::None;
    }
    let webhook = conversion.at("webhook");
    Conversion::Webhook {
        config: webhook.at("clientConfig").clone(),
        review_versions: webhook.texts("conversionReviewVersions").map(str::to_owned).collect(),
    }
}

fn subresources(version: &Value, group: &str, kind: &str) -> Vec<Subresource> {
    let verbs = || ["get", "patch", "update"].map(Cow::Borrowed).to_vec();
    let mut all = Vec::new();
    if version.has("subresources.status") {
        all.push(Subresource {
            name: "status".into(),
            kind: kind.to_owned().into(),
            group: group.to_owned().into(),
            version: version.text("name").to_owned().into(),
            verbs: verbs(),
        });
    }
    if version.has("subresources.scale") {
        all.push(Subresource {
            name: "scale".into(),
            kind: "Scale".into(),
            group: "autoscaling".into(),
            version: "v1".into(),
            verbs: verbs(),
        });
    }
    all
}

fn custom(version: &Value, definition: &Arc<Definition>) -> Result<Custom, String> {
    let schema = definition.schemas.get(version.text("name")).cloned().ok_or("a version without a name")?;
    for list in ["additionalPrinterColumns", "selectableFields"] {
        if version.list(list).len() > MAX_ITEMS {
            return Err(format!("{list} has more than {MAX_ITEMS} items"));
        }
    }
    let mut all_columns = vec![columns::NAME];
    let mut cells = Vec::new();
    let asked = version.list("additionalPrinterColumns");
    for column in asked {
        cells.push(JsonPath::parse(column.text("jsonPath")).ok());
        all_columns.push(Column {
            name: column.text("name").to_owned().into(),
            type_: column.text("type").to_owned().into(),
            format: column.text("format").to_owned().into(),
            description: match column.text("description") {
                "" => format!("Custom resource definition column (in JSONPath format): {}", column.text("jsonPath")),
                text => text.to_owned(),
            }
            .into(),
            priority: column.int("priority").and_then(|p| i32::try_from(p).ok()).unwrap_or_default(),
        });
    }
    if asked.is_empty() {
        cells.push(JsonPath::parse(".metadata.creationTimestamp").ok());
        all_columns.push(Column { type_: "date".into(), ..columns::AGE });
    }
    let bare = |path: &str| -> Cow<'static, str> { path.trim_start_matches('.').to_owned().into() };
    let scale = version.at("subresources.scale");
    let scale = scale.is_object().then(|| ScalePaths {
        spec_replicas: bare(scale.text("specReplicasPath")),
        status_replicas: bare(scale.text("statusReplicasPath")),
        selector: scale.at("labelSelectorPath").as_str().map(bare),
    });
    let selectable = version.list("selectableFields").iter().map(|field| bare(field.text("jsonPath"))).collect();
    let deprecation = version.flag("deprecated").then(|| match version.text("deprecationWarning") {
        "" => format!("{}/{} {} is deprecated", definition.group, version.text("name"), definition.kind),
        text => text.to_owned(),
    });
    let written = Arc::new(version.at("schema.openAPIV3Schema").clone());
    let definition = Arc::clone(definition);
    Ok(Custom { columns: all_columns, cells, selectable, scale, schema, written, deprecation, definition })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition() -> Value {
        json!({"spec": {
            "group": "stable.example.com", "scope": "Namespaced",
            "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "shortNames": ["ct"], "categories": ["all"]},
            "versions": [
                {"name": "v1", "served": true, "storage": true,
                 "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "cronSpec": {"type": "string", "pattern": "^\\d+$"},
                        "replicas": {"type": "integer", "default": 1}}},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}},
                 "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
                 "additionalPrinterColumns": [
                    {"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec"},
                    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}],
                 "selectableFields": [{"jsonPath": ".spec.cronSpec"}]},
                {"name": "v2", "served": true, "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}},
                {"name": "v0", "served": false, "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
    }

    #[test]
    fn a_definition_becomes_kinds() {
        let all = from_crd(&definition()).unwrap();
        assert_eq!(all.iter().map(|(_, served)| *served).collect::<Vec<_>>(), [true, true, false]);
        let kinds: Vec<Kind> = all.into_iter().filter(|(_, served)| *served).map(|(kind, _)| kind).collect();
        assert_eq!(
            kinds.iter().map(Kind::api_version).collect::<Vec<_>>(),
            ["stable.example.com/v1", "stable.example.com/v2"]
        );
        let v1 = &kinds[0];
        assert_eq!((&*v1.list_kind, &*v1.storage, v1.namespaced), ("CronTabList", "crontabs.stable.example.com", true));
        assert_eq!(v1.subresources.iter().map(|s| &*s.name).collect::<Vec<_>>(), ["status", "scale"]);
        assert_eq!(v1.selectable_names(), ["spec.cronSpec"]);
        assert_eq!(v1.scale().unwrap().selector.as_deref(), Some("status.selector"));

        let mut object = json!({
            "apiVersion": "stable.example.com/v1", "kind": "CronTab",
            "metadata": {"name": "a", "namespace": "b", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"cronSpec": "7", "unknown": true}, "status": {"replicas": 3}});
        v1.default(&mut object);
        v1.prepare_create(&mut object);
        assert_eq!(object["spec"], json!({"cronSpec": "7", "replicas": 1}));
        assert!(object.get("status").is_none());
        assert!(v1.validate(&object).is_empty());
        let now = "2026-01-01T01:00:00Z".parse().unwrap();
        assert_eq!(v1.row(&object, now), [json!("a"), json!("7"), json!(1), json!("60m")]);
        assert_eq!(v1.selectable(&object), [("spec.cronSpec".into(), "7".to_owned())]);

        let mut new = object.clone();
        new["spec"]["cronSpec"] = "x".into();
        v1.prepare_update(&mut new, &object, "");
        assert_eq!(new["metadata"]["generation"], 2);
        assert!(!v1.validate_update(&new, &object, "").is_empty());
        let mut status = object.clone();
        status["spec"]["cronSpec"] = "9".into();
        status["status"] = json!({"replicas": 2});
        v1.prepare_update(&mut status, &object, "status");
        assert_eq!(
            (&status["spec"], &status["status"], &status["metadata"]["generation"]),
            (&object["spec"], &json!({"replicas": 2}), &json!(1))
        );

        let stored = kinds[1].to_storage(json!({"apiVersion": "stable.example.com/v2"}));
        assert_eq!(stored["apiVersion"], "stable.example.com/v1");
        assert_eq!(kinds[1].from_storage(stored)["apiVersion"], "stable.example.com/v2");
    }

    #[test]
    fn a_bad_definition_is_refused() {
        let mut wrong = definition();
        // A column whose path leads nowhere is no more than empty.
        wrong["spec"]["versions"][0]["additionalPrinterColumns"][0]["jsonPath"] = ".a[".into();
        let row =
            from_crd(&wrong).unwrap()[0].0.row(&json!({"metadata": {"name": "x"}, "a": 1}), Timestamp::UNIX_EPOCH);
        assert_eq!(row[..2], [json!("x"), Value::Null]);
        wrong["spec"]["versions"] = json!([]);
        assert_eq!(from_crd(&wrong).unwrap_err(), "no version is the storage version");
    }
}
