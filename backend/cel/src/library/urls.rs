//! URLs as Go reads a request's: <https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-url-library>

use std::collections::BTreeMap;
use std::sync::Arc;

use super::opaque::{Opaque, URL};
use super::{Cost, Overload, T, global, member};
use crate::error::{Error, Result};
use crate::value::{Key, Map, Value};

const U: T = T::Opaque(URL);

/// The parts of a URL, as they were written.
#[derive(Debug, PartialEq)]
pub struct Url {
    pub text: String,
    scheme: String,
    /// With its port.
    host: String,
    path: String,
    query: String,
}

pub(crate) const ALL: &[Overload] = &[
    global("url", &[T::String], U, Cost::Walk(0), |args| {
        let url = parse(args[0].as_str().unwrap_or_default()).map_err(Error::new)?;
        Ok(Value::Opaque(Opaque::Url(Arc::new(url))))
    }),
    global("isURL", &[T::String], T::Bool, Cost::Walk(0), |args| {
        Ok(parse(args[0].as_str().unwrap_or_default()).is_ok().into())
    }),
    member("getScheme", &[U], T::String, Cost::One, |args| Ok(own(args)?.scheme.clone().into())),
    member("getHost", &[U], T::String, Cost::One, |args| Ok(own(args)?.host.clone().into())),
    member("getHostname", &[U], T::String, Cost::One, |args| Ok(split(&own(args)?.host).0.to_owned().into())),
    member("getPort", &[U], T::String, Cost::One, |args| Ok(split(&own(args)?.host).1.to_owned().into())),
    member("getEscapedPath", &[U], T::String, Cost::One, |args| Ok(own(args)?.path.clone().into())),
    member("getQuery", &[U], T::Map(&T::String, &T::List(&T::String)), Cost::One, |args| {
        let mut all: BTreeMap<Key, Vec<Value<'_>>> = BTreeMap::new();
        for pair in own(args)?.query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            all.entry(Key::String(unescape(name, true).into())).or_default().push(unescape(value, true).into());
        }
        Ok(Value::Map(Map::Owned(Arc::new(all.into_iter().map(|(name, values)| (name, values.into())).collect()))))
    }),
];

fn own(args: &[Value<'_>]) -> Result<Arc<Url>> {
    match &args[0] {
        Value::Opaque(Opaque::Url(url)) => Ok(Arc::clone(url)),
        _ => Err(Error::no_such_overload()),
    }
}

/// Host and port.
fn split(host: &str) -> (&str, &str) {
    if let Some(rest) = host.strip_prefix('[') {
        let (name, after) = rest.split_once(']').unwrap_or((rest, ""));
        return (name, after.strip_prefix(':').unwrap_or_default());
    }
    host.split_once(':').unwrap_or((host, ""))
}

fn unescape(text: &str, plus: bool) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) if plus => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// An absolute URL, or an absolute path.
fn parse(text: &str) -> std::result::Result<Url, String> {
    let wrong = |why: &str| format!("URL parse error during conversion from string: parse {text:?}: {why}");
    if text.is_empty() {
        return Err(wrong("empty url"));
    }
    if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err(wrong("net/url: invalid control character in URL"));
    }
    // What follows a hash belongs to the path: requests have no fragments.
    let (before, query) = text.split_once('?').unwrap_or((text, ""));
    let (scheme, rest) = match before.split_once(':') {
        Some((scheme, rest)) if !before.starts_with('/') => {
            let first = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
            let plain = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
            match (first, plain) {
                (true, true) => (scheme.to_ascii_lowercase(), rest),
                _ if scheme.is_empty() => return Err(wrong("missing protocol scheme")),
                _ => return Err(wrong("invalid URI for request")),
            }
        }
        _ => (String::new(), before),
    };
    if scheme.is_empty() && !rest.starts_with('/') {
        return Err(wrong("invalid URI for request"));
    }
    if !rest.starts_with('/') {
        return Err(wrong("invalid URI for request"));
    }
    let (host, path) = match rest.strip_prefix("//") {
        Some(rest) if !scheme.is_empty() => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        _ => ("", rest),
    };
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let port = split(host).1;
    if host.starts_with('[') && !host.contains(']') {
        return Err(wrong("missing ']' in host"));
    }
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong(&format!("invalid port {:?} after host", format!(":{port}"))));
    }
    if host.contains(' ') {
        return Err(wrong("invalid character \" \" in host name"));
    }
    let escapes = path.match_indices('%').all(|(at, _)| {
        path.as_bytes().get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if !escapes {
        return Err(wrong("invalid URL escape"));
    }
    let path: String = path.chars().map(|c| if c == ' ' { "%20".to_owned() } else { c.to_string() }).collect();
    Ok(Url { text: text.to_owned(), scheme, host: unescape(host, false), path, query: query.to_owned() })
}
