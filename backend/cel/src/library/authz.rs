//! Asking whether the requester may do something else:
//! <https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-authorizer-library>

use std::sync::Arc;

use super::{Cost, Overload, T, member};
use crate::error::{Error, Result};
use crate::value::{Host, Value};

pub const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
const PATH: &str = "kubernetes.authorization.PathCheck";
const GROUP: &str = "kubernetes.authorization.GroupCheck";
const RESOURCE: &str = "kubernetes.authorization.ResourceCheck";
const DECISION: &str = "kubernetes.authorization.Decision";

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// Namespace and name of a ServiceAccount that is asked about instead of the requester.
    pub service_account: Option<(String, String)>,
    /// A plain path; empty for resources.
    pub path: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
    pub verb: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
    pub error: Option<String>,
}

/// Whoever decides.
pub trait Authorizer: Send + Sync {
    fn check(&self, check: &Check) -> Decision;
}

/// What a decision costs: it may look through many rules.
const CHECK: Cost = Cost::Fixed(350_000);

const fn on(name: &'static str, args: &'static [T], result: &'static str, cost: Cost) -> Overload {
    member(name, args, T::Opaque(result), cost, step)
}

/// What the checker knows; [`Asked`] does the work.
pub(crate) const ALL: &[Overload] = &[
    on("path", &[T::Opaque(AUTHORIZER), T::String], PATH, Cost::One),
    on("group", &[T::Opaque(AUTHORIZER), T::String], GROUP, Cost::One),
    on("serviceAccount", &[T::Opaque(AUTHORIZER), T::String, T::String], AUTHORIZER, Cost::One),
    on("resource", &[T::Opaque(GROUP), T::String], RESOURCE, Cost::One),
    on("subresource", &[T::Opaque(RESOURCE), T::String], RESOURCE, Cost::One),
    on("namespace", &[T::Opaque(RESOURCE), T::String], RESOURCE, Cost::One),
    on("name", &[T::Opaque(RESOURCE), T::String], RESOURCE, Cost::One),
    on("fieldSelector", &[T::Opaque(RESOURCE), T::String], RESOURCE, Cost::One),
    on("labelSelector", &[T::Opaque(RESOURCE), T::String], RESOURCE, Cost::One),
    on("check", &[T::Opaque(PATH), T::String], DECISION, CHECK),
    on("check", &[T::Opaque(RESOURCE), T::String], DECISION, CHECK),
    member("allowed", &[T::Opaque(DECISION)], T::Bool, Cost::One, step),
    member("reason", &[T::Opaque(DECISION)], T::String, Cost::One, step),
    member("errored", &[T::Opaque(DECISION)], T::Bool, Cost::One, step),
    member("error", &[T::Opaque(DECISION)], T::String, Cost::One, step),
];

/// Hosts answer their functions themselves before the table is asked, so this is reached by other values only.
fn step<'a>(_: &[Value<'a>]) -> Result<Value<'a>> {
    Err(Error::no_such_overload())
}

struct Asked {
    of: &'static str,
    check: Check,
    by: Arc<dyn Authorizer>,
}

impl<'a> Value<'a> {
    /// The `authorizer` variable.
    pub fn authorizer(by: Arc<dyn Authorizer>) -> Self {
        Self::Host(Arc::new(Asked { of: AUTHORIZER, check: Check::default(), by }))
    }

    /// `authorizer.requestResource`: a check that is about the request's own resource.
    pub fn resource_check(by: Arc<dyn Authorizer>, check: Check) -> Self {
        Self::Host(Arc::new(Asked { of: RESOURCE, check, by }))
    }
}

impl<'a> Host<'a> for Asked {
    fn type_name(&self) -> &'static str {
        self.of
    }

    fn call(&self, function: &str, arguments: &[Value<'a>]) -> Option<Result<Value<'a>>> {
        let text = |at: usize| arguments.get(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut check = self.check.clone();
        let of = match (self.of, function) {
            (AUTHORIZER, "path") => {
                check.path = text(0);
                PATH
            }
            (AUTHORIZER, "group") => {
                check.group = text(0);
                GROUP
            }
            (AUTHORIZER, "serviceAccount") => {
                check.service_account = Some((text(0), text(1)));
                AUTHORIZER
            }
            (GROUP, "resource") => {
                check.resource = text(0);
                RESOURCE
            }
            (RESOURCE, "subresource") => {
                check.subresource = text(0);
                RESOURCE
            }
            (RESOURCE, "namespace") => {
                check.namespace = text(0);
                RESOURCE
            }
            (RESOURCE, "name") => {
                check.name = text(0);
                RESOURCE
            }
            (RESOURCE, "fieldSelector") => {
                check.field_selector = text(0);
                RESOURCE
            }
            (RESOURCE, "labelSelector") => {
                check.label_selector = text(0);
                RESOURCE
            }
            (PATH | RESOURCE, "check") => {
                check.verb = text(0);
                let decision = self.by.check(&check);
                return Some(Ok(Value::Host(Arc::new(Decided(decision)))));
            }
            _ => return None,
        };
        Some(Ok(Value::Host(Arc::new(Self { of, check, by: Arc::clone(&self.by) }))))
    }
}

struct Decided(Decision);

impl<'a> Host<'a> for Decided {
    fn type_name(&self) -> &'static str {
        DECISION
    }

    fn call(&self, function: &str, _: &[Value<'a>]) -> Option<Result<Value<'a>>> {
        Some(Ok(match function {
            "allowed" => self.0.allowed.into(),
            "reason" => self.0.reason.clone().into(),
            "errored" => self.0.error.is_some().into(),
            "error" => self.0.error.clone().unwrap_or_default().into(),
            _ => return None,
        }))
    }
}
