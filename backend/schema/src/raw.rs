//! The raw definitions: every type as `k8s-openapi` describes it, descriptions included.
//! Made on demand, one kind after the other, and dropped again: megabytes of descriptions are not worth keeping.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::Value;

use crate::roots::{self, Root};

/// Where references point while definitions are raw: `#/definitions/io.k8s.api.core.v1.Pod`.
pub const PREFIX: &str = "#/definitions/";

/// Hands over, once each, the definitions that the wanted kinds and the types of every API need.
pub fn each(wanted: impl Fn(&Root) -> bool, mut take: impl FnMut(&str, Value)) {
    let settings = SchemaSettings::draft07().with(|s| {
        s.definitions_path = "/definitions".into();
        s.meta_schema = None;
        s.transforms.clear();
    });
    let mut generator = SchemaGenerator::new(settings);
    let roots = roots::ALL.iter().filter(|root| wanted(root)).map(|root| root.collect);
    for collect in roots.chain(roots::OTHERS.iter().copied()) {
        collect(&mut generator);
        // What was handed over leaves a null, by which the generator knows that it has made it.
        for (name, definition) in generator.definitions_mut().iter_mut().filter(|(_, value)| !value.is_null()) {
            let mut definition = definition.take();
            correct(name, &mut definition);
            take(name, definition);
        }
    }
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
fn correct(name: &str, definition: &mut Value) {
    let kind = roots::ALL.iter().any(|root| (root.name)() == name);
    let optional = if NAME_OPTIONAL.contains(&name) {
        "name"
    } else if kind && !METADATA_REQUIRED.contains(&name) {
        "metadata"
    } else {
        return;
    };
    if let Some(definition) = definition.as_object_mut()
        && let Some(Value::Array(required)) = definition.get_mut("required")
    {
        required.retain(|field| field != optional);
        if required.is_empty() {
            definition.remove("required");
        }
    }
}

/// The definition that a `$ref` names.
pub fn referenced(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.strip_prefix(PREFIX)
}
