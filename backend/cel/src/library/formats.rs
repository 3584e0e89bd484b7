//! Named formats: <https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-format-library>

use pilothouse_api::names;

use super::opaque::{FORMAT, Opaque};
use super::optional::some;
use super::{Cost, Overload, T, global, member};
use crate::error::{Error, Result};
use crate::value::Value;

const F: T = T::Opaque(FORMAT);

const NAMES: [&str; 15] = [
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
    "k8s-short-name",
    "k8s-long-name",
];

macro_rules! named {
    ($($function:literal => $name:literal),* $(,)?) => {
        &[
            global("format.named", &[T::String], T::Optional(&F), Cost::One, |args| {
                let asked = args[0].as_str().unwrap_or_default();
                let known = NAMES.into_iter().find(|name| *name == asked);
                Ok(known.map_or(Value::Optional(None), |name| some(Value::Opaque(Opaque::Format(name)))))
            }),
            $(global($function, &[], F, Cost::One, |_| Ok(Value::Opaque(Opaque::Format($name)))),)*
            member("validate", &[F, T::String], T::Optional(&T::List(&T::String)), Cost::Format(1), validate),
        ]
    };
}

pub(crate) const ALL: &[Overload] = named! {
    "format.dns1123Label" => "dns1123Label",
    "format.dns1123Subdomain" => "dns1123Subdomain",
    "format.dns1035Label" => "dns1035Label",
    "format.qualifiedName" => "qualifiedName",
    "format.dns1123LabelPrefix" => "dns1123LabelPrefix",
    "format.dns1123SubdomainPrefix" => "dns1123SubdomainPrefix",
    "format.dns1035LabelPrefix" => "dns1035LabelPrefix",
    "format.labelValue" => "labelValue",
    "format.uri" => "uri",
    "format.uuid" => "uuid",
    "format.byte" => "byte",
    "format.date" => "date",
    "format.datetime" => "datetime",
};

/// A prefix is judged with what will follow standing in for a trailing hyphen.
fn unmasked(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ => text.to_owned(),
    }
}

fn validate<'a>(args: &[Value<'a>]) -> Result<Value<'a>> {
    let (Value::Opaque(Opaque::Format(name)), Some(text)) = (&args[0], args[1].as_str()) else {
        return Err(Error::no_such_overload());
    };
    let wrong = problems(name, text);
    if wrong.is_empty() {
        return Ok(Value::Optional(None));
    }
    Ok(some(wrong.into_iter().map(Value::from).collect::<Vec<_>>().into()))
}

fn problems(name: &str, text: &str) -> Vec<String> {
    let unless = |fine: bool, why: &str| if fine { Vec::new() } else { vec![why.to_owned()] };
    match name {
        "dns1123Label" | "k8s-short-name" => names::is_dns1123_label(text),
        "dns1123Subdomain" | "k8s-long-name" => names::is_dns1123_subdomain(text),
        "dns1035Label" => names::is_dns1035_label(text),
        "dns1123LabelPrefix" => names::is_dns1123_label(&unmasked(text)),
        "dns1123SubdomainPrefix" => names::is_dns1123_subdomain(&unmasked(text)),
        "dns1035LabelPrefix" => names::is_dns1035_label(&unmasked(text)),
        "qualifiedName" => names::is_qualified_name(text),
        "labelValue" => names::is_label_value(text),
        "uri" => unless(is_uri(text), &format!("parse {text:?}: invalid URI for request")),
        "uuid" => unless(is_uuid(text), "does not match the UUID format"),
        "byte" => {
            use base64::Engine;
            let decoded = base64::engine::general_purpose::STANDARD.decode(text);
            unless(decoded.is_ok(), "invalid base64")
        }
        "date" => unless(text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(), "invalid date"),
        "datetime" => unless(super::time::parse_timestamp(text).is_some(), "invalid datetime"),
        _ => Vec::new(),
    }
}

fn is_uri(text: &str) -> bool {
    let scheme = text.split_once(':').is_some_and(|(scheme, rest)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
            && rest.starts_with('/')
    });
    (scheme || text.starts_with('/')) && !text.contains(|c: char| c.is_control() || c == ' ')
}

fn is_uuid(text: &str) -> bool {
    text.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit())
}
