//! `x-kubernetes-validations`: rules in CEL, compiled when they are first needed.
//! Source: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules>

mod declared;
mod evaluate;
mod lint;

use std::sync::OnceLock;

use pilothouse_cel::{Env, Program, Type, compile};
use serde_json::{Map, Value};

use crate::schema::Schema;

pub(super) use evaluate::{correlated, evaluate, evaluate_unchanged};
pub(super) use lint::lint;

/// One rule as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validation {
    pub rule: String,
    pub message: String,
    pub message_expression: String,
    pub reason: Option<String>,
    pub field_path: String,
    pub optional_old_self: Option<bool>,
}

/// The rules of one place in a schema.
#[derive(Debug, Default)]
pub struct Validations {
    pub written: Vec<Validation>,
    compiled: OnceLock<Compiled>,
}

/// The rules of one place, ready to run.
#[derive(Debug)]
struct Compiled {
    /// Of `self`.
    of: Type,
    rules: Vec<Result<Rule, String>>,
}

#[derive(Debug)]
struct Rule {
    program: Program,
    message: Option<Result<Program, String>>,
    is_transition: bool,
}

impl Validations {
    pub fn parse(fields: &Map<String, Value>) -> Option<Box<Self>> {
        let list = fields.get("x-kubernetes-validations")?.as_array()?;
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let written: Vec<Validation> = list
            .iter()
            .map(|value| Validation {
                rule: text(value, "rule"),
                message: text(value, "message"),
                message_expression: text(value, "messageExpression"),
                reason: value["reason"].as_str().map(str::to_owned),
                field_path: text(value, "fieldPath"),
                optional_old_self: value["optionalOldSelf"].as_bool(),
            })
            .collect();
        (!written.is_empty()).then(|| Box::new(Self { written, compiled: OnceLock::new() }))
    }

    fn compiled(&self, schema: &Schema) -> &Compiled {
        self.compiled.get_or_init(|| {
            let of = declared::of(schema).map_or(Type::Dyn, |known| known.of);
            let rules = self.written.iter().map(|validation| rule(validation, &of)).collect();
            Compiled { of, rules }
        })
    }
}

fn rule(validation: &Validation, of: &Type) -> Result<Rule, String> {
    let optional = validation.optional_old_self == Some(true);
    let old = if optional { Type::optional(of.clone()) } else { of.clone() };
    let env = Env::new().with("self", of.clone()).with("oldSelf", old);
    let program = compile(&validation.rule, &env).map_err(|error| error.to_string())?;
    if !matches!(program.result(), Type::Bool | Type::Dyn) {
        return Err("cel expression must evaluate to a bool".into());
    }
    let message = (!validation.message_expression.is_empty()).then(|| {
        let program = compile(&validation.message_expression, &env).map_err(|error| error.to_string())?;
        match program.result() {
            Type::String(_) | Type::Dyn => Ok(program),
            _ => Err("messageExpression must evaluate to a string".to_owned()),
        }
    });
    Ok(Rule { is_transition: program.names("oldSelf"), program, message })
}
