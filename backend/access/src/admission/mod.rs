//! May this object come in, and in what form? An ordered table of plugins, in two passes as upstream: first every
//! `admit` (may change the object), then every `validate` (may only refuse). The caller validates the kind between
//! the two: [`Admission::admit`], validation, [`Admission::validate`].
//!
//! Invariants:
//! - `validate` cannot change the object.
//! - Plugins read the cluster through the watch cache only; the one thing they remember is the quota ledger, which is
//!   bounded and only ever makes them stricter.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/>

use std::sync::Arc;

use jiff::Timestamp;
use pilothouse_api::Status;
use serde_json::Value;

use crate::authz::Authorizer;
use crate::{Reader, UserInfo};

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
        Status::forbidden(&self.group, &self.resource, &self.name, why)
    }

    fn is(&self, group: &str, resource: &str) -> bool {
        self.group == group && self.resource == resource
    }
}

/// What plugins may look at besides the request.
pub struct Context<'a> {
    pub reader: &'a dyn Reader,
    pub authorizer: &'a Authorizer,
}

pub struct Plugin {
    pub name: &'static str,
    pub admit: Option<fn(&Context<'_>, &mut Request) -> Result<(), Status>>,
    /// Gets the request mutably for its warnings and audit annotations; the object stays as it is.
    pub validate: Option<fn(&Context<'_>, &mut Request) -> Result<(), Status>>,
}

/// In upstream's order: the order is behaviour.
pub const ALL: &[Plugin] = &[];

/// The table with what it reads. Share it in an `Arc`.
pub struct Admission {
    reader: Arc<dyn Reader>,
    authorizer: Arc<Authorizer>,
}

impl Admission {
    pub fn new(reader: Arc<dyn Reader>, authorizer: Arc<Authorizer>) -> Self {
        Self { reader, authorizer }
    }

    fn context(&self) -> Context<'_> {
        Context { reader: &*self.reader, authorizer: &self.authorizer }
    }

    /// The mutating pass. Errors: 403, 422, in upstream's words.
    pub fn admit(&self, request: &mut Request) -> Result<(), Status> {
        let context = self.context();
        ALL.iter().filter_map(|plugin| plugin.admit).try_for_each(|admit| admit(&context, request))
    }

    /// The validating pass, to be run on the object as it will be stored.
    pub fn validate(&self, request: &mut Request) -> Result<(), Status> {
        let context = self.context();
        ALL.iter().filter_map(|plugin| plugin.validate).try_for_each(|validate| validate(&context, request))
    }

    /// Both passes, for deletes and connects, where nothing lies between them.
    pub fn run(&self, request: &mut Request) -> Result<(), Status> {
        self.admit(request)?;
        self.validate(request)
    }
}
