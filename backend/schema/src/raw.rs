//! The raw definitions: every type as `k8s-openapi` describes it, descriptions included.
//! Built on demand and dropped again: a megabyte of descriptions is not worth keeping.

use std::collections::BTreeMap;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::Value;

use crate::roots;

/// Where references point while definitions are raw: `#/definitions/io.k8s.api.core.v1.Pod`.
pub const PREFIX: &str = "#/definitions/";

/// Every definition reachable from the root kinds, by its OpenAPI name.
pub fn definitions() -> BTreeMap<String, Value> {
    let settings = SchemaSettings::draft07().with(|s| {
        s.definitions_path = "/definitions".into();
        s.meta_schema = None;
        s.transforms.clear();
    });
    let mut generator = SchemaGenerator::new(settings);
    for root in roots::ALL {
        (root.collect)(&mut generator);
    }
    for collect in roots::OTHERS {
        collect(&mut generator);
    }
    generator.take_definitions(false).into_iter().collect()
}

/// The definition that a `$ref` names.
pub fn referenced(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix(PREFIX)
}
