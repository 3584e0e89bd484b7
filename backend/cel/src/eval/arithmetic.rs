//! Operators on numbers, texts, times and lists.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::error::{Error, Result};
use crate::library::strings_limit;
use crate::types::ListKind;
use crate::value::{List, Value, same_keys};

fn overflow() -> Error {
    Error::new("integer overflow")
}

fn unsigned_overflow() -> Error {
    Error::new("unsigned integer overflow")
}

fn moved<'a>(time: Timestamp, by: SignedDuration) -> Result<Value<'a>> {
    time.checked_add(by).map(Value::Timestamp).map_err(|_| Error::new("timestamp overflow"))
}

pub(crate) fn add<'a>(a: &Value<'a>, b: &Value<'a>) -> Result<Value<'a>> {
    Ok(match (a, b) {
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_add(*b).ok_or_else(overflow)?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a.checked_add(*b).ok_or_else(unsigned_overflow)?),
        (Value::Double(a), Value::Double(b)) => Value::Double(a + b),
        (Value::String(a), Value::String(b)) => {
            if a.len() + b.len() > strings_limit() {
                return Err(Error::new("the resulting string is too long"));
            }
            Value::from([&**a, &**b].concat())
        }
        (Value::Bytes(a), Value::Bytes(b)) => Value::Bytes([&**a, &**b].concat().into()),
        (Value::Timestamp(time), Value::Duration(by)) | (Value::Duration(by), Value::Timestamp(time)) => {
            moved(*time, *by)?
        }
        (Value::Duration(a), Value::Duration(b)) => {
            Value::Duration(a.checked_add(*b).ok_or_else(|| Error::new("duration overflow"))?)
        }
        (Value::List(a), Value::List(b)) => joined(a, b),
        _ => return Err(Error::no_such_overload()),
    })
}

/// Two lists behind each other; of a set the union; of a keyed list the items of the second replace those of the first.
fn joined<'a>(a: &List<'a>, b: &List<'a>) -> Value<'a> {
    let mut items: Vec<Value<'a>> = a.iter().collect();
    match a.kind() {
        ListKind::Atomic => items.extend(b.iter()),
        ListKind::Set => {
            for item in b.iter() {
                if !items.iter().any(|known| known.equals(&item)) {
                    items.push(item);
                }
            }
        }
        ListKind::Map(keys) => {
            for item in b.iter() {
                match items.iter_mut().find(|known| same_keys(known, &item, keys)) {
                    Some(known) => *known = item,
                    None => items.push(item),
                }
            }
        }
    }
    Value::List(List::Owned(Arc::new(items)))
}

pub(crate) fn subtract<'a>(a: &Value<'a>, b: &Value<'a>) -> Result<Value<'a>> {
    Ok(match (a, b) {
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_sub(*b).ok_or_else(overflow)?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a.checked_sub(*b).ok_or_else(unsigned_overflow)?),
        (Value::Double(a), Value::Double(b)) => Value::Double(a - b),
        (Value::Timestamp(a), Value::Timestamp(b)) => Value::Duration(a.duration_since(*b)),
        (Value::Timestamp(time), Value::Duration(by)) => moved(*time, -*by)?,
        (Value::Duration(a), Value::Duration(b)) => {
            Value::Duration(a.checked_sub(*b).ok_or_else(|| Error::new("duration overflow"))?)
        }
        _ => return Err(Error::no_such_overload()),
    })
}

pub(crate) fn multiply<'a>(a: &Value<'a>, b: &Value<'a>) -> Result<Value<'a>> {
    Ok(match (a, b) {
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_mul(*b).ok_or_else(overflow)?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a.checked_mul(*b).ok_or_else(unsigned_overflow)?),
        (Value::Double(a), Value::Double(b)) => Value::Double(a * b),
        _ => return Err(Error::no_such_overload()),
    })
}

pub(crate) fn divide<'a>(a: &Value<'a>, b: &Value<'a>) -> Result<Value<'a>> {
    let by_zero = || Error::new("division by zero");
    Ok(match (a, b) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => return Err(by_zero()),
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_div(*b).ok_or_else(overflow)?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a / b),
        (Value::Double(a), Value::Double(b)) => Value::Double(a / b),
        _ => return Err(Error::no_such_overload()),
    })
}

pub(crate) fn remainder<'a>(a: &Value<'a>, b: &Value<'a>) -> Result<Value<'a>> {
    let by_zero = || Error::new("modulus by zero");
    Ok(match (a, b) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => return Err(by_zero()),
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_rem(*b).ok_or_else(overflow)?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a % b),
        _ => return Err(Error::no_such_overload()),
    })
}

pub(crate) fn negate<'a>(a: &Value<'a>) -> Result<Value<'a>> {
    Ok(match a {
        Value::Int(n) => Value::Int(n.checked_neg().ok_or_else(overflow)?),
        Value::Double(n) => Value::Double(-n),
        _ => return Err(Error::no_such_overload()),
    })
}
