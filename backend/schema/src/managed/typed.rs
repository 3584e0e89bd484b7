//! Values seen through a schema: which are owned as a whole, which by their parts, and what sets of paths they make.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::set::{Set, field};
use crate::schema::{List, ListKind, Node, Schema, Struct};

/// A type at some place: the type itself, and whether it is owned as one value there.
#[derive(Clone, Copy)]
pub struct Typed<'s> {
    pub schema: &'s Schema,
    atomic: bool,
    /// Always there, if only empty.
    by_value: bool,
}

/// How a value is owned.
pub enum Shape<'s> {
    /// As a whole.
    Leaf,
    /// By its fields or keys.
    Map(Fields<'s>),
    /// By its items.
    List(&'s List),
}

/// What is known of the fields of an object.
#[derive(Clone, Copy)]
pub enum Fields<'s> {
    Struct(&'s Struct),
    /// Keys of a map, all of one type.
    Map(&'s Schema),
    /// Of a value without schema: objects are owned by their keys, everything else as a whole.
    Deduced(&'s Schema),
}

impl<'s> Fields<'s> {
    /// The type of a field.
    pub fn get(self, name: &str) -> Typed<'s> {
        match self {
            Self::Struct(fields) => match fields.field(name) {
                Some(field) => {
                    let schema: &Schema = field.schema.get();
                    Typed { schema, atomic: field.atomic.unwrap_or(schema.atomic), by_value: field.by_value }
                }
                None => Typed::of(fields.rest.as_ref().map_or(Schema::deduced(), |rest| rest.get())),
            },
            Self::Map(of) | Self::Deduced(of) => Typed::of(of),
        }
    }
    /// Whether the field is declared, in contrast to a key of a map.
    pub fn names(self, name: &str) -> bool {
        matches!(self, Self::Struct(fields) if fields.field(name).is_some())
    }
}

impl<'s> Typed<'s> {
    pub fn of(schema: &'s Schema) -> Self {
        Self { schema, atomic: schema.atomic, by_value: false }
    }
    pub fn items(list: &'s List) -> Self {
        Self::of(list.of.get())
    }
    /// How this value is owned. Where the value does not fit the schema, as a whole.
    pub fn shape(self, value: &Value) -> Shape<'s> {
        if self.atomic {
            return Shape::Leaf;
        }
        match (&self.schema.node, value) {
            (Node::Struct(fields), Value::Object(_)) => Shape::Map(Fields::Struct(fields)),
            (Node::Map(of), Value::Object(_)) => Shape::Map(Fields::Map(of.get())),
            (Node::Any { atomic: false }, Value::Object(_)) => Shape::Map(Fields::Deduced(self.schema)),
            (Node::List(list), Value::Array(_)) if list.kind != ListKind::Atomic => Shape::List(list),
            (Node::OneOf(choices), Value::Object(_)) => choices
                .iter()
                .find_map(|choice| match &choice.get().node {
                    Node::Struct(fields) => Some(Shape::Map(Fields::Struct(fields))),
                    _ => None,
                })
                .unwrap_or(Shape::Leaf),
            _ => Shape::Leaf,
        }
    }
}

/// The step to an item of a list; an error says why it has none.
pub fn item_step(list: &List, item: &Value) -> Result<String, String> {
    match &list.kind {
        ListKind::Map(keys) => {
            let Value::Object(item) = item else {
                return Err("associative list with keys may not have non-map elements".into());
            };
            let of = list.of.get();
            let mut found: Vec<(&str, String)> = Vec::with_capacity(keys.len());
            for key in keys {
                let value = item.get(&**key).or_else(|| of.field(key)?.default.as_ref());
                if let Some(value) = value {
                    found.push((key, value.to_string()));
                }
            }
            if found.is_empty() {
                return Err(format!("associative list with keys has an element that omits all key fields {keys:?}"));
            }
            found.sort_unstable();
            let mut step = String::from("k:{");
            for (at, (name, value)) in found.iter().enumerate() {
                if at > 0 {
                    step.push(',');
                }
                step.push_str(&Value::from(*name).to_string());
                step.push(':');
                step.push_str(value);
            }
            step.push('}');
            Ok(step)
        }
        ListKind::Set | ListKind::Atomic => match item {
            Value::Object(_) => Err("associative list without keys has an element that's a map type".into()),
            Value::Array(_) => Err("not supported: associative list with lists as elements".into()),
            Value::Null => Err("associative list without keys has an element that's an explicit null".into()),
            scalar => Ok(format!("v:{scalar}")),
        },
    }
}

/// What applying this value owns: its leaves, its list items, its map entries, its empty objects.
pub fn field_set(typed: Typed, value: &Value) -> Set {
    match typed.shape(value) {
        Shape::Leaf => Set::leaf(),
        Shape::Map(fields) => {
            let object = value.as_object().into_iter().flatten();
            let children = object.map(|(name, value)| {
                let mut below = field_set(fields.get(name), value);
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                below.member |= empty || !fields.names(name);
                (field(name), below)
            });
            Set::of(false, children.collect())
        }
        Shape::List(list) => {
            let mut children: HashMap<String, Set> = HashMap::new();
            for item in value.as_array().into_iter().flatten() {
                if let Ok(step) = item_step(list, item) {
                    let mut below = field_set(Typed::items(list), item);
                    below.member = true;
                    // Items that come twice are owned as wholes.
                    children.entry(step).and_modify(|set| *set = Set::leaf()).or_insert(below);
                }
            }
            Set::of(false, children.into_iter().collect())
        }
    }
}

/// What differs between two values.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Added or modified.
    pub changed: Set,
    pub removed: Set,
}

impl Comparison {
    fn changed() -> Self {
        Self { changed: Set::leaf(), removed: Set::default() }
    }
    fn removed() -> Self {
        Self { changed: Set::default(), removed: Set::leaf() }
    }
}

/// The empty value of a container's kind.
fn empty_of(value: &Value) -> Option<&'static Value> {
    static OBJECT: LazyLock<Value> = LazyLock::new(|| Value::Object(Map::new()));
    static ARRAY: Value = Value::Array(Vec::new());
    match value {
        Value::Object(_) => Some(&*OBJECT),
        Value::Array(_) => Some(&ARRAY),
        _ => None,
    }
}

/// Compares two values of one type; none stands for absence.
pub fn compare(typed: Typed, old: Option<&Value>, new: Option<&Value>) -> Comparison {
    // What is held by value is there even if nobody wrote it.
    let nothing = if typed.by_value { old.or(new).and_then(empty_of) } else { None };
    let (old, new) = (old.or(nothing), new.or(nothing));
    // A list or map that is null is as good as an empty one, but for being something else than that.
    let full = |value: &Value| !matches!(typed.shape(value), Shape::Leaf) && !empty(Some(value));
    let (old, new) = match (old, new) {
        (Some(Value::Null), Some(new)) if full(new) => (empty_of(new), Some(new)),
        (Some(old), Some(Value::Null)) if full(old) => (Some(old), empty_of(old)),
        both => both,
    };
    let (shape, other) = match (old, new) {
        (None, None) => return Comparison::default(),
        (Some(old), Some(new)) if old == new => return Comparison::default(),
        (Some(old), Some(new)) => (typed.shape(new), Some(typed.shape(old))),
        (Some(value), None) | (None, Some(value)) => (typed.shape(value), None),
    };
    let mut out = match (shape, other) {
        (Shape::Map(fields), None | Some(Shape::Map(_))) if !(empty(old) && empty(new)) => {
            diff_fields(fields, object(old), object(new))
        }
        (Shape::List(list), None | Some(Shape::List(_))) if !(empty(old) && empty(new)) => {
            diff_items(list, array(old), array(new))
        }
        // Owned as a whole, empty, or of another form than it was.
        _ => return if new.is_some() { Comparison::changed() } else { Comparison::removed() },
    };
    // A container that came or went is a change of its own.
    out.changed.member = old.is_none();
    out.removed.member = new.is_none();
    out
}

fn empty(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        _ => true,
    }
}

fn object(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

fn array(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What differs below a path, step by step.
#[derive(Default)]
struct Below {
    changed: Vec<(String, Set)>,
    removed: Vec<(String, Set)>,
}

impl Below {
    fn add(&mut self, step: impl FnOnce() -> String, found: Comparison) {
        match (found.changed.is_empty(), found.removed.is_empty()) {
            (true, true) => {}
            (false, true) => self.changed.push((step(), found.changed)),
            (true, false) => self.removed.push((step(), found.removed)),
            (false, false) => {
                let step = step();
                self.changed.push((step.clone(), found.changed));
                self.removed.push((step, found.removed));
            }
        }
    }
    fn done(self) -> Comparison {
        Comparison { changed: Set::of(false, self.changed), removed: Set::of(false, self.removed) }
    }
}

fn diff_fields(fields: Fields, old: Option<&Map<String, Value>>, new: Option<&Map<String, Value>>) -> Comparison {
    let mut out = Below::default();
    for (name, value) in new.into_iter().flatten() {
        let before = old.and_then(|old| old.get(name));
        out.add(|| field(name), compare(fields.get(name), before, Some(value)));
    }
    for (name, value) in old.into_iter().flatten() {
        if new.is_none_or(|new| !new.contains_key(name)) {
            out.add(|| field(name), compare(fields.get(name), Some(value), None));
        }
    }
    out.done()
}

fn diff_items(list: &List, old: &[Value], new: &[Value]) -> Comparison {
    fn index<'v>(list: &List, items: &'v [Value]) -> HashMap<String, Vec<&'v Value>> {
        let mut out: HashMap<String, Vec<&Value>> = HashMap::with_capacity(items.len());
        for item in items {
            if let Ok(step) = item_step(list, item) {
                out.entry(step).or_default().push(item);
            }
        }
        out
    }
    let typed = Typed::items(list);
    let mut out = Below::default();
    let mut before = index(list, old);
    for (step, after) in index(list, new) {
        let before = before.remove(&step).unwrap_or_default();
        match (before.as_slice(), after.as_slice()) {
            ([] | [_], [item]) => out.add(|| step, compare(typed, before.first().copied(), Some(item))),
            // Items that come twice have no parts anyone could own.
            (before, after) if before == after => {}
            (_, [item]) => out.add(|| step, compare(typed, None, Some(item))),
            ([item], _) => {
                let found = Comparison { changed: Set::leaf(), ..compare(typed, Some(item), None) };
                out.add(|| step, found);
            }
            _ => out.add(|| step, Comparison::changed()),
        }
    }
    for (step, gone) in before {
        let found = match gone.as_slice() {
            [item] => compare(typed, Some(item), None),
            _ => Comparison::removed(),
        };
        out.add(|| step, found);
    }
    out.done()
}

/// Fields declared by a type are in the set where anything below them is: a struct is owned with its fields.
pub fn name_parents(typed: Typed, set: &mut Set) {
    let node = &typed.schema.node;
    for (step, child) in set.children_mut() {
        if child.is_leaf() {
            continue;
        }
        let (below, declared) = match (step.split_at_checked(2), node) {
            (Some(("f:", name)), Node::Struct(fields)) => {
                (Fields::Struct(fields).get(name), fields.field(name).is_some())
            }
            (Some(("f:", _)), Node::Map(of)) => (Typed::of(of.get()), false),
            (Some(("k:" | "v:", _)), Node::List(list)) => (Typed::items(list), false),
            _ => (Typed::of(Schema::deduced()), false),
        };
        name_parents(below, child);
        child.member |= declared;
    }
}
