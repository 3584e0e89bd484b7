//! Live collections of objects, whole or in part.

use std::sync::Arc;

use serde_json::Value;

use crate::api::call::JSON;
use crate::api::discovery::Resource;
use crate::api::live::{Live, Query};
use crate::api::objects::Objects;

pub type Object = Arc<Value>;

/// A live collection of extracts: memory holds only what is shown.
pub fn extracts<T: Clone + Send + Sync + 'static>(query: Query, pick: fn(Value) -> T) -> Live<T> {
    Live::start(query, Objects { pick })
}

pub fn objects(query: Query) -> Live<Object> {
    extracts(query, Arc::new)
}

/// One object, as a collection of at most one.
pub fn object(resource: &Resource, namespace: &str, name: &str) -> Live<Object> {
    objects(
        Query::new(resource.collection(Some(namespace).filter(|n| !n.is_empty())), JSON)
            .with("fieldSelector", &format!("metadata.name={name}")),
    )
}
