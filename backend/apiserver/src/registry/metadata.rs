//! Metadata that the server gives: names, uids, times; and what a request's body may say of them.

use jiff::Timestamp;
use pilothouse_api::Status;
use pilothouse_kinds::Kind;
use serde_json::{Map, Value, json};

/// Letters of generated names: no vowels and nothing that looks alike, as upstream.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
/// A generated name is cut to this before its suffix.
const MAX_GENERATED: usize = 63 - SUFFIX_LENGTH;

pub fn now() -> String {
    stamp(Timestamp::now())
}

/// A time as `metav1.Time` prints it: whole seconds, UTC.
pub fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

pub fn generate_name(base: &str) -> String {
    use rand::Rng;
    let mut rng = rand::rng();
    let suffix: String =
        (0..SUFFIX_LENGTH).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect();
    let mut end = base.len().min(MAX_GENERATED);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &base[..end])
}

pub fn map(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    match &mut object["metadata"] {
        Value::Object(map) => map,
        _ => unreachable!("metadata was just made an object"),
    }
}

pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

/// The body's namespace must be the path's, or absent; of what has none, none is kept.
pub fn place(kind: &Kind, object: &mut Value, namespace: &str) -> Result<(), Status> {
    let own = text(object, "namespace").to_owned();
    if !kind.namespaced {
        if !own.is_empty() {
            map(object).remove("namespace");
        }
        return Ok(());
    }
    if !own.is_empty() && own != namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    map(object).insert("namespace".into(), json!(namespace));
    Ok(())
}

/// The body's name must be the path's.
///
/// # Errors
/// 400 for another, or none.
pub fn same_name(object: &Value, name: &str) -> Result<(), Status> {
    let why = match text(object, "name") {
        own if own == name => return Ok(()),
        "" => format!("the name of the object ({name} based on URL) was undeterminable: name must be provided"),
        own => format!("the name of the object ({own}) does not match the name on the URL ({name})"),
    };
    Err(Status::bad_request(why))
}

/// What no client says of a new object.
pub fn wipe_system_fields(object: &mut Value) {
    if let Some(fields) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for system in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
            fields.remove(system);
        }
    }
}

/// Leaves one of owners that are named twice; gives upstream's warning about it.
pub fn dedup_owners(object: &mut Value, admitted: bool) -> Option<String> {
    let owners = object.get_mut("metadata")?.get_mut("ownerReferences")?.as_array_mut()?;
    let mut twice: Vec<String> = Vec::new();
    let mut kept: Vec<Value> = Vec::with_capacity(owners.len());
    for owner in owners.drain(..) {
        if kept.contains(&owner) {
            let uid = owner["uid"].as_str().unwrap_or_default().to_owned();
            if !twice.contains(&uid) {
                twice.push(uid);
            }
        } else {
            kept.push(owner);
        }
    }
    *owners = kept;
    let when = if admitted { " after mutating admission happens" } else { "" };
    (!twice.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, \
             and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            twice.join(", ")
        )
    })
}

/// Whether a deletion was asked for.
pub fn is_deleting(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

pub fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_fit() {
        let name = generate_name(&"a".repeat(80));
        assert_eq!(name.len(), 63);
        assert_ne!(generate_name("web-"), generate_name("web-"));
    }
}
