//! Conversions between the standard types, sizes, and the names of types.

use super::{Cost, Overload, T, global, member, time};
use crate::error::{Error, Result};
use crate::value::{Text, Value};

const LIST: T = T::List(&T::Dyn);
const MAP: T = T::Map(&T::Dyn, &T::Dyn);

pub(crate) const ALL: &[Overload] = &[
    global("size", &[T::String], T::Int, Cost::One, size),
    global("size", &[T::Bytes], T::Int, Cost::One, size),
    global("size", &[LIST], T::Int, Cost::One, size),
    global("size", &[MAP], T::Int, Cost::One, size),
    member("size", &[T::String], T::Int, Cost::One, size),
    member("size", &[T::Bytes], T::Int, Cost::One, size),
    member("size", &[LIST], T::Int, Cost::One, size),
    member("size", &[MAP], T::Int, Cost::One, size),
    global("type", &[T::Dyn], T::Type, Cost::One, |args| Ok(Value::Type(args[0].type_name().into()))),
    global("dyn", &[T::Dyn], T::Dyn, Cost::One, |args| Ok(args[0].clone())),
    global("bool", &[T::Bool], T::Bool, Cost::One, |args| Ok(args[0].clone())),
    global("bool", &[T::String], T::Bool, Cost::One, |args| match args[0].as_str().unwrap_or_default() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true.into()),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false.into()),
        _ => Err(conversion("string", "bool")),
    }),
    global("int", &[T::Int], T::Int, Cost::One, |args| Ok(args[0].clone())),
    global("int", &[T::Uint], T::Int, Cost::One, to_int),
    global("int", &[T::Double], T::Int, Cost::One, to_int),
    global("int", &[T::String], T::Int, Cost::Walk(0), to_int),
    global("int", &[T::Timestamp], T::Int, Cost::One, to_int),
    global("int", &[T::Duration], T::Int, Cost::One, to_int),
    global("uint", &[T::Uint], T::Uint, Cost::One, |args| Ok(args[0].clone())),
    global("uint", &[T::Int], T::Uint, Cost::One, to_uint),
    global("uint", &[T::Double], T::Uint, Cost::One, to_uint),
    global("uint", &[T::String], T::Uint, Cost::Walk(0), to_uint),
    global("double", &[T::Double], T::Double, Cost::One, |args| Ok(args[0].clone())),
    global("double", &[T::Int], T::Double, Cost::One, to_double),
    global("double", &[T::Uint], T::Double, Cost::One, to_double),
    global("double", &[T::String], T::Double, Cost::Walk(0), to_double),
    global("string", &[T::String], T::String, Cost::One, |args| Ok(args[0].clone())),
    global("string", &[T::Bool], T::String, Cost::One, to_string),
    global("string", &[T::Int], T::String, Cost::One, to_string),
    global("string", &[T::Uint], T::String, Cost::One, to_string),
    global("string", &[T::Double], T::String, Cost::One, to_string),
    global("string", &[T::Bytes], T::String, Cost::Copy(0), to_string),
    global("string", &[T::Timestamp], T::String, Cost::One, to_string),
    global("string", &[T::Duration], T::String, Cost::One, to_string),
    global("string", &[T::Opaque(super::opaque::IP)], T::String, Cost::One, to_string),
    global("string", &[T::Opaque(super::opaque::CIDR)], T::String, Cost::One, to_string),
    global("bytes", &[T::Bytes], T::Bytes, Cost::One, |args| Ok(args[0].clone())),
    global("bytes", &[T::String], T::Bytes, Cost::Copy(0), |args| {
        Ok(Value::Bytes(args[0].as_str().unwrap_or_default().as_bytes().into()))
    }),
    global("timestamp", &[T::Timestamp], T::Timestamp, Cost::One, |args| Ok(args[0].clone())),
    global("timestamp", &[T::String], T::Timestamp, Cost::Walk(0), |args| {
        let time = time::parse_timestamp(args[0].as_str().unwrap_or_default());
        time.map(Value::Timestamp).ok_or_else(|| conversion("string", "google.protobuf.Timestamp"))
    }),
    global("timestamp", &[T::Int], T::Timestamp, Cost::One, |args| match &args[0] {
        Value::Int(n) => jiff::Timestamp::from_second(*n)
            .map(Value::Timestamp)
            .map_err(|_| conversion("int", "google.protobuf.Timestamp")),
        _ => Err(Error::no_such_overload()),
    }),
    global("duration", &[T::Duration], T::Duration, Cost::One, |args| Ok(args[0].clone())),
    global("duration", &[T::String], T::Duration, Cost::Walk(0), |args| {
        let duration = time::parse_duration(args[0].as_str().unwrap_or_default());
        duration.map(Value::Duration).ok_or_else(|| conversion("string", "google.protobuf.Duration"))
    }),
];

fn conversion(from: &str, to: &str) -> Error {
    Error::new(format!("type conversion error from '{from}' to '{to}'"))
}

fn size<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let size = match &args[0] {
        Value::String(text) => text.chars().count() as u64,
        other => other.size(),
    };
    Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

fn to_int<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let range = || Error::new("integer overflow");
    Ok(Value::Int(match &args[0] {
        Value::Uint(n) => i64::try_from(*n).map_err(|_| range())?,
        Value::Double(n) if n.is_finite() && n.abs() < 9_223_372_036_854_775_807.0 => *n as i64,
        Value::Double(_) => return Err(range()),
        Value::String(text) => text.parse().map_err(|_| conversion("string", "int"))?,
        Value::Timestamp(time) => time.as_second(),
        Value::Duration(duration) => i64::try_from(duration.as_nanos()).map_err(|_| range())?,
        _ => return Err(Error::no_such_overload()),
    }))
}

fn to_uint<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let range = || Error::new("unsigned integer overflow");
    Ok(Value::Uint(match &args[0] {
        Value::Int(n) => u64::try_from(*n).map_err(|_| range())?,
        Value::Double(n) if (0.0..18_446_744_073_709_551_615.0).contains(n) => *n as u64,
        Value::Double(_) => return Err(range()),
        Value::String(text) => text.parse().map_err(|_| conversion("string", "uint"))?,
        _ => return Err(Error::no_such_overload()),
    }))
}

fn to_double<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(Value::Double(match &args[0] {
        Value::Int(n) => *n as f64,
        Value::Uint(n) => *n as f64,
        Value::String(text) => text.parse().map_err(|_| conversion("string", "double"))?,
        _ => return Err(Error::no_such_overload()),
    }))
}

fn to_string<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    Ok(match &args[0] {
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::String(Text::Shared(text.into())),
            Err(_) => return Err(Error::new("invalid UTF-8 in bytes, cannot convert to string")),
        },
        other => Value::from(shown(other)),
    })
}

/// A value as text, as `string()` gives it.
pub(super) fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Double(n) => double_text(*n),
        Value::String(text) => text.to_string(),
        Value::Timestamp(time) => time::timestamp_text(*time),
        Value::Duration(duration) => time::duration_text(*duration),
        Value::Opaque(opaque) => opaque.to_string(),
        Value::Type(name) => name.to_string(),
        Value::Null => "null".into(),
        other => format!("{other:?}"),
    }
}

/// The shortest text of a number, with an exponent where it is very large or small.
fn double_text(n: f64) -> String {
    if n.is_nan() {
        return "NaN".into();
    }
    if n.is_infinite() {
        return if n > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let exponent = if n == 0.0 { 0 } else { n.abs().log10().floor() as i32 };
    if (-4..21).contains(&exponent) {
        return format!("{n}");
    }
    let text = format!("{n:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}
