//! The patch formats. All work on a plain object; the caller decodes, defaults and validates the outcome.
//!
//! Invariants: a patch can make an object neither deeper than `limits::MAX_JSON_DEPTH` nor, by copying, much larger
//! than what was sent. After an error the object is in no particular state: throw it away.

mod json;
mod merge;
mod strategic;

#[cfg(test)]
mod tests;

use pilothouse_api::status::{Details, Status};

pub use json::json_patch;
pub use merge::merge_patch;
pub use strategic::strategic_merge;

/// The answer to a patch that is well formed, yet does not fit the object: upstream says no more than that.
fn does_not_fit() -> Status {
    let message = "the server rejected our request due to an error in our request";
    Status { details: Some(Details::default()), ..Status::failure(422, "Invalid", message) }
}

/// What upstream has no code of its own for.
fn failed(why: impl Into<String>) -> Status {
    Status::failure(500, "", why)
}
