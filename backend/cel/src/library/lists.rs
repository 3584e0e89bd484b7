//! Kubernetes' functions on lists: <https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-list-library>

use std::cmp::Ordering;

use super::{Cost, Overload, T, member};
use crate::error::{Error, Result};
use crate::value::Value;

const LIST: T = T::List(&T::A);
const TEXTS: T = T::List(&T::String);

pub(crate) const ALL: &[Overload] = &[
    member("isSorted", &[LIST], T::Bool, Cost::Each(0), |args| {
        let items = items(args)?;
        for pair in items.windows(2) {
            if pair[0].order(&pair[1])? == Some(Ordering::Greater) {
                return Ok(false.into());
            }
        }
        Ok(true.into())
    }),
    member("sum", &[LIST], T::A, Cost::Each(0), sum),
    member("min", &[LIST], T::A, Cost::Each(0), |args| best(args, "min", Ordering::Less)),
    member("max", &[LIST], T::A, Cost::Each(0), |args| best(args, "max", Ordering::Greater)),
    member("indexOf", &[LIST, T::A], T::Int, Cost::Each(0), |args| {
        let at = items(args)?.iter().position(|item| item.equals(&args[1]));
        Ok(Value::Int(at.map_or(-1, |at| at as i64)))
    }),
    member("lastIndexOf", &[LIST, T::A], T::Int, Cost::Each(0), |args| {
        let at = items(args)?.iter().rposition(|item| item.equals(&args[1]));
        Ok(Value::Int(at.map_or(-1, |at| at as i64)))
    }),
    member("includes", &[LIST, T::A], T::Bool, Cost::Each(0), |args| {
        Ok(items(args)?.iter().any(|item| item.equals(&args[1])).into())
    }),
    member("join", &[TEXTS], T::String, Cost::Each(0), join),
    member("join", &[TEXTS, T::String], T::String, Cost::Each(0), join),
];

fn items<'a>(args: &[Value<'a>]) -> Result<Vec<Value<'a>>> {
    match &args[0] {
        Value::List(list) => Ok(list.iter().collect()),
        _ => Err(Error::no_such_overload()),
    }
}

fn sum<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let mut items = items(args)?.into_iter();
    let Some(mut total) = items.next() else { return Ok(Value::Int(0)) };
    for item in items {
        total = crate::eval::arithmetic::add(&total, &item)?;
    }
    Ok(total)
}

fn best<'a>(args: &[Value<'a>], name: &str, wanted: Ordering) -> Result<Value<'a>> {
    let mut items = items(args)?.into_iter();
    let mut best = items.next().ok_or_else(|| Error::new(format!("{name} called on empty list")))?;
    for item in items {
        if item.order(&best)? == Some(wanted) {
            best = item;
        }
    }
    Ok(best)
}

fn join<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let between = args.get(1).and_then(Value::as_str).unwrap_or_default();
    let mut out = String::new();
    for (at, item) in items(args)?.iter().enumerate() {
        if at > 0 {
            out.push_str(between);
        }
        out.push_str(item.as_str().ok_or_else(Error::no_such_overload)?);
    }
    Ok(out.into())
}
