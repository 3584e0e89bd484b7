//! A set of field paths, as `fieldsV1` writes it: a trie whose steps are `f:<field>`, `k:<keys>`, `v:<value>` and
//! `i:<index>`, where `.` says that the path up to here is in the set.
//! Source: `metav1.FieldsV1`, KEP-555.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use pilothouse_api::limits::MAX_JSON_DEPTH;
use serde_json::{Map, Value};

/// A set of paths below some path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Whether this path itself is in the set.
    pub member: bool,
    /// By step; no child is empty.
    pub children: BTreeMap<String, Set>,
}

/// The step to a field.
pub fn field(name: &str) -> String {
    let mut step = String::with_capacity(name.len() + 2);
    step.push_str("f:");
    step.push_str(name);
    step
}

impl Set {
    pub fn leaf() -> Self {
        Self { member: true, children: BTreeMap::new() }
    }
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }
    /// Adds a child unless it is empty.
    pub fn put(&mut self, step: String, child: Self) {
        if !child.is_empty() {
            match self.children.entry(step) {
                Entry::Vacant(place) => {
                    place.insert(child);
                }
                Entry::Occupied(mut place) => place.get_mut().add(child),
            }
        }
    }
    pub fn child(&self, step: &str) -> Option<&Self> {
        self.children.get(step)
    }
    /// Union.
    pub fn add(&mut self, other: Self) {
        self.member |= other.member;
        if self.children.is_empty() {
            self.children = other.children;
            return;
        }
        for (step, child) in other.children {
            self.put(step, child);
        }
    }
    /// Difference: what is in both leaves.
    pub fn subtract(&mut self, other: &Self) {
        self.member &= !other.member;
        if other.children.is_empty() {
            return;
        }
        self.children.retain(|step, child| {
            if let Some(other) = other.children.get(step) {
                child.subtract(other);
            }
            !child.is_empty()
        });
    }
    #[must_use]
    pub fn without(mut self, other: &Self) -> Self {
        self.subtract(other);
        self
    }
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut out = Self { member: self.member && other.member, children: BTreeMap::new() };
        for (step, child) in &self.children {
            if let Some(other) = other.children.get(step) {
                out.put(step.clone(), child.intersection(other));
            }
        }
        out
    }
    /// Removes a path with all below it: `["metadata", "managedFields"]`.
    pub fn prune(&mut self, fields: &[&str]) {
        let Some((first, rest)) = fields.split_first() else { return };
        let step = field(first);
        if rest.is_empty() {
            self.children.remove(&step);
        } else if let Some(child) = self.children.get_mut(&step) {
            child.prune(rest);
            if child.is_empty() {
                self.children.remove(&step);
            }
        }
    }
    /// Every path in the set, as it is shown to people: `.spec.containers[name="a"].image`.
    pub fn paths(&self) -> Vec<String> {
        fn walk(set: &Set, here: &str, out: &mut Vec<String>) {
            if set.member {
                out.push(here.to_owned());
            }
            for (step, child) in &set.children {
                walk(child, &format!("{here}{}", shown(step)), out);
            }
        }
        let mut out = Vec::new();
        walk(self, "", &mut out);
        out
    }

    /// Reads `fieldsV1`; none if it is not of that form.
    pub fn from_fields_v1(fields: Value) -> Option<Self> {
        fn read(fields: Value, depth: usize) -> Option<Set> {
            let Value::Object(fields) = fields else { return None };
            if depth > MAX_JSON_DEPTH {
                return None;
            }
            // An empty object is a path in the set; with children the path is in it only if `.` says so.
            let mut out = Set { member: fields.is_empty() && depth > 0, children: BTreeMap::new() };
            for (step, child) in fields {
                if step == "." {
                    out.member = true;
                } else {
                    out.put(canonical(step)?, read(child, depth + 1)?);
                }
            }
            Some(out)
        }
        read(fields, 0)
    }
    /// Writes `fieldsV1`.
    pub fn into_fields_v1(self) -> Value {
        let mut fields = Map::new();
        if self.member && !self.children.is_empty() {
            fields.insert(".".into(), Value::Object(Map::new()));
        }
        fields.extend(self.children.into_iter().map(|(step, child)| (step, child.into_fields_v1())));
        Value::Object(fields)
    }
}

/// A step as we would write it: JSON inside it may be spaced and escaped in other ways.
fn canonical(step: String) -> Option<String> {
    let (tag, rest) = step.split_at_checked(2)?;
    match tag {
        "f:" => Some(step),
        "i:" => rest.parse::<i64>().ok().map(|_| step),
        "k:" | "v:" => {
            let value: Value = serde_json::from_str(rest).ok()?;
            Some(format!("{tag}{value}"))
        }
        _ => None,
    }
}

/// A step as it is shown to people.
fn shown(step: &str) -> String {
    let (tag, rest) = step.split_at_checked(2).unwrap_or(("", step));
    match tag {
        "f:" => format!(".{rest}"),
        "i:" => format!("[{rest}]"),
        "v:" => format!("[={rest}]"),
        "k:" => match serde_json::from_str::<Map<String, Value>>(rest) {
            Ok(keys) => {
                let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("[{}]", keys.join(","))
            }
            Err(_) => format!("[{rest}]"),
        },
        _ => step.to_owned(),
    }
}
