//! The functions: one table, one file per library. What the checker knows of a function and what the evaluator runs is
//! one line.

pub(crate) mod authz;
mod convert;
mod formats;
mod lists;
mod net;
pub(crate) mod opaque;
mod optional;
mod quantity;
mod regexes;
mod semvers;
mod sequences;
mod sets;
mod strings;
pub(crate) mod time;
mod urls;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::error::Result;
use crate::types::{Size, Type};
use crate::value::Value;

/// A type in a signature.
#[derive(Clone, Copy, Debug)]
pub(crate) enum T {
    Dyn,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    Type,
    /// Whatever it is, the same in one call.
    A,
    List(&'static T),
    Map(&'static T, &'static T),
    Optional(&'static T),
    Opaque(&'static str),
}

pub(crate) type Run = for<'a> fn(&[Value<'a>]) -> Result<Value<'a>>;

/// What a call costs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cost {
    One,
    Fixed(u64),
    /// Walks this argument's text.
    Walk(usize),
    /// Matches this argument's text against a format's pattern.
    Format(usize),
    /// Visits each item of this argument.
    Each(usize),
    /// Walks the first argument's text once for each step through the second's.
    Product,
    /// Compares each item of the first argument with each of the second.
    Cross,
    /// Walks this argument's text, and the result is about as long.
    Copy(usize),
}

/// One form of one function.
pub(crate) struct Overload {
    pub name: &'static str,
    /// Called on its first argument.
    pub member: bool,
    pub args: &'static [T],
    pub result: T,
    pub cost: Cost,
    pub run: Run,
}

pub(crate) const fn member(name: &'static str, args: &'static [T], result: T, cost: Cost, run: Run) -> Overload {
    Overload { name, member: true, args, result, cost, run }
}

pub(crate) const fn global(name: &'static str, args: &'static [T], result: T, cost: Cost, run: Run) -> Overload {
    Overload { name, member: false, args, result, cost, run }
}

/// What a step of a text costs in a format's pattern, by estimate: a quarter of the longest pattern.
const FORMAT_STEPS: u64 = 32;

const ALL: &[&[Overload]] = &[
    authz::ALL,
    convert::ALL,
    formats::ALL,
    lists::ALL,
    net::ALL,
    optional::ALL,
    quantity::ALL,
    regexes::ALL,
    semvers::ALL,
    sequences::ALL,
    sets::ALL,
    strings::ALL,
    time::ALL,
    urls::ALL,
];

/// Forms that are called globally, and those that are called on a value.
type Forms = [Vec<&'static Overload>; 2];

static INDEX: LazyLock<HashMap<&'static str, Forms>> = LazyLock::new(|| {
    let mut index: HashMap<&'static str, Forms> = HashMap::new();
    for overload in ALL.iter().flat_map(|library| library.iter()) {
        index.entry(overload.name).or_default()[usize::from(overload.member)].push(overload);
    }
    index
});

/// All forms of a function.
pub(crate) fn find(name: &str, member: bool) -> &'static [&'static Overload] {
    INDEX.get(name).map(|forms| forms[usize::from(member)].as_slice()).unwrap_or_default()
}

impl T {
    /// Whether a value is of the type, as far as it matters for which form of a function is meant.
    pub(crate) fn accepts(self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Dyn | Self::A, _)
            | (Self::Bool, Value::Bool(_))
            | (Self::Int, Value::Int(_))
            | (Self::Uint, Value::Uint(_))
            | (Self::Double, Value::Double(_))
            | (Self::String, Value::String(_))
            | (Self::Bytes, Value::Bytes(_))
            | (Self::Timestamp, Value::Timestamp(_))
            | (Self::Duration, Value::Duration(_))
            | (Self::Type, Value::Type(_))
            | (Self::Map(..), Value::Map(_))
            | (Self::Optional(_), Value::Optional(_)) => true,
            (Self::List(of), Value::List(list)) => list.get(0).is_none_or(|first| of.accepts(&first)),
            (Self::Opaque(name), Value::Opaque(opaque)) => opaque.type_name() == name,
            (Self::Opaque(name), Value::Host(host)) => host.type_name() == name,
            _ => false,
        }
    }

    /// Whether an expression of a type may be passed; binds the variable.
    pub(crate) fn matches(self, given: &Type, bound: &mut Option<Type>) -> bool {
        if given.is_open() {
            return true;
        }
        match (self, given) {
            (Self::Dyn, _)
            | (Self::Bool, Type::Bool)
            | (Self::Int, Type::Int)
            | (Self::Uint, Type::Uint)
            | (Self::Double, Type::Double)
            | (Self::String, Type::String(_))
            | (Self::Bytes, Type::Bytes(_))
            | (Self::Timestamp, Type::Timestamp)
            | (Self::Duration, Type::Duration)
            | (Self::Type, Type::Type) => true,
            (Self::A, given) => match bound {
                None => {
                    *bound = Some(given.clone());
                    true
                }
                Some(known) => match known.join(given) {
                    Some(joined) => {
                        *bound = Some(joined);
                        true
                    }
                    None => false,
                },
            },
            (Self::List(of), Type::List(items, ..)) => of.matches(items, bound),
            (Self::Optional(of), Type::Optional(value)) => of.matches(value, bound),
            (Self::Map(key, value), Type::Map(k, v, _)) => key.matches(k, bound) && value.matches(v, bound),
            (Self::Map(..), Type::Object(_)) => true,
            (Self::Opaque(name), Type::Opaque(given)) => name == *given,
            _ => false,
        }
    }

    /// The type of a result, given what the variable stands for.
    pub(crate) fn resolve(self, bound: Option<&Type>) -> Type {
        match self {
            Self::Dyn => Type::Dyn,
            Self::Bool => Type::Bool,
            Self::Int => Type::Int,
            Self::Uint => Type::Uint,
            Self::Double => Type::Double,
            Self::String => Type::STRING,
            Self::Bytes => Type::BYTES,
            Self::Timestamp => Type::Timestamp,
            Self::Duration => Type::Duration,
            Self::Type => Type::Type,
            Self::A => bound.cloned().unwrap_or(Type::Free),
            Self::List(of) => Type::list(of.resolve(bound)),
            Self::Map(key, value) => Type::map(key.resolve(bound), value.resolve(bound)),
            Self::Optional(of) => Type::optional(of.resolve(bound)),
            Self::Opaque(name) => Type::Opaque(name),
        }
    }
}

impl Cost {
    /// Given the sizes of the arguments.
    pub(crate) fn of(self, size: impl Fn(usize) -> u64) -> u64 {
        use crate::cost::walk;
        match self {
            Self::One => 1,
            Self::Fixed(units) => units,
            Self::Walk(at) | Self::Copy(at) => 1 + walk(size(at)),
            Self::Format(at) => walk(size(at)).saturating_mul(FORMAT_STEPS).saturating_add(1),
            Self::Each(at) => 1 + size(at),
            Self::Product => 1 + walk(size(0)).saturating_mul(walk(size(1)).max(1)),
            Self::Cross => 1 + size(0).saturating_mul(size(1)),
        }
    }

    /// How much there may be of the result.
    pub(crate) fn result_size(self, args: &[Type]) -> Size {
        match self {
            Self::Copy(at) | Self::Each(at) => args.get(at).map_or(Size::UNKNOWN, Type::size),
            _ => Size::UNKNOWN,
        }
    }
}

/// Longest text that an expression may make in one step.
pub(crate) fn strings_limit() -> usize {
    strings::MAX_TEXT
}

/// Whether a pattern is a regular expression.
pub(crate) fn compile_pattern(pattern: &str) -> Result<()> {
    regexes::compile(pattern).map(drop)
}
