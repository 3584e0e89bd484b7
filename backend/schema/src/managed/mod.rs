//! Field ownership: `metadata.managedFields`, kept up to date on every write, and server-side apply.
//! Source: <https://kubernetes.io/docs/reference/using-api/server-side-apply/>, KEP-555.
//!
//! Invariants: identity and bookkeeping fields (name, uid, resourceVersion …) are owned by nobody; a manager's time
//! changes only when it took a field; an entry without fields does not exist.

mod apply;
mod entries;
mod fit;
mod merge;
mod overlay;
mod set;
mod typed;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod stories;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::schema::Schema;
use set::{Set, stored};
use typed::{Typed, compare};

pub use apply::apply;
pub(crate) use fit::misfits;
pub use overlay::overlay;

/// How a manager came to own fields. The order is that of `managedFields`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    Apply,
    Update,
}

/// Who writes.
#[derive(Clone, Debug)]
pub struct Manager<'a> {
    /// The query parameter `fieldManager`, or what the User-Agent begins with.
    pub name: &'a str,
    /// `Apply` for server-side apply, `Update` for everything else.
    pub operation: Operation,
    /// The API version of the request, `apps/v1`.
    pub api_version: &'a str,
    /// `status`, `scale`, …; empty for the resource itself.
    pub subresource: &'a str,
    pub time: Timestamp,
    /// Fields that a write of this kind does not change, hence cannot own, dotted: `["status"]` for the resource
    /// itself where it has a status subresource, `["spec", "metadata"]` for that subresource.
    pub reset_fields: &'a [&'a str],
}

/// Paths that nobody owns.
const UNOWNED: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// Takes identity and bookkeeping out of a set.
fn strip(set: &mut Set) {
    for path in UNOWNED {
        set.prune(path);
    }
    // Nor is `metadata` itself owned, though what is in it may be.
    set.change("f:metadata", |metadata| metadata.member = false);
}

/// Takes out what this kind of write does not change.
fn not_owned(set: &mut Set, manager: &Manager) {
    for path in manager.reset_fields {
        set.prune(&path.split('.').collect::<Vec<_>>());
    }
}

/// Brings `new.metadata.managedFields` up to date for a create (`live` is none) or an update. Never fails: an
/// ownership that cannot be read is dropped.
pub fn update(schema: &Schema, live: Option<&Value>, new: &mut Value, manager: &Manager) {
    let sent = apply::take_managed(new);
    let of_live = live.map_or(&Value::Null, |live| &live["metadata"]["managedFields"]);
    // What the client sends is what it read, nearly always, hence in the form we write; so is what is stored.
    let managed = if !manager.subresource.is_empty() {
        of_live.clone()
    } else if is_reset(&sent) {
        Value::Null
    } else if sent == *of_live {
        sent
    } else {
        // A client that does not know the field must not lose it.
        match entries::read(sent) {
            Some(entries) if !entries.is_empty() => entries::write(entries).unwrap_or_default(),
            _ => of_live.clone(),
        }
    };
    let mut entries = match managed {
        Value::Array(entries) => entries,
        _ => Vec::new(),
    };
    // An object that nobody tracked is tracked from its first apply on.
    if entries.is_empty() && live.is_some() {
        return;
    }
    let mut change = match live {
        Some(live) => compare(Typed::of(schema), Some(live), Some(new)),
        None => {
            // What is there in any object is nobody's.
            let mut nothing = Value::Object(Map::new());
            crate::complete(schema, &mut nothing);
            compare(Typed::of(schema), Some(&nothing), Some(new))
        }
    };
    not_owned(&mut change.changed, manager);
    not_owned(&mut change.removed, manager);
    entries.retain_mut(|entry| match entry.get_mut("fieldsV1").and_then(Value::as_object_mut) {
        Some(fields) => {
            stored::subtract(fields, &change.changed);
            stored::subtract(fields, &change.removed)
        }
        None => false,
    });
    strip(&mut change.changed);
    if !change.changed.is_empty() {
        entries::take(&mut entries, change.changed, manager);
    }
    apply::put_managed(new, (!entries.is_empty()).then_some(Value::Array(entries)));
}

/// An empty list, or one empty entry, says: forget all owners.
fn is_reset(sent: &Value) -> bool {
    match sent.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([one]) => one.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

/// Whether a write changes nothing but the times in `managedFields`, so that it need not be stored.
pub fn same_but_times(live: &Value, new: &Value) -> bool {
    fn same(a: &Map<String, Value>, b: &Map<String, Value>, name: &str, inner: fn(&Value, &Value) -> bool) -> bool {
        a.len() == b.len()
            && a.iter().all(|(key, value)| {
                b.get(key).is_some_and(|other| if key == name { inner(value, other) } else { value == other })
            })
    }
    fn objects(a: &Value, b: &Value, name: &str, inner: fn(&Value, &Value) -> bool) -> bool {
        match (a, b) {
            (Value::Object(a), Value::Object(b)) => same(a, b, name, inner),
            _ => a == b,
        }
    }
    fn entries(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| objects(a, b, "time", |_, _| true))
            }
            _ => a == b,
        }
    }
    objects(live, new, "metadata", |a, b| objects(a, b, "managedFields", entries))
}
