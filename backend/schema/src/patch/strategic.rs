//! Strategic merge patch: lists merge by the merge key of their type, and directives say the rest.
//! Source: <https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md>

use std::collections::{HashMap, HashSet};

use pilothouse_api::status::Status;
use serde_json::{Map, Value};

use super::{does_not_fit, failed};
use crate::go;
use crate::schema::{List, Node, Schema};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ELEMENT_ORDER: &str = "$setElementOrder/";
const DELETE_FROM_PRIMITIVE_LIST: &str = "$deleteFromPrimitiveList/";

/// Merges `patch` into `object`.
/// Errors, all with upstream's codes: 400 for malformed directives, 422 for lists of lists, and 500 for the rest (items
/// without their merge key, directives that are not known, an order that the patch does not keep).
pub fn strategic_merge(schema: &Schema, object: &mut Value, patch: &Value) -> Result<(), Status> {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => merge_map(Some(schema), object, patch),
        _ => Err(Status::bad_request("invalid JSON document")),
    }
}

/// The schema of a field, and whether the field is replaced instead of merged.
fn field<'s>(schema: Option<&'s Schema>, name: &str) -> (Option<&'s Schema>, bool) {
    match schema.map(|s| &s.node) {
        Some(Node::Struct(fields)) => match fields.field(name) {
            Some(field) => (Some(field.schema.get()), field.replace),
            None => (None, false),
        },
        Some(Node::Map(of)) => (Some(of.get()), false),
        _ => (None, false),
    }
}

fn list(schema: Option<&Schema>) -> Option<&List> {
    match schema.map(|s| &s.node) {
        Some(Node::List(list)) => Some(list),
        _ => None,
    }
}

fn merge_map(
    schema: Option<&Schema>,
    object: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), Status> {
    match patch.get(PATCH).map(|d| d.as_str().unwrap_or_default()) {
        None => {}
        Some("replace") => {
            *object = without_directives(patch);
            return Ok(());
        }
        Some("delete") => {
            object.clear();
            return Ok(());
        }
        Some(other) => return Err(unknown_directive(other, &Value::Object(patch.clone()))),
    }
    retain_keys(object, patch)?;
    let ordered = set_element_order(schema, object, patch)?;
    for (name, value) in patch {
        if name == RETAIN_KEYS || name.starts_with(SET_ELEMENT_ORDER) || ordered.contains(name.as_str()) {
            continue;
        }
        if let Some(name) = name.strip_prefix(DELETE_FROM_PRIMITIVE_LIST) {
            delete_from_list(object, name, value)?;
        } else if value.is_null() {
            object.remove(name);
        } else {
            merge_field(schema, object, name, value)?;
        }
    }
    Ok(())
}

fn merge_field(
    schema: Option<&Schema>,
    object: &mut Map<String, Value>,
    name: &str,
    patch: &Value,
) -> Result<(), Status> {
    let (of, replaced) = field(schema, name);
    match (object.get_mut(name), patch) {
        (Some(Value::Object(have)), Value::Object(patch)) if !replaced => merge_map(of, have, patch),
        (Some(Value::Array(have)), Value::Array(patch)) if list(of).is_some_and(|l| l.patch_merge) => {
            let merged = merge_list(list(of), std::mem::take(have), patch)?;
            *have = merged;
            Ok(())
        }
        _ => {
            if let Some(value) = clean(patch) {
                object.insert(name.to_owned(), value);
            }
            Ok(())
        }
    }
}

/// What a patch value is where there is nothing to merge with: without directives and nulls; none if it says delete.
fn clean(patch: &Value) -> Option<Value> {
    match patch {
        Value::Object(fields) if fields.get(PATCH).is_some_and(|d| d == "delete") => None,
        Value::Object(fields) => Some(Value::Object(without_directives(fields))),
        Value::Array(items) => Some(Value::Array(items.iter().filter_map(clean).collect())),
        other => Some(other.clone()),
    }
}

fn unknown_directive(directive: &str, item: &Value) -> Status {
    failed(format!("unknown patch type: {directive} in map: {}", go::printed(item)))
}

fn no_list(value: &Value) -> Status {
    failed(format!("expected a []interface {{}}, but received a {}", go::type_of(value)))
}

fn is_directive(name: &str) -> bool {
    name == PATCH
        || name == RETAIN_KEYS
        || name.starts_with(SET_ELEMENT_ORDER)
        || name.starts_with(DELETE_FROM_PRIMITIVE_LIST)
}

fn without_directives(fields: &Map<String, Value>) -> Map<String, Value> {
    let kept = fields.iter().filter(|(name, value)| !is_directive(name) && !value.is_null());
    kept.filter_map(|(name, value)| Some((name.clone(), clean(value)?))).collect()
}

fn retain_keys(object: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), Status> {
    let Some(directive) = patch.get(RETAIN_KEYS) else { return Ok(()) };
    let malformed = || Status::bad_request("invalid patch format of retainKeys");
    let keys = directive.as_array().ok_or_else(malformed)?;
    let keys: HashSet<&str> = keys.iter().filter_map(Value::as_str).collect();
    let stray =
        patch.iter().find(|(name, value)| !value.is_null() && !is_directive(name) && !keys.contains(name.as_str()));
    if stray.is_some() {
        return Err(malformed());
    }
    object.retain(|name, _| keys.contains(name.as_str()));
    Ok(())
}

fn delete_from_list(object: &mut Map<String, Value>, name: &str, items: &Value) -> Result<(), Status> {
    if let Some(Value::Array(have)) = object.get_mut(name) {
        let items = items.as_array().ok_or_else(|| no_list(items))?;
        let gone: HashSet<String> = items.iter().map(Value::to_string).collect();
        have.retain(|item| !gone.contains(&item.to_string()));
    }
    Ok(())
}

/// Merges the lists that come with an order; returns their names, for they are done.
fn set_element_order<'p>(
    schema: Option<&Schema>,
    object: &mut Map<String, Value>,
    patch: &'p Map<String, Value>,
) -> Result<HashSet<&'p str>, Status> {
    let mut done = HashSet::new();
    for (directive, order) in patch {
        let Some(name) = directive.strip_prefix(SET_ELEMENT_ORDER) else { continue };
        let order = order.as_array().ok_or_else(|| no_list(order))?;
        let (of, _) = field(schema, name);
        let of = list(of);
        let key = of.and_then(|l| l.patch_merge_key.as_deref());
        let changes = match patch.get(name) {
            Some(Value::Array(changes)) => Some(changes),
            // Null or another type: not a list to merge, the usual way decides.
            Some(_) => continue,
            None => None,
        };
        if let Some(changes) = changes {
            check_order(changes, order, key)?;
        }
        let have = match object.get_mut(name) {
            Some(Value::Array(have)) => Some(std::mem::take(have)),
            _ => None,
        };
        let before: Vec<Identity> = have.iter().flatten().map(|item| identity(item, key)).collect();
        let merged = match (have, changes) {
            (Some(have), None) => have,
            (Some(have), Some(changes)) if of.is_some_and(|l| l.patch_merge) => merge_list(of, have, changes)?,
            (_, Some(changes)) => changes.iter().filter_map(clean).collect(),
            (None, None) => continue,
        };
        let order: Vec<Identity> = order.iter().map(|item| identity(item, key)).collect();
        object.insert(name.to_owned(), Value::Array(arrange(merged, &order, &before, key)));
        done.insert(name);
    }
    Ok(done)
}

/// The items of the patch must come in the order it prescribes.
fn check_order(changes: &[Value], order: &[Value], key: Option<&str>) -> Result<(), Status> {
    let places: HashMap<Identity, usize> =
        order.iter().enumerate().map(|(at, item)| (identity(item, key), at)).collect();
    let mut last = 0;
    for item in changes.iter().filter(|item| item.get(PATCH).is_none()) {
        match places.get(&identity(item, key)) {
            Some(at) if *at >= last => last = *at,
            _ => {
                let shown = |items: &[Value]| go::printed(&Value::Array(items.to_vec()));
                let (changes, order) = (shown(changes), shown(order));
                return Err(failed(format!(
                    "The order in patch list:\n{changes}\n doesn't match $setElementOrder list:\n{order}\n"
                )));
            }
        }
    }
    Ok(())
}

/// What tells an item from others: its merge key's value, or the scalar itself. None: it has no such key.
type Identity = Option<String>;

fn identity(item: &Value, key: Option<&str>) -> Identity {
    match (item, key) {
        (Value::Object(fields), Some(key)) => fields.get(key).map(Value::to_string),
        (Value::Object(_), None) => None,
        (scalar, _) => Some(scalar.to_string()),
    }
}

fn merge_list(of: Option<&List>, have: Vec<Value>, patch: &[Value]) -> Result<Vec<Value>, Status> {
    if have.is_empty() && patch.is_empty() {
        return Ok(have);
    }
    let mut all = have.iter().chain(patch);
    let objects = all.clone().next().is_some_and(Value::is_object);
    if all.clone().any(Value::is_array) {
        return Err(does_not_fit());
    }
    if all.any(|item| item.is_object() != objects) {
        let both = Value::Array(vec![Value::Array(have), Value::Array(patch.to_vec())]);
        return Err(failed(format!("list element types are not identical: {}", go::printed(&both))));
    }
    let key = of.and_then(|l| l.patch_merge_key.as_deref());
    let before: Vec<Identity> = have.iter().map(|item| identity(item, key)).collect();
    if !objects {
        let mut seen = HashSet::new();
        let merged =
            have.into_iter().chain(patch.iter().cloned()).filter(|item| seen.insert(item.to_string())).collect();
        let order: Vec<Identity> = patch.iter().map(|item| identity(item, None)).collect();
        return Ok(arrange(merged, &order, &before, None));
    }
    let Some(key) = key else {
        return Err(failed("cannot merge lists without merge key"));
    };
    merge_objects(of.map(|l| &**l.of.get()), have, patch, key, &before)
}

fn no_key(item: &Value, key: &str) -> Status {
    failed(format!("map: {} does not contain declared merge key: {key}", go::printed(item)))
}

fn merge_objects(
    of: Option<&Schema>,
    have: Vec<Value>,
    patch: &[Value],
    key: &str,
    before: &[Identity],
) -> Result<Vec<Value>, Status> {
    let mut replace = false;
    let mut gone = HashSet::new();
    let mut changes = Vec::new();
    for item in patch {
        match item.get(PATCH).map(|d| d.as_str().unwrap_or_default()) {
            None => changes.push(item),
            // A replaced item of a list stands for the whole list, as upstream has it.
            Some("replace") => replace = true,
            Some("delete") => {
                gone.insert(identity(item, Some(key)).ok_or_else(|| no_key(item, key))?);
            }
            Some("merge") => return Err(failed("merging lists cannot yet be specified in the patch")),
            Some(other) => return Err(unknown_directive(other, item)),
        }
    }
    if replace {
        return Ok(changes.into_iter().filter_map(clean).collect());
    }
    let mut merged: Vec<Value> =
        have.into_iter().filter(|item| identity(item, Some(key)).is_none_or(|id| !gone.contains(&id))).collect();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (at, item) in merged.iter().enumerate() {
        if let Some(id) = identity(item, Some(key)) {
            places.entry(id).or_insert(at);
        }
    }
    let mut order = Vec::with_capacity(changes.len());
    for change in changes {
        let id = identity(change, Some(key)).ok_or_else(|| no_key(change, key))?;
        match (places.get(&id).and_then(|at| merged.get_mut(*at)), change) {
            (Some(Value::Object(item)), Value::Object(change)) => merge_map(of, item, change)?,
            _ => {
                places.insert(id.clone(), merged.len());
                merged.extend(clean(change));
            }
        }
        order.push(Some(id));
    }
    Ok(arrange(merged, &order, before, Some(key)))
}

/// Puts a merged list into order: the patch's items as the patch has them, the others where they were among them.
fn arrange(merged: Vec<Value>, order: &[Identity], before: &[Identity], key: Option<&str>) -> Vec<Value> {
    fn places(ids: &[Identity]) -> HashMap<&str, usize> {
        let mut out = HashMap::new();
        for (at, id) in ids.iter().enumerate() {
            if let Some(id) = id {
                out.entry(id.as_str()).or_insert(at);
            }
        }
        out
    }
    let (wanted, was) = (places(order), places(before));
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for item in merged {
        let id = identity(&item, key);
        let old = id.as_deref().and_then(|id| was.get(id).copied());
        match id.as_deref().and_then(|id| wanted.get(id)) {
            Some(at) => ours.push((*at, old, item)),
            None => others.push((old.unwrap_or(usize::MAX), old, item)),
        }
    }
    ours.sort_by_key(|(at, ..)| *at);
    others.sort_by_key(|(at, ..)| *at);
    let mut out = Vec::with_capacity(ours.len() + others.len());
    let mut ours = ours.into_iter().peekable();
    for (_, old, other) in others {
        // Ours go first as long as they are not known to come after this one.
        while let Some((_, mine, _)) = ours.peek() {
            if matches!((old, mine), (Some(old), Some(mine)) if old < *mine) {
                break;
            }
            out.extend(ours.next().map(|(.., item)| item));
        }
        out.push(other);
    }
    out.extend(ours.map(|(.., item)| item));
    out
}
