//! Webhooks: what they are asked, and what their answers do.
//!
//! Invariants: mutating ones are asked one after the other, each sees what the one before has done; validating ones are
//! asked all at once; a webhook that does not answer costs its timeout and nothing else; what one wants to change is
//! decoded and defaulted like everything that comes in.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>

mod hook;
mod review;

use pilothouse_api::Status;
use pilothouse_schema::patch::json_patch;
use pilothouse_storage::Store;
use serde_json::json;
use tracing::{Instrument, trace_span, warn};

use super::catalog::Catalog;
use super::conditions::Verdict as Condition;
use super::expression::Inputs;
use super::forms::{self, Form};
use super::{Memory, Passage};
use crate::traces;
use hook::Hook;

pub use review::request as request_value;

/// Both kinds of configurations.
pub struct Webhooks {
    mutating: Catalog<Vec<Hook>>,
    validating: Catalog<Vec<Hook>>,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self {
            mutating: Catalog::new("mutatingwebhookconfigurations.admissionregistration.k8s.io", hook::compile),
            validating: Catalog::new("validatingwebhookconfigurations.admissionregistration.k8s.io", hook::compile),
        }
    }
}

/// Why a webhook did not let the request pass.
enum Failure {
    /// It could not be asked, or did not answer well: its failure policy decides.
    Call(String),
    /// It said no, or we do.
    Refused(Status),
}

impl Webhooks {
    /// A round of the mutating webhooks. True: something has changed.
    ///
    /// # Errors
    /// What a webhook said, or 500 when one that must be asked cannot.
    pub async fn mutate(&self, passage: &mut Passage<'_>, memory: &mut Memory, again: bool) -> Result<bool, Status> {
        let items = self.mutating.current(passage.store());
        if again && memory.left != passage.request.object {
            memory.object_changed();
        }
        let mut changed = false;
        for (index, hook) in items.iter().flat_map(|item| item.value.iter()).enumerate() {
            if again && !memory.due.contains(&hook.id) {
                continue;
            }
            let Some(form) = wanted(passage, hook).await? else { continue };
            let outcome = mutate_one(passage, hook, &form).await;
            let did = matches!(outcome, Ok(true));
            let key = format!("mutation.webhook.admission.k8s.io/round_{}_index_{index}", u8::from(again));
            let note = json!({"configuration": hook.configuration, "webhook": hook.name, "mutated": did});
            passage.request.audit.push((key, note.to_string()));
            if did {
                changed = true;
                memory.object_changed();
            }
            if hook.again_if_needed {
                memory.seen.insert(hook.id.clone());
            }
            if let Err(failure) = outcome {
                judge(passage, hook, failure)?;
            }
        }
        memory.left.clone_from(&passage.request.object);
        Ok(changed)
    }

    /// All validating webhooks, at once.
    ///
    /// # Errors
    /// The first refusal in the order of the configurations.
    pub async fn validate(&self, passage: &mut Passage<'_>) -> Result<(), Status> {
        let items = self.validating.current(passage.store());
        let mut asked: Vec<(&Hook, Form)> = Vec::new();
        for hook in items.iter().flat_map(|item| item.value.iter()) {
            if let Some(form) = wanted(passage, hook).await? {
                asked.push((hook, form));
            }
        }
        let calls = asked.iter().map(|(hook, form)| ask(passage, hook, form, false));
        let answers = futures::future::join_all(calls).await;
        let mut outcome = Ok(());
        for ((hook, _), answer) in asked.iter().zip(answers) {
            let one = match answer {
                Ok(verdict) => {
                    take_notes(passage, hook, &verdict);
                    let refused = !verdict.allowed;
                    if refused { Err(Failure::Refused(review::denial(&hook.name, verdict.result))) } else { Ok(()) }
                }
                Err(failure) => Err(failure),
            };
            if let Err(failure) = one {
                outcome = outcome.and(judge(passage, hook, failure));
            }
        }
        outcome
    }

    /// Whether there is any webhook at all.
    pub fn are_there(&self, store: &Store) -> bool {
        !self.mutating.current(store).is_empty() || !self.validating.current(store).is_empty()
    }
}

/// The form in which the hook is to be asked; None when the request is none of its business.
async fn wanted(passage: &Passage<'_>, hook: &Hook) -> Result<Option<Form>, Status> {
    let Some(form) = forms::matching(passage.server, &hook.rules, hook.equivalent, &passage.form, &passage.request)
    else {
        return Ok(None);
    };
    if !hook.selectors.match_request(&*passage.server.reader, &passage.request)? {
        return Ok(None);
    }
    if hook.conditions.is_empty() {
        return Ok(Some(form));
    }
    let (object, old) = passage.shown(&form).await?;
    let verdict = hook.conditions.evaluate(&Inputs::new(passage, &form, &object, &old, None));
    match verdict {
        Condition::Matches => Ok(Some(form)),
        Condition::Differs => Ok(None),
        Condition::Failed(why) => Err(passage.request.forbidden(&why)),
    }
}

/// One call, its answer read.
async fn ask(passage: &Passage<'_>, hook: &Hook, form: &Form, mutating: bool) -> Result<review::Verdict, Failure> {
    if passage.request.dry_run && !hook.free_of_side_effects {
        let why = format!("admission webhook {:?} does not support dry run", hook.name);
        return Err(Failure::Refused(Status::bad_request(why)));
    }
    let Some(version) = hook.version else {
        let why =
            "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)";
        return Err(Failure::Call(why.into()));
    };
    let (object, old) = passage.shown(form).await.map_err(Failure::Refused)?;
    let uid = uuid::Uuid::new_v4().to_string();
    let request = review::request(&passage.request, &passage.form, form, &passage.options);
    let question = review::question(version, &uid, request, object, old);
    let span = trace_span!(target: traces::TARGET, "webhook", otel.kind = "client", webhook = %hook.name, mutating);
    let asking = passage.server.webhooks.call(&hook.client_config, &question, hook.timeout);
    let answer = asking.instrument(span).await;
    let answer = answer.map_err(|error| Failure::Call(format!("failed to call webhook: {error}")))?;
    review::verdict(version, &uid, mutating, &answer)
        .map_err(|why| Failure::Call(format!("received invalid webhook response: {why}")))
}

fn take_notes(passage: &mut Passage<'_>, hook: &Hook, verdict: &review::Verdict) {
    passage.request.warnings.extend(verdict.warnings.iter().cloned());
    let notes = verdict.audit.iter().map(|(key, value)| (format!("{}/{key}", hook.name), value.clone()));
    passage.request.audit.extend(notes);
}

/// True when the hook has changed the object.
async fn mutate_one(passage: &mut Passage<'_>, hook: &Hook, form: &Form) -> Result<bool, Failure> {
    let verdict = ask(passage, hook, form, true).await?;
    take_notes(passage, hook, &verdict);
    if !verdict.allowed {
        return Err(Failure::Refused(review::denial(&hook.name, verdict.result)));
    }
    let Some(patch) = verdict.patch else { return Ok(false) };
    if passage.request.object.is_none() {
        let why = format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            hook.name
        );
        return Err(Failure::Refused(Status::internal(why)));
    }
    let (mut object, _) = passage.shown(form).await.map_err(Failure::Refused)?;
    let before = object.clone();
    json_patch(&mut object, &patch).map_err(|status| Failure::Refused(Status::internal(status.message)))?;
    if object == before {
        return Ok(false);
    }
    let object = forms::convert(passage.server, form, &passage.form, object).await.map_err(Failure::Refused)?;
    passage.take_over(object).map_err(Failure::Refused)
}

/// What a failure means for the request.
fn judge(passage: &mut Passage<'_>, hook: &Hook, failure: Failure) -> Result<(), Status> {
    match failure {
        Failure::Refused(status) => Err(status),
        Failure::Call(why) if hook.fails_open => {
            warn!(webhook = hook.name, why, "failed calling webhook, failing open");
            let key = "failed-open.webhook.admission.k8s.io/".to_owned() + &hook.id;
            passage.request.audit.push((key, hook.name.clone()));
            Ok(())
        }
        Failure::Call(why) => {
            warn!(webhook = hook.name, why, "failed calling webhook, failing closed");
            Err(Status::internal(format!("failed calling webhook {:?}: {why}", hook.name)))
        }
    }
}
