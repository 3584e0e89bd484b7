//! Loops: what the macros (`all`, `exists`, `map` …) become.

use std::sync::Arc;

use cel::common::ast::{ComprehensionExpr, Expr, IdedExpr, operators};

use super::{Evaluator, INSERT};
use crate::error::{Error, Result};
use crate::value::{List, Map, Value};

impl<'a> Evaluator<'a, '_> {
    pub(super) fn comprehension(&mut self, of: &'a ComprehensionExpr) -> Result<Value<'a>> {
        let range = self.eval(&of.iter_range)?;
        let depth = self.scope.len();
        let accumulator = self.eval(&of.accu_init)?;
        self.scope.push((&of.accu_var, accumulator));
        let outcome = self.rounds(of, &range, depth);
        // Whatever happened, the loop's variables are gone; the accumulator is there until the result is made.
        self.scope.truncate(depth + 1);
        let outcome = outcome.and_then(|()| self.eval(&of.result));
        self.scope.truncate(depth);
        outcome
    }

    fn rounds(&mut self, of: &'a ComprehensionExpr, range: &Value<'a>, depth: usize) -> Result<()> {
        match range {
            Value::List(list) => {
                for at in 0..list.len() {
                    let Some(item) = list.get(at) else { break };
                    let index = Value::Int(i64::try_from(at).unwrap_or(i64::MAX));
                    if !self.round(of, depth, index, item, false)? {
                        break;
                    }
                }
                Ok(())
            }
            Value::Map(map) => {
                for key in map.keys() {
                    let value = map.get(&key).unwrap_or(Value::Null);
                    if !self.round(of, depth, key, value, true)? {
                        break;
                    }
                }
                Ok(())
            }
            _ => Err(Error::no_such_overload()),
        }
    }

    /// One round; false when the loop is to end. Over one variable a list gives its items, a map its keys.
    fn round(
        &mut self,
        of: &'a ComprehensionExpr,
        depth: usize,
        key: Value<'a>,
        value: Value<'a>,
        over_map: bool,
    ) -> Result<bool> {
        self.budget.spend(1)?;
        match &of.iter_var2 {
            Some(second) => {
                self.scope.push((&of.iter_var, key));
                self.scope.push((second, value));
            }
            None => self.scope.push((&of.iter_var, if over_map { key } else { value })),
        }
        let go_on = self.eval(&of.loop_cond)?;
        if matches!(go_on, Value::Bool(false)) {
            self.scope.truncate(depth + 1);
            return Ok(false);
        }
        self.step(of, &of.loop_step, depth)?;
        self.scope.truncate(depth + 1);
        Ok(true)
    }

    /// Computes the next accumulator. Lists and maps that only grow, grow in place: copying them each round would make
    /// a loop quadratic.
    fn step(&mut self, of: &'a ComprehensionExpr, step: &'a IdedExpr, depth: usize) -> Result<()> {
        let accumulates = |expr: &IdedExpr| matches!(&expr.expr, Expr::Ident(name) if *name == of.accu_var);
        if let Expr::Call(call) = &step.expr
            && call.target.is_none()
        {
            match (call.func_name.as_str(), call.args.as_slice()) {
                (operators::CONDITIONAL, [condition, grown, same]) if accumulates(same) => {
                    return match self.eval(condition)? {
                        Value::Bool(true) => self.step(of, grown, depth),
                        Value::Bool(false) => Ok(()),
                        _ => Err(Error::no_such_overload()),
                    };
                }
                (operators::ADD | INSERT, [accumulator, more]) if accumulates(accumulator) => {
                    let more = self.eval(more)?;
                    let Some((_, accumulator)) = self.scope.get_mut(depth) else { return Ok(()) };
                    match (accumulator, &more) {
                        (Value::List(List::Owned(items)), Value::List(added)) => {
                            let added: Vec<Value<'a>> = added.iter().collect();
                            self.budget.spend(1 + added.len() as u64)?;
                            Arc::make_mut(items).extend(added);
                            return Ok(());
                        }
                        (Value::Map(Map::Owned(entries)), Value::Map(Map::Owned(added))) => {
                            self.budget.spend(1)?;
                            let added = added.iter().map(|(key, value)| (key.clone(), value.clone()));
                            Arc::make_mut(entries).extend(added);
                            return Ok(());
                        }
                        (accumulator, more) => {
                            let accumulator = accumulator.clone();
                            let next = self.binary(&call.func_name, &accumulator, more)?;
                            self.scope[depth].1 = next;
                            return Ok(());
                        }
                    }
                }
                _ => {}
            }
        }
        let next = self.eval(step);
        // A quantifier's step may fail in one round and be decided by a later one.
        let next = match next {
            Err(Error::Failed(text)) => Value::Host(Arc::new(Failed(text))),
            other => other?,
        };
        self.scope[depth].1 = next;
        Ok(())
    }
}

/// The type of what stands for an error.
pub(super) const FAILED: &str = "error";

/// An error as an accumulator: it is raised when somebody looks at it.
struct Failed(String);

impl<'a> crate::value::Host<'a> for Failed {
    fn type_name(&self) -> &'static str {
        FAILED
    }
    fn field(&self, _: &str) -> Option<Result<Value<'a>>> {
        Some(Err(Error::Failed(self.0.clone())))
    }
}
