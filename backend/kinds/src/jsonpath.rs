//! The JSONPath of printer columns, scale paths and selectable fields: `.spec.replicas`,
//! `.status.conditions[?(@.type=="Ready")].status`, `.items[*].name`, `.a['b.c']`, `.list[0]`.

use serde_json::Value;

pub(crate) mod syntax;

/// Most steps in one path.
const MAX_STEPS: usize = 64;

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Index(i64),
    All,
    /// Members whose value at the path equals (or, if not, differs from) the literal.
    Filter {
        path: Vec<Step>,
        equal: bool,
        literal: Value,
    },
}

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JsonPath(Vec<Step>);

impl JsonPath {
    /// # Errors
    /// A sentence on where the path stops making sense.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let inner = text.trim();
        let inner = inner.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(inner);
        let inner = inner.strip_prefix('$').unwrap_or(inner);
        let steps = steps(inner).ok_or_else(|| format!("unrecognized JSONPath {text:?}"))?;
        if steps.len() > MAX_STEPS {
            return Err(format!("JSONPath {text:?} has more than {MAX_STEPS} steps"));
        }
        Ok(Self(steps))
    }

    /// Every value the path leads to.
    pub(crate) fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        walk(&self.0, root)
    }
}

fn walk<'a>(steps: &[Step], root: &'a Value) -> Vec<&'a Value> {
    let mut here = vec![root];
    for step in steps {
        let mut next = Vec::new();
        for value in here {
            match (step, value) {
                (Step::Key(key), Value::Object(map)) => next.extend(map.get(key)),
                (Step::Index(index), Value::Array(items)) => {
                    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
                    let index = if *index < 0 { *index + length } else { *index };
                    next.extend(usize::try_from(index).ok().and_then(|i| items.get(i)));
                }
                (Step::All, Value::Array(items)) => next.extend(items),
                (Step::All, Value::Object(map)) => next.extend(map.values()),
                (Step::Filter { path, equal, literal }, Value::Array(items)) => {
                    next.extend(items.iter().filter(|item| {
                        let found = walk(path, item);
                        found.first().is_some_and(|v| (**v == *literal) == *equal)
                    }));
                }
                _ => {}
            }
        }
        here = next;
    }
    here
}

fn steps(mut rest: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let end = closing(after)?;
            steps.push(bracket(after[..end].trim())?);
            rest = &after[end + 1..];
        } else {
            let after = rest.strip_prefix('.').unwrap_or(rest);
            if after.is_empty() && steps.is_empty() {
                return Some(steps);
            }
            let (key, next) = dotted_key(after)?;
            steps.push(if key == "*" { Step::All } else { Step::Key(key) });
            rest = next;
        }
    }
    Some(steps)
}

/// A key up to the next `.` or `[`; a backslash escapes either.
fn dotted_key(text: &str) -> Option<(String, &str)> {
    let mut key = String::new();
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((index, c)) = chars.next() {
        match c {
            '\\' => key.push(chars.next()?.1),
            '.' | '[' => {
                end = index;
                break;
            }
            _ => key.push(c),
        }
    }
    (!key.is_empty()).then(|| (key, &text[end..]))
}

/// Where the bracket that is open at the start closes, quotes and nesting respected.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (index, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(index),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

fn bracket(inner: &str) -> Option<Step> {
    if inner == "*" {
        return Some(Step::All);
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        let (left, equal, right) = match filter.split_once("==") {
            Some((left, right)) => (left, true, right),
            None => filter.split_once("!=").map(|(left, right)| (left, false, right))?,
        };
        let path = steps(left.trim().strip_prefix('@')?)?;
        return Some(Step::Filter { path, equal, literal: literal(right.trim())? });
    }
    match literal(inner)? {
        Value::String(key) => Some(Step::Key(key)),
        number => number.as_i64().map(Step::Index),
    }
}

fn literal(text: &str) -> Option<Value> {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote)) {
            return Some(inner.into());
        }
    }
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds() {
        let v = json!({"spec": {"n": 3, "a.b": "x"}, "status": {"conditions": [
            {"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]}, "l": [1, 2, 3]});
        for (path, found) in [
            (".spec.n", json!([3])),
            ("{.spec.n}", json!([3])),
            (".status.conditions[?(@.type==\"Ready\")].status", json!(["True"])),
            (".status.conditions[?(@.type=='Other')].status", json!(["False"])),
            (".status.conditions[?(@.type!=\"Ready\")].type", json!(["Other"])),
            (".status.conditions[*].type", json!(["Ready", "Other"])),
            (".l[0]", json!([1])),
            (".l[-1]", json!([3])),
            (".spec['a.b']", json!(["x"])),
            (".spec.a\\.b", json!(["x"])),
            (".gone.x", json!([])),
        ] {
            assert_eq!(json!(JsonPath::parse(path).unwrap().find(&v)), found, "{path}");
        }
        for wrong in [".a[", ".a[?(@.x)]", "..", ".a[x]"] {
            assert!(JsonPath::parse(wrong).is_err(), "{wrong}");
        }
    }
}
