//! The type machinery of the API server: what decoding, patching, field ownership and OpenAPI need to know of a type.
//!
//! Everything here is pure: functions over `serde_json::Value` driven by a [`Schema`], no I/O, no clock, no globals
//! beyond schemas built once. Built-in types come from `k8s-openapi`'s JSON schemas completed by
//! `facts/merge-facts.tsv`; custom ones from a CRD's structural schema. Both walk through the same code.
//!
//! Invariant: nothing in this crate knows a resource by name; which kinds are served is told by the caller.

pub mod builtin;
pub mod decode;
pub mod managed;
pub mod openapi;
pub mod patch;
pub mod schema;
pub mod structural;

mod expression;
mod facts;
mod go;
mod raw;
mod roots;
mod same;
mod written;

pub use builtin::{Schemas, builtin};
pub use expression::expression_type;
pub use same::{same, same_field};
pub use schema::{Field, Gvk, List, ListKind, Node, Ref, Schema, Shape, Slot, Struct};
pub use written::{complete, complete_structs};
