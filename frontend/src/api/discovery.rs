//! Which resources the server has, from aggregated discovery.
//!
//! Invariant: a resource is named by its group resource (`pods`, `deployments.apps`), as kubectl does; its version is
//! the one the server prefers.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

pub const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList;q=0.9";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    pub short_names: Vec<String>,
    pub subresources: Vec<String>,
}

impl Resource {
    pub fn group_resource(&self) -> String {
        pilothouse_api::status::group_resource(&self.group, &self.plural)
    }

    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `/apis/apps/v1/namespaces/x/deployments`, or of all namespaces, or of the cluster.
    pub fn collection(&self, namespace: Option<&str>) -> String {
        let root = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{}", self.plural),
            None => format!("{root}/{}", self.plural),
        }
    }

    pub fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.collection(Some(namespace)))
    }

    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    pub fn has_subresource(&self, name: &str) -> bool {
        self.subresources.iter().any(|known| known == name)
    }

    /// Can be shown as a live list.
    pub fn is_listed(&self) -> bool {
        self.has_verb("list") && self.has_verb("watch")
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    by_name: BTreeMap<String, Arc<Resource>>,
}

impl Discovery {
    pub fn get(&self, group_resource: &str) -> Option<Arc<Resource>> {
        self.by_name.get(group_resource).cloned()
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Resource>> {
        self.by_name.values()
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub fn by_kind(&self, api_version: &str, kind: &str) -> Option<Arc<Resource>> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.by_name.values().find(|resource| resource.group == group && resource.kind == kind).cloned()
    }

    /// Reads the answers of `/api` and `/apis`.
    pub fn read(bodies: &[&[u8]]) -> Result<Self, String> {
        let mut by_name = BTreeMap::new();
        for body in bodies {
            let list: GroupList =
                serde_json::from_slice(body).map_err(|error| format!("cannot read discovery: {error}"))?;
            for group in list.items {
                // Versions come in the server's order of preference.
                for version in group.versions {
                    for found in version.resources {
                        let resource = found.into_resource(&group.metadata.name, &version.version);
                        by_name.entry(resource.group_resource()).or_insert_with(|| Arc::new(resource));
                    }
                }
            }
        }
        Ok(Self { by_name })
    }
}

#[derive(Deserialize)]
struct GroupList {
    #[serde(default)]
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(default)]
    metadata: Meta,
    #[serde(default)]
    versions: Vec<Version>,
}

#[derive(Deserialize, Default)]
struct Meta {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    #[serde(default)]
    resources: Vec<Found>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    resource: String,
    #[serde(default)]
    response_kind: Kind,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    short_names: Vec<String>,
    #[serde(default)]
    subresources: Vec<Sub>,
}

#[derive(Deserialize, Default)]
struct Kind {
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
struct Sub {
    subresource: String,
}

impl Found {
    fn into_resource(self, group: &str, version: &str) -> Resource {
        Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: self.response_kind.kind,
            plural: self.resource,
            namespaced: self.scope == "Namespaced",
            verbs: self.verbs,
            short_names: self.short_names,
            subresources: self.subresources.into_iter().map(|sub| sub.subresource).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_aggregated_discovery() {
        let core = br#"{"items":[{"metadata":{},"versions":[{"version":"v1","resources":[{"resource":"pods","responseKind":{"kind":"Pod"},"scope":"Namespaced","verbs":["list","watch"],"shortNames":["po"],"subresources":[{"subresource":"log"}]}]}]}]}"#;
        let named = br#"{"items":[{"metadata":{"name":"autoscaling"},"versions":[{"version":"v2","resources":[{"resource":"hpas","responseKind":{"kind":"HPA"},"scope":"Cluster","verbs":["list"]}]},{"version":"v1","resources":[{"resource":"hpas","scope":"Cluster","verbs":[]}]}]}]}"#;
        let found = Discovery::read(&[core, named]).unwrap();
        let pods = found.get("pods").unwrap();
        assert!(pods.namespaced && pods.is_listed() && pods.has_subresource("log"));
        assert_eq!(pods.object("a", "b"), "/api/v1/namespaces/a/pods/b");
        assert_eq!(pods.collection(None), "/api/v1/pods");
        let hpas = found.get("hpas.autoscaling").unwrap();
        assert_eq!((hpas.version.as_str(), hpas.collection(Some("x")).as_str()), ("v2", "/apis/autoscaling/v2/hpas"));
        assert!(!hpas.is_listed());
        assert_eq!(found.by_kind("autoscaling/v1", "HPA"), Some(hpas));
        assert!(Discovery::read(&[b"<html>"]).is_err());
    }
}
