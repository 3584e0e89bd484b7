//! What the type definitions lack: list types, map keys, patch strategies (`facts/merge-facts.tsv`) and defaults
//! (`facts/defaults.tsv`), how Go holds and writes fields (`facts/shapes.tsv`). Source: Kubernetes v1.36, the `+listType`, `+patchStrategy`, `+default` … markers of its types.

use std::collections::HashMap;

use serde_json::Value;

use crate::schema::Shape;

const MERGE_FACTS: &str = include_str!("../facts/merge-facts.tsv");
const DEFAULTS: &str = include_str!("../facts/defaults.tsv");
const SHAPES: &str = include_str!("../facts/shapes.tsv");

/// The tables as they are, for hashes of what is made from them.
pub const TABLES: &[&str] = &[MERGE_FACTS, DEFAULTS, SHAPES];

/// One row; empty means unsaid.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fact {
    pub list_type: &'static str,
    /// Comma separated.
    pub list_map_keys: &'static str,
    /// Comma separated.
    pub patch_strategy: &'static str,
    pub patch_merge_key: &'static str,
    pub map_type: &'static str,
}

type Key = (&'static str, &'static str);

pub struct Facts {
    merge: HashMap<Key, Fact>,
    defaults: HashMap<Key, &'static str>,
    shapes: HashMap<Key, Shape>,
}

impl Facts {
    pub fn load() -> Self {
        Self {
            merge: rows(MERGE_FACTS).filter_map(merge_row).collect(),
            defaults: rows(DEFAULTS).flat_map(default_row).collect(),
            shapes: shapes(),
        }
    }
    /// Of a field of a type; `*` asks for the type itself. The type is named as in the tables, see [`short`].
    pub fn merge(&self, of: &str, field: &str) -> Option<Fact> {
        find(&self.merge, (of, field))
    }
    /// The default that an absent field stands for.
    pub fn default(&self, of: &str, field: &str) -> Option<Value> {
        serde_json::from_str(find(&self.defaults, (of, field))?).ok()
    }
    /// How Go holds and writes a field.
    pub fn shape(&self, of: &str, field: &str) -> Shape {
        find(&self.shapes, (of, field)).unwrap_or_default()
    }
    /// What every row is about, for tests that look for rows naming nothing.
    #[cfg(test)]
    pub fn subjects(&self) -> impl Iterator<Item = Key> {
        self.merge.keys().chain(self.defaults.keys()).chain(self.shapes.keys()).copied()
    }
}

/// The keys of the maps are static; a pair of shorter life hashes and compares alike.
fn find<'b, T: Copy>(map: &HashMap<(&'b str, &'b str), T>, key: (&'b str, &'b str)) -> Option<T> {
    map.get(&key).copied()
}

fn rows(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().filter(|line| !line.starts_with('#'))
}

fn merge_row(line: &'static str) -> Option<(Key, Fact)> {
    let mut cells = line.split('\t');
    let key = (cells.next()?, cells.next()?);
    let mut next = || cells.next().unwrap_or_default().trim();
    let (list_type, list_map_keys, patch_strategy) = (next(), next(), next());
    Some((key, Fact { list_type, list_map_keys, patch_strategy, patch_merge_key: next(), map_type: next() }))
}

fn default_row(line: &'static str) -> impl Iterator<Item = (Key, &'static str)> {
    let mut cells = line.split('\t');
    let mut next = || cells.next().unwrap_or_default();
    let (of, default, fields) = (next(), next(), next());
    fields.split(',').map(move |field| ((of, field), default))
}

/// Several rows may be about one field.
fn shapes() -> HashMap<Key, Shape> {
    let mut shapes: HashMap<Key, Shape> = HashMap::new();
    for row in rows(SHAPES) {
        let mut cells = row.split('\t');
        let mut next = || cells.next().unwrap_or_default();
        let (of, what, fields) = (next(), next(), next());
        for field in fields.split(',') {
            let shape = shapes.entry((of, field)).or_default();
            match what.split_once(':') {
                None if what == "written" => shape.written = true,
                None if what == "null" => shape.null = true,
                None => shape.omitted = true,
                Some(("inline", way)) => shape.way = way,
                Some(("is", name)) => shape.is = name,
                Some((_, name)) => shape.of = name,
            }
        }
    }
    shapes
}

/// `io.k8s.api.core.v1.PodSpec` → `core.v1.PodSpec`, the table's way to name a type.
pub fn short(definition: &str) -> &str {
    let mut dots = definition.rmatch_indices('.').map(|(at, _)| at);
    match dots.nth(2) {
        Some(at) => &definition[at + 1..],
        None => definition,
    }
}
