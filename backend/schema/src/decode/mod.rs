//! From the bytes of a request to an object of a known kind.
//!
//! One pass over the bytes builds the object and checks it against the schema: there is no second tree. Fields that
//! upstream's Go types would lose on the way (nulls, unknown fields, empty optional lists and maps of built-in kinds)
//! are lost here too, and scalars with a canonical form (quantities, times) are put into it, so that what is stored
//! does not depend on who wrote it.
//!
//! Invariants: recursion is bounded by `limits::MAX_JSON_DEPTH`; a decoded object has no field its schema lacks.

mod gotime;
mod message;
mod path;
mod scalars;
mod syntax;
mod visit;
mod yaml;

use pilothouse_api::field::{self, Error as FieldError};
use pilothouse_api::status::Status;
use serde::de::{DeserializeSeed, Deserializer};
use serde_json::Value;

use crate::schema::Schema;
use crate::{go, managed, structural};
use path::Path;
use visit::{Report, Seed};

pub use message::json_type;
pub(crate) use scalars::parse_time;

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

/// Why a body was not decoded, before it is put into the words of the request's kind.
enum Failure {
    /// Not JSON, not YAML.
    Syntax(String),
    /// The wrong type somewhere.
    Type(String),
}

/// Decodes a body. `apiVersion` and `kind` are completed from the schema where they are missing.
/// Errors: 400 with upstream's words.
pub fn decode(schema: &Schema, body: &[u8], format: Format, validation: FieldValidation) -> Result<Decoded, Status> {
    let mut report = Report::new(validation != FieldValidation::Ignore);
    let outcome = match format {
        Format::Json => from_json(schema, body, &mut report),
        Format::Yaml => from_yaml(schema, body, &mut report),
    };
    let mut object = outcome.map_err(|failure| refusal(schema, body, format, failure))?;
    if object.is_null() {
        // As Go reads it: of everything nothing.
        object = Value::Object(serde_json::Map::new());
    }
    message::complete(schema, &mut object).map_err(Status::bad_request)?;
    if let Some(why) = nameless(schema, &object) {
        return Err(Status::bad_request(message::cannot_handle(schema, &object, &why)));
    }
    let warnings = report.into_messages();
    if validation == FieldValidation::Strict && !warnings.is_empty() {
        return Err(Status::bad_request(message::cannot_handle(schema, &object, &strict(&warnings))));
    }
    Ok(Decoded { object, warnings: warnings.iter().flat_map(|text| lines(text)).collect() })
}

/// What an error tells line by line, a warning tells one by one.
fn lines(text: &str) -> Vec<String> {
    match text.strip_prefix("yaml: unmarshal errors:\n") {
        Some(lines) => lines.lines().map(|line| line.trim().to_owned()).collect(),
        None => vec![text.to_owned()],
    }
}

/// What is an object of its own within a custom resource, and says what it is in anything but text.
fn nameless(schema: &Schema, object: &Value) -> Option<String> {
    let mut found = None;
    structural::embedded(schema, object, &mut |path, inner| {
        for field in ["apiVersion", "kind"] {
            let said = inner.get(field).filter(|said| !said.is_string());
            if let (Some(said), None) = (said, &found) {
                found = Some(FieldError::invalid(path.child(field), said.clone(), "must be a string").to_string());
            }
        }
    });
    found
}

/// Checks and normalizes an object that came about otherwise. Errors: 400.
pub fn check(schema: &Schema, object: Value, validation: FieldValidation) -> Result<Decoded, Status> {
    let mut report = Report::new(validation != FieldValidation::Ignore);
    let (kind, version) = (object["kind"].clone(), object["apiVersion"].clone());
    let mut object = from_value(schema, object, &mut report).map_err(|failure| {
        let body = serde_json::json!({"kind": kind, "apiVersion": version});
        Status::bad_request(message::cannot_handle(schema, &body, failure.text()))
    })?;
    message::complete(schema, &mut object).map_err(Status::bad_request)?;
    let warnings = report.into_messages();
    if validation == FieldValidation::Strict && !warnings.is_empty() {
        return Err(Status::bad_request(message::cannot_handle(schema, &object, &strict(&warnings))));
    }
    Ok(Decoded { object, warnings })
}

/// Checks and normalizes the outcome of a patch; `found` is what [`parse`] had to say about the patch itself. What is
/// wrong is told together with the outcome, or with `shown`, if the patch itself is what upstream shows.
/// Errors: 422 about the field `patch`, as upstream.
pub fn check_patched(
    schema: &Schema,
    patched: &Value,
    shown: Option<&Value>,
    found: Vec<String>,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let mut report = Report::new(validation != FieldValidation::Ignore);
    let invalid = |text: &str| {
        let shown = shown.map_or_else(|| patched.to_string(), go::printed);
        let error = FieldError::invalid(field::Path::new("patch"), shown, text);
        Status::invalid("", "", "", &vec![error])
    };
    let mut object = from_value(schema, patched, &mut report).map_err(|failure| invalid(failure.text()))?;
    if let Some(other) = message::misfit(schema, &object) {
        return Err(invalid(other.text()));
    }
    message::complete(schema, &mut object).map_err(|why| invalid(&why))?;
    let warnings: Vec<String> = found.into_iter().chain(report.into_messages()).collect();
    if validation == FieldValidation::Strict && !warnings.is_empty() {
        return Err(invalid(&strict(&warnings)));
    }
    Ok(Decoded { object, warnings })
}

/// Decodes a body that has no kind: a JSON patch, a merge patch. Nulls are kept. Duplicate fields are told in
/// `warnings` whatever the validation (unless it is `Ignore`): [`check_patched`] judges them.
/// Errors: 400.
pub fn parse(body: &[u8], format: Format, validation: FieldValidation) -> Result<Decoded, Status> {
    let mut report = Report::new(validation != FieldValidation::Ignore);
    let outcome = match format {
        Format::Json => from_json(Schema::any(), body, &mut report),
        Format::Yaml => from_yaml(Schema::any(), body, &mut report),
    };
    let object = outcome.map_err(|failure| Status::bad_request(format!("error decoding patch: {}", failure.text())))?;
    Ok(Decoded { object, warnings: report.into_messages() })
}

/// Decodes the configuration of a server-side apply (`application/apply-patch+yaml`; JSON is YAML).
/// Unknown fields are errors whatever `validation` says; duplicates follow `validation`.
/// Errors: 400 for what is not YAML or of another kind, 500 without reason for what does not fit the schema, both as
/// upstream.
pub fn decode_apply(schema: &Schema, body: &[u8], validation: FieldValidation) -> Result<Decoded, Status> {
    let mut found = Report::new(validation != FieldValidation::Ignore);
    let undecodable = |text: &str| Status::bad_request(format!("error decoding YAML: {text}"));
    let config = match from_json(Schema::any(), body, &mut found) {
        Ok(config) if found.is_empty() => config,
        // Not JSON, or with duplicates, which are worded as YAML's: with their lines.
        _ => {
            found = Report::new(validation != FieldValidation::Ignore);
            from_yaml(Schema::any(), body, &mut found).map_err(|failure| undecodable(failure.text()))?
        }
    };
    if !config.is_object() && !config.is_null() {
        let why = "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal";
        let of = message::json_type(&config);
        return Err(undecodable(&format!("{why} {of} into Go value of type map[string]interface {{}}")));
    }
    // Nothing is completed here: who applies says what.
    if let Some(gvk) = &schema.gvk
        && (config["kind"] != *gvk.kind || config["apiVersion"] != gvk.api_version())
    {
        return Err(Status::bad_request(format!("invalid object type: {}", message::stated_type(&config))));
    }
    let warnings = found.into_messages();
    if validation == FieldValidation::Strict && !warnings.is_empty() {
        return Err(Status::bad_request(format!("error strict decoding YAML: {}", warnings.join(", "))));
    }
    let subject = message::subject(&config);
    let failed = |why: &str| Status::failure(500, "", format!("failed to {why}"));
    let untyped = |text: &str| Err(failed(&format!("create typed patch object ({subject}): {text}")));
    match managed::misfits(schema, &config).as_slice() {
        [] => {}
        [one] => return untyped(one),
        many => return untyped(&format!("errors:\n  {}", many.join("\n  "))),
    }
    // What is left are values that their types do not have: quantities, times, numbers out of range.
    let mut object = from_value(schema, config, &mut Report::for_apply()).map_err(|failure| {
        let of = subject.split_once("; ").map_or("", |(_, of)| of);
        let why = format!("unable to convert unstructured object to {of}: {}", failure.text());
        failed(&format!("convert new object ({subject}) to proper version: {why}"))
    })?;
    message::complete(schema, &mut object).map_err(Status::bad_request)?;
    Ok(Decoded { object, warnings })
}

fn strict(found: &[String]) -> String {
    format!("strict decoding error: {}", found.join(", "))
}

impl Failure {
    fn text(&self) -> &str {
        match self {
            Self::Syntax(text) | Self::Type(text) => text,
        }
    }
}

fn refusal(schema: &Schema, body: &[u8], format: Format, failure: Failure) -> Status {
    Status::bad_request(match failure {
        Failure::Syntax(text) => message::unrecognized(schema, body, format, &text),
        Failure::Type(text) => {
            let head = message::head(body, format);
            // A body of another kind fails for being that, not for the first field that differs.
            message::mismatch(schema, &head).unwrap_or_else(|| message::cannot_handle(schema, &head, &text))
        }
    })
}

fn from_json(schema: &Schema, body: &[u8], report: &mut Report) -> Result<Value, Failure> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let seed = Seed { schema, path: &Path::Root, report };
    let value = seed.deserialize(&mut deserializer);
    let failure = |error: serde_json::Error| match report.take_fatal() {
        Some(text) => Failure::Type(text),
        None => Failure::Syntax(syntax::go_words(&error, body)),
    };
    let value = value.map_err(failure)?;
    deserializer.end().map_err(|error| Failure::Syntax(syntax::go_words(&error, body)))?;
    Ok(value)
}

fn from_yaml(schema: &Schema, body: &[u8], report: &mut Report) -> Result<Value, Failure> {
    let value = yaml::parse(body, report).map_err(Failure::Syntax)?;
    // Upstream converts YAML to JSON with sorted keys first, hence the order of what is reported.
    from_value(schema, value, report)
}

fn from_value<'v>(
    schema: &Schema,
    value: impl Deserializer<'v, Error = serde_json::Error>,
    report: &mut Report,
) -> Result<Value, Failure> {
    let seed = Seed { schema, path: &Path::Root, report };
    let outcome: Result<Value, serde_json::Error> = seed.deserialize(value);
    outcome.map_err(|error| Failure::Type(report.take_fatal().unwrap_or_else(|| error.to_string())))
}

#[cfg(test)]
mod tests;
