//! `matchConditions`: whether a webhook or policy wants to be asked after all.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-matchconditions>

use pilothouse_cel::Budget;
use pilothouse_kinds::expressions::{Names, Wanted};
use serde_json::Value;

use super::expression::{Compiled, Inputs, PER_CONDITIONS, compiled};

pub struct Conditions {
    /// What they say, and compiled.
    all: Vec<(String, Compiled)>,
    fails_open: bool,
}

/// What they come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Matches,
    Differs,
    Failed(String),
}

impl Conditions {
    pub fn of(list: &Value, fails_open: bool, names: &Names) -> Self {
        let conditions = list.as_array().into_iter().flatten();
        let one = |condition: &Value| {
            let source = condition["expression"].as_str().unwrap_or_default().trim().to_owned();
            (source, compiled(&condition["expression"], names, Wanted::Bool))
        };
        let all = conditions.map(one).collect();
        Self { all, fails_open }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// One that is false decides; else one that failed leaves it to the failure policy.
    pub fn evaluate(&self, inputs: &Inputs<'_>) -> Verdict {
        let (bound, budget) = (inputs.bind(&[]), Budget::new(PER_CONDITIONS));
        let mut failures = Vec::new();
        for (source, condition) in &self.all {
            match bound.eval(condition, &budget).map(|value| value.as_bool()) {
                Ok(Some(true)) => {}
                Ok(Some(false)) => return Verdict::Differs,
                Ok(None) => failures.push(format!("expression '{source}' must evaluate to a bool")),
                Err(why) => failures.push(format!("expression '{source}' resulted in error: {why}")),
            }
        }
        match failures.len() {
            0 => Verdict::Matches,
            _ if self.fails_open => Verdict::Differs,
            1 => Verdict::Failed(failures.swap_remove(0)),
            _ => Verdict::Failed(format!("[{}]", failures.join(", "))),
        }
    }
}
