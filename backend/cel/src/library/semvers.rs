//! Semantic versions: <https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-semver-library>

use std::sync::Arc;

use semver::Version;

use super::opaque::{Opaque, SEMVER};
use super::{Cost, Overload, T, global, member};
use crate::error::{Error, Result};
use crate::value::Value;

const V: T = T::Opaque(SEMVER);

pub(crate) const ALL: &[Overload] = &[
    global("semver", &[T::String], V, Cost::Walk(0), |args| made(args, false)),
    global("semver", &[T::String, T::Bool], V, Cost::Walk(0), |args| made(args, args[1].as_bool() == Some(true))),
    global("isSemver", &[T::String], T::Bool, Cost::Walk(0), |args| Ok(made(args, false).is_ok().into())),
    global("isSemver", &[T::String, T::Bool], T::Bool, Cost::Walk(0), |args| {
        Ok(made(args, args[1].as_bool() == Some(true)).is_ok().into())
    }),
    member("major", &[V], T::Int, Cost::One, |args| number(own(args, 0)?.major)),
    member("minor", &[V], T::Int, Cost::One, |args| number(own(args, 0)?.minor)),
    member("patch", &[V], T::Int, Cost::One, |args| number(own(args, 0)?.patch)),
    member("isLessThan", &[V, V], T::Bool, Cost::One, |args| Ok(order(args)?.is_lt().into())),
    member("isGreaterThan", &[V, V], T::Bool, Cost::One, |args| Ok(order(args)?.is_gt().into())),
    member("compareTo", &[V, V], T::Int, Cost::One, |args| Ok(Value::Int(order(args)? as i64))),
];

fn order(args: &[Value<'_>]) -> Result<std::cmp::Ordering> {
    // Build metadata does not count.
    Ok(own(args, 0)?.cmp_precedence(&*own(args, 1)?))
}

fn number<'a>(n: u64) -> Result<Value<'a>> {
    Ok(Value::Int(i64::try_from(n).unwrap_or(i64::MAX)))
}

fn own(args: &[Value<'_>], at: usize) -> Result<Arc<Version>> {
    match args.get(at) {
        Some(Value::Opaque(Opaque::Semver(version))) => Ok(Arc::clone(version)),
        _ => Err(Error::no_such_overload()),
    }
}

fn made<'a>(args: &[Value<'a>], normalize: bool) -> Result<Value<'a>> {
    let text = args[0].as_str().ok_or_else(Error::no_such_overload)?;
    let text = if normalize { normalized(text) } else { text.to_owned() };
    let version = Version::parse(&text).map_err(|error| Error::new(error.to_string()))?;
    Ok(Value::Opaque(Opaque::Semver(Arc::new(version))))
}

/// `v1.02` as `1.2.0`.
fn normalized(text: &str) -> String {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (core, rest) = text.split_at(text.find(['-', '+']).unwrap_or(text.len()));
    let mut parts: Vec<String> = core
        .split('.')
        .map(|part| match part.trim_start_matches('0') {
            "" if !part.is_empty() => "0".to_owned(),
            digits => digits.to_owned(),
        })
        .collect();
    while parts.len() < 3 {
        parts.push("0".into());
    }
    format!("{}{rest}", parts.join("."))
}
