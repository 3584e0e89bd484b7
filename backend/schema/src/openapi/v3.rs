//! OpenAPI v3: one document per group version.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::ApiResource;
use super::definitions::{self, Dialect, Names};
use super::operations::{self, Operation, PATCH_TYPES, PathItem};
use super::parameters::{Parameter, Place};

/// The media types of answers.
const TYPES: &[&str] = &["application/json", "application/yaml"];

/// The document of the resources that `wanted` tells of all that are served.
pub fn document(all: &[ApiResource], wanted: impl Fn(&ApiResource) -> bool) -> Value {
    let names = Names::new(all);
    let here = || all.iter().filter(|r| wanted(r));
    let paths: Map<String, Value> =
        operations::paths(here(), &names).into_iter().map(|(path, item)| (path, path_item(&item))).collect();
    let schemas = definitions::of(here(), all, &names, Dialect::V3);
    let bearer = json!({"description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey"});
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"BearerToken": bearer}},
    })
}

fn path_item(item: &PathItem) -> Value {
    let mut out: Map<String, Value> = item.operations.iter().map(|o| (o.method.to_owned(), operation(o))).collect();
    if !item.parameters.is_empty() {
        out.insert("parameters".into(), item.parameters.iter().map(|p| parameter(p)).collect());
    }
    Value::Object(out)
}

fn parameter(parameter: &Parameter) -> Value {
    let mut out = json!({
        "name": parameter.name,
        "in": parameter.place.name(),
        "description": parameter.description,
        "schema": {"type": parameter.of, "uniqueItems": true},
    });
    if parameter.place == Place::Path {
        out["required"] = true.into();
    }
    out
}

fn content<'t>(types: impl Iterator<Item = &'t str>, schema: &Value) -> Value {
    Value::Object(types.map(|name| (name.to_owned(), json!({ "schema": schema }))).collect())
}

fn operation(operation: &Operation) -> Value {
    let mut out = json!({
        "tags": [operation.tag],
        "description": operation.description,
        "operationId": operation.id,
        "responses": responses(operation),
    });
    if !operation.parameters.is_empty() {
        out["parameters"] = operation.parameters.iter().map(|p| parameter(p)).collect();
    }
    if let Some(body) = &operation.body {
        let schema = json!({"$ref": Dialect::V3.reference(&body.definition)});
        let types: &[&str] = if body.patch { PATCH_TYPES } else { &["*/*"] };
        out["requestBody"] = json!({"content": content(types.iter().copied(), &schema)});
        if body.required {
            out["requestBody"]["required"] = true.into();
        }
    }
    if !operation.action.is_empty() {
        out["x-kubernetes-action"] = operation.action.into();
    }
    if let Some((group, version, kind)) = &operation.gvk {
        out["x-kubernetes-group-version-kind"] = json!({"group": group, "version": version, "kind": kind});
    }
    out
}

fn responses(operation: &Operation) -> Value {
    let schema = match &operation.response {
        Some(name) => json!({"$ref": Dialect::V3.reference(name)}),
        None => json!({"type": "string"}),
    };
    let mut types: BTreeSet<&str> = match &operation.response {
        Some(_) => TYPES.iter().copied().collect(),
        None if operation.action == "connect" => ["*/*"].into(),
        None => ["text/plain"].into(),
    };
    if operation.watch {
        types.insert("application/json;stream=watch");
    }
    let answer = |code: &u16| {
        (code.to_string(), json!({"description": phrase(*code), "content": content(types.iter().copied(), &schema)}))
    };
    let mut out: Map<String, Value> = operation.codes.iter().map(answer).collect();
    out.insert("401".into(), json!({"description": "Unauthorized"}));
    Value::Object(out)
}

/// The reason phrase of a code that operations answer with.
pub fn phrase(code: u16) -> &'static str {
    match code {
        201 => "Created",
        202 => "Accepted",
        _ => "OK",
    }
}
