//! One version of one object as the cache holds it, and the encoding it is stored in.
//!
//! Invariant: stored bytes come from [`encode`], so the first `"metadata":{` is the object's own (before it stand only
//! `apiVersion` and `kind`, in whose strings every quote is escaped) and `resourceVersion` is absent. The revision is
//! spliced in right there once it is known, which spares parsing.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::{Error, EventKind, Key, Result};

/// A shared, immutable version of an object.
pub type Obj = Arc<Entry>;

/// Gives a kind's selectable fields of an object. `metadata.name` and `metadata.namespace` are the store's own.
pub type Indexer = Arc<dyn Fn(&Key, &Lazy<'_>) -> Vec<(Cow<'static, str>, String)> + Send + Sync>;

/// An object that is parsed when somebody looks at it: most kinds have no selectable fields, and then nobody does.
pub struct Lazy<'a> {
    bytes: &'a [u8],
    value: OnceCell<Value>,
}

impl<'a> Lazy<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, value: OnceCell::new() }
    }

    /// The object; `Null` when the bytes are not JSON.
    pub fn value(&self) -> &Value {
        self.value.get_or_init(|| serde_json::from_slice(self.bytes).unwrap_or_default())
    }
}

/// What of every object selectors need; the rest is skipped without being built.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, default)]
    metadata: HeadMetadata<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct HeadMetadata<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
    /// Sorted, as entries keep them.
    labels: BTreeMap<Box<str>, Box<str>>,
}

/// An indexer for objects without selectable fields of their own.
pub fn no_fields() -> Indexer {
    Arc::new(|_, _| Vec::new())
}

/// One version of one object: its bytes, and what selectors need, parsed once.
pub struct Entry {
    pub key: Key,
    /// The `resourceVersion`.
    pub revision: u64,
    /// The object as JSON, `metadata.resourceVersion` included.
    pub bytes: Bytes,
    pub uid: Arc<str>,
    /// Sorted by name.
    pub labels: Arc<[(Box<str>, Box<str>)]>,
    /// Sorted by name; see [`Indexer`].
    pub fields: Arc<[(Cow<'static, str>, Box<str>)]>,
}

impl Entry {
    pub fn label(&self, name: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(label, _)| (**label).cmp(name)).ok()?;
        self.labels.get(at).map(|(_, value)| &**value)
    }

    /// The value of a selectable field, `metadata.name` and `metadata.namespace` included.
    pub fn field(&self, path: &str) -> Option<&str> {
        match path {
            "metadata.name" => Some(&self.key.name),
            "metadata.namespace" => Some(&self.key.namespace),
            _ => {
                let at = self.fields.binary_search_by(|(field, _)| (**field).cmp(path)).ok()?;
                self.fields.get(at).map(|(_, value)| &**value)
            }
        }
    }

    /// The object, parsed anew on each call. Stored bytes are always valid JSON, so `Null` is never seen in practice.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| {
            tracing::error!(key = %self.key, revision = self.revision, %error, "a cached object is not JSON");
            Value::Null
        })
    }

    /// The JSON of `metadata` within the bytes: found without looking at what follows it.
    pub fn metadata(&self) -> Option<&[u8]> {
        let start = splice_at(&self.bytes)?.checked_sub(1)?;
        let rest = self.bytes.get(start..)?;
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<&RawValue>();
        Some(values.next()?.ok()?.get().as_bytes())
    }

    /// The bytes in the form of [`encode`]: without the `resourceVersion`.
    pub(crate) fn stored(&self) -> Vec<u8> {
        let bytes = &self.bytes;
        let Some(start) = splice_at(bytes) else { return bytes.to_vec() };
        let spliced = splice_text(self.revision, false).len();
        let comma = usize::from(bytes.get(start + spliced) == Some(&b','));
        [&bytes[..start], bytes.get(start + spliced + comma..).unwrap_or_default()].concat()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.key, self.revision)
    }
}

/// What is parsed out of an object when it enters the store.
#[derive(Clone)]
pub(crate) struct Parsed {
    pub uid: Arc<str>,
    pub labels: Arc<[(Box<str>, Box<str>)]>,
    pub fields: Arc<[(Cow<'static, str>, Box<str>)]>,
}

impl Parsed {
    pub fn of(key: &Key, stored: &[u8], indexer: &Indexer) -> Result<Self> {
        let object = Lazy::new(stored);
        let mut fields: Vec<_> =
            indexer(key, &object).into_iter().map(|(field, value)| (field, value.into_boxed_str())).collect();
        fields.sort_by(|(a, _), (b, _)| a.cmp(b));
        let (uid, labels): (Arc<str>, _) = match serde_json::from_slice::<Head<'_>>(stored) {
            Ok(head) => (head.metadata.uid.into(), head.metadata.labels.into_iter().collect()),
            // A null, or a number where a string belongs: whatever it is, its other parts count.
            Err(_) => Self::tolerantly(key, stored)?,
        };
        Ok(Self { uid, labels, fields: fields.into() })
    }

    fn tolerantly(key: &Key, stored: &[u8]) -> Result<(Arc<str>, Arc<[(Box<str>, Box<str>)]>)> {
        let value: Value = serde_json::from_slice(stored)
            .map_err(|error| Error::Internal(format!("the stored bytes of {key} are not JSON: {error}")))?;
        let metadata = &value["metadata"];
        // serde_json's map is sorted, and so are the labels.
        let labels = metadata["labels"]
            .as_object()
            .map(|labels| labels.iter().map(|(name, value)| (name.as_str().into(), text(value).into())).collect())
            .unwrap_or_default();
        Ok((text(&metadata["uid"]).into(), labels))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// An entry made of stored bytes.
pub(crate) fn entry(key: Key, revision: u64, stored: &[u8], parsed: Parsed) -> Result<Entry> {
    let mut bytes = Vec::with_capacity(stored.len() + SPLICE_ROOM);
    splice(&mut bytes, stored, revision)?;
    Ok(Entry { key, revision, bytes: bytes.into(), uid: parsed.uid, labels: parsed.labels, fields: parsed.fields })
}

/// An entry whose bytes are a slice of the watch line that announces it: one allocation serves both.
pub(crate) fn framed(
    kind: EventKind,
    key: Key,
    revision: u64,
    stored: &[u8],
    parsed: Parsed,
) -> Result<(Entry, Bytes)> {
    let (line, object) = line(kind, stored, revision)?;
    let bytes = line.slice(object);
    let entry = Entry { key, revision, bytes, uid: parsed.uid, labels: parsed.labels, fields: parsed.fields };
    Ok((entry, line))
}

/// `{"type":KIND,"object":OBJECT}\n`, and where the object lies in it.
pub(crate) fn line(kind: EventKind, stored: &[u8], revision: u64) -> Result<(Bytes, Range<usize>)> {
    let mut line = Vec::with_capacity(stored.len() + SPLICE_ROOM + 32);
    line.extend_from_slice(kind.line_start());
    let start = line.len();
    splice(&mut line, stored, revision)?;
    let end = line.len();
    line.extend_from_slice(b"}\n");
    Ok((line.into(), start..end))
}

/// What the longest `"resourceVersion":"18446744073709551615",` needs.
const SPLICE_ROOM: usize = 42;

const METADATA: &[u8] = br#""metadata":{"#;

/// Names and group versions are far shorter than this; it bounds the search in bytes that are not ours.
const SPLICE_SEARCH: usize = 2048;

fn splice(into: &mut Vec<u8>, stored: &[u8], revision: u64) -> Result<()> {
    let at = splice_at(stored).ok_or_else(|| {
        Error::Internal("stored bytes have no metadata up front; they must come from encode()".into())
    })?;
    into.extend_from_slice(&stored[..at]);
    into.extend_from_slice(splice_text(revision, stored.get(at) != Some(&b'}')).as_bytes());
    into.extend_from_slice(&stored[at..]);
    Ok(())
}

fn splice_text(revision: u64, comma: bool) -> String {
    format!(r#""resourceVersion":"{revision}"{}"#, if comma { "," } else { "" })
}

/// Where the `resourceVersion` goes: right behind the brace that opens `metadata`.
pub(crate) fn splice_at(stored: &[u8]) -> Option<usize> {
    let head = &stored[..stored.len().min(SPLICE_SEARCH)];
    head.windows(METADATA.len()).position(|window| window == METADATA).map(|at| at + METADATA.len())
}

/// The canonical encoding of an object: `apiVersion`, `kind` and `metadata` first, everything else sorted,
/// `metadata.resourceVersion` left out.
///
/// # Errors
/// `Internal` when the object has no `apiVersion` and `kind` strings or no `metadata` object.
pub fn encode(object: &Value) -> Result<Vec<u8>> {
    let missing = |what: &str| Error::Internal(format!("an object without {what} cannot be stored"));
    let map = object.as_object().ok_or_else(|| missing("fields"))?;
    let api_version = map.get("apiVersion").filter(|v| v.is_string()).ok_or_else(|| missing("apiVersion"))?;
    let kind = map.get("kind").filter(|v| v.is_string()).ok_or_else(|| missing("kind"))?;
    let metadata = map.get("metadata").and_then(Value::as_object).ok_or_else(|| missing("metadata"))?;

    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(br#"{"apiVersion":"#);
    write(&mut out, api_version)?;
    out.extend_from_slice(br#","kind":"#);
    write(&mut out, kind)?;
    out.push(b',');
    out.extend_from_slice(METADATA);
    fields(&mut out, metadata.iter().filter(|(name, _)| *name != "resourceVersion"), true)?;
    out.push(b'}');
    fields(
        &mut out,
        map.iter().filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind" | "metadata")),
        false,
    )?;
    out.push(b'}');
    Ok(out)
}

fn fields<'a>(out: &mut Vec<u8>, all: impl Iterator<Item = (&'a String, &'a Value)>, mut first: bool) -> Result<()> {
    for (name, value) in all {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        write(out, name)?;
        out.push(b':');
        write(out, value)?;
    }
    Ok(())
}

fn write(out: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) -> Result<()> {
    serde_json::to_writer(out, value).map_err(|error| Error::Internal(format!("cannot encode an object: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn key() -> Key {
        Key::new("configmaps", "default", "a")
    }

    fn made(object: &Value, revision: u64) -> Entry {
        let stored = encode(object).unwrap();
        let parsed = Parsed::of(&key(), &stored, &no_fields()).unwrap();
        entry(key(), revision, &stored, parsed).unwrap()
    }

    #[test]
    fn canonical_order_and_splice() {
        let object = json!({"data": {"a": "b"}, "kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": "a", "resourceVersion": "7", "labels": {"x": "y"}}});
        let stored = encode(&object).unwrap();
        assert_eq!(
            String::from_utf8(stored.clone()).unwrap(),
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"labels":{"x":"y"},"name":"a"},"data":{"a":"b"}}"#
        );
        let entry = made(&object, 42);
        assert_eq!(entry.value()["metadata"]["resourceVersion"], "42");
        assert_eq!(entry.label("x"), Some("y"));
        assert_eq!(entry.label("y"), None);
        assert_eq!(entry.field("metadata.namespace"), Some("default"));
        assert_eq!(entry.stored(), stored);
    }

    #[test]
    fn metadata_is_cut_out_of_the_bytes() {
        for metadata in [json!({}), json!({"name": "}\"{", "labels": {"a": "}}"}, "ownerReferences": [{"uid": "{"}]})] {
            let entry = made(
                &json!({"apiVersion": "v1", "kind": "X", "metadata": metadata, "spec": {"metadata": {"name": "no"}}}),
                9,
            );
            let cut: Value = serde_json::from_slice(entry.metadata().unwrap()).unwrap();
            assert_eq!(cut, entry.value()["metadata"]);
        }
    }

    #[test]
    fn empty_metadata_needs_no_comma() {
        let entry = made(&json!({"apiVersion": "v1", "kind": "X", "metadata": {}}), 1);
        assert_eq!(&entry.bytes[..], br#"{"apiVersion":"v1","kind":"X","metadata":{"resourceVersion":"1"}}"#);
        assert_eq!(entry.stored(), br#"{"apiVersion":"v1","kind":"X","metadata":{}}"#);
    }

    #[test]
    fn a_trap_in_kind_is_no_metadata() {
        let entry =
            made(&json!({"apiVersion": "\"metadata\":{", "kind": "\"metadata\":{", "metadata": {"name": "b"}}), 3);
        assert_eq!(entry.value()["metadata"], json!({"name": "b", "resourceVersion": "3"}));
    }

    #[test]
    fn refuses_what_is_no_object() {
        for bad in [
            json!(1),
            json!({}),
            json!({"apiVersion": "v1", "kind": 1, "metadata": {}}),
            json!({"apiVersion": "v1", "kind": "X"}),
        ] {
            assert!(encode(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_share_the_objects_bytes() {
        let stored = encode(&json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "b"}})).unwrap();
        let parsed = Parsed::of(&key(), &stored, &no_fields()).unwrap();
        let (entry, line) = framed(EventKind::Modified, key(), 9, &stored, parsed).unwrap();
        let seen: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(seen, json!({"type": "MODIFIED", "object": entry.value()}));
        assert!(line.ends_with(b"\n"));
        assert!(line.as_ptr_range().contains(&entry.bytes.as_ptr()));
    }

    #[test]
    fn labels_are_read_whatever_stands_beside_them() {
        for (metadata, uid, labels) in [
            (
                json!({"uid": "u", "labels": {"b": "2", "a": "\\\u{e9}\"1"}}),
                "u",
                vec![("a", "\\\u{e9}\"1"), ("b", "2")],
            ),
            (json!({"labels": {"a": "1", "b": null}, "uid": "u"}), "u", vec![("a", "1"), ("b", "")]),
            (json!({"labels": null, "uid": 5}), "", vec![]),
            (json!({}), "", vec![]),
        ] {
            let entry = made(&json!({"apiVersion": "v1", "kind": "X", "metadata": metadata, "labels": {"c": "3"}}), 1);
            let seen: Vec<(&str, &str)> = entry.labels.iter().map(|(name, value)| (&**name, &**value)).collect();
            assert_eq!((&*entry.uid, seen), (uid, labels));
        }
        assert!(Parsed::of(&key(), b"{\"metadata\":{", &no_fields()).is_err());
    }

    proptest! {
        #[test]
        fn any_object_survives(name in ".{0,40}", kind in ".{1,40}", extra in ".{0,40}", revision: u64) {
            let object = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "z": {"metadata": {"a": extra}}});
            let entry = made(&object, revision);
            let mut back = entry.value();
            prop_assert_eq!(&back["metadata"]["resourceVersion"], &json!(revision.to_string()));
            back["metadata"].as_object_mut().unwrap().remove("resourceVersion");
            prop_assert_eq!(&back, &object);
            prop_assert_eq!(entry.stored(), encode(&object).unwrap());
        }
    }
}
