//! Values. Those that come out of JSON are views of it: nothing is copied until it has to be.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map as JsonMap, Value as Json};

use crate::error::{Error, Result};
use crate::library::opaque::Opaque;
use crate::types::{ListKind, ObjectType, Type};

static DYN: Type = Type::Dyn;
static ATOMIC: ListKind = ListKind::Atomic;

#[derive(Clone)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Arc<[u8]>),
    Timestamp(Timestamp),
    Duration(SignedDuration),
    List(List<'a>),
    Map(Map<'a>),
    Type(Arc<str>),
    Optional(Option<Arc<Value<'a>>>),
    #[doc(hidden)]
    Opaque(Opaque),
    /// Something of the caller's own.
    Host(Arc<dyn Host<'a> + 'a>),
}

/// What a caller brings into expressions: an authorizer, variables that are computed when they are asked for.
pub trait Host<'a>: Send + Sync {
    fn type_name(&self) -> &'static str;
    /// The value of a field; `None` where there is no such field.
    fn field(&self, name: &str) -> Option<Result<Value<'a>>> {
        let _ = name;
        None
    }
    /// The result of a member function; `None` where there is no such function.
    fn call(&self, function: &str, arguments: &[Value<'a>]) -> Option<Result<Value<'a>>> {
        let _ = (function, arguments);
        None
    }
}

/// A text, borrowed or shared.
#[derive(Clone)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Shared(Arc<str>),
}

impl std::ops::Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

#[derive(Clone)]
pub enum List<'a> {
    Owned(Arc<Vec<Value<'a>>>),
    Json { items: &'a [Json], of: &'a Type, kind: &'a ListKind },
}

#[derive(Clone)]
pub enum Map<'a> {
    Owned(Arc<BTreeMap<Key, Value<'a>>>),
    Json { fields: &'a JsonMap<String, Json>, of: &'a Type },
    Object { fields: &'a JsonMap<String, Json>, of: &'a ObjectType },
}

/// What may be a key of a map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Bool(bool),
    Int(i64),
    Uint(u64),
    String(Arc<str>),
}

impl Key {
    pub(crate) fn of(value: &Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Bool(b) => Self::Bool(*b),
            Value::Int(n) => Self::Int(*n),
            // A number is the same key, however it is written.
            Value::Uint(n) => i64::try_from(*n).map_or(Self::Uint(*n), Self::Int),
            Value::Double(n) if n.fract() == 0.0 && n.abs() < 9e18 => Self::Int(*n as i64),
            Value::String(text) => Self::String(Arc::from(&**text)),
            _ => return None,
        })
    }
    pub(crate) fn value<'a>(&self) -> Value<'a> {
        match self {
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(n) => Value::Int(*n),
            Self::Uint(n) => Value::Uint(*n),
            Self::String(text) => Value::String(Text::Shared(Arc::clone(text))),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(b) => write!(f, "{b}"),
            Self::Int(n) => write!(f, "{n}"),
            Self::Uint(n) => write!(f, "{n}"),
            Self::String(text) => f.write_str(text),
        }
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::String(Text::Borrowed(text))
    }
}
impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::String(Text::Shared(text.into()))
    }
}
impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}
impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}
impl<'a> From<Vec<Value<'a>>> for Value<'a> {
    fn from(items: Vec<Value<'a>>) -> Self {
        Self::List(List::Owned(Arc::new(items)))
    }
}

impl<'a> List<'a> {
    pub fn len(&self) -> usize {
        match self {
            Self::Owned(items) => items.len(),
            Self::Json { items, .. } => items.len(),
        }
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    pub fn get(&self, at: usize) -> Option<Value<'a>> {
        match self {
            Self::Owned(items) => items.get(at).cloned(),
            Self::Json { items, of, .. } => items.get(at).map(|item| Value::typed(item, of)),
        }
    }
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        (0..self.len()).filter_map(|at| self.get(at))
    }
    pub(crate) fn kind(&self) -> &ListKind {
        match self {
            Self::Owned(_) => &ATOMIC,
            Self::Json { kind, .. } => kind,
        }
    }
}

impl<'a> Map<'a> {
    pub fn len(&self) -> usize {
        match self {
            Self::Owned(entries) => entries.len(),
            Self::Json { fields, .. } => fields.len(),
            Self::Object { fields, of } => of.fields.values().filter(|f| fields.contains_key(&f.name)).count(),
        }
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The value of a field that an expression names as `a.b`.
    pub fn field(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Self::Owned(entries) => entries.get(&Key::String(name.into())).cloned(),
            Self::Json { fields, of } => fields.get(name).map(|value| Value::typed(value, of)),
            Self::Object { fields, of } => {
                let field = of.fields.get(name)?;
                fields.get(&field.name).map(|value| Value::typed(value, &field.of))
            }
        }
    }
    /// The value of a key, as in `a[b]`.
    pub fn get(&self, key: &Value<'_>) -> Option<Value<'a>> {
        match (self, key) {
            (Self::Owned(entries), key) => entries.get(&Key::of(key)?).cloned(),
            (_, Value::String(name)) => self.field(name),
            _ => None,
        }
    }
    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Self::Owned(entries) => entries.keys().map(Key::value).collect(),
            Self::Json { fields, .. } => fields.keys().map(|key| Value::from(key.as_str())).collect(),
            Self::Object { fields, of } => {
                let present = of.fields.iter().filter(|(_, field)| fields.contains_key(&field.name));
                present.map(|(name, _)| Value::from(name.as_str())).collect()
            }
        }
    }
}

impl<'a> Value<'a> {
    /// A view of JSON whose types nobody has told.
    pub fn json(json: &'a Json) -> Self {
        Self::typed(json, &DYN)
    }

    /// A view of JSON by its type. What is not of its type is shown as what it is.
    pub fn typed(json: &'a Json, of: &'a Type) -> Self {
        match (json, of) {
            (Json::Null, _) => Self::Null,
            (Json::Bool(b), _) => Self::Bool(*b),
            (Json::Number(n), Type::Double) => Self::Double(n.as_f64().unwrap_or_default()),
            (Json::Number(n), Type::Uint) => n.as_u64().map_or(Self::Null, Self::Uint),
            (Json::Number(n), _) => match (n.as_i64(), n.as_u64()) {
                (Some(n), _) => Self::Int(n),
                (None, Some(n)) => Self::Uint(n),
                // A whole number that is written as a fraction is still an integer where one is demanded.
                _ => match n.as_f64() {
                    Some(f) if *of == Type::Int && f.fract() == 0.0 => Self::Int(f as i64),
                    f => Self::Double(f.unwrap_or_default()),
                },
            },
            (Json::String(text), Type::Timestamp) => {
                crate::library::time::parse_timestamp(text).map_or(Self::from(text.as_str()), Self::Timestamp)
            }
            (Json::String(text), Type::Duration) => {
                crate::library::time::parse_duration(text).map_or(Self::from(text.as_str()), Self::Duration)
            }
            (Json::String(text), Type::Bytes(_)) => {
                use base64::Engine;
                let bytes = base64::engine::general_purpose::STANDARD.decode(text);
                bytes.map_or(Self::from(text.as_str()), |bytes| Self::Bytes(bytes.into()))
            }
            (Json::String(text), _) => Self::from(text.as_str()),
            (Json::Array(items), Type::List(of, kind, _)) => Self::List(List::Json { items, of, kind }),
            (Json::Array(items), _) => Self::List(List::Json { items, of: &DYN, kind: &ATOMIC }),
            (Json::Object(fields), Type::Object(of)) => Self::Map(Map::Object { fields, of }),
            (Json::Object(fields), Type::Map(_, of, _)) => Self::Map(Map::Json { fields, of }),
            (Json::Object(fields), _) => Self::Map(Map::Json { fields, of: &DYN }),
        }
    }

    /// The value as JSON; none for what has no such form.
    pub fn to_json(&self) -> Option<Json> {
        Some(match self {
            Self::Null => Json::Null,
            Self::Bool(b) => (*b).into(),
            Self::Int(n) => (*n).into(),
            Self::Uint(n) => (*n).into(),
            Self::Double(n) => serde_json::Number::from_f64(*n)?.into(),
            Self::String(text) => Json::String(text.to_string()),
            Self::Bytes(bytes) => {
                use base64::Engine;
                base64::engine::general_purpose::STANDARD.encode(bytes).into()
            }
            Self::Timestamp(time) => crate::library::time::timestamp_text(*time).into(),
            Self::Duration(duration) => crate::library::time::duration_text(*duration).into(),
            Self::List(list) => Json::Array(list.iter().map(|item| item.to_json()).collect::<Option<_>>()?),
            Self::Map(Map::Json { fields, .. } | Map::Object { fields, .. }) => Json::Object((*fields).clone()),
            Self::Map(Map::Owned(entries)) => {
                let mut out = JsonMap::new();
                for (key, value) in entries.iter() {
                    out.insert(key.to_string(), value.to_json()?);
                }
                Json::Object(out)
            }
            Self::Optional(Some(value)) => value.to_json()?,
            Self::Opaque(opaque) => opaque.to_string().into(),
            Self::Type(_) | Self::Optional(None) | Self::Host(_) => return None,
        })
    }

    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(b) = self { Some(*b) } else { None }
    }
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// What `type()` gives, and messages show.
    pub fn type_name(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::List(_) => "list",
            Self::Map(Map::Object { of, .. }) => return Cow::Owned(of.name.clone()),
            Self::Map(_) => "map",
            Self::Type(_) => "type",
            Self::Optional(_) => "optional_type",
            Self::Opaque(opaque) => opaque.type_name(),
            Self::Host(host) => host.type_name(),
        })
    }

    /// Characters, items, entries.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::String(text) => text.len() as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::List(list) => list.len() as u64,
            Self::Map(map) => map.len() as u64,
            _ => 1,
        }
    }

    /// Is it what its type begins with: 0, "", [] …
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(b) => !b,
            Self::Int(n) => *n == 0,
            Self::Uint(n) => *n == 0,
            Self::Double(n) => *n == 0.0,
            Self::String(text) => text.is_empty(),
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::Duration(duration) => duration.is_zero(),
            Self::List(list) => list.is_empty(),
            Self::Map(map) => map.is_empty(),
            Self::Optional(value) => value.is_none(),
            Self::Timestamp(_) | Self::Type(_) | Self::Opaque(_) | Self::Host(_) => false,
        }
    }

    /// The order of two values of types that have one.
    pub(crate) fn order(&self, other: &Self) -> Result<Option<Ordering>> {
        Ok(match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::String(a), Self::String(b)) => Some((**a).cmp(&**b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            _ => match numbers(self, other) {
                Some(order) => order,
                None => return Err(Error::no_such_overload()),
            },
        })
    }

    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::List(a), Self::List(b)) => lists_equal(a, b),
            (Self::Map(a), Self::Map(b)) => {
                a.len() == b.len()
                    && a.keys()
                        .iter()
                        .all(|key| a.get(key).zip(b.get(key)).is_some_and(|(left, right)| left.equals(&right)))
            }
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b),
                (a, b) => a.is_none() && b.is_none(),
            },
            (Self::Opaque(a), Self::Opaque(b)) => a == b,
            (a, b) => a.order(b).is_ok_and(|order| order == Some(Ordering::Equal)),
        }
    }
}

/// Numbers compare by value, whatever their types; none where one is no number.
fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Option<Ordering>> {
    let integer = |value: &Value<'_>| match value {
        Value::Int(n) => Some(i128::from(*n)),
        Value::Uint(n) => Some(i128::from(*n)),
        _ => None,
    };
    let double = |value: &Value<'_>| match value {
        Value::Double(n) => Some(*n),
        Value::Int(n) => Some(*n as f64),
        Value::Uint(n) => Some(*n as f64),
        _ => None,
    };
    match (integer(a), integer(b)) {
        (Some(a), Some(b)) => Some(Some(a.cmp(&b))),
        _ => Some(double(a)?.partial_cmp(&double(b)?)),
    }
}

/// Sets and keyed lists are equal in any order.
fn lists_equal<'a>(a: &List<'a>, b: &List<'a>) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.kind() {
        ListKind::Atomic => a.iter().zip(b.iter()).all(|(a, b)| a.equals(&b)),
        ListKind::Set => a.iter().all(|left| b.iter().any(|right| left.equals(&right))),
        ListKind::Map(keys) => {
            a.iter().all(|left| b.iter().any(|right| same_keys(&left, &right, keys) && left.equals(&right)))
        }
    }
}

pub(crate) fn same_keys<'a>(a: &Value<'a>, b: &Value<'a>, keys: &[String]) -> bool {
    let (Value::Map(a), Value::Map(b)) = (a, b) else { return false };
    keys.iter().all(|key| match (a.field(key), b.field(key)) {
        (Some(a), Some(b)) => a.equals(&b),
        (a, b) => a.is_none() && b.is_none(),
    })
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_json() {
            Some(json) => write!(f, "{json}"),
            None => write!(f, "<{}>", self.type_name()),
        }
    }
}
