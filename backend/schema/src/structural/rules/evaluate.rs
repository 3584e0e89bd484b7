//! Running the rules on an object, or on a change of one.
//!
//! Invariants: a rule about a value that did not change is not asked again, unless it is about the change; all rules of
//! one object together spend one budget.

use pilothouse_api::field::{Error, ErrorList, ErrorType, Path};
use pilothouse_cel::{Budget, Error as CelError, PER_EXPRESSION, Value as CelValue};
use serde_json::Value;

use super::{Rule, Validation, Validations};
use crate::schema::{List, ListKind, Node, Schema};

/// What the rules of one object may cost together.
const BUDGET: u64 = 10_000_000;
/// Longest message an expression may make.
const MAX_MESSAGE_BYTES: usize = 5 * 1024;

/// What the rules say of `new`, given what it replaces.
pub(in crate::structural) fn evaluate(schema: &Schema, new: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let mut run = Run { budget: Budget::new(BUDGET), errors, of_unchanged: false };
    // When the budget is spent, what was found so far has to do.
    let _ = run.walk(schema, new, old, &Path::root());
}

/// What the rules say of those parts of `new` that are as they were in `old`.
pub(in crate::structural) fn evaluate_unchanged(schema: &Schema, new: &Value, old: &Value, errors: &mut ErrorList) {
    let mut run = Run { budget: Budget::new(BUDGET), errors, of_unchanged: true };
    let _ = run.walk(schema, new, Some(old), &Path::root());
}

struct OverBudget;

struct Run<'e> {
    budget: Budget,
    errors: &'e mut ErrorList,
    /// Asks only what is otherwise not asked.
    of_unchanged: bool,
}

impl Run<'_> {
    fn walk(&mut self, schema: &Schema, new: &Value, old: Option<&Value>, path: &Path) -> Result<(), OverBudget> {
        let Some(rules) = &schema.rules else { return Ok(()) };
        if new.is_null() {
            return Ok(());
        }
        if let Some(validations) = &rules.validations {
            self.place(validations, schema, new, old, path)?;
        }
        match (&schema.node, new) {
            (Node::Struct(of), Value::Object(fields)) => {
                for (name, value) in fields {
                    let (inner, path) = match (of.field(name), &of.rest) {
                        (Some(field), _) => (field.schema.get(), path.child(name)),
                        (None, Some(rest)) => (rest.get(), path.key(name)),
                        (None, None) => continue,
                    };
                    self.walk(inner, value, old.and_then(|old| old.get(name)), &path)?;
                }
            }
            (Node::Map(of), Value::Object(fields)) => {
                for (name, value) in fields {
                    self.walk(of.get(), value, old.and_then(|old| old.get(name)), &path.key(name))?;
                }
            }
            (Node::List(list), Value::Array(items)) => {
                for (at, item) in items.iter().enumerate() {
                    self.walk(list.of.get(), item, correlated(list, item, old), &path.index(at))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn place(
        &mut self,
        validations: &Validations,
        schema: &Schema,
        new: &Value,
        old: Option<&Value>,
        path: &Path,
    ) -> Result<(), OverBudget> {
        let compiled = validations.compiled(schema);
        let unchanged = old.is_some_and(|old| old == new);
        for (written, rule) in validations.written.iter().zip(&compiled.rules) {
            let rule = match rule {
                Err(_) if self.of_unchanged => continue,
                Ok(rule) => rule,
                Err(why) => {
                    let why = format!("rule compile error: {why}");
                    self.errors.push(Error::invalid(path.clone(), type_of(schema), why));
                    continue;
                }
            };
            let optional = written.optional_old_self == Some(true);
            if rule.is_transition && old.is_none() && !optional {
                continue;
            }
            if (unchanged && !rule.is_transition) != self.of_unchanged {
                continue;
            }
            let before = old.map(|old| CelValue::typed(old, &compiled.of));
            let before = match (optional, before) {
                (true, before) => CelValue::Optional(before.map(std::sync::Arc::new)),
                (false, before) => before.unwrap_or(CelValue::Null),
            };
            let variables = [("self", CelValue::typed(new, &compiled.of)), ("oldSelf", before)];
            let part = self.budget.part(PER_EXPRESSION);
            let outcome = rule.program.eval_bool(&variables, &part);
            self.budget.settle(&part, PER_EXPRESSION);
            match outcome {
                Ok(true) => {}
                Ok(false) => {
                    let text = self.message(written, rule, &variables);
                    self.errors.push(broken(written, new, path, text));
                }
                Err(CelError::Failed(why)) => {
                    let detail = if why.starts_with("no such overload") {
                        format!(
                            "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                            named(written)
                        )
                    } else {
                        format!("{why} evaluating rule: {}", named(written))
                    };
                    self.errors.push(Error::invalid(path.clone(), type_of(schema), detail));
                }
                Err(CelError::OverBudget) if self.budget.left() > 0 => {
                    let detail = format!(
                        "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                        named(written)
                    );
                    self.errors.push(Error::invalid(path.clone(), type_of(schema), detail));
                    return Err(OverBudget);
                }
                Err(CelError::OverBudget) => {
                    let detail =
                        "validation failed due to running out of cost budget, no further validation rules will be run";
                    self.errors.push(Error::invalid(path.clone(), type_of(schema), detail));
                    return Err(OverBudget);
                }
            }
        }
        Ok(())
    }

    fn message<'a>(&self, written: &Validation, rule: &'a Rule, variables: &[(&'a str, CelValue<'a>)]) -> String {
        if let Some(Ok(program)) = &rule.message {
            let part = self.budget.part(PER_EXPRESSION);
            let made = program.eval(variables, &part);
            self.budget.settle(&part, PER_EXPRESSION);
            if let Ok(value) = made
                && let Some(text) = value.as_str().map(str::trim)
                && !text.is_empty()
                && text.len() <= MAX_MESSAGE_BYTES
                && !text.contains('\n')
            {
                return text.to_owned();
            }
        }
        default_message(written)
    }
}

fn default_message(written: &Validation) -> String {
    match written.message.trim() {
        "" => format!("failed rule: {}", written.rule.trim()),
        text => text.to_owned(),
    }
}

/// A rule by its message, or as it is written.
fn named(written: &Validation) -> &str {
    match written.message.trim() {
        "" => written.rule.trim(),
        text => text,
    }
}

/// How errors of evaluation show the value: by its type.
fn type_of(schema: &Schema) -> &str {
    schema.rules.as_ref().map_or("", |rules| &rules.of)
}

fn broken(written: &Validation, value: &Value, path: &Path, text: String) -> Error {
    let at = below(path, &written.field_path);
    // Objects and lists are not shown.
    let shown = (!value.is_object() && !value.is_array()).then(|| value.to_string());
    match written.reason.as_deref() {
        Some("FieldValueRequired") => Error::required(at, text),
        Some("FieldValueForbidden") => Error::forbidden(at, text),
        Some("FieldValueDuplicate") => Error { value: shown, ..Error::duplicate(at, "") },
        _ => Error { kind: ErrorType::Invalid, field: at, value: shown, detail: text },
    }
}

/// The path of a rule's `fieldPath`: `.a.b`, `['c']`, `.list[0]`.
fn below(path: &Path, relative: &str) -> Path {
    let mut at = path.clone();
    let mut rest = relative;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (inner, after) = after.split_once(']').unwrap_or((after, ""));
            let name = inner.trim_matches(['\'', '"']);
            at = if name.len() == inner.len() {
                name.parse().map_or_else(|_| at.key(name), |index| at.index(index))
            } else {
                at.child(name)
            };
            rest = after;
        } else {
            let after = rest.strip_prefix('.').unwrap_or(rest);
            let end = after.find(['.', '[']).unwrap_or(after.len());
            if end > 0 {
                at = at.child(&after[..end]);
            }
            rest = &after[end..];
            if end == 0 && rest.is_empty() {
                break;
            }
        }
    }
    at
}

/// What an item replaces: only items with keys can be told.
pub(in crate::structural) fn correlated<'a>(list: &List, item: &Value, old: Option<&'a Value>) -> Option<&'a Value> {
    let ListKind::Map(keys) = &list.kind else { return None };
    let same = |other: &&Value| keys.iter().all(|key| other.get(&**key) == item.get(&**key));
    old?.as_array()?.iter().find(same)
}
