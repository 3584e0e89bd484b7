//! `metadata.managedFields`: reading and writing its entries.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::set::{Set, stored};
use super::{Manager, Operation};

/// Most entries of operation `Update`; upstream's limit. Older ones are merged into [`ANCIENT`].
const MAX_UPDATE_MANAGERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// One manager and the fields it owns.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub manager: String,
    pub operation: Operation,
    pub api_version: String,
    pub subresource: String,
    pub time: Option<Timestamp>,
    pub set: Set,
}

impl Entry {
    pub fn new(manager: &Manager, set: Set) -> Self {
        Self {
            manager: manager.name.to_owned(),
            operation: manager.operation,
            api_version: manager.api_version.to_owned(),
            subresource: manager.subresource.to_owned(),
            time: Some(manager.time),
            set,
        }
    }
    /// Whether this is the entry of a manager: appliers are the same whatever version they applied in.
    pub fn is(&self, manager: &Manager) -> bool {
        self.manager == manager.name
            && self.operation == manager.operation
            && self.subresource == manager.subresource
            && (self.operation == Operation::Apply || self.api_version == manager.api_version)
    }
    /// How a conflict names the manager: `"kubectl" using apps/v1`.
    pub fn shown(&self) -> String {
        let mut out = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            out.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            out.push_str(&format!(" using {}", self.api_version));
        }
        out
    }

    fn read(entry: Value) -> Option<Self> {
        let Value::Object(mut entry) = entry else { return None };
        let mut text = |name: &str| match entry.remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let operation = match text("operation").as_str() {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        let (manager, api_version, subresource) = (text("manager"), text("apiVersion"), text("subresource"));
        let time = crate::decode::parse_time(&text("time"));
        let fields_type = text("fieldsType");
        if fields_type != "FieldsV1" {
            return None;
        }
        let set = match entry.remove("fieldsV1") {
            Some(fields) => Set::from_fields_v1(fields)?,
            None => Set::default(),
        };
        Some(Self { manager, operation, api_version, subresource, time, set })
    }

    fn write(self) -> Value {
        let mut entry = Map::new();
        let mut put = |name: &str, value: Value| entry.insert(name.to_owned(), value);
        if !self.api_version.is_empty() {
            put("apiVersion", self.api_version.into());
        }
        put("fieldsType", "FieldsV1".into());
        put("fieldsV1", self.set.into_fields_v1());
        put("manager", self.manager.into());
        put("operation", if self.operation == Operation::Apply { "Apply" } else { "Update" }.into());
        if !self.subresource.is_empty() {
            put("subresource", self.subresource.into());
        }
        if let Some(time) = self.time {
            put("time", stamp(time).into());
        }
        Value::Object(entry)
    }
}

fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Gives fields to a manager, in entries as they are stored.
pub fn take(entries: &mut Vec<Value>, set: Set, manager: &Manager) {
    let operation = if manager.operation == Operation::Apply { "Apply" } else { "Update" };
    let is_mine = |entry: &&mut Value| {
        text(entry, "manager") == manager.name
            && text(entry, "operation") == operation
            && text(entry, "subresource") == manager.subresource
            && (manager.operation == Operation::Apply || text(entry, "apiVersion") == manager.api_version)
    };
    match entries.iter_mut().find(is_mine).and_then(Value::as_object_mut) {
        Some(entry) => {
            if let Some(Value::Object(fields)) = entry.get_mut("fieldsV1") {
                stored::add(fields, set);
            }
            entry.insert("time".to_owned(), stamp(manager.time).into());
        }
        None => entries.push(Entry::new(manager, set).write()),
    }
    if entries.iter().filter(|entry| text(entry, "operation") == "Update").count() > MAX_UPDATE_MANAGERS
        && let Some(Value::Array(capped)) = read(Value::Array(entries.clone())).and_then(write)
    {
        *entries = capped;
        return;
    }
    // Times are written in one form and one zone, so their text has their order.
    const KEYS: [&str; 5] = ["operation", "time", "manager", "apiVersion", "subresource"];
    entries.sort_by(|a, b| KEYS.map(|key| text(a, key)).cmp(&KEYS.map(|key| text(b, key))));
}

fn text<'e>(entry: &'e Value, name: &str) -> &'e str {
    entry.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Reads all entries; none if one of them is not as it should be.
pub fn read(managed_fields: Value) -> Option<Vec<Entry>> {
    match managed_fields {
        Value::Null => Some(Vec::new()),
        Value::Array(entries) => entries.into_iter().map(Entry::read).collect(),
        _ => None,
    }
}

/// Writes the entries in upstream's order; none for no entries.
pub fn write(mut entries: Vec<Entry>) -> Option<Value> {
    entries.retain(|entry| !entry.set.is_empty());
    cap(&mut entries);
    entries.sort_by(order);
    (!entries.is_empty()).then(|| Value::Array(entries.into_iter().map(Entry::write).collect()))
}

fn seconds(entry: &Entry) -> i64 {
    entry.time.map_or(i64::MIN, Timestamp::as_second)
}

fn order(a: &Entry, b: &Entry) -> Ordering {
    let key = |e: &Entry| (e.operation, seconds(e));
    key(a)
        .cmp(&key(b))
        .then_with(|| (&a.manager, &a.api_version, &a.subresource).cmp(&(&b.manager, &b.api_version, &b.subresource)))
}

/// Merges the oldest updates, version by version, until there are no more than the limit.
fn cap(entries: &mut Vec<Entry>) {
    let updates = entries.iter().filter(|e| e.operation == Operation::Update).count();
    if updates <= MAX_UPDATE_MANAGERS {
        return;
    }
    entries.sort_by(order);
    let mut excess = updates - MAX_UPDATE_MANAGERS;
    let mut buckets: Vec<Entry> = Vec::new();
    let mut kept: Vec<Entry> = Vec::new();
    for entry in std::mem::take(entries) {
        if entry.operation == Operation::Apply {
            kept.push(entry);
            continue;
        }
        match buckets.iter_mut().find(|bucket| bucket.api_version == entry.api_version) {
            Some(bucket) if excess > 0 => {
                bucket.manager = ANCIENT.to_owned();
                bucket.subresource = String::new();
                bucket.time = entry.time;
                bucket.set.add(entry.set);
                excess -= 1;
            }
            // The first of its version is a bucket only if another one is merged into it.
            None if excess > 0 => buckets.push(entry),
            _ => kept.push(entry),
        }
    }
    kept.extend(buckets);
    *entries = kept;
}
