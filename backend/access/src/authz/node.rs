//! What a node may do: read what its own pods use, write what it itself reports.

use serde_json::Value;

use super::Attributes;

#[derive(Default)]
pub(super) struct Graph;

impl Graph {
    pub(super) fn apply(&mut self, _resource: &str, _object: &Value) {}
    pub(super) fn delete(&mut self, _resource: &str, _namespace: &str, _name: &str) {}
    pub(super) fn clear(&mut self, _resource: &str) {}
    pub(super) fn authorize(&self, node: &str, _asked: &Attributes<'_>) -> Result<(), String> {
        Err(format!("no relationship found between node '{node}' and this object"))
    }
}
