//! Evaluating a validating policy on one object.

use pilothouse_cel::{Budget, Value as Cel};
use serde_json::Value;

use super::policy::{Policy, Validation};
use crate::admission::Passage;
use crate::admission::conditions::Verdict;
use crate::admission::expression::{Inputs, PER_POLICY};
use crate::admission::forms::Form;

/// Longest message an expression may give, and longest audit annotation.
const MAX_MESSAGE: usize = 5 * 1024;
const MAX_AUDIT: usize = 10 * 1024;

/// What one validation came to, when it did not hold.
pub struct Finding {
    /// Its place among the policy's.
    pub index: usize,
    pub message: String,
    pub reason: String,
}

#[derive(Default)]
pub struct Findings {
    pub failed: Vec<Finding>,
    pub audit: Vec<(String, String)>,
    /// What went wrong with audit annotations: a refusal, whatever the binding's actions.
    pub broken: Vec<String>,
}

pub fn evaluate(
    passage: &Passage<'_>,
    policy: &Policy,
    form: &Form,
    (object, old): (&Value, &Value),
    params: Option<&Value>,
) -> Findings {
    let inputs = Inputs::new(passage, form, object, old, params);
    let mut findings = Findings::default();
    let error = |index: usize, message: String| Finding { index, message, reason: String::new() };
    match policy.conditions.evaluate(&inputs) {
        Verdict::Matches => {}
        Verdict::Differs => return findings,
        Verdict::Failed(why) => {
            findings.failed.push(error(0, why));
            return findings;
        }
    }
    let (bound, budget) = (inputs.bind(&policy.variables), Budget::new(PER_POLICY));
    for (index, validation) in policy.validations.iter().enumerate() {
        match bound.eval(&validation.program, &budget).map(|value| value.as_bool()) {
            Ok(Some(true)) => {}
            Ok(_) => {
                let said = validation.message_program.as_ref().and_then(|program| bound.eval(program, &budget).ok());
                findings.failed.push(Finding {
                    index,
                    message: message(validation, said.as_ref()),
                    reason: validation.reason.clone(),
                });
            }
            Err(_) if policy.fails_open => {}
            Err(why) => findings
                .failed
                .push(error(index, format!("expression '{}' resulted in error: {why}", validation.source))),
        }
    }
    for (key, program) in &policy.audit {
        match bound.eval(program, &budget) {
            Ok(value) => {
                let text = value.as_str().unwrap_or_default().trim().to_owned();
                if !text.is_empty() {
                    findings.audit.push((key.clone(), text.chars().take(MAX_AUDIT).collect()));
                }
            }
            Err(_) if policy.fails_open => {}
            Err(why) => findings.broken.push(why),
        }
    }
    findings
}

/// What the client reads: what the expression says, what the policy says, what did not hold.
fn message(validation: &Validation, said: Option<&Cel<'_>>) -> String {
    let said = said.and_then(Cel::as_str).unwrap_or_default().trim();
    let usable = !said.is_empty() && said.len() <= MAX_MESSAGE && !said.contains('\n');
    match (usable, validation.message.as_str()) {
        (true, _) => said.to_owned(),
        (false, "") => format!("failed expression: {}", validation.source),
        (false, message) => message.to_owned(),
    }
}
