//! The objects of a verification, as they are written and as watches show them.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde::Deserialize;

use super::history::{Event, Id, Kind};

/// A payload makes batches and partitions fill as in earnest.
const PAYLOAD: usize = 256;

/// Bytes that an object of a verification has in the database, and nothing else.
pub const MARK: &str = "\"prev\":\"";

pub fn body(name: &str, version: Option<u64>, id: Id) -> Bytes {
    let resource_version = version.map(|version| format!(",\"resourceVersion\":\"{version}\"")).unwrap_or_default();
    let payload = crate::object::payload(PAYLOAD);
    format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"{name}\"{resource_version}}},\
         \"data\":{{\"id\":\"{id}\",\"prev\":\"{}\",\"payload\":\"{payload}\"}}}}",
        version.unwrap_or(0)
    )
    .into()
}

pub fn delete_body(version: u64) -> Bytes {
    format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"DeleteOptions\",\"preconditions\":{{\"resourceVersion\":\"{version}\"}}}}"
    )
    .into()
}

#[derive(Deserialize)]
pub struct Object {
    metadata: Metadata,
    #[serde(default)]
    data: Data,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    resource_version: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Data {
    id: String,
    prev: String,
}

impl Object {
    pub fn read(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).context("an object")
    }
    pub fn revision(&self) -> Result<u64> {
        self.metadata.resource_version.parse().context("resourceVersion")
    }
}

#[derive(Deserialize)]
pub struct List {
    metadata: Metadata,
    items: Vec<Object>,
}

impl List {
    pub fn read(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).context("a list")
    }
    pub fn revision(&self) -> Result<u64> {
        self.metadata.resource_version.parse().context("resourceVersion")
    }
    /// Name → revision and writer of what a verification wrote.
    pub fn objects(&self) -> Result<HashMap<String, (u64, Id)>> {
        let ours = self.items.iter().filter(|object| !object.data.id.is_empty());
        ours.map(|object| Ok((object.metadata.name.clone(), (object.revision()?, object.data.id.parse()?)))).collect()
    }
}

#[derive(Deserialize)]
struct Line {
    r#type: String,
    object: serde_json::Value,
}

/// What a line of a watch says.
#[derive(Debug, PartialEq)]
pub enum Told {
    Event(Event),
    Bookmark(u64),
    /// The watch has to start over with a list.
    TooOld,
    /// Something that a verification did not write.
    Other,
}

/// # Errors
/// When it is no line of a watch, or an error other than 410.
pub fn line(bytes: &[u8]) -> Result<Told> {
    let line: Line = serde_json::from_slice(bytes).context("a line of a watch")?;
    if line.r#type == "ERROR" {
        if line.object["code"] == 410 {
            return Ok(Told::TooOld);
        }
        bail!("the watch ends: {}", line.object);
    }
    let object: Object = serde_json::from_value(line.object)?;
    let revision = object.revision()?;
    let kind = match line.r#type.as_str() {
        "ADDED" => Kind::Added,
        "MODIFIED" => Kind::Modified,
        "DELETED" => Kind::Deleted,
        "BOOKMARK" => return Ok(Told::Bookmark(revision)),
        other => bail!("an event of type {other:?}"),
    };
    if object.data.id.is_empty() {
        return Ok(Told::Other);
    }
    let (id, previous) = (object.data.id.parse()?, object.data.prev.parse()?);
    Ok(Told::Event(Event { kind, revision, object: object.metadata.name, previous, id }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let text = String::from_utf8(body("x", Some(41), 7).to_vec()).unwrap();
        let shown = text.replace("\"41\"}", "\"42\"}");
        let line = line(format!("{{\"type\":\"MODIFIED\",\"object\":{shown}}}").as_bytes()).unwrap();
        let event = Event { kind: Kind::Modified, revision: 42, object: "x".into(), previous: 41, id: 7 };
        assert_eq!(line, Told::Event(event));
    }

    #[test]
    fn errors_and_bookmarks() {
        let gone = br#"{"type":"ERROR","object":{"kind":"Status","code":410}}"#;
        assert_eq!(line(gone).unwrap(), Told::TooOld);
        assert!(line(br#"{"type":"ERROR","object":{"kind":"Status","code":500}}"#).is_err());
        let bookmark = br#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}"#;
        assert_eq!(line(bookmark).unwrap(), Told::Bookmark(9));
        let root = br#"{"type":"ADDED","object":{"metadata":{"name":"kube-root-ca.crt","resourceVersion":"9"},"data":{"ca.crt":"x"}}}"#;
        assert_eq!(line(root).unwrap(), Told::Other);
    }
}
