//! The pass over the input: a serde visitor that knows the schema of what comes next.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::message::go_type_at;
use super::path::Path;
use super::scalars::{self, Precision};
use crate::schema::{Node, Schema, Struct};
use crate::written::is_zero_of;

/// Most unknown or duplicate fields that are reported; upstream's limit.
const MAX_REPORTED: usize = 100;

/// What was found on the way.
pub struct Report {
    wanted: bool,
    /// What is applied keeps its zeros.
    apply: bool,
    messages: Vec<String>,
    seen: HashSet<String>,
    fatal: Option<String>,
}

impl Report {
    pub fn new(wanted: bool) -> Self {
        Self { wanted, apply: false, messages: Vec::new(), seen: HashSet::new(), fatal: None }
    }
    pub fn for_apply() -> Self {
        Self { apply: true, ..Self::new(false) }
    }
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
    pub fn into_messages(self) -> Vec<String> {
        self.messages
    }
    pub fn take_fatal(&mut self) -> Option<String> {
        self.fatal.take()
    }
    pub fn say(&mut self, text: String) {
        if self.wanted && self.messages.len() < MAX_REPORTED && self.seen.insert(text.clone()) {
            self.messages.push(text);
        }
    }
    fn unknown(&mut self, path: &Path, name: &str) {
        if self.wanted {
            self.say(format!("unknown field {:?}", path.dotted(Some(name))));
        }
    }
    fn duplicate(&mut self, path: &Path, name: &str) {
        if self.wanted {
            self.say(format!("duplicate field {:?}", path.dotted(Some(name))));
        }
    }
    fn fatal<E: serde::de::Error>(&mut self, text: String) -> E {
        self.fatal = Some(text);
        E::custom("type")
    }
}

/// Decodes the value at `path` as `schema` says.
pub struct Seed<'c, 'p> {
    pub schema: &'p Schema,
    pub path: &'p Path<'p>,
    pub report: &'c mut Report,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'p> Seed<'_, 'p> {
    /// The schema that counts for this JSON type: of a choice the first that takes it.
    fn pick(&self, takes: impl Fn(&Node) -> bool) -> &'p Schema {
        match &self.schema.node {
            Node::OneOf(choices) => choices.iter().map(|c| &**c.get()).find(|s| takes(&s.node)).unwrap_or(self.schema),
            _ => self.schema,
        }
    }
    /// A value of another JSON type than the schema's. Custom resources keep it: validation has the word on them.
    fn mismatch<E: serde::de::Error>(self, shown: &str, value: Value) -> Result<Value, E> {
        if self.schema.rules.is_some() {
            return Ok(value);
        }
        let expected = go_type_at(self.schema, self.path);
        let text = match (&self.schema.node, self.path.go_field()) {
            (Node::Quantity, _) => scalars::NO_QUANTITY.to_owned(),
            (_, Some(field)) => {
                format!("json: cannot unmarshal {shown} into Go struct field {field} of type {expected}")
            }
            (_, None) => format!("json: cannot unmarshal {shown} into Go value of type {expected}"),
        };
        Err(self.report.fatal(text))
    }
    fn integer<E: serde::de::Error>(self, number: Number) -> Result<Value, E> {
        let fits = match &self.pick(|n| matches!(n, Node::Int32 | Node::Int64 | Node::Number | Node::Any { .. })).node {
            Node::Int32 => number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            Node::Int64 => number.as_i64().is_some(),
            Node::IntOrString => {
                number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) || self.schema.rules.is_some()
            }
            Node::Number | Node::Any { .. } => true,
            Node::Quantity => {
                return match scalars::quantity(&number.to_string()) {
                    Ok(text) => Ok(Value::String(text)),
                    Err(text) => Err(self.report.fatal(text)),
                };
            }
            _ => return self.mismatch("number", Value::Number(number)),
        };
        if fits { Ok(Value::Number(number)) } else { self.mismatch(&format!("number {number}"), Value::Number(number)) }
    }
    fn text<E: serde::de::Error>(self, text: String) -> Result<Value, E> {
        let schema = self.pick(|n| matches!(n, Node::String | Node::Any { .. }));
        let canonical = match &schema.node {
            Node::String | Node::IntOrString | Node::Any { .. } => return Ok(Value::String(text)),
            // A custom resource's strings stay as they were written.
            _ if schema.rules.is_some() => return Ok(Value::String(text)),
            Node::Quantity => scalars::quantity(&text),
            Node::Time => scalars::time(&text, Precision::Seconds),
            Node::MicroTime => scalars::time(&text, Precision::Micros),
            Node::Bytes => scalars::bytes(&text),
            _ => return self.mismatch("string", Value::String(text)),
        };
        match canonical {
            Ok(time) if matches!(schema.node, Node::Time | Node::MicroTime) && scalars::is_zero_time(&time) => {
                Ok(Value::Null)
            }
            Ok(text) => Ok(Value::String(text)),
            Err(why) => Err(self.report.fatal(why)),
        }
    }
}

/// What a null stands for where it cannot be dropped: in lists and maps of built-in types Go has its zero value.
fn zero(schema: &Schema) -> Value {
    if schema.rules.is_some() {
        return Value::Null;
    }
    match &schema.node {
        Node::Struct(_) => Value::Object(Map::new()),
        Node::String | Node::Bytes => Value::String(String::new()),
        Node::Boolean => Value::Bool(false),
        Node::Int32 | Node::Int64 | Node::Number | Node::IntOrString => Value::from(0),
        Node::Quantity => Value::String("0".into()),
        _ => Value::Null,
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        match self.pick(|n| matches!(n, Node::Boolean | Node::Any { .. })).node {
            Node::Boolean | Node::Any { .. } => Ok(Value::Bool(value)),
            _ => self.mismatch("bool", Value::Bool(value)),
        }
    }
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        self.integer(value.into())
    }
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        self.integer(value.into())
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let Some(number) = Number::from_f64(value) else {
            return Err(self.report.fatal("json: unsupported number".into()));
        };
        match &self.pick(|n| matches!(n, Node::Number | Node::Any { .. })).node {
            Node::Number | Node::Any { .. } => Ok(Value::Number(number)),
            Node::Quantity => self.integer(number),
            _ => self.mismatch(&format!("number {number}"), Value::Number(number)),
        }
    }
    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.text(value.to_owned())
    }
    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        self.text(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut input: A) -> Result<Value, A::Error> {
        let schema = self.pick(|n| matches!(n, Node::List(_) | Node::Any { .. }));
        let of: &Schema = match &schema.node {
            Node::List(list) => list.of.get(),
            Node::Any { .. } => Schema::any(),
            _ if self.schema.rules.is_some() => Schema::any(),
            _ => return self.mismatch("array", Value::Null),
        };
        let plain = matches!(of.node, Node::Any { .. });
        let mut out = Vec::new();
        loop {
            let path = Path::Index { up: self.path, at: out.len() };
            match input.next_element_seed(Seed { schema: of, path: &path, report: &mut *self.report })? {
                Some(Value::Null) if !plain => out.push(zero(of)),
                Some(value) => out.push(value),
                None => return Ok(Value::Array(out)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut input: A) -> Result<Value, A::Error> {
        let schema = self.pick(|n| matches!(n, Node::Struct(_) | Node::Map(_) | Node::Any { .. }));
        let mut strange = false;
        let of: &Schema = match &schema.node {
            Node::Struct(fields) => return self.fields(schema, fields, input),
            Node::Map(of) => of.get(),
            Node::Any { .. } => Schema::any(),
            // Validation has the word on its type; its fields are none that anybody knows.
            _ if self.schema.rules.is_some() => {
                strange = true;
                Schema::any()
            }
            _ => return self.mismatch("object", Value::Null),
        };
        let plain = matches!(of.node, Node::Any { .. });
        let mut out = Map::new();
        while let Some(key) = input.next_key::<String>()? {
            if out.contains_key(&key) {
                self.report.duplicate(self.path, &key);
            }
            if strange {
                self.report.unknown(self.path, &key);
            }
            let path = Path::Key { up: self.path, name: &key };
            let value = input.next_value_seed(Seed { schema: of, path: &path, report: &mut *self.report })?;
            let value = if value.is_null() && !plain { zero(of) } else { value };
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }
}

impl Seed<'_, '_> {
    fn fields<'de, A: MapAccess<'de>>(
        mut self,
        schema: &Schema,
        fields: &Struct,
        mut input: A,
    ) -> Result<Value, A::Error> {
        let of = schema.name.as_deref().map_or("", |name| name.rsplit('.').next().unwrap_or(name));
        let custom = schema.rules.is_some();
        let mut out = Map::new();
        let mut seen = 0u128;
        while let Some(key) = input.next_key_seed(KeySeed(fields))? {
            let index = match key {
                Key::Known(index) => index,
                Key::Unknown(name) => {
                    self.unnamed(fields, &mut out, name, &mut input)?;
                    continue;
                }
            };
            let Some(field) = fields.fields.get(index) else { continue };
            // No built-in type has more than 128 fields; beyond that the output tells.
            let bit = 1u128.checked_shl(u32::try_from(index).unwrap_or(u32::MAX)).unwrap_or(0);
            if seen & bit != 0 || (bit == 0 && out.contains_key(&*field.name)) {
                self.report.duplicate(self.path, &field.name);
            }
            seen |= bit;
            let path = Path::Field { up: self.path, name: &field.name, of, shape: field.shape };
            let value =
                input.next_value_seed(Seed { schema: field.schema.get(), path: &path, report: &mut *self.report })?;
            let dropped = match &value {
                // `JSON` fields of built-in types know null as a value, but Go's pointer to one does not.
                Value::Null => !custom,
                Value::Array(items) => {
                    items.is_empty()
                        && !custom
                        && !(field.required && self.report.apply)
                        && is_list(field.schema.get())
                        && !means_something(&field.name)
                }
                Value::Object(items) => items.is_empty() && !custom && !field.required && is_map(field.schema.get()),
                // What is applied is owned, zeros too. What is always written comes back when the object is complete.
                _ => {
                    (field.shape.omitted || field.shape.written)
                        && !self.report.apply
                        && is_zero_of(field.schema.get(), &value)
                }
            };
            if dropped {
                out.remove(&*field.name);
            } else {
                out.insert(field.name.to_string(), value);
            }
        }
        Ok(Value::Object(out))
    }

    /// A field the schema does not name: kept where the schema says so, else reported and dropped.
    fn unnamed<'de, A: MapAccess<'de>>(
        &mut self,
        fields: &Struct,
        out: &mut Map<String, Value>,
        name: String,
        input: &mut A,
    ) -> Result<(), A::Error> {
        let schema: &Schema = match &fields.rest {
            Some(rest) => rest.get(),
            None if fields.preserve_unknown => Schema::any(),
            None => {
                self.report.unknown(self.path, &name);
                input.next_value::<Ignored>()?;
                return Ok(());
            }
        };
        if out.contains_key(&name) {
            self.report.duplicate(self.path, &name);
        }
        let path = Path::Key { up: self.path, name: &name };
        let value = input.next_value_seed(Seed { schema, path: &path, report: &mut *self.report })?;
        out.insert(name, value);
        Ok(())
    }
}

/// An empty `managedFields` is not nothing: it forgets all owners. Nor are empty `policies` of an autoscaler: they are
/// not the default ones.
fn means_something(name: &str) -> bool {
    matches!(name, "managedFields" | "policies")
}

fn is_list(schema: &Schema) -> bool {
    matches!(schema.node, Node::List(_))
}

fn is_map(schema: &Schema) -> bool {
    matches!(schema.node, Node::Map(_))
}

/// A value that is skipped, its syntax checked.
type Ignored = serde::de::IgnoredAny;

/// Finds the field that a key names without keeping the key.
struct KeySeed<'f>(&'f Struct);

enum Key {
    Known(usize),
    Unknown(String),
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a field name")
    }
    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Key, E> {
        Ok(match self.0.fields.binary_search_by(|f| (*f.name).cmp(name)) {
            Ok(index) => Key::Known(index),
            Err(_) => Key::Unknown(name.to_owned()),
        })
    }
}
