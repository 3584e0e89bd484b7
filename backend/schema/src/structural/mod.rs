//! Custom resources: a CRD's structural schema turned into a [`Schema`], and what only they need: pruning, defaulting
//! and validation by OpenAPI v3 keywords.
//!
//! Invariant: every node of such a schema has [`Rules`], so that decoding knows it keeps what it was sent and leaves
//! the judgement to [`validate`]; only `metadata` is the built-in type.
//! Source: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/>

mod convert;
mod defaults;
mod embedded;
mod formats;
mod lint;
mod numbers;
mod prune;
mod rules;
mod validate;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use regex::Regex;
use serde_json::{Number, Value};

use crate::schema::Schema;

pub use defaults::{apply_defaults, drop_nulls, settle_numbers};
pub use embedded::embedded;
pub use lint::{lint, unknown_formats};
pub use prune::prune;
use validate::validate_default;
pub use validate::{unchanged, validate, validate_update};

use rules::Validations;

/// What a structural schema says beyond the shape.
#[derive(Debug, Default)]
pub struct Rules {
    /// The value of an absent field.
    pub default: Option<Value>,
    pub nullable: bool,
    /// `x-kubernetes-embedded-resource`: `apiVersion`, `kind` and `metadata` are allowed and checked.
    pub embedded_resource: bool,
    pub required: Vec<Box<str>>,
    /// The type as written; empty for none, `int-or-string` for `x-kubernetes-int-or-string`.
    pub of: Box<str>,
    pub format: Box<str>,
    pub pattern: Option<Regex>,
    pub choices: Vec<Value>,
    pub minimum: Option<Bound>,
    pub maximum: Option<Bound>,
    pub multiple_of: Option<Number>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub unique_items: bool,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    pub all_of: Vec<Arc<Schema>>,
    pub any_of: Vec<Arc<Schema>>,
    pub one_of: Vec<Arc<Schema>>,
    pub not: Option<Arc<Schema>>,
    /// `x-kubernetes-validations`.
    pub validations: Option<Box<Validations>>,
    /// Of the root: whether any place has such rules.
    pub has_validations: bool,
    /// Of the root: whether any place is a resource of its own.
    pub has_embedded: bool,
    /// Of the root: what the CRD demands of `metadata` (its name's form, at most).
    pub metadata: Option<Arc<Schema>>,
}

/// An end of a range.
#[derive(Debug, Clone)]
pub struct Bound {
    pub value: Number,
    pub exclusive: bool,
}
