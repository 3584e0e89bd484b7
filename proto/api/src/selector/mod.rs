//! Selectors of lists and watches.
//!
//! Invariant: matching allocates nothing; values of a requirement are sorted.

mod fields;
mod labels;

pub use fields::{FieldRequirement, FieldSelector};
pub use labels::{LabelSelector, Operator, Requirement};

/// Most requirements in one selector; more are only ever attacks.
const MAX_REQUIREMENTS: usize = 1000;
