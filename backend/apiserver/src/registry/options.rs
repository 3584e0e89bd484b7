//! The options of a request, which come in its query, in upstream's words when they are wrong.

use pilothouse_api::Status;
use pilothouse_api::field::{Error, Path};
use pilothouse_schema::decode::FieldValidation;

use crate::server::Call;

/// Longest `fieldManager`.
const MAX_MANAGER_BYTES: usize = 128;

/// The kind of the options that a verb takes.
fn kind(call: &Call) -> &'static str {
    match call.info.verb.as_str() {
        "create" => "CreateOptions",
        "update" => "UpdateOptions",
        "patch" => "PatchOptions",
        "delete" | "deletecollection" => "DeleteOptions",
        _ => "ListOptions",
    }
}

/// 422 about one of the options.
pub fn invalid(call: &Call, error: Error) -> Status {
    Status::invalid("meta.k8s.io", kind(call), "", &vec![error])
}

/// 422 about several of them.
pub fn invalid_all(call: &Call, errors: Vec<Error>) -> Status {
    Status::invalid("meta.k8s.io", kind(call), "", &errors)
}

/// `dryRun=All`, or nothing.
///
/// # Errors
/// 422 for any other value.
pub fn dry_run(call: &Call) -> Result<bool, Status> {
    let asked: Vec<&str> = call.query.all("dryRun").collect();
    match wrong_dry_run(&asked) {
        Some(error) => Err(invalid(call, error)),
        None => Ok(!asked.is_empty()),
    }
}

fn wrong_dry_run(asked: &[&str]) -> Option<Error> {
    let wrong = asked.iter().any(|value| *value != "All");
    wrong.then(|| Error::not_supported(Path::new("dryRun"), serde_json::json!(asked), &["All"]))
}

/// All options of a write, before its body is looked at.
///
/// # Errors
/// 422 about everything that is wrong with them.
pub fn check(call: &Call) -> Result<(), Status> {
    let asked: Vec<&str> = call.query.all("dryRun").collect();
    let validation = call.query.text("fieldValidation");
    let wrong = [
        wrong_manager(call.query.text("fieldManager")),
        wrong_dry_run(&asked),
        FieldValidation::parse(validation).is_none().then(|| wrong_validation(validation)),
    ];
    let errors: Vec<Error> = wrong.into_iter().flatten().collect();
    if errors.is_empty() { Ok(()) } else { Err(invalid_all(call, errors)) }
}

/// Who applies has to say who they are.
///
/// # Errors
/// 422 without a `fieldManager`.
pub fn applier(call: &Call) -> Result<(), Status> {
    if call.query.text("fieldManager").is_empty() {
        return Err(invalid(call, Error::required(Path::new("fieldManager"), "is required for apply patch")));
    }
    Ok(())
}

fn wrong_validation(text: &str) -> Error {
    Error::not_supported(Path::new("fieldValidation"), text, &["", "Ignore", "Strict", "Warn"])
}

fn wrong_manager(named: &str) -> Option<Error> {
    if named.len() > MAX_MANAGER_BYTES {
        return Some(Error::too_long(Path::new("fieldManager"), MAX_MANAGER_BYTES));
    }
    let (at, bad) = named.chars().enumerate().find(|(_, c)| c.is_control())?;
    let why = format!("invalid character U+{:04X} (at position {at})", u32::from(bad));
    Some(Error::invalid(Path::new("fieldManager"), named, why))
}

/// What happens to unknown and duplicate fields.
///
/// # Errors
/// 422 for what is none of the three.
pub fn field_validation(call: &Call) -> Result<FieldValidation, Status> {
    let text = call.query.text("fieldValidation");
    FieldValidation::parse(text).ok_or_else(|| invalid(call, wrong_validation(text)))
}

/// Who writes: the `fieldManager`, or what the User-Agent begins with.
///
/// # Errors
/// 422 for a name that is too long or cannot be printed.
pub fn manager(call: &Call) -> Result<String, Status> {
    let named = call.query.text("fieldManager");
    if let Some(error) = wrong_manager(named) {
        return Err(invalid(call, error));
    }
    if !named.is_empty() {
        return Ok(named.to_owned());
    }
    let agent = call.parts.headers.get(http::header::USER_AGENT).and_then(|value| value.to_str().ok());
    let name = agent.and_then(|agent| agent.split('/').next()).unwrap_or_default().trim();
    let short: String = name.chars().take(MAX_MANAGER_BYTES).collect();
    Ok(if short.is_empty() { "unknown".to_owned() } else { short })
}
