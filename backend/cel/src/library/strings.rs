//! Functions on texts, of the language and of its extension.

use std::fmt::Write;

use super::convert::shown;
use super::{Cost, Overload, T, global, member};
use crate::error::{Error, Result};
use crate::value::Value;

const S: T = T::String;

pub(crate) const ALL: &[Overload] = &[
    member("contains", &[S, S], T::Bool, Cost::Product, |args| Ok(text(args, 0)?.contains(text(args, 1)?).into())),
    member("startsWith", &[S, S], T::Bool, Cost::Walk(1), |args| Ok(text(args, 0)?.starts_with(text(args, 1)?).into())),
    member("endsWith", &[S, S], T::Bool, Cost::Walk(1), |args| Ok(text(args, 0)?.ends_with(text(args, 1)?).into())),
    member("charAt", &[S, T::Int], S, Cost::Walk(0), |args| {
        let (chars, at) = (chars(args)?, number(args, 1)?);
        if at == chars.len() as i64 {
            return Ok("".into());
        }
        let found = usize::try_from(at).ok().and_then(|at| chars.get(at));
        found.map(|c| c.to_string().into()).ok_or_else(|| out_of_range(at))
    }),
    member("indexOf", &[S, S], T::Int, Cost::Product, |args| index_of(args, 0)),
    member("indexOf", &[S, S, T::Int], T::Int, Cost::Product, |args| index_of(args, number(args, 2)?)),
    member("lastIndexOf", &[S, S], T::Int, Cost::Product, |args| last_index_of(args, None)),
    member("lastIndexOf", &[S, S, T::Int], T::Int, Cost::Product, |args| last_index_of(args, Some(number(args, 2)?))),
    member("lowerAscii", &[S], S, Cost::Copy(0), |args| Ok(text(args, 0)?.to_ascii_lowercase().into())),
    member("upperAscii", &[S], S, Cost::Copy(0), |args| Ok(text(args, 0)?.to_ascii_uppercase().into())),
    member("trim", &[S], S, Cost::Copy(0), |args| Ok(text(args, 0)?.trim().to_owned().into())),
    member("replace", &[S, S, S], S, Cost::Product, |args| replace(args, -1)),
    member("replace", &[S, S, S, T::Int], S, Cost::Product, |args| replace(args, number(args, 3)?)),
    member("split", &[S, S], T::List(&S), Cost::Walk(0), |args| split(args, -1)),
    member("split", &[S, S, T::Int], T::List(&S), Cost::Walk(0), |args| split(args, number(args, 2)?)),
    member("substring", &[S, T::Int], S, Cost::Copy(0), |args| substring(args, None)),
    member("substring", &[S, T::Int, T::Int], S, Cost::Copy(0), |args| substring(args, Some(number(args, 2)?))),
    member("reverse", &[S], S, Cost::Copy(0), |args| Ok(text(args, 0)?.chars().rev().collect::<String>().into())),
    member("format", &[S, T::List(&T::Dyn)], S, Cost::Walk(0), format),
    global("strings.quote", &[S], S, Cost::Copy(0), |args| Ok(quoted(text(args, 0)?).into())),
    global("jsonpatch.escapeKey", &[S], S, Cost::Copy(0), |args| {
        Ok(text(args, 0)?.replace('~', "~0").replace('/', "~1").into())
    }),
    global("base64.encode", &[T::Bytes], S, Cost::Copy(0), |args| {
        use base64::Engine;
        let Value::Bytes(bytes) = &args[0] else { return Err(Error::no_such_overload()) };
        Ok(base64::engine::general_purpose::STANDARD.encode(bytes).into())
    }),
    global("base64.decode", &[S], T::Bytes, Cost::Copy(0), |args| {
        use base64::Engine;
        let bytes = base64::engine::general_purpose::STANDARD.decode(text(args, 0)?);
        bytes.map(|bytes| Value::Bytes(bytes.into())).map_err(|_| Error::new("illegal base64 data"))
    }),
];

fn text<'v>(args: &'v [Value<'_>], at: usize) -> Result<&'v str> {
    args.get(at).and_then(Value::as_str).ok_or_else(Error::no_such_overload)
}

fn number(args: &[Value<'_>], at: usize) -> Result<i64> {
    match args.get(at) {
        Some(Value::Int(n)) => Ok(*n),
        _ => Err(Error::no_such_overload()),
    }
}

fn chars(args: &[Value<'_>]) -> Result<Vec<char>> {
    Ok(text(args, 0)?.chars().collect())
}

fn out_of_range(at: i64) -> Error {
    Error::new(format!("index out of range: {at}"))
}

fn index_of<'a>(args: &[Value<'a>], from: i64) -> Result<Value<'a>> {
    let (chars, wanted) = (chars(args)?, text(args, 1)?);
    let from = usize::try_from(from).ok().filter(|from| *from <= chars.len()).ok_or_else(|| out_of_range(from))?;
    let rest: String = chars[from..].iter().collect();
    let found = rest.find(wanted).map(|at| from + rest[..at].chars().count());
    Ok(Value::Int(found.map_or(-1, |at| at as i64)))
}

fn last_index_of<'a>(args: &[Value<'a>], until: Option<i64>) -> Result<Value<'a>> {
    let (chars, wanted) = (chars(args)?, text(args, 1)?);
    let length = wanted.chars().count();
    let end = match until {
        None => chars.len(),
        Some(at) => {
            let at = usize::try_from(at).ok().filter(|at| *at < chars.len()).ok_or_else(|| out_of_range(at))?;
            (at + length).min(chars.len())
        }
    };
    let before: String = chars[..end].iter().collect();
    let found = before.rfind(wanted).map(|at| before[..at].chars().count());
    Ok(Value::Int(found.map_or(-1, |at| at as i64)))
}

fn replace<'a>(args: &[Value<'a>], most: i64) -> Result<Value<'a>> {
    let (whole, old, new) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let times = if old.is_empty() { whole.chars().count() + 1 } else { whole.matches(old).count() }.min(most);
    if whole.len().saturating_add(times.saturating_mul(new.len())) > MAX_TEXT {
        return Err(Error::new("the resulting string is too long"));
    }
    Ok(whole.replacen(old, new, most).into())
}

/// Longest text that an expression may make in one step.
pub(crate) const MAX_TEXT: usize = 4 * 1024 * 1024;

fn split<'a>(args: &[Value<'a>], most: i64) -> Result<Value<'a>> {
    let (whole, by) = (text(args, 0)?, text(args, 1)?);
    let owned = |part: &str| Value::from(part.to_owned());
    let parts: Vec<Value<'a>> = match usize::try_from(most) {
        Ok(0) => Vec::new(),
        most if by.is_empty() => {
            let all: Vec<char> = whole.chars().collect();
            let most = most.unwrap_or(usize::MAX).min(all.len());
            let mut parts: Vec<Value<'a>> =
                all[..most.saturating_sub(1)].iter().map(|c| Value::from(c.to_string())).collect();
            if most > 0 {
                parts.push(all[most - 1..].iter().collect::<String>().into());
            }
            if most == all.len() || all.is_empty() {
                all.iter().map(|c| Value::from(c.to_string())).collect()
            } else {
                parts
            }
        }
        Ok(most) => whole.splitn(most, by).map(owned).collect(),
        Err(_) => whole.split(by).map(owned).collect(),
    };
    Ok(parts.into())
}

fn substring<'a>(args: &[Value<'a>], end: Option<i64>) -> Result<Value<'a>> {
    let (chars, start) = (chars(args)?, number(args, 1)?);
    let place = |at: i64| usize::try_from(at).ok().filter(|at| *at <= chars.len()).ok_or_else(|| out_of_range(at));
    let from = place(start)?;
    let until = end.map_or(Ok(chars.len()), place)?;
    if from > until {
        return Err(Error::new(format!("invalid substring range. start: {from}, end: {until}")));
    }
    Ok(chars[from..until].iter().collect::<String>().into())
}

fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `"%d of %s".format([1, "x"])`
fn format<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let Value::List(values) = &args[1] else { return Err(Error::no_such_overload()) };
    let mut values = values.iter();
    let mut out = String::new();
    let mut rest = text(args, 0)?.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if rest.peek() == Some(&'%') {
            rest.next();
            out.push('%');
            continue;
        }
        let mut precision = None;
        if rest.peek() == Some(&'.') {
            rest.next();
            let mut digits = String::new();
            while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            precision = digits.parse::<usize>().ok().filter(|precision| *precision <= 100);
        }
        let Some(verb) = rest.next() else { return Err(Error::new("unexpected end of string")) };
        let value = values.next().ok_or_else(|| Error::new("index 0 out of range"))?;
        clause(&mut out, verb, precision, &value)?;
        if out.len() > MAX_TEXT {
            return Err(Error::new("the resulting string is too long"));
        }
    }
    Ok(out.into())
}

fn clause(out: &mut String, verb: char, precision: Option<usize>, value: &Value<'_>) -> Result<()> {
    let wrong = || {
        Error::new(format!("error during formatting: no formatting function for %{verb} of type {}", value.type_name()))
    };
    let float = |value: &Value<'_>| match value {
        Value::Double(n) => Some(*n),
        Value::Int(n) => Some(*n as f64),
        Value::Uint(n) => Some(*n as f64),
        _ => None,
    };
    let done = match (verb, value) {
        ('s', value) => write!(out, "{}", shown(value)),
        ('d', Value::Int(n)) => write!(out, "{n}"),
        ('d', Value::Uint(n)) => write!(out, "{n}"),
        ('f', value) => write!(out, "{:.*}", precision.unwrap_or(6), float(value).ok_or_else(wrong)?),
        ('e', value) => {
            let text = format!("{:.*e}", precision.unwrap_or(6), float(value).ok_or_else(wrong)?);
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
            write!(out, "{mantissa}e{sign}{digits:0>2}")
        }
        ('b', Value::Int(n)) => write!(out, "{}{:b}", if *n < 0 { "-" } else { "" }, n.unsigned_abs()),
        ('b', Value::Uint(n)) => write!(out, "{n:b}"),
        ('b', Value::Bool(b)) => write!(out, "{}", u8::from(*b)),
        ('o', Value::Int(n)) => write!(out, "{}{:o}", if *n < 0 { "-" } else { "" }, n.unsigned_abs()),
        ('o', Value::Uint(n)) => write!(out, "{n:o}"),
        ('x', Value::Int(n)) => write!(out, "{}{:x}", if *n < 0 { "-" } else { "" }, n.unsigned_abs()),
        ('x', Value::Uint(n)) => write!(out, "{n:x}"),
        ('X', Value::Int(n)) => write!(out, "{}{:X}", if *n < 0 { "-" } else { "" }, n.unsigned_abs()),
        ('X', Value::Uint(n)) => write!(out, "{n:X}"),
        ('x' | 'X', Value::String(_) | Value::Bytes(_)) => {
            let bytes: &[u8] = match value {
                Value::String(text) => text.as_bytes(),
                Value::Bytes(bytes) => bytes,
                _ => &[],
            };
            bytes
                .iter()
                .try_for_each(|byte| if verb == 'x' { write!(out, "{byte:02x}") } else { write!(out, "{byte:02X}") })
        }
        _ => return Err(wrong()),
    };
    done.map_err(|_| wrong())
}
