//! JSON patch, RFC 6902, with the liberties of the library that upstream uses: negative indices count from the end,
//! what is absent is null to `test` and `copy`, `replace` adds fields, and a value that is left out is null.

use pilothouse_api::limits::{MAX_BODY_BYTES, MAX_JSON_DEPTH, MAX_JSON_PATCH_OPERATIONS};
use pilothouse_api::status::Status;
use serde_json::{Map, Value};

use super::does_not_fit;

/// Most JSON values that `copy` may add in one patch, in bytes of their text: upstream's limit is that of a request.
const MAX_COPIED_BYTES: usize = MAX_BODY_BYTES;
/// Most that `move` may carry around in one patch: it adds nothing, but measuring it takes time.
const MAX_MOVED_BYTES: usize = 16 * MAX_BODY_BYTES;

/// Applies a patch.
/// Errors: 400 for what is not a patch, 413 for too many operations or too much copying, 422 for a patch that does
/// not fit the object (`test` included).
pub fn json_patch(object: &mut Value, patch: &Value) -> Result<(), Status> {
    let operations = match patch {
        Value::Array(operations) => operations,
        Value::Null => return Ok(()),
        other => return Err(no_patch(other, "[]handlers.jsonPatchOp")),
    };
    if operations.len() > MAX_JSON_PATCH_OPERATIONS {
        let (max, got) = (MAX_JSON_PATCH_OPERATIONS, operations.len());
        let message = format!("The allowed maximum operations in a JSON patch is {max}, got {got}");
        return Err(Status::too_large(format!("Request entity too large: {message}")));
    }
    let mut budget = Budget { copied: MAX_COPIED_BYTES, moved: MAX_MOVED_BYTES };
    for operation in operations {
        apply(object, operation, &mut budget)?;
    }
    Ok(())
}

struct Budget {
    copied: usize,
    moved: usize,
}

impl Budget {
    fn take(left: &mut usize, value: &Value) -> Result<(), Status> {
        let Some(rest) = left.checked_sub(weight(value)) else {
            return Err(Status::too_large("Request entity too large: the JSON patch copies too much"));
        };
        *left = rest;
        Ok(())
    }
}

/// About the bytes of a value's text.
fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| weight(item) + 1).sum::<usize>() + 2,
        Value::Object(fields) => fields.iter().map(|(name, field)| name.len() + weight(field) + 4).sum::<usize>() + 2,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn apply(object: &mut Value, operation: &Value, budget: &mut Budget) -> Result<(), Status> {
    let Value::Object(operation) = operation else {
        return Err(no_patch(operation, "handlers.jsonPatchOp"));
    };
    let op = text(operation, "op")?;
    let path = Pointer::parse(text(operation, "path")?)?;
    match op {
        "add" => add(object, &path, value(operation).clone()),
        "replace" => replace(object, &path, value(operation).clone()),
        "remove" => remove(object, &path).map(|_| ()).ok_or_else(does_not_fit),
        "test" => {
            let want = value(operation);
            let same = match find(object, &path.0) {
                Some(have) => equal(have, want),
                None => want.is_null(),
            };
            if same { Ok(()) } else { Err(does_not_fit()) }
        }
        "copy" => {
            let from = Pointer::parse(text(operation, "from")?)?;
            // What is not in an object is copied as null.
            let value = match find(object, &from.0) {
                Some(value) => value,
                None if is_field(object, &from) => &Value::Null,
                None => return Err(does_not_fit()),
            };
            Budget::take(&mut budget.copied, value)?;
            let value = value.clone();
            add(object, &path, value)
        }
        "move" => {
            let from = Pointer::parse(text(operation, "from")?)?;
            if path.0.len() > from.0.len() && path.0.starts_with(&from.0) {
                return Err(does_not_fit());
            }
            let value = remove(object, &from).ok_or_else(does_not_fit)?;
            Budget::take(&mut budget.moved, &value)?;
            add(object, &path, value)
        }
        _ => Err(does_not_fit()),
    }
}

fn text<'o>(operation: &'o Map<String, Value>, name: &str) -> Result<&'o str, Status> {
    operation.get(name).and_then(Value::as_str).ok_or_else(does_not_fit)
}

/// What is left out is null.
fn value(operation: &Map<String, Value>) -> &Value {
    operation.get("value").unwrap_or(&Value::Null)
}

fn no_patch(value: &Value, expected: &str) -> Status {
    let shown = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        _ => "number",
    };
    let why = format!("error decoding patch: json: cannot unmarshal {shown} into Go value of type {expected}");
    Status::bad_request(why)
}

/// Is it a place in an object, whether there is something or not?
fn is_field(object: &Value, path: &Pointer) -> bool {
    path.0.split_last().is_some_and(|(_, parents)| find(object, parents).is_some_and(Value::is_object))
}

/// RFC 6901.
struct Pointer(Vec<String>);

impl Pointer {
    fn parse(text: &str) -> Result<Self, Status> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        // What stands before the first slash is not looked at.
        let Some((_, rest)) = text.split_once('/') else {
            return Err(does_not_fit());
        };
        let steps: Vec<String> = rest.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
        if steps.len() > MAX_JSON_DEPTH {
            return Err(does_not_fit());
        }
        Ok(Self(steps))
    }
}

/// The place in an array of `len`; negative numbers count from the end.
fn index(step: &str, len: usize) -> Option<usize> {
    let number: i64 = step.parse().ok()?;
    let len = i64::try_from(len).ok()?;
    let at = if number < 0 { number + len } else { number };
    usize::try_from(at).ok()
}

fn find<'v>(value: &'v Value, steps: &[String]) -> Option<&'v Value> {
    steps.iter().try_fold(value, |value, step| match value {
        Value::Object(fields) => fields.get(step),
        Value::Array(items) => items.get(index(step, items.len())?),
        _ => None,
    })
}

fn find_mut<'v>(value: &'v mut Value, steps: &[String]) -> Option<&'v mut Value> {
    steps.iter().try_fold(value, |value, step| match value {
        Value::Object(fields) => fields.get_mut(step),
        Value::Array(items) => {
            let at = index(step, items.len())?;
            items.get_mut(at)
        }
        _ => None,
    })
}

fn check_depth(path: &Pointer, value: &Value) -> Result<(), Status> {
    if path.0.len() + depth(value) > MAX_JSON_DEPTH {
        return Err(does_not_fit());
    }
    Ok(())
}

fn add(object: &mut Value, path: &Pointer, value: Value) -> Result<(), Status> {
    check_depth(path, &value)?;
    let Some((last, parents)) = path.0.split_last() else {
        *object = value;
        return Ok(());
    };
    match find_mut(object, parents) {
        Some(Value::Object(fields)) => {
            fields.insert(last.clone(), value);
            Ok(())
        }
        Some(Value::Array(items)) => {
            // Adding may happen one past the end, so -1 is the end.
            let at = if last == "-" { Some(items.len()) } else { index(last, items.len() + 1) };
            match at {
                Some(at) if at <= items.len() => {
                    items.insert(at, value);
                    Ok(())
                }
                _ => Err(does_not_fit()),
            }
        }
        _ => Err(does_not_fit()),
    }
}

/// Puts a value in the place of another; in an object there need be none.
fn replace(object: &mut Value, path: &Pointer, value: Value) -> Result<(), Status> {
    check_depth(path, &value)?;
    if is_field(object, path) {
        return add(object, path, value);
    }
    *find_mut(object, &path.0).ok_or_else(does_not_fit)? = value;
    Ok(())
}

fn remove(object: &mut Value, path: &Pointer) -> Option<Value> {
    // There is nothing that the root could be taken out of.
    let (last, parents) = path.0.split_last()?;
    match find_mut(object, parents)? {
        Value::Object(fields) => fields.remove(last),
        Value::Array(items) => {
            let at = index(last, items.len())?;
            (at < items.len()).then(|| items.remove(at))
        }
        _ => None,
    }
}

/// Equality as RFC 6902 has it: numbers by value.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}
