//! The server's `Table` output: kubectl's own columns for every kind, custom ones too, kept as compact rows.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::api::decode::{Change, Decode, Key, ListMeta, Page};
use crate::model::time;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub type_: String,
    pub format: String,
    pub description: String,
    pub priority: i32,
}

impl Column {
    /// Ages are computed from the creation time here, so that they go on counting.
    pub fn is_age(&self) -> bool {
        self.name.eq_ignore_ascii_case("age") || self.name == "Last Seen"
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Text(Arc<str>),
    Number(f64),
    Empty,
}

impl Cell {
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Empty => String::new(),
        }
    }
}

#[derive(Debug, PartialEq)]
pub struct Row {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// Seconds since 1970; of events the last time they happened.
    pub created: i64,
    pub deleting: bool,
    pub labels: Box<[(Arc<str>, Arc<str>)]>,
    pub cells: Box<[Cell]>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    metadata: ListMeta,
    column_definitions: Vec<Column>,
    rows: Vec<WireRow>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireRow {
    cells: Vec<Value>,
    object: Option<WireObject>,
}

/// The times are those of events, which are asked for whole.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WireObject {
    metadata: WireMeta,
    last_timestamp: Option<String>,
    event_time: Option<String>,
    series: Option<WireSeries>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WireSeries {
    last_observed_time: Option<String>,
}

/// Only what rows need: managed fields and annotations are skipped without being built.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct WireMeta {
    name: String,
    namespace: String,
    resource_version: String,
    creation_timestamp: Option<String>,
    deletion_timestamp: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

/// Texts that many rows share (states, nodes, namespaces, labels) are kept once.
#[derive(Default)]
struct Texts {
    known: RefCell<HashSet<Arc<str>>>,
}

/// Enough for what is shared; names and addresses, of which each row has its own, must not fill it.
const MAX_TEXTS: usize = 4096;
const MAX_SHARED: usize = 40;

impl Texts {
    fn share(&self, text: &str) -> Arc<str> {
        let mut known = self.known.borrow_mut();
        if let Some(shared) = known.get(text) {
            return shared.clone();
        }
        let shared: Arc<str> = text.into();
        if text.len() <= MAX_SHARED && known.len() < MAX_TEXTS {
            known.insert(shared.clone());
        }
        shared
    }
}

impl WireRow {
    fn into_row(self, texts: &Texts) -> (Key, Arc<Row>, String) {
        let object = self.object.unwrap_or_default();
        let meta = object.metadata;
        let seen =
            object.series.and_then(|series| series.last_observed_time).or(object.last_timestamp).or(object.event_time);
        let created = seen.or(meta.creation_timestamp);
        let (namespace, name): (Arc<str>, Arc<str>) = (texts.share(&meta.namespace), meta.name.into());
        let cells = self.cells.into_iter().map(|cell| match cell {
            Value::Null => Cell::Empty,
            Value::String(text) if *text == *name => Cell::Text(name.clone()),
            Value::String(text) => Cell::Text(texts.share(&text)),
            Value::Number(number) => number.as_f64().map_or(Cell::Empty, Cell::Number),
            Value::Bool(flag) => Cell::Text(texts.share(if flag { "true" } else { "false" })),
            other => Cell::Text(other.to_string().into()),
        });
        let row = Row {
            cells: cells.collect(),
            created: created.as_deref().and_then(time::parse).unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
            labels: meta
                .labels
                .unwrap_or_default()
                .iter()
                .map(|(key, value)| (texts.share(key), texts.share(value)))
                .collect(),
            namespace,
            name,
        };
        let key = Key { namespace: row.namespace.clone(), name: row.name.clone() };
        (key, Arc::new(row), meta.resource_version)
    }
}

/// Decodes tables; tells the columns whenever an answer defines them.
pub struct Tables<F: Fn(Vec<Column>)> {
    on_columns: F,
    texts: Texts,
}

impl<F: Fn(Vec<Column>)> Tables<F> {
    pub fn new(on_columns: F) -> Self {
        Self { on_columns, texts: Texts::default() }
    }

    fn read(&self, body: &[u8]) -> Result<Wire, String> {
        let mut table: Wire = serde_json::from_slice(body).map_err(|error| format!("not a table: {error}"))?;
        if !table.column_definitions.is_empty() {
            (self.on_columns)(std::mem::take(&mut table.column_definitions));
        }
        Ok(table)
    }
}

impl<F: Fn(Vec<Column>) + 'static> Decode for Tables<F> {
    type Item = Arc<Row>;

    fn page(&self, body: &[u8]) -> Result<Page<Self::Item>, String> {
        let table = self.read(body)?;
        let items = table.rows.into_iter().map(|row| {
            let (key, row, _) = row.into_row(&self.texts);
            (key, row)
        });
        Ok(Page { items: items.collect(), meta: table.metadata })
    }

    fn event(&self, object: &[u8]) -> Result<Change<Self::Item>, String> {
        let table = self.read(object)?;
        let mut revision = table.metadata.resource_version;
        let mut items = Vec::with_capacity(table.rows.len());
        for row in table.rows {
            let (key, row, row_revision) = row.into_row(&self.texts);
            if !row_revision.is_empty() {
                revision = row_revision;
            }
            items.push((key, row));
        }
        Ok(Change { items, revision })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"{"kind":"Table","metadata":{"resourceVersion":"12","continue":"t","remainingItemCount":3},
        "columnDefinitions":[{"name":"Name","type":"string","format":"name","description":"d","priority":0},{"name":"Age","type":"string","priority":0}],
        "rows":[{"cells":["a",3,null,true],"object":{"metadata":{"name":"a","namespace":"x","uid":"u","resourceVersion":"11","creationTimestamp":"1970-01-01T00:01:00Z","labels":{"app":"a"},"managedFields":[{}]}}}]}"#;

    #[test]
    fn reads_rows_and_columns() {
        let seen = RefCell::new(Vec::new());
        let tables = Tables::new(|columns| *seen.borrow_mut() = columns);
        let page = {
            let table = tables.read(TABLE.as_bytes()).unwrap();
            (
                table.metadata.token.clone(),
                table.metadata.remaining_item_count,
                table.rows.into_iter().map(|row| row.into_row(&tables.texts)).collect::<Vec<_>>(),
            )
        };
        assert_eq!((page.0.as_str(), page.1), ("t", Some(3)));
        let (key, row, revision) = &page.2[0];
        assert_eq!((&*key.namespace, &*key.name, revision.as_str(), row.created), ("x", "a", "11", 60));
        assert_eq!(*row.cells, [Cell::Text("a".into()), Cell::Number(3.0), Cell::Empty, Cell::Text("true".into())]);
        assert_eq!(seen.borrow().len(), 2);
        assert!(seen.borrow()[1].is_age());
    }

    #[test]
    fn a_bookmark_is_a_revision_without_rows() {
        let tables = Tables::new(|_| {});
        let change = tables.event(br#"{"kind":"Table","metadata":{"resourceVersion":"40"},"rows":[]}"#).unwrap();
        assert_eq!((change.items.len(), change.revision.as_str()), (0, "40"));
        assert!(tables.event(b"[1]").is_err());
    }
}
