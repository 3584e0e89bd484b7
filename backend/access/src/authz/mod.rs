//! May they? An ordered chain: `system:masters`, the node authorizer, RBAC. The first to allow decides; nobody denies
//! early, because what no one allows is denied.
//!
//! Invariants:
//! - Deny by default: an unknown role, an unparsable rule or a missing index entry grants nothing.
//! - Synchronous and in memory: `apply`, `delete` and `reset` feed the index from watches, [`Authorizer::authorize`]
//!   reads it; a decision looks only at the bindings of the user's own subjects.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/authorization/>

mod escalation;
mod node;
mod rbac;
mod review;
mod rule;

use std::borrow::Cow;

use parking_lot::RwLock;
use pilothouse_api::Status;
use serde_json::Value;

pub use review::{NonResourceRule, ResourceRule, RulesReview};
pub use rule::PolicyRule;

use crate::{UserInfo, groups};

/// What is asked: one verb on one resource, or on one path.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    pub user: &'a UserInfo,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, …; for paths the HTTP method
    /// in lower case.
    pub verb: &'a str,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    /// Empty for cluster-scoped requests and for those across all namespaces.
    pub namespace: &'a str,
    pub name: &'a str,
    /// The query's `fieldSelector` of list, watch and deletecollection, as it came.
    pub field_selector: &'a str,
    /// The path of a request that is not about a resource.
    pub path: &'a str,
    pub is_resource_request: bool,
}

impl<'a> Attributes<'a> {
    pub fn resource(user: &'a UserInfo, verb: &'a str, group: &'a str, version: &'a str, resource: &'a str) -> Self {
        Self {
            user,
            verb,
            group,
            version,
            resource,
            subresource: "",
            namespace: "",
            name: "",
            field_selector: "",
            path: "",
            is_resource_request: true,
        }
    }
    pub fn path(user: &'a UserInfo, verb: &'a str, path: &'a str) -> Self {
        Self { path, is_resource_request: false, ..Self::resource(user, verb, "", "", "") }
    }
    #[must_use]
    pub fn subresource(mut self, subresource: &'a str) -> Self {
        self.subresource = subresource;
        self
    }
    #[must_use]
    pub fn namespace(mut self, namespace: &'a str) -> Self {
        self.namespace = namespace;
        self
    }
    #[must_use]
    pub fn name(mut self, name: &'a str) -> Self {
        self.name = name;
        self
    }

    /// Takes the query's field selector; `metadata.name=NAME` in it makes a list or watch one about that object, as
    /// upstream.
    #[must_use]
    pub fn field_selector(mut self, selector: &'a str) -> Self {
        self.field_selector = selector;
        if self.name.is_empty() {
            self.name = self.selected("metadata.name").unwrap_or("");
        }
        self
    }

    /// The value that the field selector requires of a field. A selector with escapes selects nothing here: it is
    /// split at commas, and an escaped comma must not pass for one.
    fn selected(&self, field: &str) -> Option<&'a str> {
        if self.field_selector.contains('\\') {
            return None;
        }
        self.field_selector.split(',').find_map(|requirement| {
            let (of, value) = requirement.split_once('=')?;
            (of == field).then(|| value.strip_prefix('=').unwrap_or(value))
        })
    }

    fn selects(&self, field: &str, value: &str) -> bool {
        !value.is_empty() && self.selected(field) == Some(value)
    }

    /// Why it was refused, in the words clients know:
    /// `User "jane" cannot list resource "pods" in API group "" in the namespace "default"`.
    pub fn denial(&self) -> String {
        let (user, verb) = (&self.user.name, self.verb);
        if !self.is_resource_request {
            return format!("User {user:?} cannot {verb} path {:?}", self.path);
        }
        let resource = match self.subresource {
            "" => Cow::Borrowed(self.resource),
            sub => Cow::Owned(format!("{}/{sub}", self.resource)),
        };
        let place = match self.namespace {
            "" => Cow::Borrowed("at the cluster scope"),
            namespace => Cow::Owned(format!("in the namespace {namespace:?}")),
        };
        format!("User {user:?} cannot {verb} resource {resource:?} in API group {:?} {place}", self.group)
    }

    /// The 403 that answers a refused request. `reason` is the decision's, empty for most.
    pub fn forbidden(&self, reason: &str) -> Status {
        let why = if reason.is_empty() { self.denial() } else { format!("{}: {reason}", self.denial()) };
        if self.is_resource_request {
            return Status::forbidden(self.group, self.resource, self.name, &why);
        }
        let mut status = Status::forbidden("", "", "", &why);
        status.message = format!("forbidden: {why}");
        status
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// For audit annotations and `SubjectAccessReview`:
    /// `RBAC: allowed by ClusterRoleBinding "x" of ClusterRole "y" to Group "z"`.
    pub reason: String,
}

impl Decision {
    fn allow(reason: impl Into<String>) -> Self {
        Self { allowed: true, reason: reason.into() }
    }
    fn deny(reason: impl Into<String>) -> Self {
        Self { allowed: false, reason: reason.into() }
    }
}

/// The index and the chain over it. Cheap to read from many threads; share it in an `Arc`.
#[derive(Default)]
pub struct Authorizer {
    rbac: RwLock<rbac::Index>,
    nodes: RwLock<node::Graph>,
}

impl Authorizer {
    /// The resources whose objects must be fed to [`apply`](Self::apply) and [`delete`](Self::delete), in the names
    /// the store uses.
    pub const WATCHED: &'static [&'static str] = &[
        "clusterrolebindings.rbac.authorization.k8s.io",
        "clusterroles.rbac.authorization.k8s.io",
        "persistentvolumes",
        "pods",
        "rolebindings.rbac.authorization.k8s.io",
        "roles.rbac.authorization.k8s.io",
        "volumeattachments.storage.k8s.io",
    ];

    pub fn new() -> Self {
        Self::default()
    }

    /// An object was added or changed. `resource` is one of [`WATCHED`](Self::WATCHED); others are ignored.
    pub fn apply(&self, resource: &str, object: &Value) {
        if rbac::is_rbac(resource) {
            self.rbac.write().apply(resource, object);
        } else if let Some(fact) = node::Fact::of(resource, object) {
            self.nodes.write().put(fact);
        }
    }

    /// An object is gone.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) {
        if rbac::is_rbac(resource) {
            self.rbac.write().delete(resource, namespace, name);
        } else {
            self.nodes.write().delete(resource, namespace, name);
        }
    }

    /// Replaces everything known of one resource, after a new list.
    pub fn reset<'a>(&self, resource: &str, objects: impl IntoIterator<Item = &'a Value>) {
        if rbac::is_rbac(resource) {
            let mut index = self.rbac.write();
            index.clear(resource);
            objects.into_iter().for_each(|object| index.apply(resource, object));
        } else {
            let facts: Vec<_> = objects.into_iter().filter_map(|object| node::Fact::of(resource, object)).collect();
            let mut graph = self.nodes.write();
            graph.clear(resource);
            facts.into_iter().for_each(|fact| graph.put(fact));
        }
    }

    pub fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.in_group(groups::MASTERS) {
            return Decision::allow("");
        }
        let mut refusal = String::new();
        if let Some(node) = attributes.user.node_name() {
            match self.nodes.read().authorize(node, attributes) {
                Ok(()) => return Decision::allow(""),
                Err(reason) => refusal = reason,
            }
        }
        match self.rbac.read().authorize(attributes) {
            Some(reason) => Decision::allow(reason),
            None => Decision::deny(refusal),
        }
    }

    /// `Ok` or the 403 to answer with.
    pub fn check(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let decision = self.authorize(attributes);
        if decision.allowed { Ok(()) } else { Err(attributes.forbidden(&decision.reason)) }
    }

    /// All that a user may do in a namespace, for `SelfSubjectRulesReview`.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> RulesReview {
        review::rules_for(&self.rbac.read(), user, namespace)
    }

    /// Creating or updating Roles, ClusterRoles and their bindings: nobody grants more than they hold, unless they may
    /// `escalate` the role or `bind` it. `old` is the object before an update. Other resources pass.
    /// Errors: 403 in upstream's words.
    pub fn escalation_check(
        &self,
        user: &UserInfo,
        resource: &str,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        escalation::check(self, user, resource, object, old)
    }
}

#[cfg(test)]
mod tests;
