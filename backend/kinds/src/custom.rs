//! Kinds of custom resources, built from their CustomResourceDefinition.
//! Source: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/>

use std::{borrow::Cow, sync::Arc};

use jiff::Timestamp;
use pilothouse_api::field::ErrorList;
use serde_json::Value;

use crate::{
    columns::{self, Column},
    human::human_duration,
    jsonpath::JsonPath,
    kind::{Behaviour, Kind, Subresource},
    strategy::{ScalePaths, with_api_version},
    value::Look,
};

const VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// The behaviour of one served version of a custom resource.
#[derive(Debug)]
pub(crate) struct Custom {
    pub(crate) columns: Vec<Column>,
    /// The path of each column after the name.
    cells: Vec<JsonPath>,
    selectable: Vec<(Cow<'static, str>, JsonPath)>,
    pub(crate) scale: Option<ScalePaths>,
    /// `group/version` of the version that is stored.
    storage_api_version: String,
}

impl Custom {
    pub(crate) fn default(&self, _object: &mut Value) {}

    pub(crate) fn validate(&self, _object: &Value, _errors: &mut ErrorList) {}

    pub(crate) fn validate_update(&self, _new: &Value, _old: &Value, _errors: &mut ErrorList) {}

    pub(crate) fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let mut row = vec![columns::name(object)];
        for (column, path) in self.columns[1..].iter().zip(&self.cells) {
            row.push(cell(path.find(object), &column.type_, now));
        }
        row
    }

    pub(crate) fn selectable(&self, object: &Value) -> Vec<(Cow<'static, str>, String)> {
        let text = |path: &JsonPath| path.first(object).map(|v| crate::value::bare(v).into_owned()).unwrap_or_default();
        self.selectable.iter().map(|(name, path)| (name.clone(), text(path))).collect()
    }

    pub(crate) fn to_storage(&self, object: Value) -> Value {
        with_api_version(object, self.storage_api_version.clone())
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

pub(crate) fn from_crd(definition: &Value) -> Result<Vec<Kind>, String> {
    let spec = definition.at("spec");
    let group = spec.text("group").to_owned();
    let versions = spec.list("versions");
    let storage = versions.iter().find(|v| v.flag("storage")).ok_or("no version is the storage version")?;
    let storage_api_version = format!("{group}/{}", storage.text("name"));
    // Names are what the definition asks for until the naming controller has accepted them.
    let accepted = definition.at("status.acceptedNames");
    let names = if accepted.text("plural").is_empty() { spec.at("names") } else { accepted };
    let owned = |path: &str| -> Cow<'static, str> { names.text(path).to_owned().into() };
    let owned_list =
        |path: &str| -> Vec<Cow<'static, str>> { names.texts(path).map(|s| s.to_owned().into()).collect() };
    let or = |text: Cow<'static, str>, other: String| if text.is_empty() { other.into() } else { text };
    let mut kinds = Vec::new();
    for version in versions.iter().filter(|v| v.flag("served")) {
        let custom = Arc::new(custom(version, &storage_api_version)?);
        let (kind, plural) = (owned("kind"), owned("plural"));
        kinds.push(Kind {
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
            fields: custom.selectable.iter().map(|(name, _)| name.clone()).collect(),
            behaviour: Behaviour::Custom(custom),
            kind,
            plural,
        });
    }
    Ok(kinds)
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

fn custom(version: &Value, storage_api_version: &str) -> Result<Custom, String> {
    let mut all_columns = vec![columns::NAME];
    let mut cells = Vec::new();
    let asked = version.list("additionalPrinterColumns");
    for column in asked {
        cells.push(JsonPath::parse(column.text("jsonPath"))?);
        all_columns.push(Column {
            name: column.text("name").to_owned().into(),
            type_: column.text("type").to_owned().into(),
            format: column.text("format").to_owned().into(),
            description: column.text("description").to_owned().into(),
            priority: column.int("priority").and_then(|p| i32::try_from(p).ok()).unwrap_or_default(),
        });
    }
    if asked.is_empty() {
        cells.push(JsonPath::parse(".metadata.creationTimestamp")?);
        all_columns.push(Column { type_: "date".into(), ..columns::AGE });
    }
    let mut selectable = Vec::new();
    for field in version.list("selectableFields") {
        let path = field.text("jsonPath");
        selectable.push((path.trim_start_matches('.').to_owned().into(), JsonPath::parse(path)?));
    }
    let bare = |path: &str| -> Cow<'static, str> { path.trim_start_matches('.').to_owned().into() };
    let scale = version.at("subresources.scale");
    let scale = scale.is_object().then(|| ScalePaths {
        spec_replicas: bare(scale.text("specReplicasPath")),
        status_replicas: bare(scale.text("statusReplicasPath")),
        selector: scale.at("labelSelectorPath").as_str().map(bare),
    });
    let storage_api_version = storage_api_version.to_owned();
    Ok(Custom { columns: all_columns, cells, selectable, scale, storage_api_version })
}
