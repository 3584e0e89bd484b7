//! The patch formats. All work on a plain object; the caller decodes, defaults and validates the outcome.
//!
//! Invariants: a patch can make an object neither deeper than `limits::MAX_JSON_DEPTH` nor, by copying, much larger
//! than what was sent. After an error the object is in no particular state: throw it away.

mod json;
mod merge;
mod strategic;

#[cfg(test)]
mod tests;

use pilothouse_api::status::Status;

pub use json::json_patch;
pub use merge::merge_patch;
pub use strategic::strategic_merge;

/// The answer to a patch that is well formed, yet does not fit the object; upstream's message says no more, and the
/// cause belongs to a field, because kubectl prints both.
fn does_not_fit(why: impl Into<String>) -> Status {
    let message = "the server rejected our request due to an error in our request";
    Status::failure(422, "Invalid", message).cause("FieldValueInvalid", why, "patch")
}
