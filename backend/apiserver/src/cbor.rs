//! `application/cbor`: the same documents as JSON, in fewer bytes, for clients that ask for it.
//! Source: <https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/4222-cbor-serializer>
//!
//! Strings are written as byte strings, as upstream's clients expect them: what is text and what is base64 the reader
//! knows by the field. Both kinds of string are read.
//!
//! Invariants: depth is bounded by `limits::MAX_JSON_DEPTH` and the number of values by [`MAX_VALUES`]; a map says
//! nothing twice; what JSON cannot say (infinities, big numbers, keys that are no strings) is refused.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use minicbor::data::{Tag, Type};
use minicbor::decode::Error as Broken;
use minicbor::{Decoder, Encoder};
use pilothouse_api::{Status, limits};
use serde_json::{Map, Number, Value};

pub const MEDIA: &str = "application/cbor";
/// Documents one after the other: a watch.
pub const SEQUENCE: &str = "application/cbor-seq";
/// The configuration of a server-side apply.
pub const APPLY: &str = "application/apply-patch+cbor";

/// What every document begins with: the tag that says "this is CBOR".
const SELF_DESCRIBED: Tag = Tag::new(55_799);
const BIG_NUMBERS: [u64; 2] = [2, 3];
/// "Expected later encoding": how bytes look in JSON.
const AS_BASE64_URL: u64 = 21;
const AS_BASE64: u64 = 22;
const AS_BASE16: u64 = 23;
/// Most values in one document: as many as JSON has room for in the largest body.
const MAX_VALUES: usize = limits::MAX_BODY_BYTES / 2;

/// The document that holds `value`.
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Encoder::new(Vec::with_capacity(1024));
    put(&mut out, value);
    out.into_writer()
}

/// One event of a watch.
pub fn watch_frame(event: &str, object: &Value) -> Vec<u8> {
    let mut out = Encoder::new(Vec::with_capacity(1024));
    let head =
        out.tag(SELF_DESCRIBED).and_then(|out| out.map(2)?.bytes(b"type")?.bytes(event.as_bytes())?.bytes(b"object"));
    debug_assert!(head.is_ok(), "memory takes everything");
    put(&mut out, object);
    out.into_writer()
}

fn put(out: &mut Encoder<Vec<u8>>, value: &Value) {
    let written = out.tag(SELF_DESCRIBED).map(drop).and_then(|()| write(out, value));
    debug_assert!(written.is_ok(), "memory takes everything");
}

fn write(out: &mut Encoder<Vec<u8>>, value: &Value) -> Result<(), minicbor::encode::Error<std::convert::Infallible>> {
    match value {
        Value::Null => out.null()?,
        Value::Bool(truth) => out.bool(*truth)?,
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), ..) => out.i64(whole)?,
            (_, Some(whole), _) => out.u64(whole)?,
            (.., float) => out.f64(float.unwrap_or_default())?,
        },
        Value::String(text) => out.bytes(text.as_bytes())?,
        Value::Array(items) => {
            out.array(items.len() as u64)?;
            for item in items {
                write(out, item)?;
            }
            out
        }
        Value::Object(fields) => {
            out.map(fields.len() as u64)?;
            for (name, field) in fields {
                out.bytes(name.as_bytes())?;
                write(out, field)?;
            }
            out
        }
    };
    Ok(())
}

/// The value in a document.
///
/// # Errors
/// 400 for what is no CBOR, or says what JSON cannot.
pub fn decode(document: &[u8]) -> Result<Value, Status> {
    let mut reading = Reading { from: Decoder::new(document), left: MAX_VALUES };
    let value = reading.value(0).and_then(|value| match document.len() - reading.from.position() {
        0 => Ok(value),
        more => Err(Broken::message(format!("{more} bytes of extraneous data"))),
    });
    value.map_err(|why| Status::bad_request(format!("the body of the request is not a CBOR document: {why}")))
}

struct Reading<'a> {
    from: Decoder<'a>,
    /// Values that may still come.
    left: usize,
}

type Read<T> = Result<T, Broken>;

fn refused<T>(why: impl std::fmt::Display) -> Read<T> {
    Err(Broken::message(why))
}

impl Reading<'_> {
    fn value(&mut self, depth: usize) -> Read<Value> {
        if depth > limits::MAX_JSON_DEPTH {
            return refused(format_args!("nested deeper than {} levels", limits::MAX_JSON_DEPTH));
        }
        self.left = match self.left.checked_sub(1) {
            Some(left) => left,
            None => return refused(format_args!("more than {MAX_VALUES} values")),
        };
        Ok(match self.from.datatype()? {
            Type::Bool => Value::Bool(self.from.bool()?),
            Type::Null => {
                self.from.null()?;
                Value::Null
            }
            Type::F16 | Type::F32 | Type::F64 => match Number::from_f64(self.float()?) {
                Some(number) => Value::Number(number),
                None => return refused("infinities and NaN are no values"),
            },
            Type::Bytes | Type::BytesIndef | Type::String | Type::StringIndef => Value::String(self.text()?),
            Type::Array | Type::ArrayIndef => self.array(depth)?,
            Type::Map | Type::MapIndef => self.map(depth)?,
            Type::Tag => self.tagged(depth)?,
            Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 | Type::Int => {
                match i64::try_from(self.from.int()?) {
                    Ok(number) => Value::Number(number.into()),
                    Err(_) => return refused("an integer does not fit into 64 bits with a sign"),
                }
            }
            other => return refused(format_args!("{other} has no form in JSON")),
        })
    }

    fn float(&mut self) -> Read<f64> {
        Ok(match self.from.datatype()? {
            Type::F16 => f64::from(self.from.f16()?),
            Type::F32 => f64::from(self.from.f32()?),
            _ => self.from.f64()?,
        })
    }

    fn bytes(&mut self) -> Read<Vec<u8>> {
        let mut all = Vec::new();
        for piece in self.from.bytes_iter()? {
            all.extend_from_slice(piece?);
        }
        Ok(all)
    }

    /// A string, whichever of the two kinds it is written in.
    fn text(&mut self) -> Read<String> {
        if matches!(self.from.datatype()?, Type::Bytes | Type::BytesIndef) {
            return String::from_utf8(self.bytes()?).or_else(|_| refused("a string is not UTF-8"));
        }
        self.from.str_iter()?.collect()
    }

    /// Whether one more item of a collection follows.
    fn more(&mut self, left: &mut Option<u64>) -> Read<bool> {
        match left {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None if self.from.datatype()? == Type::Break => {
                self.from.set_position(self.from.position() + 1);
                Ok(false)
            }
            None => Ok(true),
        }
    }

    fn array(&mut self, depth: usize) -> Read<Value> {
        let mut left = self.from.array()?;
        let mut items = Vec::new();
        while self.more(&mut left)? {
            items.push(self.value(depth + 1)?);
        }
        Ok(Value::Array(items))
    }

    fn map(&mut self, depth: usize) -> Read<Value> {
        let mut left = self.from.map()?;
        let mut fields = Map::new();
        while self.more(&mut left)? {
            let name = match self.from.datatype()? {
                Type::Bytes | Type::BytesIndef | Type::String | Type::StringIndef => self.text()?,
                other => return refused(format_args!("the key of a map is of type {other}")),
            };
            if fields.contains_key(&name) {
                return refused(format_args!("the key {name:?} is there twice"));
            }
            let value = self.value(depth + 1)?;
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }

    fn tagged(&mut self, depth: usize) -> Read<Value> {
        let tag = self.from.tag()?.as_u64();
        let is_bytes = matches!(self.from.datatype()?, Type::Bytes | Type::BytesIndef);
        match tag {
            AS_BASE64 if is_bytes => Ok(Value::String(BASE64_STANDARD.encode(self.bytes()?))),
            AS_BASE64_URL if is_bytes => Ok(Value::String(BASE64_URL_SAFE_NO_PAD.encode(self.bytes()?))),
            AS_BASE16 if is_bytes => {
                use std::fmt::Write;
                let mut text = String::new();
                for byte in self.bytes()? {
                    let _ = write!(text, "{byte:02X}");
                }
                Ok(Value::String(text))
            }
            tag if BIG_NUMBERS.contains(&tag) => refused("big numbers have no form in JSON"),
            _ => self.value(depth + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9f64).prop_map(|float| json!(float + 0.5)),
            ".{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(".{0,6}", inner, 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in values()) {
            prop_assert_eq!(decode(&encode(&value)).unwrap(), value);
        }

        #[test]
        fn anything_else_is_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Err(status) = decode(&bytes) {
                prop_assert_eq!(status.code, 400);
            }
        }
    }

    #[test]
    fn every_form_of_the_same() {
        for (bytes, value) in [
            (&b"\xd9\xd9\xf7\xa1\x41a\x01"[..], json!({"a": 1})),
            (b"\xbf\x61a\x9f\x01\x02\xff\xff", json!({"a": [1, 2]})),
            (b"\xa1\x61a\xd6\x43abc", json!({"a": "YWJj"})),
            (b"\xa1\x61a\xd7\x42\xab\x0c", json!({"a": "AB0C"})),
            (b"\xc0\x74\x32\x30\x31\x33-03-21T20:04:00Z", json!("2013-03-21T20:04:00Z")),
            (b"\x5f\x42ab\x41c\xff", json!("abc")),
            (b"\xf9\x3e\x00", json!(1.5)),
            (b"\x38\x63", json!(-100)),
        ] {
            assert_eq!(decode(bytes).unwrap(), value, "{bytes:x?}");
        }
    }

    #[test]
    fn what_json_cannot_say() {
        let deep = [[0x81; 300].as_slice(), &[0x01]].concat();
        for (bytes, why) in [
            (&b"\xa2\x61a\x01\x41a\x02"[..], "is there twice"),
            (b"\xa1\x01\x01", "the key of a map"),
            (b"\xf9\x7c\x00", "infinities"),
            (b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", "does not fit"),
            (b"\xc2\x41\x01", "big numbers"),
            (b"\x41\xff", "not UTF-8"),
            (b"\xf7", "has no form"),
            (b"\x01\x01", "extraneous"),
            (b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", "end of input"),
            (b"\x5b\xff\xff\xff\xff\xff\xff\xff\xffab", "end of input"),
            (&deep, "nested deeper"),
        ] {
            let status = decode(bytes).unwrap_err();
            assert!(status.code == 400 && status.message.contains(why), "{bytes:x?}: {}", status.message);
        }
    }
}
