//! Lists as sets.

use super::{Cost, Overload, T, global};
use crate::error::{Error, Result};
use crate::value::{List, Value};

const LIST: T = T::List(&T::A);

pub(crate) const ALL: &[Overload] = &[
    global("sets.contains", &[LIST, LIST], T::Bool, Cost::Cross, |args| {
        let (a, b) = both(args)?;
        Ok(all_in(&b, &a).into())
    }),
    global("sets.equivalent", &[LIST, LIST], T::Bool, Cost::Cross, |args| {
        let (a, b) = both(args)?;
        Ok((all_in(&a, &b) && all_in(&b, &a)).into())
    }),
    global("sets.intersects", &[LIST, LIST], T::Bool, Cost::Cross, |args| {
        let (a, b) = both(args)?;
        Ok(a.iter().any(|item| b.iter().any(|other| item.equals(&other))).into())
    }),
];

fn both<'a>(args: &[Value<'a>]) -> Result<(List<'a>, List<'a>)> {
    match (&args[0], &args[1]) {
        (Value::List(a), Value::List(b)) => Ok((a.clone(), b.clone())),
        _ => Err(Error::no_such_overload()),
    }
}

fn all_in<'a>(some: &List<'a>, all: &List<'a>) -> bool {
    some.iter().all(|item| all.iter().any(|other| item.equals(&other)))
}
