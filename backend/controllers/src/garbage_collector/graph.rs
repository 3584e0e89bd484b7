//! Who owns whom: the owner references of all objects as a graph.
//!
//! Invariants:
//! - Pure and synchronous; every change answers with the uids to look at again.
//! - An owner that has been named but never seen is a virtual node: whether it exists is asked of the API before
//!   anything is deleted on its account.
//! - Small: 100,000 objects are a matter of a few tens of megabytes; uids are 16 bytes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;

use crate::discovery::Resource;
use crate::follow::Versioned;

pub const FOREGROUND: &str = "foregroundDeletion";
pub const ORPHAN: &str = "orphan";

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(u128);

impl std::fmt::Debug for Uid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Uid {
    /// A UUID's 16 bytes; other forms, which this API does not make, are hashed.
    pub fn new(text: &str) -> Self {
        let digits = text.bytes().filter(|b| *b != b'-');
        let parsed = digits.clone().count() == 32 && digits.clone().all(|b| b.is_ascii_hexdigit());
        if parsed {
            let hex: String = digits.map(char::from).collect();
            return Self(u128::from_str_radix(&hex, 16).unwrap_or(0));
        }
        let fnv =
            |hash: u128, byte: u8| (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013B);
        Self(text.bytes().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, fnv))
    }

    pub fn key(self) -> String {
        format!("{:032x}", self.0)
    }

    pub fn from_key(key: &str) -> Option<Self> {
        u128::from_str_radix(key, 16).ok().map(Self)
    }
}

/// Of any object, only what the graph needs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Object {
    pub metadata: Metadata,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    pub name: String,
    pub namespace: Option<String>,
    pub uid: String,
    pub resource_version: String,
    pub owner_references: Option<Vec<Reference>>,
    pub finalizers: Option<Vec<String>>,
    pub deletion_timestamp: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reference {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub controller: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_owner_deletion: Option<bool>,
}

impl Versioned for Object {
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl Metadata {
    pub fn references(&self) -> &[Reference] {
        self.owner_references.as_deref().unwrap_or_default()
    }

    pub fn has_finalizer(&self, finalizer: &str) -> bool {
        self.finalizers.iter().flatten().any(|f| f == finalizer)
    }

    /// Waits for its dependents to go first.
    pub fn deletes_dependents(&self) -> bool {
        self.deletion_timestamp.is_some() && self.has_finalizer(FOREGROUND)
    }

    pub fn orphans_dependents(&self) -> bool {
        self.deletion_timestamp.is_some() && self.has_finalizer(ORPHAN)
    }
}

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Seen {
        resource: Arc<Resource>,
        namespace: Arc<str>,
        name: Box<str>,
    },
    /// As an owner reference says, in the namespace of the object that says it.
    Named {
        api_version: Box<str>,
        kind: Box<str>,
        namespace: Arc<str>,
        name: Box<str>,
    },
}

#[derive(Clone, Debug)]
pub struct Node {
    pub place: Place,
    pub owners: Box<[Edge]>,
    dependents: HashSet<Uid>,
    pub deletes_dependents: bool,
    pub orphans_dependents: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    pub owner: Uid,
    /// The owner's foreground deletion waits for this dependent.
    pub blocks: bool,
}

#[derive(Debug, Default)]
pub struct Graph {
    nodes: HashMap<Uid, Node>,
    namespaces: HashSet<Arc<str>>,
}

impl Graph {
    pub fn get(&self, uid: Uid) -> Option<&Node> {
        self.nodes.get(&uid)
    }

    pub fn dependents(&self, uid: Uid) -> Vec<Uid> {
        self.nodes.get(&uid).map(|n| n.dependents.iter().copied().collect()).unwrap_or_default()
    }

    pub fn has_dependents(&self, uid: Uid) -> bool {
        self.nodes.get(&uid).is_some_and(|n| !n.dependents.is_empty())
    }

    /// The dependents that a foreground deletion still waits for.
    pub fn blocking(&self, uid: Uid) -> Vec<Uid> {
        let blocks = |d: &Uid| self.nodes.get(d).is_some_and(|n| n.owners.iter().any(|e| e.owner == uid && e.blocks));
        self.dependents(uid).into_iter().filter(blocks).collect()
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Every object of this resource that was seen.
    pub fn of(&self, resource: &Resource) -> Vec<Uid> {
        let is = |n: &Node| matches!(&n.place, Place::Seen { resource: r, .. } if **r == *resource);
        self.nodes.iter().filter(|(_, n)| is(n)).map(|(uid, _)| *uid).collect()
    }

    fn intern(&mut self, namespace: &str) -> Arc<str> {
        if let Some(known) = self.namespaces.get(namespace) {
            return known.clone();
        }
        let new: Arc<str> = namespace.into();
        self.namespaces.insert(new.clone());
        new
    }

    /// An object appeared or changed.
    pub fn put(&mut self, resource: &Arc<Resource>, object: &Metadata) -> Vec<Uid> {
        let uid = Uid::new(&object.uid);
        let namespace = self.intern(object.namespace.as_deref().unwrap_or_default());
        let edge = |r: &Reference| Edge { owner: Uid::new(&r.uid), blocks: r.block_owner_deletion == Some(true) };
        let owners: Box<[Edge]> = object.references().iter().map(edge).collect();
        let mut look = Vec::new();
        let place =
            Place::Seen { resource: resource.clone(), namespace: namespace.clone(), name: object.name.as_str().into() };
        let before = self.nodes.remove(&uid);
        let (dependents, known_owners) = match &before {
            Some(node) => (node.dependents.clone(), node.owners.clone()),
            None => (HashSet::new(), Box::default()),
        };
        let node = Node {
            place,
            owners: owners.clone(),
            dependents,
            deletes_dependents: object.deletes_dependents(),
            orphans_dependents: object.orphans_dependents(),
        };
        let starts = |f: fn(&Node) -> bool| f(&node) && !before.as_ref().is_some_and(f);
        if starts(|n| n.deletes_dependents) {
            look.extend(node.dependents.iter().copied());
            look.push(uid);
        }
        if starts(|n| n.orphans_dependents) {
            look.push(uid);
        }
        self.nodes.insert(uid, node);
        for old in known_owners.iter().filter(|e| !owners.iter().any(|n| n.owner == e.owner)) {
            self.unlink(old.owner, uid, &mut look);
        }
        for edge in &owners {
            let known = known_owners.iter().find(|e| e.owner == edge.owner);
            if known == Some(edge) {
                continue;
            }
            if known.is_some_and(|k| k.blocks && !edge.blocks) {
                // No longer waited for.
                look.push(edge.owner);
            }
            let Some(reference) = object.references().iter().find(|r| Uid::new(&r.uid) == edge.owner) else { continue };
            self.link(reference, edge.owner, uid, &namespace, &mut look);
        }
        look
    }

    fn link(&mut self, reference: &Reference, owner: Uid, dependent: Uid, namespace: &Arc<str>, look: &mut Vec<Uid>) {
        let node = self.nodes.entry(owner).or_insert_with(|| {
            look.push(owner);
            Node {
                place: Place::Named {
                    api_version: reference.api_version.as_str().into(),
                    kind: reference.kind.as_str().into(),
                    namespace: namespace.clone(),
                    name: reference.name.as_str().into(),
                },
                owners: Box::default(),
                dependents: HashSet::new(),
                deletes_dependents: false,
                orphans_dependents: false,
            }
        });
        node.dependents.insert(dependent);
        if node.deletes_dependents {
            look.push(dependent);
        }
    }

    fn unlink(&mut self, owner: Uid, dependent: Uid, look: &mut Vec<Uid>) {
        let Some(node) = self.nodes.get_mut(&owner) else { return };
        node.dependents.remove(&dependent);
        if node.deletes_dependents || node.orphans_dependents {
            look.push(owner);
        }
        if node.dependents.is_empty() && matches!(node.place, Place::Named { .. }) {
            self.nodes.remove(&owner);
        }
    }

    /// An object is gone, or a virtual one was found not to exist.
    pub fn remove(&mut self, uid: Uid) -> Vec<Uid> {
        let Some(node) = self.nodes.remove(&uid) else { return Vec::new() };
        let mut look: Vec<Uid> = node.dependents.iter().copied().collect();
        for edge in &node.owners {
            self.unlink(edge.owner, uid, &mut look);
        }
        look
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource() -> Arc<Resource> {
        Arc::new(Resource {
            group: String::new(),
            version: "v1".into(),
            plural: "things".into(),
            kind: "Thing".into(),
            namespaced: true,
            verbs: Vec::new(),
        })
    }

    fn object(uid: &str, owners: &[(&str, bool)]) -> Metadata {
        let reference = |(uid, blocks): &(&str, bool)| Reference {
            uid: (*uid).into(),
            name: (*uid).into(),
            block_owner_deletion: Some(*blocks),
            ..Default::default()
        };
        Metadata {
            name: uid.into(),
            namespace: Some("ns".into()),
            uid: uid.into(),
            owner_references: Some(owners.iter().map(reference).collect()),
            ..Default::default()
        }
    }

    fn deleting(mut object: Metadata, finalizer: &str) -> Metadata {
        object.deletion_timestamp = Some("2026-01-01T00:00:00Z".into());
        object.finalizers = Some(vec![finalizer.into()]);
        object
    }

    fn uid(text: &str) -> Uid {
        Uid::new(text)
    }

    #[test]
    fn uids_are_parsed_or_hashed() {
        let real = "1d1ac22f-3d5b-4bd0-8f64-0f3c2b9c51a1";
        assert_eq!(Uid::new(real).key(), real.replace('-', ""));
        assert_eq!(Uid::from_key(&Uid::new(real).key()), Some(Uid::new(real)));
        assert_ne!(Uid::new("a"), Uid::new("b"));
    }

    #[test]
    fn an_unseen_owner_is_looked_up_and_its_absence_wakes_the_dependents() {
        let mut graph = Graph::default();
        let look = graph.put(&resource(), &object("pod", &[("rs", true)]));
        assert_eq!(look, [uid("rs")]);
        assert!(matches!(graph.get(uid("rs")).unwrap().place, Place::Named { .. }));
        assert_eq!(graph.remove(uid("rs")), [uid("pod")]);
        assert!(graph.get(uid("rs")).is_none());
    }

    #[test]
    fn a_removed_owner_wakes_its_dependents_and_its_own_owner_if_that_waits() {
        let mut graph = Graph::default();
        graph.put(&resource(), &object("deployment", &[]));
        graph.put(&resource(), &object("rs", &[("deployment", true)]));
        graph.put(&resource(), &object("pod", &[("rs", true)]));
        let look = graph.put(&resource(), &deleting(object("deployment", &[]), FOREGROUND));
        assert_eq!(look.len(), 2, "the dependent, then itself: {look:?}");
        assert_eq!(graph.blocking(uid("deployment")), [uid("rs")]);
        let look = graph.remove(uid("rs"));
        assert!(look.contains(&uid("pod")) && look.contains(&uid("deployment")));
        assert!(graph.blocking(uid("deployment")).is_empty());
    }

    #[test]
    fn references_that_go_or_stop_blocking_wake_the_owner() {
        let mut graph = Graph::default();
        graph.put(&resource(), &deleting(object("a", &[]), FOREGROUND));
        graph.put(&resource(), &object("b", &[("a", true)]));
        assert!(graph.put(&resource(), &object("b", &[("a", false)])).contains(&uid("a")));
        assert!(graph.blocking(uid("a")).is_empty());
        assert!(graph.put(&resource(), &object("b", &[])).contains(&uid("a")));
        assert!(!graph.has_dependents(uid("a")));
        assert!(graph.put(&resource(), &object("b", &[])).is_empty(), "no change, nothing to do");
    }

    #[test]
    fn seeing_a_named_owner_keeps_its_dependents() {
        let mut graph = Graph::default();
        graph.put(&resource(), &object("pod", &[("rs", false)]));
        graph.put(&resource(), &object("rs", &[]));
        assert_eq!(graph.dependents(uid("rs")), [uid("pod")]);
        assert!(matches!(graph.get(uid("rs")).unwrap().place, Place::Seen { .. }));
        assert_eq!(graph.of(&resource()).len(), 2);
        assert_eq!(graph.len(), 2);
    }
}
