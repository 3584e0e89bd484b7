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
    let mut out: BTreeMap<String, Value> = generator.take_definitions(false).into_iter().collect();
    correct(&mut out);
    out
}

/// References whose `name` may be absent, which the Rust types cannot say.
const NAME_OPTIONAL: &[&str] = &[
    "io.k8s.api.core.v1.ConfigMapEnvSource",
    "io.k8s.api.core.v1.ConfigMapKeySelector",
    "io.k8s.api.core.v1.ConfigMapProjection",
    "io.k8s.api.core.v1.ConfigMapVolumeSource",
    "io.k8s.api.core.v1.LocalObjectReference",
    "io.k8s.api.core.v1.SecretEnvSource",
    "io.k8s.api.core.v1.SecretKeySelector",
    "io.k8s.api.core.v1.SecretProjection",
];
/// The few kinds whose `metadata` is required; the Rust types require all kinds'.
const METADATA_REQUIRED: &[&str] = &[
    "io.k8s.api.apiserverinternal.v1alpha1.StorageVersion",
    "io.k8s.api.core.v1.Event",
    "io.k8s.api.resource.v1alpha3.ResourcePoolStatusRequest",
];

/// Puts right what the Rust types require more than the API does.
fn correct(definitions: &mut BTreeMap<String, Value>) {
    let mut optional = |name: &str, field: &str| {
        let Some(Value::Object(definition)) = definitions.get_mut(name) else { return };
        if let Some(Value::Array(required)) = definition.get_mut("required") {
            required.retain(|required| required != field);
            if required.is_empty() {
                definition.remove("required");
            }
        }
    };
    for root in roots::ALL {
        let name = (root.name)();
        if !METADATA_REQUIRED.contains(&&*name) {
            optional(&name, "metadata");
        }
    }
    NAME_OPTIONAL.iter().for_each(|name| optional(name, "name"));
}

/// The definition that a `$ref` names.
pub fn referenced(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix(PREFIX)
}
