//! What each resource is: its names and verbs, defaults, validation, what an update may change, how a row of it prints.
//!
//! A kind without behaviour is a row of `facts/discovery.tsv`; behaviour earns a file in `kinds/` and a line in its
//! table. Custom resources are the same [`Kind`], built from their definition.
//!
//! Invariants: everything here is a pure function over `serde_json::Value`: no I/O, no randomness, and the time is
//! passed in. Objects reach us decoded and type-checked; a wrong type is tolerated (read as absent), never a panic.
//! A kind allocates nothing that must be unique in the cluster (cluster IPs, node ports, UIDs): that is the registry's.

mod builtin;
mod checks;
mod columns;
mod custom;
pub mod expressions;
mod human;
mod jsonpath;
mod kind;
mod kinds;
mod meta;
mod strategy;
mod value;
mod warnings;

pub use builtin::builtin;
pub use columns::{Column, ColumnType};
pub use custom::{Conversion, Definition};
pub use human::{human_duration, short_human_duration};
pub use kind::{Kind, Subresource};
pub use kinds::{namespace, node, pod, service};

pub use meta::{validate_meta, validate_meta_update};
pub use strategy::{Propagation, ScalePaths, Strategy};
