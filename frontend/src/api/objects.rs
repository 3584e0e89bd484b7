//! Whole objects as dynamic values.

use serde::Deserialize;
use serde_json::Value;

use crate::api::decode::{Change, Decode, Key, ListMeta, Page};
use crate::model::json;

/// Decodes objects and keeps of each what `pick` takes from it.
pub struct Objects<T> {
    pub pick: fn(Value) -> T,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default)]
    items: Option<Vec<Value>>,
}

impl<T: Clone + Send + Sync + 'static> Decode for Objects<T> {
    type Item = T;

    fn page(&self, body: &[u8]) -> Result<Page<T>, String> {
        let list: Wire = serde_json::from_slice(body).map_err(|error| format!("not a list: {error}"))?;
        let kind = list.kind.strip_suffix("List").unwrap_or_default();
        let items = list.items.unwrap_or_default().into_iter().map(|mut object| {
            // Items of a list do not repeat what they are.
            if let Some(map) = object.as_object_mut() {
                map.entry("apiVersion").or_insert_with(|| list.api_version.clone().into());
                map.entry("kind").or_insert_with(|| kind.into());
            }
            (key_of(&object), (self.pick)(object))
        });
        Ok(Page { items: items.collect(), meta: list.metadata })
    }

    fn event(&self, object: &[u8]) -> Result<Change<T>, String> {
        let object: Value = serde_json::from_slice(object).map_err(|error| error.to_string())?;
        let revision = json::text(&object, "metadata/resourceVersion").to_owned();
        let named = !json::name(&object).is_empty();
        let items = if named { vec![(key_of(&object), (self.pick)(object))] } else { Vec::new() };
        Ok(Change { items, revision })
    }
}

fn key_of(object: &Value) -> Key {
    Key { namespace: json::namespace(object).into(), name: json::name(object).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_learn_their_kind_and_bookmarks_hold_nothing() {
        let objects = Objects { pick: |value| value };
        let page = objects.page(br#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"3"},"items":[{"metadata":{"name":"a","namespace":"n"}}]}"#).unwrap();
        assert_eq!(page.items[0].1["kind"], "Pod");
        assert_eq!(&*page.items[0].0.namespace, "n");
        let bookmark = objects.event(br#"{"kind":"Pod","metadata":{"resourceVersion":"9"}}"#).unwrap();
        assert_eq!((bookmark.items.len(), bookmark.revision.as_str()), (0, "9"));
    }
}
