//! What a subscription keeps of the server's answers: any representation that can be read item by item.

use std::sync::Arc;

use serde::Deserialize;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

pub struct Page<T> {
    pub items: Vec<(Key, T)>,
    pub meta: ListMeta,
}

pub struct Change<T> {
    pub items: Vec<(Key, T)>,
    pub revision: String,
}

/// Reads a representation of objects (tables, whole objects, extracts of them).
pub trait Decode: 'static {
    type Item: Clone + Send + Sync + 'static;
    fn page(&self, body: &[u8]) -> Result<Page<Self::Item>, String>;
    fn event(&self, object: &[u8]) -> Result<Change<Self::Item>, String>;
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct ListMeta {
    pub resource_version: String,
    #[serde(rename = "continue")]
    pub token: String,
    pub remaining_item_count: Option<u64>,
}
