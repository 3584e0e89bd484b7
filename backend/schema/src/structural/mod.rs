//! Custom resources: a CRD's structural schema turned into a [`Schema`], and what only they need: pruning, defaulting
//! and validation by OpenAPI v3 keywords.
//! Source: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/>

mod convert;

use serde_json::Value;

/// What a structural schema says beyond the shape.
#[derive(Debug, Default)]
pub struct Rules {
    pub default: Option<Value>,
    pub nullable: bool,
    /// `x-kubernetes-preserve-unknown-fields`: nothing below is pruned unless it is specified.
    pub preserve_unknown: bool,
    /// `x-kubernetes-embedded-resource`: `apiVersion`, `kind` and `metadata` are allowed and checked.
    pub embedded_resource: bool,
    pub required: Vec<Box<str>>,
}
