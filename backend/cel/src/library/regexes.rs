//! Regular expressions.

use std::collections::HashMap;
use std::sync::LazyLock;

use parking_lot::Mutex;
use regex::{Regex, RegexBuilder};

use super::{Cost, Overload, T, global, member};
use crate::error::{Error, Result};
use crate::value::Value;

/// Largest compiled expression, in bytes.
const MAX_PROGRAM_BYTES: usize = 1 << 20;
/// Compiled expressions that are kept; beyond it all are forgotten.
const KEPT: usize = 256;

static COMPILED: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);

pub(crate) const ALL: &[Overload] = &[
    global("matches", &[T::String, T::String], T::Bool, Cost::Product, matches),
    member("matches", &[T::String, T::String], T::Bool, Cost::Product, matches),
    member("find", &[T::String, T::String], T::String, Cost::Product, |args| {
        let (text, pattern) = both(args)?;
        Ok(pattern.find(text).map_or(String::new(), |found| found.as_str().to_owned()).into())
    }),
    member("findAll", &[T::String, T::String], T::List(&T::String), Cost::Product, |args| find_all(args, -1)),
    member("findAll", &[T::String, T::String, T::Int], T::List(&T::String), Cost::Product, |args| match args[2] {
        Value::Int(most) => find_all(args, most),
        _ => Err(Error::no_such_overload()),
    }),
];

pub(crate) fn compile(pattern: &str) -> Result<Regex> {
    if let Some(known) = COMPILED.lock().get(pattern) {
        return Ok(known.clone());
    }
    let built = RegexBuilder::new(pattern).size_limit(MAX_PROGRAM_BYTES).build();
    let built = built.map_err(|error| {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Error::new(format!("error parsing regexp: {last}: `{pattern}`"))
    })?;
    let mut compiled = COMPILED.lock();
    if compiled.len() >= KEPT {
        compiled.clear();
    }
    compiled.insert(pattern.to_owned(), built.clone());
    Ok(built)
}

fn both<'v>(args: &'v [Value<'_>]) -> Result<(&'v str, Regex)> {
    match (args[0].as_str(), args[1].as_str()) {
        (Some(text), Some(pattern)) => Ok((text, compile(pattern)?)),
        _ => Err(Error::no_such_overload()),
    }
}

fn matches<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let (text, pattern) = both(args)?;
    Ok(pattern.is_match(text).into())
}

fn find_all<'a>(args: &[Value<'a>], most: i64) -> Result<Value<'a>> {
    let (text, pattern) = both(args)?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let found = pattern.find_iter(text).take(most).map(|found| Value::from(found.as_str().to_owned()));
    Ok(found.collect::<Vec<_>>().into())
}
