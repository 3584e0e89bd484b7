//! What a node may do: read what its own pods use, write what it itself reports.
//!
//! Invariants:
//! - A node reaches a Secret, ConfigMap, claim or account only through a pod that is bound to it; a mirror pod, which
//!   the node made itself, opens nothing.
//! - The index is from used object to nodes, so a decision is one or two look-ups, however many pods there are.
//! - What cannot be judged from the address alone (whose Node, whose pod is in the body) is NodeRestriction's.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/node/>

mod uses;

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use super::{Attributes, PolicyRule};
use crate::policy;
pub(super) use uses::Fact;
use uses::{Key, Kind, Thing};

const LEASE_NAMESPACE: &str = "kube-node-lease";

struct PodUses {
    node: Box<str>,
    uses: Vec<Thing>,
}

struct Volume {
    claim: Option<Key>,
    secrets: Vec<Key>,
}

#[derive(Default)]
pub(super) struct Graph {
    pods: HashMap<Key, PodUses>,
    /// Thing → node → by how many of its pods.
    users: HashMap<Thing, HashMap<Box<str>, u32>>,
    volumes: HashMap<Box<str>, Volume>,
    secret_volumes: HashMap<Key, HashSet<Box<str>>>,
    attachments: HashMap<Box<str>, Box<str>>,
}

impl Graph {
    pub(super) fn put(&mut self, fact: Fact) {
        match fact {
            Fact::Loose(key) => self.forget_pod(&key),
            Fact::Pod { key, node, uses } => {
                self.forget_pod(&key);
                for thing in &uses {
                    *self.users.entry(thing.clone()).or_default().entry(node.clone()).or_default() += 1;
                }
                self.pods.insert(key, PodUses { node, uses });
            }
            Fact::Volume { name, claim, secrets } => {
                self.forget_volume(&name);
                for secret in &secrets {
                    self.secret_volumes.entry(secret.clone()).or_default().insert(name.clone());
                }
                self.volumes.insert(name, Volume { claim, secrets });
            }
            Fact::Attachment { name, node } => {
                self.attachments.insert(name, node);
            }
        }
    }

    pub(super) fn delete(&mut self, resource: &str, namespace: &str, name: &str) {
        match resource {
            "pods" => self.forget_pod(&(namespace.into(), name.into())),
            "persistentvolumes" => self.forget_volume(name),
            "volumeattachments.storage.k8s.io" => {
                self.attachments.remove(name);
            }
            _ => {}
        }
    }

    pub(super) fn clear(&mut self, resource: &str) {
        match resource {
            "pods" => {
                self.pods.clear();
                self.users.clear();
            }
            "persistentvolumes" => {
                self.volumes.clear();
                self.secret_volumes.clear();
            }
            "volumeattachments.storage.k8s.io" => self.attachments.clear(),
            _ => {}
        }
    }

    fn forget_pod(&mut self, key: &Key) {
        let Some(PodUses { node, uses }) = self.pods.remove(key) else { return };
        for thing in uses {
            let Some(nodes) = self.users.get_mut(&thing) else { continue };
            match nodes.get_mut(&node) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    nodes.remove(&node);
                }
            }
            if nodes.is_empty() {
                self.users.remove(&thing);
            }
        }
    }

    fn forget_volume(&mut self, name: &str) {
        let Some(volume) = self.volumes.remove(name) else { return };
        for secret in volume.secrets {
            if let Some(volumes) = self.secret_volumes.get_mut(&secret) {
                volumes.remove(name);
                if volumes.is_empty() {
                    self.secret_volumes.remove(&secret);
                }
            }
        }
    }

    fn uses(&self, node: &str, kind: Kind, namespace: &str, name: &str) -> bool {
        self.users.get(&(kind, namespace.into(), name.into())).is_some_and(|nodes| nodes.contains_key(node))
    }

    fn uses_volume(&self, node: &str, name: &str) -> bool {
        let claim = self.volumes.get(name).and_then(|volume| volume.claim.as_ref());
        claim.is_some_and(|(namespace, claim)| self.uses(node, Kind::Claim, namespace, claim))
    }

    fn uses_secret(&self, node: &str, namespace: &str, name: &str) -> bool {
        let volumes = self.secret_volumes.get(&(namespace.into(), name.into()));
        self.uses(node, Kind::Secret, namespace, name)
            || volumes.is_some_and(|volumes| volumes.iter().any(|volume| self.uses_volume(node, volume)))
    }

    /// `Err` is no opinion: the reason this chain link did not allow it.
    pub(super) fn authorize(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        let (namespace, name) = (asked.namespace, asked.name);
        let related = |uses: bool| related(node, name, uses);
        if !asked.is_resource_request {
            return by_rules(asked);
        }
        match (asked.group, asked.resource) {
            ("", "secrets") => {
                reads_one(asked)?;
                related(self.uses_secret(node, namespace, name))
            }
            ("", "configmaps") => {
                reads_one(asked)?;
                related(self.uses(node, Kind::ConfigMap, namespace, name))
            }
            ("", "persistentvolumeclaims") => {
                match (asked.subresource, asked.verb) {
                    ("status", "update" | "patch") => {}
                    ("status", _) => return Err("can only get/update/patch this type".into()),
                    _ => gets_one(asked)?,
                }
                related(self.uses(node, Kind::Claim, namespace, name))
            }
            ("", "persistentvolumes") => {
                gets_one(asked)?;
                related(self.uses_volume(node, name))
            }
            ("resource.k8s.io", "resourceclaims") => {
                gets_one(asked)?;
                related(self.uses(node, Kind::ResourceClaim, namespace, name))
            }
            ("storage.k8s.io", "volumeattachments") => {
                gets_one(asked)?;
                related(self.attachments.get(name).is_some_and(|of| **of == *node))
            }
            ("", "serviceaccounts") => {
                match (asked.verb, asked.subresource) {
                    ("get", "") => reads_one(asked)?,
                    ("create", "token") if !name.is_empty() => {}
                    ("create", "token") => {
                        return Err("can only create tokens for individual service accounts".into());
                    }
                    _ => return Err("can only create token subresource of serviceaccount".into()),
                }
                related(self.uses(node, Kind::ServiceAccount, namespace, name))
            }
            ("coordination.k8s.io", "leases") => lease(node, asked),
            ("storage.k8s.io", "csinodes") => csi_node(node, asked),
            ("resource.k8s.io", "resourceslices") => resource_slice(node, asked),
            ("", "nodes") => own_node(node, asked),
            ("", "pods") => self.pod(node, asked),
            ("certificates.k8s.io", "podcertificaterequests") => Err(String::new()),
            _ => by_rules(asked),
        }
    }

    fn pod(&self, node: &str, asked: &Attributes<'_>) -> Result<(), String> {
        let related = || related(node, asked.name, self.uses(node, Kind::Pod, asked.namespace, asked.name));
        match (asked.subresource, asked.verb) {
            ("", "get") => related(),
            ("", "list" | "watch") if asked.selects("spec.nodeName", node) => Ok(()),
            ("", "list" | "watch") if !asked.name.is_empty() => related(),
            ("", "list" | "watch") => Err("can only list/watch pods with spec.nodeName field selector".into()),
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => Err(String::new()),
        }
    }
}

fn related(node: &str, name: &str, uses: bool) -> Result<(), String> {
    if name.is_empty() {
        return Err("No Object name found".into());
    }
    if uses { Ok(()) } else { Err(format!("no relationship found between node '{node}' and this object")) }
}

fn gets_one(asked: &Attributes<'_>) -> Result<(), String> {
    match (asked.verb, asked.subresource) {
        ("get", "") => Ok(()),
        ("get", _) => Err("cannot get subresource".into()),
        _ => Err("can only get individual resources of this type".into()),
    }
}

fn reads_one(asked: &Attributes<'_>) -> Result<(), String> {
    match (asked.verb, asked.subresource, asked.namespace) {
        ("get" | "list" | "watch", "", "") => Err("can only read namespaced object of this type".into()),
        ("get" | "list" | "watch", "", _) => Ok(()),
        ("get" | "list" | "watch", ..) => Err("cannot read subresource".into()),
        _ => Err("can only read resources of this type".into()),
    }
}

fn lease(node: &str, asked: &Attributes<'_>) -> Result<(), String> {
    if !matches!(asked.verb, "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a node lease".into());
    }
    if asked.namespace != LEASE_NAMESPACE {
        return Err(format!("can only access leases in the {LEASE_NAMESPACE:?} system namespace"));
    }
    // The name of a new object is in the body, which NodeRestriction sees.
    if asked.verb != "create" && asked.name != node {
        return Err("can only access node lease with the same name as the requesting node".into());
    }
    Ok(())
}

fn csi_node(node: &str, asked: &Attributes<'_>) -> Result<(), String> {
    if !matches!(asked.verb, "get" | "create" | "update" | "patch" | "delete") {
        return Err("can only get, create, update, patch, or delete a CSINode".into());
    }
    if !asked.subresource.is_empty() {
        return Err("cannot authorize CSINode subresources".into());
    }
    if asked.verb != "create" && asked.name != node {
        return Err("can only access CSINode with the same name as the requesting node".into());
    }
    Ok(())
}

fn resource_slice(node: &str, asked: &Attributes<'_>) -> Result<(), String> {
    match asked.verb {
        _ if !asked.subresource.is_empty() => Err("cannot authorize ResourceSlice subresources".into()),
        "create" => Ok(()),
        "watch" | "list" | "deletecollection" if asked.selects("spec.nodeName", node) => Ok(()),
        _ => Err("can only list/watch/deletecollection resourceslices with nodeName field selector".into()),
    }
}

fn own_node(node: &str, asked: &Attributes<'_>) -> Result<(), String> {
    match (asked.subresource, asked.verb) {
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") if asked.name == node => Ok(()),
        ("", "get" | "list" | "watch") if asked.name.is_empty() => {
            Err(format!("node '{node}' cannot read all nodes, only its own Node object"))
        }
        ("", "get" | "list" | "watch") => {
            Err(format!("node '{node}' cannot read '{}', only its own Node object", asked.name))
        }
        _ => Err(String::new()),
    }
}

/// What every node may do, whichever it is.
fn by_rules(asked: &Attributes<'_>) -> Result<(), String> {
    static RULES: LazyLock<Vec<PolicyRule>> = LazyLock::new(policy::node_rules);
    if RULES.iter().any(|rule| rule.allows(asked)) { Ok(()) } else { Err(String::new()) }
}
