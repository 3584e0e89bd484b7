//! CEL as Kubernetes speaks it: rules of custom resources, admission policies, match conditions.
//!
//! ```text
//! source ─► parse (macros) ─► check (types, estimated cost) ─► Program ─► eval (budget) ─► Value
//! ```
//!
//! The grammar is the `cel` crate's. Checking and evaluating are ours: types come from schemas, values are views of JSON
//! that is not copied, and every step is paid for out of a budget.
//!
//! Invariants: an evaluation ends when its budget does, whatever the expression; nothing here does I/O, knows the time
//! or panics on what came from outside; an expression that was checked fails at run time only by what its data is.
//! Source: <https://kubernetes.io/docs/reference/using-api/cel/>

mod check;
mod cost;
mod error;
mod eval;
mod library;
mod parse;
mod program;
mod types;
mod value;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use cost::{Budget, PER_EXPRESSION};
pub use error::{CompileError, Error};
pub use library::authz::{Authorizer, Check, Decision};
pub use program::{Env, Program, compile};
pub use types::{Field, ListKind, ObjectType, Size, Type, escape};
pub use value::{Host, List, Map, Value};
