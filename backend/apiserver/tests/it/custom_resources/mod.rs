//! CustomResourceDefinitions and what they define, from the first request to the last.

mod conversion;
mod definitions;
mod instances;
mod validation;

use serde_json::{Value, json};

use super::support::{Caller, Reply, TestCluster};

pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// A definition of `plural.group` with one version `v1` of the given schema.
pub fn definition(plural: &str, group: &str, kind: &str, schema: Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": plural, "kind": kind},
                 "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]},
    })
}

/// The schema of an object with this `spec`.
pub fn with_spec(spec: Value) -> Value {
    json!({"type": "object", "properties": {"spec": spec}})
}

pub fn condition<'a>(definition: &'a Value, type_: &str) -> &'a str {
    let conditions = definition["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == type_);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or_default()
}

impl TestCluster {
    /// Creates a definition and waits until it is established.
    pub async fn define(&self, definition: &Value) -> Value {
        let admin = self.admin();
        admin.create(DEFINITIONS, definition).await;
        self.established(definition["metadata"]["name"].as_str().unwrap()).await
    }

    pub async fn established(&self, name: &str) -> Value {
        let (admin, path) = (self.admin(), format!("{DEFINITIONS}/{name}"));
        let is = |reply: &Reply| condition(&reply.json(), "Established") == "True";
        self.eventually(|| admin.get(&path), is).await.json()
    }

    /// Changes a definition, whatever else changes it, and waits until the change is served.
    pub async fn redefine(&self, name: &str, change: impl Fn(&mut Value)) {
        let (admin, path) = (self.admin(), format!("{DEFINITIONS}/{name}"));
        loop {
            let mut definition = admin.get(&path).await.expect(200);
            change(&mut definition);
            let reply = admin.put(&path, &definition).await;
            match reply.status {
                409 => {}
                _ => {
                    reply.expect(200);
                    return;
                }
            }
        }
    }
}

pub fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "shop.example.com/v1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// What a request was told: its status and its message.
pub fn told(reply: &Reply) -> String {
    format!("{} {}", reply.status, reply.json()["message"].as_str().unwrap_or_default())
}

pub async fn cluster() -> (TestCluster, Caller) {
    let cluster = TestCluster::start().await;
    cluster.namespace("a").await;
    let admin = cluster.admin();
    (cluster, admin)
}
