//! Server-side apply.

use std::collections::BTreeMap;

use pilothouse_api::status::Status;
use serde_json::Value;

use super::entries::{self, Entry};
use super::set::Set;
use super::typed::{Typed, compare, field_set, name_parents};
use super::{Manager, Operation, merge, not_owned, strip};
use crate::schema::Schema;

/// The manager of everything that was there before anyone applied.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// kubectl's note of what client-side apply applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Only this manager takes over from client-side apply, as upstream.
const KUBECTL: &str = "kubectl";

/// Server-side apply: the live object merged with `config`, which fits its type, `managedFields` set. `live` none
/// creates. Errors: 409 with one cause per conflict (none if `force`), 400 for a config that cannot be applied.
pub fn apply(
    schema: &Schema,
    live: Option<&Value>,
    config: &Value,
    manager: &Manager,
    force: bool,
) -> Result<Value, Status> {
    let typed = Typed::of(schema);
    check(config, manager)?;
    let creating = live.is_none();
    let mut live = live.cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    let managed = take_managed(&mut live);
    let mut entries = entries::read(managed)
        .ok_or_else(|| Status::internal("failed to decode managed fields: an entry is not of the form FieldsV1"))?;
    if entries.is_empty() && !creating {
        let before = Manager { name: BEFORE_FIRST_APPLY, operation: Operation::Update, ..manager.clone() };
        let mut all = compare(typed, None, Some(&live)).changed;
        strip(&mut all);
        all.member = false;
        entries.push(Entry::new(&before, all));
    }

    let mut merged = live.clone();
    merge::merge(typed, &mut merged, config);
    let last = entries.iter().position(|entry| entry.is(manager)).map(|at| entries.swap_remove(at));
    let mut mine = field_set(typed, config);
    mine.member = false;
    not_owned(&mut mine, manager);
    if let Some(last) = &last {
        let others = entries.iter().map(|entry| &entry.set);
        prune(typed, &mut merged, &last.set, others.chain([&mine]));
    }

    let mut change = compare(typed, Some(&live), Some(&merged));
    not_owned(&mut change.changed, manager);
    not_owned(&mut change.removed, manager);
    let conflicts: BTreeMap<usize, Set> = entries
        .iter()
        .enumerate()
        .map(|(at, entry)| (at, entry.set.intersection(&change.changed)))
        .filter(|(_, set)| !set.is_empty())
        .collect();
    if !force {
        refuse_conflicts(typed, &live, manager, &entries, &conflicts)?;
    }
    for entry in &mut entries {
        entry.set.subtract(&change.changed);
        entry.set.subtract(&change.removed);
    }
    strip(&mut mine);
    let mut entry = Entry::new(manager, mine);
    if let Some(last) = last
        && merged == live
    {
        // Nothing changed, so neither does the time.
        entry.time = last.time;
    }
    entries.push(entry);
    sync_last_applied(&mut merged, config, manager);
    put_managed(&mut merged, entries::write(entries));
    Ok(merged)
}

fn check(config: &Value, manager: &Manager) -> Result<(), Status> {
    let stated = config["apiVersion"].as_str().unwrap_or_default();
    if stated != manager.api_version {
        return Err(Status::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {stated}, expected: {}",
            manager.api_version
        )));
    }
    if !config["metadata"]["managedFields"].is_null() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    Ok(())
}

pub fn take_managed(object: &mut Value) -> Value {
    match object.get_mut("metadata").and_then(Value::as_object_mut) {
        Some(metadata) => metadata.remove("managedFields").unwrap_or_default(),
        None => Value::Null,
    }
}

pub fn put_managed(object: &mut Value, managed: Option<Value>) {
    if let Some(managed) = managed
        && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.insert("managedFields".into(), managed);
    }
}

/// Removes what the manager applied last time, does not apply now, and nobody else owns.
fn prune<'a>(typed: Typed, merged: &mut Value, last: &Set, owned: impl Iterator<Item = &'a Set>) {
    let named = |mut set: Set| {
        name_parents(typed, &mut set);
        set
    };
    let paths = |value: &Value| {
        let mut set = field_set(typed, value);
        set.member = false;
        named(set)
    };
    let last = named(last.clone());
    let all = paths(merged);
    // Take out all that was applied last time …
    let mut pruned = merged.clone();
    merge::remove(typed, &mut pruned, &last);
    // … put back what someone owns …
    let mut keep = paths(&pruned);
    for set in owned {
        keep.add(named(set.clone()));
    }
    let mut pruned = merged.clone();
    merge::remove(typed, &mut pruned, &all.clone().without(&keep));
    // … and what went only because something around it did.
    let gone = all.without(&paths(&pruned)).intersection(&last);
    merge::remove(typed, merged, &gone);
}

fn refuse_conflicts(
    typed: Typed,
    live: &Value,
    manager: &Manager,
    entries: &[Entry],
    conflicts: &BTreeMap<usize, Set>,
) -> Result<(), Status> {
    let allowed = if manager.name == KUBECTL { last_applied(typed, live, manager) } else { None };
    let mut found: Vec<(&Entry, Vec<String>)> = conflicts
        .iter()
        .filter_map(|(at, set)| {
            let set = match &allowed {
                Some(allowed) => set.clone().without(allowed),
                None => set.clone(),
            };
            Some((entries.get(*at)?, set.paths()))
        })
        .filter(|(_, paths)| !paths.is_empty())
        .collect();
    found.sort_by_key(|(entry, _)| entry.shown());
    let count: usize = found.iter().map(|(_, paths)| paths.len()).sum();
    let message = match found.as_slice() {
        [] => return Ok(()),
        [(entry, paths)] if count == 1 => {
            format!("Apply failed with 1 conflict: conflict with {}: {}", entry.shown(), paths.concat())
        }
        many => {
            let lines: Vec<String> = many
                .iter()
                .flat_map(|(entry, paths)| {
                    let head = format!("conflicts with {}:", entry.shown());
                    std::iter::once(head).chain(paths.iter().map(|path| format!("- {path}")))
                })
                .collect();
            format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
        }
    };
    let mut status = Status::failure(409, "Conflict", message);
    for (entry, paths) in found {
        for path in paths {
            status = status.cause("FieldManagerConflict", format!("conflict with {}", entry.shown()), &path);
        }
    }
    Err(status)
}

/// The fields that client-side apply set and nobody changed since: taking these over is no conflict.
fn last_applied(typed: Typed, live: &Value, manager: &Manager) -> Option<Set> {
    let text = live["metadata"]["annotations"][LAST_APPLIED].as_str()?;
    let applied: Value = serde_json::from_str(text).ok()?;
    if applied["apiVersion"].as_str() != Some(manager.api_version) {
        return None;
    }
    let change = compare(typed, Some(&applied), Some(live));
    let mut set = field_set(typed, &applied);
    set.subtract(&change.changed);
    set.subtract(&change.removed);
    Some(set)
}

/// Keeps the note of client-side apply in step, so that users may go back to it.
fn sync_last_applied(merged: &mut Value, config: &Value, manager: &Manager) {
    let place = merged.pointer_mut("/metadata/annotations").and_then(|a| a.get_mut(LAST_APPLIED));
    let Some(place) = place.filter(|note| note.as_str().is_some_and(|text| !text.is_empty())) else { return };
    if manager.name == KUBECTL && manager.operation == Operation::Apply {
        let mut note = config.clone();
        if let Some(annotations) = note.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.remove(LAST_APPLIED);
        }
        *place = Value::String(format!("{note}\n"));
    }
}
