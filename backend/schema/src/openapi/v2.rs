//! OpenAPI v2 (Swagger 2.0): one document for everything.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::ApiResource;
use super::definitions::{self, Dialect, Names};
use super::operations::{self, Operation, PATCH_TYPES, PathItem};
use super::parameters::{Parameter, Place};
use super::v3::phrase;

/// Parameters that are written out in every operation: kubectl looks for them there, not behind a reference.
const INLINE: &[&str] = &["dryRun", "fieldValidation"];

/// The whole document.
pub fn document(all: &[ApiResource]) -> Value {
    let names = Names::new(all);
    let mut shared = BTreeMap::new();
    let paths: Map<String, Value> = operations::paths(all.iter(), &names)
        .into_iter()
        .map(|(path, item)| (path, path_item(&item, &mut shared)))
        .collect();
    let bearer = json!({"description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey"});
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": "unversioned"},
        "paths": paths,
        "definitions": definitions::of(all.iter(), all, &names, Dialect::V2),
        "parameters": shared,
        "securityDefinitions": {"BearerToken": bearer},
        "security": [{"BearerToken": []}],
    })
}

type Shared = BTreeMap<&'static str, Value>;

fn path_item(item: &PathItem, shared: &mut Shared) -> Value {
    let mut out: Map<String, Value> =
        item.operations.iter().map(|o| (o.method.to_owned(), operation(o, shared))).collect();
    if !item.parameters.is_empty() {
        out.insert("parameters".into(), item.parameters.iter().map(|p| parameter(p, shared)).collect());
    }
    Value::Object(out)
}

fn parameter(parameter: &Parameter, shared: &mut Shared) -> Value {
    let mut out = json!({
        "name": parameter.name,
        "in": parameter.place.name(),
        "description": parameter.description,
        "type": parameter.of,
        "uniqueItems": true,
    });
    if parameter.place == Place::Path {
        out["required"] = true.into();
    }
    if INLINE.contains(&parameter.name) {
        return out;
    }
    shared.entry(parameter.name).or_insert(out);
    json!({"$ref": format!("#/parameters/{}", parameter.name)})
}

fn operation(operation: &Operation, shared: &mut Shared) -> Value {
    let mut parameters: Vec<Value> = Vec::new();
    if let Some(body) = &operation.body {
        let schema = json!({"$ref": Dialect::V2.reference(&body.definition)});
        let mut parameter = json!({"in": "body", "name": "body", "schema": schema});
        if body.required {
            parameter["required"] = true.into();
        }
        parameters.push(parameter);
    }
    parameters.extend(operation.parameters.iter().map(|p| parameter(p, shared)));
    let produces: &[&str] = match (&operation.response, operation.watch) {
        (Some(_), true) => &["application/json", "application/yaml", "application/json;stream=watch"],
        (Some(_), false) => &["application/json", "application/yaml"],
        (None, _) if operation.action == "connect" => &["*/*"],
        (None, _) => &["text/plain", "application/json", "application/yaml"],
    };
    let consumes: &[&str] = if operation.body.as_ref().is_some_and(|b| b.patch) { PATCH_TYPES } else { &["*/*"] };
    let mut out = json!({
        "tags": [operation.tag],
        "description": operation.description,
        "operationId": operation.id,
        "consumes": consumes,
        "produces": produces,
        "schemes": ["https"],
        "responses": responses(operation),
    });
    if !parameters.is_empty() {
        out["parameters"] = parameters.into();
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
        Some(name) => json!({"$ref": Dialect::V2.reference(name)}),
        None => json!({"type": "string"}),
    };
    let answer = |code: &u16| (code.to_string(), json!({"description": phrase(*code), "schema": schema}));
    let mut out: Map<String, Value> = operation.codes.iter().map(answer).collect();
    out.insert("401".into(), json!({"description": "Unauthorized"}));
    Value::Object(out)
}
