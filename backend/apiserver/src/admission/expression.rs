//! Evaluating the expressions of admission: what they see of a request, and what they may spend.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use pilothouse_access::UserInfo;
use pilothouse_access::authz::{Attributes, Authorizer};
use pilothouse_cel::{
    Authorizer as Judge, Budget, Check, Decision, Error, Host, PER_EXPRESSION, Program, Value as Cel,
};
use pilothouse_kinds::expressions::{Names, Wanted, expression};
use serde_json::Value;

use super::Passage;
use super::forms::Form;
use super::webhooks::request_value;

/// What all expressions of one policy may cost for one request, as upstream.
pub const PER_POLICY: u64 = 10_000_000;
/// What all conditions of a webhook or policy may cost.
pub const PER_CONDITIONS: u64 = 2_500_000;

/// An expression, ready to run or known to be wrong.
pub type Compiled = Result<Program, String>;

pub fn compiled(source: &Value, names: &Names, wanted: Wanted) -> Compiled {
    expression(source.as_str().unwrap_or_default(), names, wanted)
}

/// A variable of a policy.
pub struct Variable {
    pub name: String,
    pub program: Compiled,
}

/// What expressions see of a request.
pub struct Inputs<'p> {
    object: &'p Value,
    old: &'p Value,
    params: Option<&'p Value>,
    namespace: Option<Arc<Value>>,
    request: Value,
    judge: Arc<dyn Judge>,
    resource: Check,
}

impl<'p> Inputs<'p> {
    pub fn new(
        passage: &Passage<'_>,
        form: &Form,
        object: &'p Value,
        old: &'p Value,
        params: Option<&'p Value>,
    ) -> Self {
        let request = &passage.request;
        let is_namespace = request.group.is_empty() && request.resource == "namespaces";
        let namespace = (!is_namespace && !request.namespace.is_empty())
            .then(|| passage.server.reader.get("namespaces", "", &request.namespace))
            .flatten();
        Self {
            object,
            old,
            params,
            namespace,
            request: request_value(request, &passage.form, form, &passage.options),
            judge: Arc::new(Requester { user: request.user.clone(), by: Arc::clone(&passage.server.authorizer) }),
            resource: Check {
                group: request.group.clone(),
                resource: request.resource.clone(),
                subresource: request.subresource.clone(),
                namespace: if is_namespace { String::new() } else { request.namespace.clone() },
                name: request.name.clone(),
                ..Check::default()
            },
        }
    }

    /// The variables of an expression. `variables` are computed when they are asked for, once.
    pub fn bind<'a>(&'a self, variables: &'a [Variable]) -> Bound<'a> {
        let nothing = || Cel::Null;
        let mut all: Vec<(&'a str, Cel<'a>)> = vec![
            ("object", Cel::json(self.object)),
            ("oldObject", Cel::json(self.old)),
            ("request", Cel::json(&self.request)),
            ("params", self.params.map_or_else(nothing, Cel::json)),
            ("namespaceObject", self.namespace.as_deref().map_or_else(nothing, Cel::json)),
        ];
        let authorizer = Authorizing {
            own: Cel::authorizer(Arc::clone(&self.judge)),
            resource: Cel::resource_check(Arc::clone(&self.judge), self.resource.clone()),
        };
        all.push(("authorizer", Cel::Host(Arc::new(authorizer))));
        let lazy = Arc::new_cyclic(|own| Lazy {
            programs: variables,
            scope: all.clone(),
            known: Mutex::default(),
            left: Mutex::new(PER_POLICY),
            own: Weak::clone(own),
        });
        all.push(("variables", Cel::Host(Arc::clone(&lazy) as Arc<dyn Host<'a> + 'a>)));
        Bound { all, lazy }
    }
}

/// The variables of an expression with their values.
pub struct Bound<'a> {
    all: Vec<(&'a str, Cel<'a>)>,
    lazy: Arc<Lazy<'a>>,
}

impl<'a> Bound<'a> {
    /// # Errors
    /// What went wrong, in the words that clients see.
    pub fn eval(&self, program: &'a Compiled, budget: &Budget) -> Result<Cel<'a>, String> {
        let program = program.as_ref().map_err(Clone::clone)?;
        let part = budget.part(PER_EXPRESSION);
        let outcome = program.eval(&self.all, &part);
        budget.settle(&part, PER_EXPRESSION);
        outcome.map_err(|error| error.to_string())
    }
}

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        // A variable may hold what holds the variables.
        self.lazy.known.lock().clear();
    }
}

/// `variables`.
struct Lazy<'a> {
    programs: &'a [Variable],
    scope: Vec<(&'a str, Cel<'a>)>,
    known: Mutex<HashMap<String, Result<Cel<'a>, Error>>>,
    left: Mutex<u64>,
    own: Weak<Lazy<'a>>,
}

impl<'a> Lazy<'a> {
    fn compute(&self, variable: &'a Variable) -> Result<Cel<'a>, Error> {
        let program = variable.program.as_ref().map_err(|why| Error::Failed(why.clone()))?;
        let mut scope = self.scope.clone();
        if let Some(own) = self.own.upgrade() {
            scope.push(("variables", Cel::Host(own as Arc<dyn Host<'a> + 'a>)));
        }
        let most = (*self.left.lock()).min(PER_EXPRESSION);
        let budget = Budget::new(most);
        let value = program.eval(&scope, &budget);
        let mut left = self.left.lock();
        *left = left.saturating_sub(most - budget.left());
        value
    }
}

impl<'a> Host<'a> for Lazy<'a> {
    fn type_name(&self) -> &'static str {
        "kubernetes.variables"
    }

    fn field(&self, name: &str) -> Option<Result<Cel<'a>, Error>> {
        let variable = self.programs.iter().find(|variable| variable.name == name)?;
        let known = self.known.lock().get(name).cloned();
        Some(known.unwrap_or_else(|| {
            // A variable only names those before it, so this ends.
            let value = self.compute(variable);
            self.known.lock().insert(name.to_owned(), value.clone());
            value
        }))
    }
}

/// `authorizer`, and the request's own resource in it.
struct Authorizing<'a> {
    own: Cel<'a>,
    resource: Cel<'a>,
}

impl<'a> Host<'a> for Authorizing<'a> {
    fn type_name(&self) -> &'static str {
        "kubernetes.authorization.Authorizer"
    }
    fn field(&self, name: &str) -> Option<Result<Cel<'a>, Error>> {
        (name == "requestResource").then(|| Ok(self.resource.clone()))
    }
    fn call(&self, function: &str, arguments: &[Cel<'a>]) -> Option<Result<Cel<'a>, Error>> {
        match &self.own {
            Cel::Host(own) => own.call(function, arguments),
            _ => None,
        }
    }
}

/// Judges what the requester, or a service account, may do.
struct Requester {
    user: UserInfo,
    by: Arc<Authorizer>,
}

impl Judge for Requester {
    fn check(&self, check: &Check) -> Decision {
        let account =
            check.service_account.as_ref().map(|(namespace, name)| UserInfo::service_account(namespace, name, ""));
        let user = account.as_ref().unwrap_or(&self.user);
        let attributes = if check.path.is_empty() {
            Attributes::resource(user, &check.verb, &check.group, "*", &check.resource)
                .subresource(&check.subresource)
                .namespace(&check.namespace)
                .name(&check.name)
                .field_selector(&check.field_selector)
        } else {
            Attributes::path(user, &check.verb, &check.path)
        };
        let decision = self.by.authorize(&attributes);
        Decision { allowed: decision.allowed, reason: decision.reason, error: None }
    }
}
