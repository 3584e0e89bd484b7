//! YAML as another spelling of JSON. Duplicate keys are told with their line, as upstream tells them.

use std::collections::HashSet;
use std::fmt;

use pilothouse_api::limits::MAX_JSON_DEPTH;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::visit::Report;

/// Most duplicate keys whose lines are looked for: each costs a pass over the text.
const MAX_DUPLICATES: usize = 10;

/// Most brackets that are open at once, wherever they stand. The parser's time grows with the square of the nesting
/// before it would notice that it is too deep, so this is looked at first; text inside scalars rarely comes near.
const MAX_OPEN_BRACKETS: usize = 1000;

/// Parses one document. Of a key that comes twice the last value counts.
pub fn parse(body: &[u8], report: &mut Report) -> Result<Value, String> {
    if open_brackets(body) > MAX_OPEN_BRACKETS {
        return Err("exceeded max depth".to_owned());
    }
    let (value, duplicates) = pass(body, usize::MAX).map_err(|error| error.to_string())?;
    if duplicates == 0 {
        return Ok(value);
    }
    // Errors carry lines, values do not: stop at the first duplicate, then at the second …
    let lines: Vec<String> = (0..duplicates.min(MAX_DUPLICATES))
        .filter_map(|nth| {
            let error = pass(body, nth).err()?;
            let line = error.location()?.line();
            let text = error.to_string();
            let key = text.split_once("duplicate key ")?.1.rsplit_once(" at line").map_or("", |(key, _)| key);
            Some(format!("  line {line}: key {key} already set in map"))
        })
        .collect();
    report.say(format!("yaml: unmarshal errors:\n{}", lines.join("\n")));
    Ok(value)
}

fn open_brackets(body: &[u8]) -> usize {
    let (mut open, mut most) = (0usize, 0usize);
    for byte in body {
        match byte {
            b'[' | b'{' => {
                open += 1;
                most = most.max(open);
            }
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
    }
    most
}

/// Parses the text; fails at the duplicate with the number `stop_at`.
fn pass(body: &[u8], stop_at: usize) -> Result<(Value, usize), serde_norway::Error> {
    let mut state = State { duplicates: 0, stop_at };
    let deserializer = serde_norway::Deserializer::from_slice(body);
    let value = Seed { state: &mut state, depth: 0 }.deserialize(deserializer)?;
    Ok((value, state.duplicates))
}

struct State {
    duplicates: usize,
    stop_at: usize,
}

struct Seed<'s> {
    state: &'s mut State,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.depth > MAX_JSON_DEPTH {
            return Err(D::Error::custom("exceeded max depth"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("any YAML value that JSON has too")
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
        Ok(Value::Bool(value))
    }
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    // What is longer is a fraction, as Go reads it.
    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<Value, E> {
        self.visit_f64(value as f64)
    }
    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Value, E> {
        self.visit_f64(value as f64)
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("JSON has no such number"))
    }
    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut input: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(value) = input.next_element_seed(Seed { state: &mut *self.state, depth: self.depth + 1 })? {
            out.push(value);
        }
        Ok(Value::Array(out))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut input: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        let mut keys = HashSet::new();
        while let Some(key) = input.next_key_seed(Key { state: &mut *self.state, keys: &mut keys })? {
            let value = input.next_value_seed(Seed { state: &mut *self.state, depth: self.depth + 1 })?;
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }
}

/// A key: text, or a scalar that is written as text in JSON. A duplicate fails here, where the parser knows its line.
struct Key<'s> {
    state: &'s mut State,
    keys: &'s mut HashSet<String>,
}

impl Key<'_> {
    fn take<E: serde::de::Error>(self, key: String) -> Result<String, E> {
        if !self.keys.insert(key.clone()) {
            self.state.duplicates += 1;
            if self.state.duplicates > self.state.stop_at {
                return Err(E::custom(format!("duplicate key {key:?}")));
            }
        }
        Ok(key)
    }
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a scalar as key")
    }
    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<String, E> {
        self.take(value.to_owned())
    }
    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<String, E> {
        self.take(value.to_string())
    }
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<String, E> {
        self.take(value.to_string())
    }
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<String, E> {
        self.take(value.to_string())
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<String, E> {
        self.take(value.to_string())
    }
}
