//! The RBAC index: roles by name, bindings by subject.
//!
//! Invariants:
//! - A decision looks only at the bindings of the user's own name and groups, so its cost does not grow with the
//!   number of bindings of others.
//! - A binding whose role is missing, or of another API group, grants nothing; it starts to grant when the role appears.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::{Attributes, PolicyRule};
use crate::{UserInfo, name_of, names, namespace_of, text};

pub(super) const GROUP: &str = "rbac.authorization.k8s.io";
pub(super) const ROLES: &str = "roles.rbac.authorization.k8s.io";
pub(super) const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
pub(super) const ROLE_BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";
pub(super) const CLUSTER_ROLE_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";

pub(super) fn is_rbac(resource: &str) -> bool {
    matches!(resource, ROLES | CLUSTER_ROLES | ROLE_BINDINGS | CLUSTER_ROLE_BINDINGS)
}

/// Namespace ("" for the cluster) and name.
type Key = (Box<str>, Box<str>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(Box<str>),
    Group(Box<str>),
}

#[derive(Debug)]
struct Binding {
    namespace: Box<str>,
    name: Box<str>,
    role: RoleRef,
    /// Who is bound, with the words for it in a decision's reason.
    subjects: Vec<(Subject, String)>,
}

impl Binding {
    /// The words for the subject a user was found by.
    fn words(&self, is_user: bool, name: &str) -> String {
        let same = |subject: &Subject| match subject {
            Subject::User(user) => is_user && **user == *name,
            Subject::Group(group) => !is_user && **group == *name,
        };
        self.subjects.iter().find(|(subject, _)| same(subject)).map_or_else(String::new, |(_, words)| words.clone())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RoleRef {
    pub cluster: bool,
    pub name: Box<str>,
}

impl RoleRef {
    /// Only roles of RBAC's own group exist; any other reference is dead.
    pub(super) fn of(binding: &Value) -> Option<Self> {
        if text(binding, "/roleRef/apiGroup") != GROUP {
            return None;
        }
        let cluster = match text(binding, "/roleRef/kind") {
            "ClusterRole" => true,
            "Role" => false,
            _ => return None,
        };
        Some(Self { cluster, name: text(binding, "/roleRef/name").into() })
    }
    fn kind(&self) -> &'static str {
        if self.cluster { "ClusterRole" } else { "Role" }
    }
}

/// Bindings by name.
type Named = BTreeMap<Box<str>, Arc<Binding>>;

/// The bindings of one namespace by the name of who is bound.
#[derive(Default)]
struct Subjects {
    users: HashMap<Box<str>, Named>,
    groups: HashMap<Box<str>, Named>,
}

impl Subjects {
    fn of(&mut self, subject: &Subject) -> (&mut HashMap<Box<str>, Named>, Box<str>) {
        match subject {
            Subject::User(name) => (&mut self.users, name.clone()),
            Subject::Group(name) => (&mut self.groups, name.clone()),
        }
    }
}

/// Maps within maps, so that a look-up needs no key of its own: a decision allocates nothing.
#[derive(Default)]
pub(super) struct Index {
    /// Namespace ("" for cluster roles) → name → rules.
    roles: HashMap<Box<str>, HashMap<Box<str>, Arc<[PolicyRule]>>>,
    bindings: HashMap<Key, Arc<Binding>>,
    /// Namespace ("" for cluster role bindings) → who → bindings.
    by_subject: HashMap<Box<str>, Subjects>,
}

/// The rules of a role; a rule that cannot be read grants nothing.
pub(super) fn rules_of(role: &Value) -> Vec<PolicyRule> {
    let rules = role.get("rules").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    rules.iter().filter_map(|rule| serde::Deserialize::deserialize(rule).ok()).collect()
}

fn subjects_of(binding: &Value, namespace: &str) -> Vec<(Subject, String)> {
    let subjects = binding.get("subjects").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let read = |subject: &Value| {
        let (kind, name, group) = (text(subject, "/kind"), text(subject, "/name"), text(subject, "/apiGroup"));
        match kind {
            "User" if group == GROUP => Some((Subject::User(name.into()), format!("User {name:?}"))),
            "Group" if group == GROUP => Some((Subject::Group(name.into()), format!("Group {name:?}"))),
            "ServiceAccount" if group.is_empty() => {
                let of = match text(subject, "/namespace") {
                    "" => namespace,
                    own => own,
                };
                // Without a namespace it names no account.
                (!of.is_empty()).then(|| {
                    let user = format!("{}{of}:{name}", names::SERVICE_ACCOUNT_PREFIX);
                    (Subject::User(user.into()), format!("ServiceAccount {:?}", format!("{name}/{of}")))
                })
            }
            _ => None,
        }
    };
    subjects.iter().filter_map(read).collect()
}

impl Index {
    /// Takes an object of one of RBAC's four resources; others are ignored.
    pub(super) fn apply(&mut self, resource: &str, object: &Value) {
        let key: Key = (namespace_of(object).into(), name_of(object).into());
        match resource {
            ROLES | CLUSTER_ROLES => {
                self.roles.entry(key.0).or_default().insert(key.1, rules_of(object).into());
            }
            ROLE_BINDINGS | CLUSTER_ROLE_BINDINGS => {
                self.unbind(&key);
                if let Some(role) = RoleRef::of(object) {
                    let subjects = subjects_of(object, &key.0);
                    self.bind(key, role, subjects);
                }
            }
            _ => {}
        }
    }

    pub(super) fn delete(&mut self, resource: &str, namespace: &str, name: &str) {
        let key: Key = (namespace.into(), name.into());
        match resource {
            ROLES | CLUSTER_ROLES => {
                if let Some(roles) = self.roles.get_mut(&key.0) {
                    roles.remove(&key.1);
                    if roles.is_empty() {
                        self.roles.remove(&key.0);
                    }
                }
            }
            ROLE_BINDINGS | CLUSTER_ROLE_BINDINGS => self.unbind(&key),
            _ => {}
        }
    }

    /// Forgets all objects of one resource.
    pub(super) fn clear(&mut self, resource: &str) {
        match resource {
            ROLES => self.roles.retain(|namespace, _| namespace.is_empty()),
            CLUSTER_ROLES => self.roles.retain(|namespace, _| !namespace.is_empty()),
            ROLE_BINDINGS | CLUSTER_ROLE_BINDINGS => {
                let keeps = |namespace: &str| namespace.is_empty() == (resource == ROLE_BINDINGS);
                self.bindings.retain(|(namespace, _), _| keeps(namespace));
                self.by_subject.retain(|namespace, _| keeps(namespace));
            }
            _ => {}
        }
    }

    fn bind(&mut self, key: Key, role: RoleRef, subjects: Vec<(Subject, String)>) {
        let binding = Arc::new(Binding { namespace: key.0.clone(), name: key.1.clone(), role, subjects });
        let by_subject = self.by_subject.entry(key.0.clone()).or_default();
        for (subject, _) in &binding.subjects {
            let (all, name) = by_subject.of(subject);
            all.entry(name).or_default().insert(key.1.clone(), binding.clone());
        }
        self.bindings.insert(key, binding);
    }

    fn unbind(&mut self, key: &Key) {
        let Some(binding) = self.bindings.remove(key) else { return };
        let Some(by_subject) = self.by_subject.get_mut(&key.0) else { return };
        for (subject, _) in &binding.subjects {
            let (all, name) = by_subject.of(subject);
            if let Some(named) = all.get_mut(&name) {
                named.remove(&key.1);
                if named.is_empty() {
                    all.remove(&name);
                }
            }
        }
        if by_subject.users.is_empty() && by_subject.groups.is_empty() {
            self.by_subject.remove(&key.0);
        }
    }

    /// The rules a role reference leads to, from a binding in `namespace` ("" for the cluster).
    pub(super) fn role(&self, role: &RoleRef, namespace: &str) -> Option<&Arc<[PolicyRule]>> {
        let of: &str = if role.cluster { "" } else { namespace };
        if !role.cluster && of.is_empty() {
            return None;
        }
        self.roles.get(of)?.get(&role.name)
    }

    /// Visits the rules a user has in a namespace, cluster-wide ones first, until `visit` says to stop (true).
    fn visit(
        &self,
        user: &UserInfo,
        namespace: &str,
        visit: &mut dyn FnMut(&Binding, &dyn Fn() -> String, &[PolicyRule]) -> bool,
    ) {
        let scopes: &[&str] = if namespace.is_empty() { &[""] } else { &["", namespace] };
        for subjects in scopes.iter().filter_map(|scope| self.by_subject.get(*scope)) {
            let by_user = subjects.users.get(user.name.as_str()).map(|named| (true, user.name.as_str(), named));
            let by_group = user
                .groups
                .iter()
                .filter_map(|group| subjects.groups.get(group.as_str()).map(|named| (false, group.as_str(), named)));
            for (is_user, name, bindings) in by_user.into_iter().chain(by_group) {
                for binding in bindings.values() {
                    let Some(rules) = self.role(&binding.role, &binding.namespace) else { continue };
                    let words = || binding.words(is_user, name);
                    if visit(binding, &words, rules) {
                        return;
                    }
                }
            }
        }
    }

    /// The reason it is allowed, None if nothing allows it.
    pub(super) fn authorize(&self, asked: &Attributes<'_>) -> Option<String> {
        let mut reason = None;
        let namespace = if asked.is_resource_request { asked.namespace } else { "" };
        self.visit(asked.user, namespace, &mut |binding, subject, rules| {
            if rules.iter().any(|rule| rule.allows(asked)) {
                reason = Some(explain(binding, &subject()));
            }
            reason.is_some()
        });
        reason
    }

    /// Every rule a user has in a namespace ("" for the cluster-wide ones only).
    pub(super) fn rules(&self, user: &UserInfo, namespace: &str) -> Vec<PolicyRule> {
        let mut all = Vec::new();
        self.visit(user, namespace, &mut |_, _, rules| {
            all.extend_from_slice(rules);
            false
        });
        all
    }
}

fn explain(binding: &Binding, subject: &str) -> String {
    let role = format!("{} {:?}", binding.role.kind(), binding.role.name);
    if binding.namespace.is_empty() {
        format!("RBAC: allowed by ClusterRoleBinding {:?} of {role} to {subject}", binding.name)
    } else {
        let name = format!("{}/{}", binding.name, binding.namespace);
        format!("RBAC: allowed by RoleBinding {name:?} of {role} to {subject}")
    }
}
