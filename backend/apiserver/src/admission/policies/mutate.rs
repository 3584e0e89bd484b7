//! Applying a mutating policy to one object.

use pilothouse_api::Status;
use pilothouse_cel::Budget;
use pilothouse_schema::managed::overlay;
use pilothouse_schema::patch::json_patch;
use serde_json::{Value, json};

use super::policy::{Mutation, Policy};
use crate::admission::Passage;
use crate::admission::conditions::Verdict;
use crate::admission::expression::{Inputs, PER_POLICY};
use crate::admission::forms::{self, Form};

/// What a policy did.
pub enum Outcome {
    /// It did not want to.
    Skipped,
    /// True: the object is another one.
    Done(bool),
    Failed(String),
}

/// Whether the policy's conditions want it applied.
pub fn wants(
    passage: &Passage<'_>,
    policy: &Policy,
    form: &Form,
    (object, old): (&Value, &Value),
    params: Option<&Value>,
) -> Result<bool, String> {
    match policy.conditions.evaluate(&Inputs::new(passage, form, object, old, params)) {
        Verdict::Matches => Ok(true),
        Verdict::Differs => Ok(false),
        Verdict::Failed(why) => Err(why),
    }
}

/// Applies the policy's mutations in their order, each to what the one before has left.
///
/// # Errors
/// When the outcome is no object of its kind.
pub async fn apply(
    passage: &mut Passage<'_>,
    policy: &Policy,
    form: &Form,
    params: Option<&Value>,
) -> Result<Outcome, Status> {
    let mut changed = false;
    for mutation in &policy.mutations {
        let (object, old) = passage.shown(form).await?;
        if object.is_null() {
            return Ok(Outcome::Skipped);
        }
        let new = match compute(passage, policy, form, (&object, &old), params, mutation) {
            Ok(new) => new,
            Err(why) => return Ok(Outcome::Failed(why)),
        };
        if new != object {
            let new = forms::convert(passage.server, form, &passage.form, new).await?;
            changed |= passage.take_over(new)?;
        }
    }
    Ok(Outcome::Done(changed))
}

fn compute(
    passage: &Passage<'_>,
    policy: &Policy,
    form: &Form,
    (object, old): (&Value, &Value),
    params: Option<&Value>,
    mutation: &Mutation,
) -> Result<Value, String> {
    let inputs = Inputs::new(passage, form, object, old, params);
    let (bound, budget) = (inputs.bind(&policy.variables), Budget::new(PER_POLICY));
    let no_json = || "the expression evaluated to a type that could not marshal to JSON".to_owned();
    let mut new = object.clone();
    match mutation {
        Mutation::Apply(program) => {
            let mut config = bound.eval(program, &budget)?.to_json().ok_or_else(no_json)?;
            let Some(fields) = config.as_object_mut() else {
                return Err("the expression must evaluate to an Object".into());
            };
            for field in ["apiVersion", "kind"] {
                fields.insert(field.into(), object[field].clone());
            }
            let schema = form.schema().ok_or_else(|| "the schema of the object is not known".to_owned())?;
            overlay(&schema, &mut new, &config)
                .map_err(|why| format!("error applying patch: invalid ApplyConfiguration: {why}"))?;
        }
        Mutation::Patch(program) => {
            let operations = bound.eval(program, &budget)?.to_json().ok_or_else(no_json)?;
            match json_patch(&mut new, &operations) {
                Ok(()) => {}
                // A test that does not hold leaves the object as it is.
                Err(_) if has_test(&operations) && !tests_hold(object, &operations) => return Ok(object.clone()),
                Err(status) => return Err(format!("JSON Patch: {}", status.message)),
            }
        }
    }
    Ok(new)
}

fn has_test(operations: &Value) -> bool {
    operations.as_array().into_iter().flatten().any(|operation| operation["op"] == "test")
}

/// Whether the operations up to the last test can be done.
fn tests_hold(object: &Value, operations: &Value) -> bool {
    let Some(all) = operations.as_array() else { return true };
    let last = all.iter().rposition(|operation| operation["op"] == "test").map_or(0, |at| at + 1);
    json_patch(&mut object.clone(), &json!(all[..last])).is_ok()
}
