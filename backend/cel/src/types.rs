//! Types of expressions, and of the JSON they look at.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// The most there may be of something (characters, items, entries), for estimates. Types that differ only in it are the
/// same.
#[derive(Clone, Copy, Debug)]
pub struct Size(pub Option<u64>);

impl PartialEq for Size {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Size {
    pub const UNKNOWN: Self = Self(None);

    pub(crate) fn max(self, other: Self) -> Self {
        Self(self.0.zip(other.0).map(|(a, b)| a.max(b)))
    }
    pub(crate) fn plus(self, other: Self) -> Self {
        Self(self.0.zip(other.0).map(|(a, b)| a.saturating_add(b)))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Known only when it is there.
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String(Size),
    Bytes(Size),
    Timestamp,
    Duration,
    Type,
    List(Arc<Type>, ListKind, Size),
    Map(Arc<Type>, Arc<Type>, Size),
    Object(Arc<ObjectType>),
    Optional(Arc<Type>),
    /// A type of a library: `kubernetes.Quantity`, `net.IP` …
    Opaque(&'static str),
    /// Of the items of an empty literal: fits everything.
    Free,
}

/// How the items of a list are told apart (`x-kubernetes-list-type`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    #[default]
    Atomic,
    Set,
    Map(Arc<[String]>),
}

/// An object with known fields.
#[derive(Debug, Default)]
pub struct ObjectType {
    pub name: String,
    /// By the name that expressions use, see [`escape`].
    pub fields: BTreeMap<String, Field>,
}

impl PartialEq for ObjectType {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || (self.name == other.name && self.fields == other.fields)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The name in the JSON.
    pub name: String,
    pub of: Type,
}

impl Type {
    pub const STRING: Self = Self::String(Size::UNKNOWN);
    pub const BYTES: Self = Self::Bytes(Size::UNKNOWN);

    pub fn list(of: Self) -> Self {
        Self::List(Arc::new(of), ListKind::Atomic, Size::UNKNOWN)
    }
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new(key), Arc::new(value), Size::UNKNOWN)
    }
    pub fn optional(of: Self) -> Self {
        Self::Optional(Arc::new(of))
    }
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Dyn | Self::Free)
    }

    /// May a value of `other` stand where this is wanted?
    pub(crate) fn takes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Dyn | Self::Free, _) | (_, Self::Dyn | Self::Free) => true,
            (Self::List(a, ..), Self::List(b, ..)) | (Self::Optional(a), Self::Optional(b)) => a.takes(b),
            (Self::Map(ak, av, _), Self::Map(bk, bv, _)) => ak.takes(bk) && av.takes(bv),
            // Null is what nullable things may be.
            (Self::Object(_) | Self::Opaque(_) | Self::Timestamp | Self::Duration | Self::Optional(_), Self::Null)
            | (Self::Null, Self::Object(_) | Self::Opaque(_) | Self::Timestamp | Self::Duration | Self::Optional(_)) => {
                true
            }
            (a, b) => a == b,
        }
    }

    /// What both are, as exactly as can be said.
    pub(crate) fn join(&self, other: &Self) -> Option<Self> {
        Some(match (self, other) {
            (Self::Free, known) | (known, Self::Free) => known.clone(),
            (Self::Dyn, _) | (_, Self::Dyn) => Self::Dyn,
            (Self::String(a), Self::String(b)) => Self::String(a.max(*b)),
            (Self::Bytes(a), Self::Bytes(b)) => Self::Bytes(a.max(*b)),
            (Self::List(a, kind, m), Self::List(b, _, n)) => Self::List(Arc::new(a.join(b)?), kind.clone(), m.max(*n)),
            (Self::Optional(a), Self::Optional(b)) => Self::Optional(Arc::new(a.join(b)?)),
            (Self::Map(ak, av, m), Self::Map(bk, bv, n)) => {
                Self::Map(Arc::new(ak.join(bk)?), Arc::new(av.join(bv)?), m.max(*n))
            }
            (a, b) if a == b => a.clone(),
            (a, Self::Null) if a.takes(&Self::Null) => a.clone(),
            (Self::Null, b) if b.takes(&Self::Null) => b.clone(),
            _ => return None,
        })
    }

    /// How much there may be of it.
    pub(crate) fn size(&self) -> Size {
        match self {
            Self::String(size) | Self::Bytes(size) | Self::List(_, _, size) | Self::Map(_, _, size) => *size,
            Self::Dyn | Self::Free => Size::UNKNOWN,
            _ => Size(Some(1)),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dyn | Self::Free => "dyn",
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Timestamp => "timestamp",
            Self::Duration => "duration",
            Self::Type => "type",
            Self::List(of, ..) => return write!(f, "list({of})"),
            Self::Map(key, value, _) => return write!(f, "map({key}, {value})"),
            Self::Object(of) => &of.name,
            Self::Optional(of) => return write!(f, "optional_type({of})"),
            Self::Opaque(name) => name,
        })
    }
}

/// Words that no identifier may be.
const RESERVED: [&str; 20] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
];

/// The identifier by which expressions name a property; none for a name that has none.
pub fn escape(name: &str) -> Option<String> {
    if RESERVED.contains(&name) || name == "while" {
        return Some(format!("__{name}__"));
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("__") {
            out.push_str("__underscores__");
            rest = &rest[2..];
            continue;
        }
        match c {
            '.' => out.push_str("__dot__"),
            '-' => out.push_str("__dash__"),
            '/' => out.push_str("__slash__"),
            c if c.is_ascii_alphanumeric() || c == '_' => out.push(c),
            _ => return None,
        }
        rest = &rest[c.len_utf8()..];
    }
    let begins = out.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    begins.then_some(out)
}
