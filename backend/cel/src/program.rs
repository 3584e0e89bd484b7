//! Programs: checked expressions that can be run.

use cel::common::ast::IdedExpr;

use crate::check::{Checker, names};
use crate::cost::Budget;
use crate::error::{CompileError, Error};
use crate::eval::{Evaluator, is_of};
use crate::parse::parse;
use crate::types::Type;
use crate::value::Value;

/// The variables that an expression may name, with their types.
#[derive(Clone, Debug, Default)]
pub struct Env {
    variables: Vec<(String, Type)>,
}

impl Env {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn with(mut self, name: &str, of: Type) -> Self {
        self.variables.push((name.to_owned(), of));
        self
    }
}

/// A checked expression.
#[derive(Debug)]
pub struct Program {
    root: IdedExpr,
    result: Type,
    cost: u64,
    names: Vec<String>,
}

/// Reads and checks an expression.
///
/// # Errors
/// What is wrong with it, with its place: `ERROR: <input>:1:6: undefined field 'x'` and the line it is in.
pub fn compile(source: &str, env: &Env) -> Result<Program, CompileError> {
    let parsed = parse(source)?;
    let mut checker =
        Checker { source, info: &parsed.info, scope: env.variables.clone(), wrong: Vec::new(), in_format: 0 };
    let known = checker.check(&parsed.root)?;
    if !checker.wrong.is_empty() {
        let lines: Vec<String> = checker.wrong.iter().map(ToString::to_string).collect();
        return Err(CompileError(lines.join("\n")));
    }
    let names = names(&parsed.root).into_iter().collect();
    Ok(Program { root: parsed.root, result: known.of, cost: known.cost, names })
}

impl Program {
    /// The type of the result.
    pub fn result(&self) -> &Type {
        &self.result
    }

    /// What an evaluation costs at most, by the sizes that the variables' types promise.
    pub fn estimated_cost(&self) -> u64 {
        self.cost
    }

    /// Whether the expression is about a variable.
    pub fn names(&self, variable: &str) -> bool {
        self.names.iter().any(|name| name == variable)
    }

    /// Evaluates with the given variables; spends from the budget.
    ///
    /// # Errors
    /// `Failed` by the data, or `OverBudget`.
    pub fn eval<'a>(&'a self, variables: &[(&'a str, Value<'a>)], budget: &Budget) -> Result<Value<'a>, Error> {
        let mut evaluator = Evaluator { budget, scope: variables.to_vec() };
        evaluator.eval(&self.root)
    }

    /// [`Program::eval`] of an expression that is a condition.
    ///
    /// # Errors
    /// As [`Program::eval`], and `Failed` when the result is no boolean.
    pub fn eval_bool<'a>(&'a self, variables: &[(&'a str, Value<'a>)], budget: &Budget) -> Result<bool, Error> {
        let value = self.eval(variables, budget)?;
        if !is_of(&value, &Type::Bool) {
            return Err(Error::Failed(format!("cel expression must evaluate to a bool, got {}", value.type_name())));
        }
        Ok(value.as_bool() == Some(true))
    }
}
