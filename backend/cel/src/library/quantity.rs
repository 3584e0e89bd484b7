//! Quantities: <https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-quantity-library>

use std::cmp::Ordering;

use pilothouse_api::quantity::{Format, Quantity};

use super::opaque::{Opaque, QUANTITY};
use super::{Cost, Overload, T, global, member};
use crate::error::{Error, Result};
use crate::value::Value;

const Q: T = T::Opaque(QUANTITY);

pub(crate) const ALL: &[Overload] = &[
    global("quantity", &[T::String], Q, Cost::Walk(0), |args| {
        let quantity = Quantity::parse(args[0].as_str().unwrap_or_default()).map_err(Error::new)?;
        Ok(Value::Opaque(Opaque::Quantity(quantity)))
    }),
    global("isQuantity", &[T::String], T::Bool, Cost::Walk(0), |args| {
        Ok(Quantity::parse(args[0].as_str().unwrap_or_default()).is_ok().into())
    }),
    member("sign", &[Q], T::Int, Cost::One, |args| {
        Ok(Value::Int(match own(args, 0)?.cmp(&Quantity::ZERO) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }))
    }),
    member("isInteger", &[Q], T::Bool, Cost::One, |args| Ok(integer(own(args, 0)?).is_some().into())),
    member("asInteger", &[Q], T::Int, Cost::One, |args| {
        integer(own(args, 0)?).map(Value::Int).ok_or_else(|| Error::new("cannot convert value to integer"))
    }),
    member("asApproximateFloat", &[Q], T::Double, Cost::One, |args| {
        Ok(Value::Double(own(args, 0)?.nano() as f64 / 1e9))
    }),
    member("isGreaterThan", &[Q, Q], T::Bool, Cost::One, |args| Ok((own(args, 0)? > own(args, 1)?).into())),
    member("isLessThan", &[Q, Q], T::Bool, Cost::One, |args| Ok((own(args, 0)? < own(args, 1)?).into())),
    member("compareTo", &[Q, Q], T::Int, Cost::One, |args| Ok(Value::Int(own(args, 0)?.cmp(&own(args, 1)?) as i64))),
    member("add", &[Q, Q], Q, Cost::One, |args| Ok(made(own(args, 0)? + own(args, 1)?))),
    member("add", &[Q, T::Int], Q, Cost::One, |args| Ok(made(own(args, 0)? + own(args, 1)?))),
    member("sub", &[Q, Q], Q, Cost::One, |args| Ok(made(own(args, 0)? - own(args, 1)?))),
    member("sub", &[Q, T::Int], Q, Cost::One, |args| Ok(made(own(args, 0)? - own(args, 1)?))),
];

fn made<'a>(quantity: Quantity) -> Value<'a> {
    Value::Opaque(Opaque::Quantity(quantity))
}

fn own(args: &[Value<'_>], at: usize) -> Result<Quantity> {
    match args.get(at) {
        Some(Value::Opaque(Opaque::Quantity(quantity))) => Ok(*quantity),
        Some(Value::Int(n)) => Ok(Quantity::new(*n, Format::DecimalSi)),
        _ => Err(Error::no_such_overload()),
    }
}

fn integer(quantity: Quantity) -> Option<i64> {
    quantity.is_integer().then(|| i64::try_from(quantity.value()).ok()).flatten()
}
