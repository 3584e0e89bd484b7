//! Values that may be absent.

use std::sync::Arc;

use super::{Cost, Overload, T, global, member};
use crate::error::{Error, Result};
use crate::value::{List, Value};

const OPTIONAL: T = T::Optional(&T::A);

pub(crate) const ALL: &[Overload] = &[
    global("optional.of", &[T::A], OPTIONAL, Cost::One, |args| Ok(some(args[0].clone()))),
    global("optional.none", &[], OPTIONAL, Cost::One, |_| Ok(Value::Optional(None))),
    global("optional.ofNonZeroValue", &[T::A], OPTIONAL, Cost::One, |args| {
        Ok(if args[0].is_zero() { Value::Optional(None) } else { some(args[0].clone()) })
    }),
    member("hasValue", &[OPTIONAL], T::Bool, Cost::One, |args| Ok(inner(args)?.is_some().into())),
    member("value", &[OPTIONAL], T::A, Cost::One, |args| {
        inner(args)?.ok_or_else(|| Error::new("optional.none() dereference"))
    }),
    global("optional.unwrap", &[T::List(&OPTIONAL)], T::List(&T::A), Cost::Each(0), unwrap),
    member("unwrapOpt", &[T::List(&OPTIONAL)], T::List(&T::A), Cost::Each(0), unwrap),
    member("or", &[OPTIONAL, OPTIONAL], OPTIONAL, Cost::One, |args| {
        Ok(if inner(args)?.is_some() { args[0].clone() } else { args[1].clone() })
    }),
    member("orValue", &[OPTIONAL, T::A], T::A, Cost::One, |args| Ok(inner(args)?.unwrap_or_else(|| args[1].clone()))),
];

/// Those of a list that are there.
fn unwrap<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let Value::List(list) = &args[0] else { return Err(Error::no_such_overload()) };
    let mut there = Vec::new();
    for item in list.iter() {
        there.extend(inner(&[item])?);
    }
    Ok(Value::List(List::Owned(Arc::new(there))))
}

pub(super) fn some(value: Value<'_>) -> Value<'_> {
    Value::Optional(Some(Arc::new(value)))
}

fn inner<'a>(args: &[Value<'a>]) -> Result<Option<Value<'a>>> {
    match &args[0] {
        Value::Optional(value) => Ok(value.as_deref().cloned()),
        _ => Err(Error::no_such_overload()),
    }
}
