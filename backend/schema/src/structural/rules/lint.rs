//! What is wrong with the rules of a schema, told when it is written.

use pilothouse_api::field::{Error, ErrorList, Path};
use serde_json::Value;

use super::{Compiled, Rule, Validation, declared};
use crate::schema::{ListKind, Node, Schema};

/// What one rule may cost at most, by estimate, wherever it applies.
const MAX_RULE_COST: u64 = 10_000_000;
/// What all rules of a schema may cost together.
const MAX_SCHEMA_COST: u64 = 100_000_000;
const MAX_REQUEST_BYTES: u64 = 3 * 1024 * 1024;

/// Looks at all rules below `path`, which is where the schema is.
pub(in crate::structural) fn lint(schema: &Schema, path: &Path, errors: &mut ErrorList) {
    let mut lint = Lint { errors, total: 0, costs: Vec::new() };
    lint.walk(schema, path, 1, None);
    if lint.total > MAX_SCHEMA_COST {
        let factor = factor(lint.total, MAX_SCHEMA_COST);
        lint.costs.sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
        for (at, _) in lint.costs.iter().take(4) {
            let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            lint.errors.push(Error::forbidden(at.clone(), detail));
        }
        let detail = format!(
            "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
        );
        lint.errors.push(Error::forbidden(path.clone(), detail));
    }
}

struct Lint<'e> {
    errors: &'e mut ErrorList,
    total: u64,
    costs: Vec<(Path, u64)>,
}

/// `10.4x`, or that it is a great deal.
fn factor(cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    match factor {
        many if many > 100.0 => "more than 100x".into(),
        // Not "by a factor of 1.0x".
        few if few < 1.5 => format!("{few:.6}x"),
        some => format!("{some:.1}x"),
    }
}

impl Lint<'_> {
    /// `times` is how often the place may occur in one object; `loose` where the list is within which no former value
    /// can be told.
    fn walk(&mut self, schema: &Schema, path: &Path, times: u64, loose: Option<&Path>) {
        let Some(rules) = &schema.rules else { return };
        if let Some(validations) = &rules.validations {
            let compiled = validations.compiled(schema);
            for (at, written) in validations.written.iter().enumerate() {
                let path = path.child("x-kubernetes-validations").index(at);
                self.one(schema, written, compiled, at, &path, times, loose);
            }
        }
        match &schema.node {
            Node::Struct(of) => {
                for field in &of.fields {
                    let at = path.child(&format!("properties[{}]", field.name));
                    self.walk(field.schema.get(), &at, times, loose);
                }
                if let Some(rest) = &of.rest {
                    self.entries(rest.get(), path, rules.max_properties, times, loose);
                }
            }
            Node::Map(of) => self.entries(of.get(), path, rules.max_properties, times, loose),
            Node::List(list) => {
                let least = declared::of(list.of.get()).map_or(1, |known| known.min_bytes);
                let most = rules.max_items.unwrap_or(MAX_REQUEST_BYTES / (least + 1));
                let keyed = matches!(list.kind, ListKind::Map(_));
                let at = path.child("items");
                let loose = loose.or((!keyed).then_some(path));
                self.walk(list.of.get(), &at, times.saturating_mul(most), loose);
            }
            _ => {}
        }
    }

    fn entries(&mut self, of: &Schema, path: &Path, max: Option<u64>, times: u64, loose: Option<&Path>) {
        let least = declared::of(of).map_or(1, |known| known.min_bytes);
        let most = max.unwrap_or(MAX_REQUEST_BYTES / (least + 6));
        self.walk(of, &path.child("additionalProperties"), times.saturating_mul(most), loose);
    }

    fn one(
        &mut self,
        schema: &Schema,
        written: &Validation,
        compiled: &Compiled,
        at: usize,
        path: &Path,
        times: u64,
        loose: Option<&Path>,
    ) {
        let before = self.errors.len();
        self.texts(written, path);
        if !written.field_path.is_empty() && !leads(schema, &written.field_path) {
            let detail = "must be a valid path";
            self.errors.push(Error::invalid(path.child("fieldPath"), written.field_path.as_str(), detail));
        }
        if written.rule.trim().is_empty() {
            self.errors.push(Error::required(path.child("rule"), "rule is not specified"));
        }
        // What is written wrongly is not compiled.
        if self.errors.len() > before {
            return;
        }
        let rule = match compiled.rules.get(at) {
            Some(Ok(rule)) => rule,
            Some(Err(why)) => {
                let why =
                    if why.starts_with("cel expression") { why.clone() } else { format!("compilation failed: {why}") };
                self.errors.push(shown(path.child("rule"), written, why));
                self.unused(written, path);
                return;
            }
            None => return,
        };
        if let Some(Err(why)) = &rule.message {
            let why = if why.starts_with("messageExpression") {
                why.clone()
            } else {
                format!("messageExpression compilation failed: {why}")
            };
            self.errors.push(shown(path.child("messageExpression"), written, why));
        }
        self.transition(written, rule, path, loose);
        self.cost(rule, path, times);
    }

    fn texts(&mut self, written: &Validation, path: &Path) {
        let message = &written.message;
        if message.contains(['\n', '\r']) {
            let detail = "must not contain line breaks";
            self.errors.push(Error::invalid(path.child("message"), message.as_str(), detail));
        } else if !message.is_empty() && message.trim().is_empty() {
            let detail = "must be non-empty if specified";
            self.errors.push(Error::invalid(path.child("message"), message.as_str(), detail));
        } else if message.is_empty() && written.rule.trim().contains(['\n', '\r']) {
            let detail = "message must be specified if rule contains line breaks";
            self.errors.push(Error::required(path.child("message"), detail));
        }
        let expression = &written.message_expression;
        if !expression.is_empty() && expression.trim().is_empty() {
            let detail = "messageExpression must be non-empty if specified";
            self.errors.push(Error::required(path.child("messageExpression"), detail));
        }
        let place = &written.field_path;
        if place.contains(['\n', '\r']) || (!place.is_empty() && place.trim().is_empty()) {
            let detail =
                if place.trim().is_empty() { "must be non-empty if specified" } else { "must not contain line breaks" };
            self.errors.push(Error::invalid(path.child("fieldPath"), place.as_str(), detail));
        }
        let reasons = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
        if let Some(reason) = written.reason.as_deref().filter(|reason| !reasons.contains(reason)) {
            self.errors.push(Error::not_supported(path.child("reason"), reason, &reasons));
        }
    }

    fn transition(&mut self, written: &Validation, rule: &Rule, path: &Path, loose: Option<&Path>) {
        if let Some(list) = loose.filter(|_| rule.is_transition) {
            let detail = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {list}");
            self.errors.push(Error::invalid(path.child("rule"), written.rule.as_str(), detail));
        }
        if !rule.is_transition {
            self.unused(written, path);
        }
    }

    /// What is said of a former value that no rule reads.
    fn unused(&mut self, written: &Validation, path: &Path) {
        if let Some(optional) = written.optional_old_self {
            let detail = "may not be set if oldSelf is not used in rule";
            self.errors.push(Error::invalid(path.child("optionalOldSelf"), optional, detail));
        }
    }

    fn cost(&mut self, rule: &Rule, path: &Path, times: u64) {
        let mut parts = vec![("rule", rule.program.estimated_cost())];
        if let Some(Ok(message)) = &rule.message {
            parts.push(("messageExpression", message.estimated_cost()));
        }
        for (name, once) in parts {
            // A message is made once, for what breaks the rule.
            let cost = if name == "rule" { once.saturating_mul(times) } else { once };
            if cost > MAX_RULE_COST {
                let what = if name == "rule" { "rule" } else { "messageExpression" };
                let detail = format!(
                    "estimated {what} cost exceeds budget by factor of {} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)",
                    factor(cost, MAX_RULE_COST)
                );
                self.errors.push(Error::forbidden(path.child(name), detail));
            }
            self.total = self.total.saturating_add(cost);
            self.costs.push((path.child(name), cost));
        }
    }
}

/// Whether a rule's `fieldPath` leads to a field: `.a.b`, `['c']`; not into lists.
fn leads(schema: &Schema, path: &str) -> bool {
    let mut rest = path;
    let mut at = schema;
    while !rest.is_empty() {
        let (name, after) = if let Some(inner) = rest.strip_prefix("['") {
            let Some((name, after)) = inner.split_once("']") else { return false };
            (name, after)
        } else if let Some(inner) = rest.strip_prefix('.') {
            let end = inner.find(['.', '[']).unwrap_or(inner.len());
            inner.split_at(end)
        } else {
            return false;
        };
        at = match &at.node {
            Node::Struct(of) => match (of.field(name), &of.rest) {
                (Some(field), _) => field.schema.get(),
                (None, Some(rest)) => rest.get(),
                (None, None) => return false,
            },
            Node::Map(of) => of.get(),
            _ => return false,
        };
        rest = after;
    }
    true
}

/// An error that shows the whole rule, as upstream prints it.
fn shown(path: Path, written: &Validation, detail: String) -> Error {
    let quoted = |text: &str| Value::from(text).to_string();
    let value = format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
        quoted(&written.rule),
        quoted(&written.message),
        quoted(&written.message_expression),
        written.reason.as_deref().map_or_else(|| "null".into(), quoted),
        quoted(&written.field_path),
        written.optional_old_self.map_or_else(|| "null".into(), |set| set.to_string()),
    );
    Error { value: Some(value), ..Error::invalid(path, "", detail) }
}
