//! May this object come in, and in what form? An ordered table of plugins, in two passes as upstream: first every
//! `admit` (may change the object), then every `validate` (may only refuse), the quota last. The caller validates the
//! kind between the two: [`Admission::admit`], validation, [`Admission::validate`], [`Admission::charge`].
//!
//! Invariants:
//! - `validate` cannot change the object: it gets it shared.
//! - Plugins read the cluster through the watch cache only; the one thing they remember is the quota ledger, which is
//!   bounded and only ever makes them stricter.
//!
//! Not here, because upstream leaves it off by default too: `OwnerReferencesPermissionEnforcement`. `NamespaceExists`
//! is part of `NamespaceLifecycle`.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/>

mod certificates;
mod claim_resize;
mod default_classes;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod node_taint;
mod object;
mod pod_security;
mod pod_topology_labels;
mod priority;
mod protection;
mod resource_quota;
mod role_escalation;
mod runtime_class;
mod service_account;
mod tolerations;
mod user_groups;
mod user_password;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pilothouse_api::Status;
use serde_json::Value;

use crate::authz::Authorizer;
use crate::{Reader, UserInfo, name_of, text};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    /// exec, attach, portforward, proxy.
    Connect,
}

/// One object on its way in.
#[derive(Clone, Debug)]
pub struct Request {
    pub operation: Operation,
    pub user: UserInfo,
    pub group: String,
    pub version: String,
    /// Plural: `pods`.
    pub resource: String,
    /// `status`, `scale`, `eviction`, `binding`, …; empty for the object itself.
    pub subresource: String,
    pub kind: String,
    /// Empty for cluster-scoped objects; for Namespaces the namespace itself.
    pub namespace: String,
    /// The final name, already generated.
    pub name: String,
    /// The new object; None for deletes.
    pub object: Option<Value>,
    /// The stored object; None for creates.
    pub old: Option<Arc<Value>>,
    pub dry_run: bool,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
    /// Annotations for the audit event (`pod-security.kubernetes.io/…`).
    pub audit: Vec<(String, String)>,
    pub now: Timestamp,
    /// Randomness for generated names; fresh for every request.
    pub random: u64,
}

impl Request {
    /// A request with empty optional parts, the present time and fresh randomness.
    pub fn new(operation: Operation, user: UserInfo, group: &str, version: &str, resource: &str, kind: &str) -> Self {
        Self {
            operation,
            user,
            group: group.to_owned(),
            version: version.to_owned(),
            resource: resource.to_owned(),
            subresource: String::new(),
            kind: kind.to_owned(),
            namespace: String::new(),
            name: String::new(),
            object: None,
            old: None,
            dry_run: false,
            warnings: Vec::new(),
            audit: Vec::new(),
            now: Timestamp::now(),
            random: rand::random(),
        }
    }

    /// 403 `RESOURCE "NAME" is forbidden: WHY`.
    pub fn forbidden(&self, why: &str) -> Status {
        let object = self.object.as_ref().unwrap_or(&Value::Null);
        let name = [self.name.as_str(), name_of(object), text(object, "/metadata/generateName"), "Unknown"];
        let name = name.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        Status::forbidden(&self.group, &self.resource, name, why)
    }

    /// It is about objects of this resource itself, not about a subresource.
    fn is(&self, group: &str, resource: &str) -> bool {
        self.subresource.is_empty() && self.group == group && self.resource == resource
    }

    fn creates(&self, group: &str, resource: &str) -> bool {
        self.operation == Operation::Create && self.is(group, resource)
    }

    fn updates(&self, group: &str, resource: &str) -> bool {
        self.operation == Operation::Update && self.is(group, resource)
    }
}

/// What plugins may look at besides the request.
pub struct Context<'a> {
    pub reader: &'a dyn Reader,
    pub authorizer: &'a Authorizer,
    ledger: &'a resource_quota::Ledger,
}

/// What a validating plugin may leave behind.
#[derive(Default)]
pub struct Notes {
    pub warnings: Vec<String>,
    pub audit: Vec<(String, String)>,
}

pub type Admit = fn(&Context<'_>, &mut Request) -> Result<(), Status>;
pub type Validate = fn(&Context<'_>, &Request, &mut Notes) -> Result<(), Status>;

pub struct Plugin {
    pub name: &'static str,
    pub admit: Option<Admit>,
    pub validate: Option<Validate>,
}

/// In upstream's order: the order is behaviour. Ours come before the quota, which must see the final object.
pub const ALL: &[Plugin] = &[
    namespace_lifecycle::PLUGIN,
    limit_ranger::PLUGIN,
    service_account::PLUGIN,
    node_restriction::PLUGIN,
    node_taint::PLUGIN,
    pod_security::PLUGIN,
    priority::PLUGIN,
    tolerations::DEFAULT_SECONDS,
    default_classes::STORAGE,
    protection::PLUGIN,
    claim_resize::PLUGIN,
    runtime_class::PLUGIN,
    certificates::APPROVAL,
    certificates::SIGNING,
    certificates::SUBJECT_RESTRICTION,
    default_classes::INGRESS,
    pod_topology_labels::PLUGIN,
    role_escalation::PLUGIN,
    user_groups::PLUGIN,
    user_password::PLUGIN,
];

/// What comes after everything else that may refuse, users' own admission included: what is refused is not charged.
const LAST: &[Plugin] = &[resource_quota::PLUGIN];

/// The table with what it reads. Share it in an `Arc`.
pub struct Admission {
    reader: Arc<dyn Reader>,
    authorizer: Arc<Authorizer>,
    ledger: resource_quota::Ledger,
}

impl Admission {
    pub fn new(reader: Arc<dyn Reader>, authorizer: Arc<Authorizer>) -> Self {
        Self { reader, authorizer, ledger: resource_quota::Ledger::default() }
    }

    fn context(&self) -> Context<'_> {
        Context { reader: &*self.reader, authorizer: &self.authorizer, ledger: &self.ledger }
    }

    /// The mutating pass. Errors: 403, 404, 422, in upstream's words.
    pub fn admit(&self, request: &mut Request) -> Result<(), Status> {
        let context = self.context();
        ALL.iter().filter_map(|plugin| plugin.admit).try_for_each(|admit| admit(&context, request))
    }

    /// The validating pass but for the quota, to be run on the object as it will be stored.
    pub fn validate(&self, request: &mut Request) -> Result<(), Status> {
        self.validate_with(ALL, request)
    }

    /// The end of the validating pass: the quota.
    pub fn charge(&self, request: &mut Request) -> Result<(), Status> {
        self.validate_with(LAST, request)
    }

    fn validate_with(&self, plugins: &[Plugin], request: &mut Request) -> Result<(), Status> {
        let context = self.context();
        let mut notes = Notes::default();
        let result = plugins
            .iter()
            .filter_map(|plugin| plugin.validate)
            .try_for_each(|validate| validate(&context, request, &mut notes));
        request.warnings.append(&mut notes.warnings);
        request.audit.append(&mut notes.audit);
        result
    }

    /// All of it.
    #[cfg(test)]
    pub fn run(&self, request: &mut Request) -> Result<(), Status> {
        self.admit(request)?;
        self.validate(request)?;
        self.charge(request)
    }

    /// To be awaited before [`admit`](Self::admit): a pod that comes right after its namespace may be faster than the
    /// controller that makes the namespace's default account, so it waits for it, as upstream, two seconds at most.
    pub async fn settle(&self, request: &Request) {
        const TRIES: u32 = 40;
        const PAUSE: Duration = Duration::from_millis(50);
        for _ in 0..TRIES {
            if !service_account::misses_default(&*self.reader, request) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests;
