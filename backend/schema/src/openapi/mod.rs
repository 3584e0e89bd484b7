//! OpenAPI v2 and v3 of the resources that are served.
//!
//! Invariants: which resources there are is told by the caller; documents are built when first asked for, and kept;
//! the name (hash) of a document is known without building it.
//! Source: <https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition>

mod custom;
mod definitions;
mod foreign;
mod operations;
mod parameters;
mod protobuf;
mod v2;
mod v3;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use crate::facts;

type Text = Cow<'static, str>;

/// A resource that is served, in neutral words.
#[derive(Clone, Debug)]
pub struct ApiResource {
    pub group: Text,
    pub version: Text,
    pub kind: Text,
    /// Of a custom resource; empty for what the built-in types say, or the kind with `List` behind it.
    pub list_kind: Text,
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
    Custom {
        schema: Arc<Value>,
        /// Changes whenever the schema does.
        seal: Text,
    },
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

/// One document and the name of its content.
#[derive(Clone, Debug)]
pub struct Document {
    pub bytes: Bytes,
    /// For `ETag` and `?hash=`: hexadecimal digits that change whenever the content may have changed.
    pub hash: Arc<str>,
}

/// The documents of one set of resources. Build a new one when the set changes.
pub struct OpenApi {
    resources: Vec<ApiResource>,
    /// By path below `/openapi/v3/`: the hash, and the document once it was asked for.
    groups: BTreeMap<String, (Arc<str>, OnceLock<Document>)>,
    hash: Arc<str>,
    v2_json: OnceLock<Document>,
    v2_protobuf: OnceLock<Document>,
}

/// `api/v1`, `apis/apps/v1`: where a group version is served.
fn group_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

impl ApiResource {
    /// Changes whenever what is published of the resource may.
    fn fingerprint(&self) -> String {
        let Self { group, version, kind, list_kind, name, namespaced, verbs, definition, subresources } = self;
        let seal = match definition {
            Definition::Builtin => "",
            Definition::Custom { seal, .. } => seal,
        };
        format!("{group}/{version}/{kind}/{list_kind}/{name}/{namespaced}/{verbs:?}/{seal}/{subresources:?}")
    }
}

fn digits(digest: &[u8]) -> Arc<str> {
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<String>().into()
}

impl OpenApi {
    pub fn new(resources: Vec<ApiResource>) -> Self {
        let mut by_path: BTreeMap<String, Vec<&ApiResource>> = BTreeMap::new();
        for resource in &resources {
            by_path.entry(group_path(&resource.group, &resource.version)).or_default().push(resource);
        }
        let mut shared = Sha512::new();
        shared.update(env!("CARGO_PKG_VERSION"));
        facts::TABLES.iter().for_each(|table| shared.update(table));
        // Documents name all group versions, hence all paths count for each.
        by_path.keys().for_each(|path| shared.update(path));
        let mut whole = shared.clone();
        let mut groups = BTreeMap::new();
        for (path, resources) in by_path {
            let mut digest = shared.clone();
            resources.iter().for_each(|resource| digest.update(resource.fingerprint()));
            let digest = digest.finalize();
            whole.update(digest);
            groups.insert(path, (digits(&digest), OnceLock::new()));
        }
        let hash = digits(&whole.finalize());
        Self { groups, hash, resources, v2_json: OnceLock::new(), v2_protobuf: OnceLock::new() }
    }

    /// `/openapi/v2` as JSON.
    pub fn v2_json(&self) -> Document {
        self.v2_json.get_or_init(|| self.document(v2::document(&self.resources).to_string().into())).clone()
    }
    /// `/openapi/v2` as `application/com.github.proto-openapi.spec.v2@v1.0+protobuf`.
    pub fn v2_protobuf(&self) -> Document {
        let build = || self.document(protobuf::document(&v2::document(&self.resources)).into());
        self.v2_protobuf.get_or_init(build).clone()
    }
    /// Both forms of `/openapi/v2` with what others publish below paths of theirs, `(/apis/GROUP/VERSION, document)`.
    pub fn v2_with(&self, foreign: &[(String, Arc<Value>)]) -> (Document, Document) {
        let mut whole = v2::document(&self.resources);
        let mut hash = Sha512::new();
        hash.update(&*self.hash);
        for (prefix, document) in foreign {
            foreign::join(&mut whole, document, prefix);
            hash.update(prefix);
            hash.update(document.to_string());
        }
        let hash = digits(&hash.finalize());
        let document = |bytes: Bytes| Document { bytes, hash: Arc::clone(&hash) };
        (document(whole.to_string().into()), document(protobuf::document(&whole).into()))
    }
    /// `/openapi/v3`: the paths of the documents.
    pub fn v3_index(&self) -> Document {
        let paths: Map<String, Value> = self
            .groups
            .iter()
            .map(|(path, (hash, _))| {
                (path.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}))
            })
            .collect();
        self.document(json!({ "paths": paths }).to_string().into())
    }
    /// `/openapi/v3/{path}`, such as `api/v1` or `apis/apps/v1`.
    pub fn v3_document(&self, path: &str) -> Option<Document> {
        let (hash, document) = self.groups.get(path)?;
        let build = || {
            let value = v3::document(&self.resources, |r| group_path(&r.group, &r.version) == path);
            Document { bytes: value.to_string().into(), hash: hash.clone() }
        };
        Some(document.get_or_init(build).clone())
    }

    fn document(&self, bytes: Bytes) -> Document {
        Document { bytes, hash: self.hash.clone() }
    }
}
