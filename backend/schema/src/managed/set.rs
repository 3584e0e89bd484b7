//! A set of field paths, as `fieldsV1` writes it: a trie whose steps are `f:<field>`, `k:<keys>`, `v:<value>` and
//! `i:<index>`, where `.` says that the path up to here is in the set.
//! Source: `metav1.FieldsV1`, KEP-555.

use std::cmp::Ordering;

use pilothouse_api::limits::MAX_JSON_DEPTH;
use serde_json::{Map, Value};

/// A set of paths below some path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Whether this path itself is in the set.
    pub member: bool,
    /// By step: sorted, each step once, none empty. A vector, for sets are built in order and thrown away soon.
    children: Vec<(String, Set)>,
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
        Self { member: true, children: Vec::new() }
    }
    /// From children in any order, each step once; empty ones are left out.
    pub fn of(member: bool, mut children: Vec<(String, Self)>) -> Self {
        children.retain(|(_, child)| !child.is_empty());
        children.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Self { member, children }
    }
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }
    /// Whether nothing below this path is in the set.
    pub fn is_leaf(&self) -> bool {
        self.children.is_empty()
    }
    pub fn child(&self, step: &str) -> Option<&Self> {
        let at = self.children.binary_search_by(|(s, _)| s.as_str().cmp(step)).ok()?;
        self.children.get(at).map(|(_, child)| child)
    }
    pub fn children(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.children.iter().map(|(step, child)| (step.as_str(), child))
    }
    pub fn children_mut(&mut self) -> impl Iterator<Item = (&str, &mut Self)> {
        self.children.iter_mut().map(|(step, child)| (step.as_str(), child))
    }
    /// Changes a child, if there is one; without it if it is empty then.
    pub fn change(&mut self, step: &str, change: impl FnOnce(&mut Self)) {
        if let Ok(at) = self.children.binary_search_by(|(s, _)| s.as_str().cmp(step))
            && let Some((_, child)) = self.children.get_mut(at)
        {
            change(child);
            if child.is_empty() {
                self.children.remove(at);
            }
        }
    }
    /// Union.
    pub fn add(&mut self, other: Self) {
        self.member |= other.member;
        if self.children.is_empty() {
            self.children = other.children;
            return;
        }
        let mut mine = std::mem::take(&mut self.children).into_iter().peekable();
        let mut theirs = other.children.into_iter().peekable();
        let mut out = Vec::with_capacity(mine.len() + theirs.len());
        while let (Some((a, _)), Some((b, _))) = (mine.peek(), theirs.peek()) {
            match a.cmp(b) {
                Ordering::Less => out.extend(mine.next()),
                Ordering::Greater => out.extend(theirs.next()),
                Ordering::Equal => {
                    if let (Some((step, mut child)), Some((_, other))) = (mine.next(), theirs.next()) {
                        child.add(other);
                        out.push((step, child));
                    }
                }
            }
        }
        out.extend(mine);
        out.extend(theirs);
        self.children = out;
    }
    /// Difference: what is in both leaves.
    pub fn subtract(&mut self, other: &Self) {
        self.member &= !other.member;
        if other.children.is_empty() {
            return;
        }
        self.children.retain_mut(|(step, child)| {
            if let Some(other) = other.child(step) {
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
        let both = self.children.iter().filter_map(|(step, child)| {
            let both = child.intersection(other.child(step)?);
            (!both.is_empty()).then(|| (step.clone(), both))
        });
        Self { member: self.member && other.member, children: both.collect() }
    }
    /// Removes a path with all below it: `["metadata", "managedFields"]`.
    pub fn prune(&mut self, fields: &[&str]) {
        let Some((first, rest)) = fields.split_first() else { return };
        self.change(&field(first), |child| {
            if rest.is_empty() {
                *child = Self::default();
            } else {
                child.prune(rest);
            }
        });
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
            let mut member = fields.is_empty() && depth > 0;
            let mut children = Vec::with_capacity(fields.len());
            for (step, child) in fields {
                if step == "." {
                    member = true;
                } else {
                    children.push((canonical(step)?, read(child, depth + 1)?));
                }
            }
            let out = Set::of(member, children);
            // Two spellings of one step: not what anyone writes.
            let twice = out.children.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b));
            (!twice).then_some(out)
        }
        read(fields, 0)
    }
    /// Writes `fieldsV1`.
    pub fn into_fields_v1(self) -> Value {
        let dot = self.member && !self.children.is_empty();
        let dot = dot.then(|| (".".to_owned(), Value::Object(Map::new())));
        let children = self.children.into_iter().map(|(step, child)| (step, child.into_fields_v1()));
        Value::Object(dot.into_iter().chain(children).collect())
    }
}

/// The same operations on `fieldsV1` as it is stored, for the updates of every write: only what changes is touched.
pub mod stored {
    use serde_json::map::Entry;
    use serde_json::{Map, Value};

    use super::Set;

    /// Difference; whether anything is left. The root is in no set.
    pub fn subtract(fields: &mut Map<String, Value>, set: &Set) -> bool {
        for (step, set) in set.children() {
            if let Some(Value::Object(child)) = fields.get_mut(step)
                && !subtract_below(child, set)
            {
                fields.remove(step);
            }
        }
        !fields.is_empty()
    }

    fn subtract_below(fields: &mut Map<String, Value>, set: &Set) -> bool {
        let member = (fields.is_empty() || fields.remove(".").is_some()) && !set.member;
        let left = subtract(fields, set);
        if member && left {
            fields.insert(".".to_owned(), Value::Object(Map::new()));
        }
        member || left
    }

    /// Union.
    pub fn add(fields: &mut Map<String, Value>, set: Set) {
        for (step, set) in set.children {
            match fields.entry(step) {
                Entry::Vacant(place) => {
                    place.insert(set.into_fields_v1());
                }
                Entry::Occupied(mut place) => {
                    if let Value::Object(child) = place.get_mut() {
                        let member = child.is_empty() || child.contains_key(".") || set.member;
                        add(child, set);
                        if member && !child.is_empty() {
                            child.insert(".".to_owned(), Value::Object(Map::new()));
                        }
                    }
                }
            }
        }
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
pub fn shown(step: &str) -> String {
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
