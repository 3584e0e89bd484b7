//! Label selectors of typed objects, compiled once per reconcile.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ObjectMeta;
use pilothouse_api::selector;

use crate::error::{Error, Result};

#[derive(Clone, Debug)]
pub struct Selector(selector::LabelSelector);

impl Selector {
    /// An empty selector selects everything, as everywhere in the API but where it is optional.
    pub fn new(selector: &LabelSelector) -> Result<Self> {
        let value = serde_json::to_value(selector).map_err(|e| Error::invalid(format!("the selector: {e}")))?;
        selector::LabelSelector::from_json(&value).map(Self).map_err(|e| Error::invalid(format!("the selector: {e}")))
    }

    /// A Service's or ReplicationController's selector: labels that must be equal.
    pub fn equality(labels: &BTreeMap<String, String>) -> Result<Self> {
        Self::new(&LabelSelector { match_labels: Some(labels.clone()), match_expressions: None })
    }

    pub fn matches(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.0.matches(|key| labels.and_then(|l| l.get(key)).map(String::as_str))
    }

    pub fn matches_meta(&self, meta: &ObjectMeta) -> bool {
        self.matches(meta.labels.as_ref())
    }

    pub fn is_everything(&self) -> bool {
        self.0.is_everything()
    }
}
