//! `application/vnd.kubernetes.protobuf`: the built-in kinds as client-go sends them.
//!
//! One walker over a table of facts turns messages into JSON values and back; there is no type per kind.
//!
//! Invariants: depth is bounded by `limits::MAX_JSON_DEPTH`, and the result by the size of the input; unknown fields are
//! skipped, as protobuf wants; what Go's JSON would leave out (zeros that are not pointers) is left out here too.
//! Source: <https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding-idl>

mod decode;
mod encode;
mod facts;
mod wire;

use pilothouse_api::Status;
use serde_json::Value;

pub use encode::{object, watch_frame};

pub const MEDIA: &str = "application/vnd.kubernetes.protobuf";
/// What every document begins with.
const MAGIC: &[u8] = b"k8s\0";

/// The object in a document.
///
/// # Errors
/// 400 for what is no such document, or of a kind that has no protobuf form.
pub fn value(document: &[u8]) -> Result<Value, Status> {
    decode::document(document, 0).map_err(|why| {
        Status::bad_request(format!("the body of the request is not a protobuf document of a known kind: {why}"))
    })
}

/// The name of a kind's message: `core.v1.Pod`.
fn message_name(api_version: &str, kind: &str) -> String {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let package = match group.split('.').next().unwrap_or_default() {
        // Options are sent under the version of whatever they are about.
        _ if matches!(kind, "DeleteOptions" | "Status" | "WatchEvent") => return format!("meta.v1.{kind}"),
        "" => "core",
        package => package,
    };
    format!("{package}.{version}.{kind}")
}

#[cfg(test)]
mod tests;
