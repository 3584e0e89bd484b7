//! The patch formats. All work on a plain object; the caller decodes, defaults and validates the outcome.

use pilothouse_api::status::Status;
use serde_json::Value;

use crate::schema::Schema;

/// RFC 6902. Errors: 400 for what is not a patch, 413 for too many operations or too much copying, 422 for a patch
/// that does not fit the object (`test` included).
pub fn json_patch(object: &mut Value, patch: &Value) -> Result<(), Status> {
    let _ = (object, patch);
    Err(Status::unsupported_media_type("JSON patch is not served yet"))
}

/// RFC 7386.
pub fn merge_patch(object: &mut Value, patch: &Value) {
    let _ = (object, patch);
}

/// Kubernetes' strategic merge patch, with its directives `$patch`, `$retainKeys`, `$setElementOrder/…` and
/// `$deleteFromPrimitiveList/…`. Errors: 400 for malformed directives, 422 for items without their merge key.
pub fn strategic_merge(schema: &Schema, object: &mut Value, patch: &Value) -> Result<(), Status> {
    let _ = (schema, object, patch);
    Err(Status::unsupported_media_type("strategic merge patch is not served yet"))
}
