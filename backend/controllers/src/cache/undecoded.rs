//! What the caches' watches deliver: an object as it came. The watch needs of it only who it is and its revision;
//! decoding it is its cache's business. So one watch is compiled for all kinds.

use std::borrow::Cow;

use kube::Resource;
use kube::api::{ApiResource, ObjectMeta};
use kube::core::DynamicResourceScope;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

#[derive(Clone, Debug)]
pub struct Undecoded {
    /// Name, namespace, uid and revision; nothing else.
    pub metadata: ObjectMeta,
    pub json: Box<RawValue>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    metadata: Identity<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Identity<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    uid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    resource_version: Option<Cow<'a, str>>,
}

impl<'de> Deserialize<'de> for Undecoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = Box::<RawValue>::deserialize(deserializer)?;
        let Head { metadata } = serde_json::from_str(json.get()).map_err(D::Error::custom)?;
        let metadata = ObjectMeta {
            name: metadata.name.map(Cow::into_owned),
            namespace: metadata.namespace.map(Cow::into_owned),
            uid: metadata.uid.map(Cow::into_owned),
            resource_version: metadata.resource_version.map(Cow::into_owned),
            ..Default::default()
        };
        Ok(Self { metadata, json })
    }
}

impl Resource for Undecoded {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn group(of: &ApiResource) -> Cow<'_, str> {
        of.group.as_str().into()
    }
    fn version(of: &ApiResource) -> Cow<'_, str> {
        of.version.as_str().into()
    }
    fn kind(of: &ApiResource) -> Cow<'_, str> {
        of.kind.as_str().into()
    }
    fn api_version(of: &ApiResource) -> Cow<'_, str> {
        of.api_version.as_str().into()
    }
    fn plural(of: &ApiResource) -> Cow<'_, str> {
        of.plural.as_str().into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use kube::api::{ObjectList, WatchEvent};

    use super::*;

    const OBJECT: &str = r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a\"b","uid":"u","resourceVersion":"7","labels":{"x":"y"}},"data":{"k":"v"}}"#;

    #[test]
    fn an_object_is_kept_as_it_came() {
        let object: Undecoded = serde_json::from_str(OBJECT).expect("an object");
        assert_eq!(object.json.get(), OBJECT);
        assert_eq!(object.metadata.name.as_deref(), Some("a\"b"));
        assert_eq!(object.metadata.resource_version.as_deref(), Some("7"));
        assert_eq!(object.metadata.namespace, None);
        assert!(serde_json::from_str::<Undecoded>("[1]").is_err());
        assert!(serde_json::from_str::<Undecoded>(r#"{"metadata":"x"}"#).is_err());
    }

    #[test]
    fn lists_and_events_carry_it() {
        let list = format!(
            r#"{{"kind":"ConfigMapList","apiVersion":"v1","metadata":{{"resourceVersion":"9"}},"items":[{OBJECT},{OBJECT}]}}"#
        );
        let list: ObjectList<Undecoded> = serde_json::from_str(&list).expect("a list");
        assert_eq!(list.items.len(), 2);
        assert_eq!(list.items[1].json.get(), OBJECT);
        let event: WatchEvent<Undecoded> =
            serde_json::from_str(&format!(r#"{{"type":"MODIFIED","object":{OBJECT}}}"#)).expect("an event");
        assert!(matches!(event, WatchEvent::Modified(object) if object.json.get() == OBJECT));
    }
}
