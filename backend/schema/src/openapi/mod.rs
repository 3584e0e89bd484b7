//! OpenAPI v2 and v3 of the resources that are served.
//!
//! Invariant: which resources there are is told by the caller; documents are built when first asked for, and kept.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

type Text = Cow<'static, str>;

/// A resource that is served, in neutral words.
#[derive(Clone, Debug)]
pub struct ApiResource {
    pub group: Text,
    pub version: Text,
    pub kind: Text,
    /// The plural: `deployments`.
    pub name: Text,
    pub namespaced: bool,
    /// `create`, `delete`, `deletecollection`, `get`, `list`, `patch`, `update`, `watch`.
    pub verbs: Vec<Text>,
    pub definition: Definition,
    pub subresources: Vec<ApiSubresource>,
}

/// Where the schema of a kind comes from.
#[derive(Clone, Debug)]
pub enum Definition {
    /// A definition of the built-in types, found by group, version and kind.
    Builtin,
    /// A custom resource's OpenAPI v3 schema (of the whole object), as in the CRD; null where it has none.
    Custom(Arc<Value>),
}

/// What lies below a resource: `status`, `scale`, `log` …
#[derive(Clone, Debug)]
pub struct ApiSubresource {
    pub name: Text,
    /// The kind that is sent and received, with its own group and version (`autoscaling/v1 Scale`).
    pub group: Text,
    pub version: Text,
    pub kind: Text,
    pub verbs: Vec<Text>,
}

/// The documents of one set of resources. Build a new one when the set changes.
pub struct OpenApi {
    resources: Vec<ApiResource>,
}

/// One document and the name of its content.
#[derive(Clone, Debug)]
pub struct Document {
    pub bytes: Bytes,
    /// For `ETag` and `?hash=`; changes exactly when the content may have changed.
    pub hash: Arc<str>,
}

impl OpenApi {
    pub fn new(resources: Vec<ApiResource>) -> Self {
        Self { resources }
    }
    /// `/openapi/v2` as JSON.
    pub fn v2_json(&self) -> Document {
        self.empty()
    }
    /// `/openapi/v2` as `application/com.github.proto-openapi.spec.v2@v1.0+protobuf`.
    pub fn v2_protobuf(&self) -> Document {
        self.empty()
    }
    /// `/openapi/v3`: the paths of the documents.
    pub fn v3_index(&self) -> Document {
        self.empty()
    }
    /// `/openapi/v3/{path}`, such as `api/v1` or `apis/apps/v1`.
    pub fn v3_document(&self, path: &str) -> Option<Document> {
        let _ = path;
        None
    }
    fn empty(&self) -> Document {
        let hash = self.resources.len().to_string().into();
        Document { bytes: Bytes::from_static(b"{}"), hash }
    }
}
