//! ValidatingAdmissionPolicies and MutatingAdmissionPolicies: admission that users write in CEL.
//!
//! Invariants: a policy does nothing without a binding; what an expression may cost is limited; an expression that
//! fails is judged by the policy's failure policy, as one that does not compile is.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/>,
//! <https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/>

mod mutate;
mod params;
mod policy;
mod validate;

use std::sync::Arc;

use pilothouse_api::Status;
use pilothouse_storage::Store;
use serde_json::{Value, json};

use self::mutate::Outcome;
use self::policy::{Binding, Match, Policy};
use super::catalog::{Catalog, Item};
use super::forms::{self, Form};
use super::{Memory, Passage};

pub struct Policies {
    validating: Catalog<Policy>,
    validating_bindings: Catalog<Binding>,
    mutating: Catalog<Policy>,
    mutating_bindings: Catalog<Binding>,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            validating: Catalog::new("validatingadmissionpolicies.admissionregistration.k8s.io", policy::policy),
            validating_bindings: Catalog::new(
                "validatingadmissionpolicybindings.admissionregistration.k8s.io",
                policy::binding,
            ),
            mutating: Catalog::new("mutatingadmissionpolicies.admissionregistration.k8s.io", policy::policy),
            mutating_bindings: Catalog::new(
                "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
                policy::binding,
            ),
        }
    }
}

/// A refusal, and whose it is.
struct Denial {
    policy: String,
    binding: Option<String>,
    message: String,
    reason: String,
}

impl Policies {
    /// Whether any policy is bound at all.
    pub fn are_there(&self, store: &Store) -> bool {
        !self.validating_bindings.current(store).is_empty() || !self.mutating_bindings.current(store).is_empty()
    }

    /// All validating policies.
    ///
    /// # Errors
    /// 422, or what the validation wants, in the words of the first that denies.
    pub async fn validate(&self, passage: &mut Passage<'_>) -> Result<(), Status> {
        let bindings = self.validating_bindings.current(passage.store());
        if bindings.is_empty() {
            return Ok(());
        }
        let policies = self.validating.current(passage.store());
        let mut denials = Vec::new();
        for policy in policies.iter().map(|item| &*item.value) {
            let bound = bindings_of(&bindings, policy);
            if bound.is_empty() {
                continue;
            }
            let form = match matching(passage, &policy.constraints) {
                Ok(Some(form)) => form,
                Ok(None) => continue,
                Err(status) => {
                    configuration(policy, None, &status.message, &mut denials);
                    continue;
                }
            };
            let (object, old) = passage.shown(&form).await?;
            for binding in bound {
                match invocations(passage, policy, binding) {
                    Err(why) => configuration(policy, Some(binding), &why, &mut denials),
                    Ok(params) => {
                        for params in params {
                            let seen = (&object, &old);
                            let findings = validate::evaluate(passage, policy, &form, seen, params.as_ref());
                            take_notes(passage, policy, binding, findings, &mut denials);
                        }
                    }
                }
            }
        }
        match denials.into_iter().next() {
            None => Ok(()),
            Some(denial) => Err(refusal(passage, &denial)),
        }
    }

    /// A round of the mutating policies. True: something has changed.
    ///
    /// # Errors
    /// 403 for a policy that could not be applied and must be.
    pub async fn mutate(&self, passage: &mut Passage<'_>, memory: &mut Memory, again: bool) -> Result<bool, Status> {
        let bindings = self.mutating_bindings.current(passage.store());
        if bindings.is_empty() {
            return Ok(false);
        }
        if again && memory.left != passage.request.object {
            memory.object_changed();
        }
        let policies = self.mutating.current(passage.store());
        let (mut changed, mut failures) = (false, Vec::new());
        for policy in policies.iter().map(|item| &*item.value) {
            let bound = bindings_of(&bindings, policy);
            if bound.is_empty() {
                continue;
            }
            let form = match matching(passage, &policy.constraints) {
                Ok(Some(form)) => form,
                Ok(None) => continue,
                Err(status) => {
                    configuration(policy, None, &status.message, &mut failures);
                    continue;
                }
            };
            for binding in bound {
                let all = match invocations(passage, policy, binding) {
                    Ok(all) => all,
                    Err(why) => {
                        configuration(policy, Some(binding), &why, &mut failures);
                        continue;
                    }
                };
                for params in all {
                    let id = identity(policy, binding, params.as_ref());
                    if again && !memory.due.contains(&id) {
                        continue;
                    }
                    match mutate_one(passage, policy, &form, params.as_ref()).await? {
                        Outcome::Skipped => continue,
                        Outcome::Done(true) => {
                            changed = true;
                            memory.object_changed();
                        }
                        Outcome::Done(false) => {}
                        Outcome::Failed(_) if policy.fails_open => {}
                        Outcome::Failed(why) => failures.push(Denial {
                            policy: policy.name.clone(),
                            binding: Some(binding.name.clone()),
                            message: why,
                            reason: "Invalid".into(),
                        }),
                    }
                    if policy.again_if_needed {
                        memory.seen.insert(id);
                    }
                }
            }
        }
        memory.left.clone_from(&passage.request.object);
        match failures.first() {
            None => Ok(changed),
            Some(first) => {
                let mut status = passage.request.forbidden("admission request denied by policy");
                status.message = failed(first);
                if !first.reason.is_empty() {
                    status.reason.clone_from(&first.reason);
                }
                Err(failures.iter().fold(status, |status, failure| status.cause("", failed(failure), "")))
            }
        }
    }
}

async fn mutate_one(
    passage: &mut Passage<'_>,
    policy: &Policy,
    form: &Form,
    params: Option<&Value>,
) -> Result<Outcome, Status> {
    let (object, old) = passage.shown(form).await?;
    match mutate::wants(passage, policy, form, (&object, &old), params) {
        Ok(true) => mutate::apply(passage, policy, form, params).await,
        Ok(false) => Ok(Outcome::Skipped),
        Err(why) => Ok(Outcome::Failed(why)),
    }
}

fn bindings_of<'a>(all: &'a Arc<Vec<Item<Binding>>>, policy: &Policy) -> Vec<&'a Binding> {
    all.iter().map(|item| &*item.value).filter(|binding| binding.policy == policy.name).collect()
}

/// What a policy remembers an invocation by.
fn identity(policy: &Policy, binding: &Binding, params: Option<&Value>) -> String {
    let of = |field: &str| params.and_then(|params| params["metadata"][field].as_str()).unwrap_or_default();
    format!("{}/{}/{}/{}", policy.name, binding.name, of("namespace"), of("name"))
}

/// The form in which the request is within a match; None when it is not.
fn matching(passage: &Passage<'_>, within: &Match) -> Result<Option<Form>, Status> {
    let (server, request, own) = (passage.server, &passage.request, &passage.form);
    if forms::matching(server, &within.excluded, within.equivalent, own, request).is_some() {
        return Ok(None);
    }
    let form = if within.rules.is_empty() {
        Some(own.clone())
    } else {
        forms::matching(server, &within.rules, within.equivalent, own, request)
    };
    match form {
        Some(form) if within.selectors.match_request(&*server.reader, request)? => Ok(Some(form)),
        _ => Ok(None),
    }
}

/// The parameters to evaluate the policy with under this binding; none when the binding is not about the request.
fn invocations(passage: &Passage<'_>, policy: &Policy, binding: &Binding) -> Result<Vec<Option<Value>>, String> {
    if let Some(within) = &binding.resources
        && matching(passage, within).map_err(|status| status.message)?.is_none()
    {
        return Ok(Vec::new());
    }
    params::collect(passage, policy, binding)
}

/// A policy or binding that cannot be used, judged by the failure policy.
fn configuration(policy: &Policy, binding: Option<&Binding>, why: &str, denials: &mut Vec<Denial>) {
    if policy.fails_open {
        return;
    }
    let what = if binding.is_some() { "binding" } else { "policy" };
    denials.push(Denial {
        policy: policy.name.clone(),
        binding: binding.map(|binding| binding.name.clone()),
        message: format!("failed to configure {what}: {why}"),
        reason: String::new(),
    });
}

/// Does with what was found what the binding says.
fn take_notes(
    passage: &mut Passage<'_>,
    policy: &Policy,
    binding: &Binding,
    findings: validate::Findings,
    denials: &mut Vec<Denial>,
) {
    let denial = |message: String, reason: String| Denial {
        policy: policy.name.clone(),
        binding: Some(binding.name.clone()),
        message,
        reason,
    };
    for finding in findings.failed {
        if binding.audits {
            let mut actions = Vec::new();
            for (does, action) in [(binding.denies, "Deny"), (binding.warns, "Warn"), (binding.audits, "Audit")] {
                actions.extend(does.then_some(action));
            }
            let note = json!([{"message": finding.message, "policy": policy.name, "binding": binding.name,
                "expressionIndex": finding.index, "validationActions": actions}]);
            let key = "validation.policy.admission.k8s.io/validation_failure".to_owned();
            passage.request.audit.push((key, note.to_string()));
        }
        if binding.warns {
            passage.request.warnings.push(format!(
                "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                policy.name, binding.name, finding.message
            ));
        }
        if binding.denies {
            denials.push(denial(finding.message, finding.reason));
        }
    }
    denials.extend(findings.broken.into_iter().map(|why| denial(why, String::new())));
    let notes = findings.audit.into_iter().map(|(key, value)| (format!("{}/{key}", policy.name), value));
    passage.request.audit.extend(notes);
}

fn failed(denial: &Denial) -> String {
    match &denial.binding {
        Some(binding) => {
            format!("policy '{}' with binding '{binding}' denied request: {}", denial.policy, denial.message)
        }
        None => format!("policy '{}' denied request: {}", denial.policy, denial.message),
    }
}

/// The answer to a request that a validating policy denies.
fn refusal(passage: &Passage<'_>, denial: &Denial) -> Status {
    let name = &denial.policy;
    let message = match &denial.binding {
        Some(binding) => {
            format!("ValidatingAdmissionPolicy '{name}' with binding '{binding}' denied request: {}", denial.message)
        }
        None => format!("ValidatingAdmissionPolicy '{name}' denied request: {}", denial.message),
    };
    let mut status = passage.request.forbidden(&message).cause("", message, "");
    status.reason = if denial.reason.is_empty() { "Invalid".to_owned() } else { denial.reason.clone() };
    status.code = match status.reason.as_str() {
        "Forbidden" => 403,
        "Unauthorized" => 401,
        "RequestEntityTooLarge" => 413,
        _ => 422,
    };
    status
}
