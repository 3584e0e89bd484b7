//! Lists made of lists: <https://pkg.go.dev/github.com/google/cel-go/ext#Lists>

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::optional::some;
use super::{Cost, Overload, T, global, member};
use crate::error::{Error, Result};
use crate::eval::SORT_BY;
use crate::value::{Key, List, Value};

const LIST: T = T::List(&T::A);
/// Longest list that an expression may make out of a number.
const MAX_RANGE: i64 = 100_000;
/// Most items that are compared with each other one by one.
const MAX_COMPARED: usize = 1_000;
/// How deeply lists in lists are opened.
const MAX_DEPTH: i64 = 64;

pub(crate) const ALL: &[Overload] = &[
    global("lists.range", &[T::Int], T::List(&T::Int), Cost::One, range),
    member("distinct", &[LIST], LIST, Cost::Each(0), distinct),
    member("first", &[LIST], T::Optional(&T::A), Cost::One, |args| {
        Ok(items(args)?.into_iter().next().map_or(Value::Optional(None), some))
    }),
    member("last", &[LIST], T::Optional(&T::A), Cost::One, |args| {
        Ok(items(args)?.into_iter().next_back().map_or(Value::Optional(None), some))
    }),
    member("flatten", &[T::List(&LIST)], LIST, Cost::One, |args| flatten(args, 1)),
    member("flatten", &[T::List(&T::Dyn), T::Int], T::List(&T::Dyn), Cost::One, |args| match args[1] {
        Value::Int(depth) if depth < 0 => Err(Error::new("level must be non-negative")),
        Value::Int(depth) => flatten(args, depth.min(MAX_DEPTH)),
        _ => Err(Error::no_such_overload()),
    }),
    member("reverse", &[LIST], LIST, Cost::Each(0), |args| Ok(list(items(args)?.into_iter().rev().collect()))),
    member("slice", &[LIST, T::Int, T::Int], LIST, Cost::Each(0), slice),
    member("sort", &[LIST], LIST, Cost::Each(0), sort),
    // What `sortBy` becomes: the list, and a key for each of its items.
    global(SORT_BY, &[LIST, T::List(&T::Dyn)], LIST, Cost::Each(0), |args| {
        let Value::List(keys) = &args[1] else { return Err(Error::no_such_overload()) };
        sorted(keys.iter().zip(items(args)?).collect())
    }),
];

fn items<'a>(args: &[Value<'a>]) -> Result<Vec<Value<'a>>> {
    match &args[0] {
        Value::List(list) => Ok(list.iter().collect()),
        _ => Err(Error::no_such_overload()),
    }
}

fn list(items: Vec<Value<'_>>) -> Value<'_> {
    Value::List(List::Owned(Arc::new(items)))
}

fn range<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    match args[0] {
        Value::Int(end) if end > MAX_RANGE => {
            Err(Error::new(format!("lists.range({end}) makes more than {MAX_RANGE} items")))
        }
        Value::Int(end) => Ok(list((0..end).map(Value::Int).collect())),
        _ => Err(Error::no_such_overload()),
    }
}

/// Of equal items the first.
fn distinct<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let (mut keys, mut others, mut out): (_, Vec<Value<'a>>, _) = (BTreeSet::new(), Vec::new(), Vec::new());
    for item in items(args)? {
        let new = match Key::of(&item) {
            Some(key) => keys.insert(key),
            None if others.len() == MAX_COMPARED => {
                return Err(Error::new(format!("distinct: more than {MAX_COMPARED} items to compare")));
            }
            None if others.iter().any(|other| other.equals(&item)) => false,
            None => {
                others.push(item.clone());
                true
            }
        };
        if new {
            out.push(item);
        }
    }
    Ok(list(out))
}

fn flatten<'a>(args: &[Value<'a>], depth: i64) -> Result<Value<'a>> {
    fn open<'a>(items: Vec<Value<'a>>, depth: i64, out: &mut Vec<Value<'a>>) {
        for item in items {
            match item {
                Value::List(inner) if depth > 0 => open(inner.iter().collect(), depth - 1, out),
                item => out.push(item),
            }
        }
    }
    let mut out = Vec::new();
    open(items(args)?, depth, &mut out);
    Ok(list(out))
}

fn slice<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let items = items(args)?;
    let (Value::Int(start), Value::Int(end)) = (&args[1], &args[2]) else { return Err(Error::no_such_overload()) };
    let cannot = |why: String| Err(Error::new(format!("cannot slice({start}, {end}), {why}")));
    let (Ok(from), Ok(to)) = (usize::try_from(*start), usize::try_from(*end)) else {
        return cannot("negative indexes not supported".into());
    };
    if from > to {
        return cannot("start index must be less than or equal to end index".into());
    }
    match items.get(from..to) {
        Some(part) => Ok(list(part.to_vec())),
        None => cannot(format!("list is length {}", items.len())),
    }
}

fn sort<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    sorted(items(args)?.into_iter().map(|item| (item.clone(), item)).collect())
}

/// Items in the order of their keys; those with equal keys as they were.
fn sorted<'a>(mut items: Vec<(Value<'a>, Value<'a>)>) -> Result<Value<'a>> {
    let mut wrong = None;
    items.sort_by(|(a, _), (b, _)| match a.order(b) {
        Ok(order) => order.unwrap_or(Ordering::Equal),
        Err(error) => {
            wrong.get_or_insert(error);
            Ordering::Equal
        }
    });
    match wrong {
        Some(_) => Err(Error::new("list elements must be comparable")),
        None => Ok(list(items.into_iter().map(|(_, item)| item).collect())),
    }
}
