//! Label and field selectors: the query syntax, the JSON form, matching.
//! Source: <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#api>

use std::fmt;

use serde_json::Value;

use crate::names;

/// Longest selector text that is parsed.
const MAX_LENGTH: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    GreaterThan(i64),
    LessThan(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector {
    nothing: bool,
    requirements: Vec<Requirement>,
}

fn checked_key(key: &str) -> Result<String, String> {
    match names::is_qualified_name(key).first() {
        None => Ok(key.to_owned()),
        Some(why) => Err(format!("key: Invalid value: {key:?}: {why}")),
    }
}

fn checked_values(key: &str, values: Vec<String>) -> Result<Vec<String>, String> {
    for value in &values {
        if let Some(why) = names::is_label_value(value).first() {
            return Err(format!("values[0][{key}]: Invalid value: {value:?}: {why}"));
        }
    }
    Ok(values)
}

impl Requirement {
    fn new(key: &str, test: Test) -> Result<Self, String> {
        let test = match test {
            Test::In(values) => Test::In(checked_values(key, values)?),
            Test::NotIn(values) => Test::NotIn(checked_values(key, values)?),
            other => other,
        };
        Ok(Self { key: checked_key(key)?, test })
    }

    fn matches(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
            Test::NotIn(values) => value.is_none_or(|value| values.iter().all(|v| v != value)),
            Test::Exists => value.is_some(),
            Test::DoesNotExist => value.is_none(),
            Test::GreaterThan(bound) => number().is_some_and(|n| n > *bound),
            Test::LessThan(bound) => number().is_some_and(|n| n < *bound),
        }
    }
}

/// What is left of a selector's text.
struct Scanner<'a>(&'a str);

impl<'a> Scanner<'a> {
    fn skip(&mut self) {
        self.0 = self.0.trim_start();
    }
    fn eat(&mut self, token: &str) -> bool {
        self.skip();
        match self.0.strip_prefix(token) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }
    fn word(&mut self) -> &'a str {
        self.skip();
        let end = self.0.find(|c: char| c.is_whitespace() || "=!,()<>".contains(c)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word
    }
    /// Eats a word only when it is exactly this one.
    fn keyword(&mut self, keyword: &str) -> bool {
        let mut ahead = Scanner(self.0);
        let found = ahead.word() == keyword;
        if found {
            self.0 = ahead.0;
        }
        found
    }
    fn values(&mut self) -> Result<Vec<String>, String> {
        if !self.eat("(") {
            return Err(format!("found '{}', expected: '('", self.0));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.word().to_owned());
            if self.eat(")") {
                values.sort();
                values.dedup();
                return Ok(values);
            }
            if !self.eat(",") {
                return Err(format!("found '{}', expected: ',' or ')'", self.0));
            }
        }
    }
    fn bound(&mut self) -> Result<i64, String> {
        let word = self.word();
        word.parse().map_err(|_| format!("for 'Gt', 'Lt' operators, the value must be an integer, not {word:?}"))
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.eat("!") {
            return Requirement::new(self.word(), Test::DoesNotExist);
        }
        let key = self.word();
        if key.is_empty() {
            return Err(format!("found '{}', expected: !, identifier, or 'end of string'", self.0));
        }
        let test = if self.eat("==") || self.eat("=") {
            Test::In(vec![self.word().to_owned()])
        } else if self.eat("!=") {
            Test::NotIn(vec![self.word().to_owned()])
        } else if self.eat(">") {
            Test::GreaterThan(self.bound()?)
        } else if self.eat("<") {
            Test::LessThan(self.bound()?)
        } else if self.keyword("in") {
            Test::In(self.values()?)
        } else if self.keyword("notin") {
            Test::NotIn(self.values()?)
        } else {
            Test::Exists
        };
        Requirement::new(key, test)
    }
}

impl LabelSelector {
    pub fn everything() -> Self {
        Self { nothing: false, requirements: Vec::new() }
    }
    pub fn nothing() -> Self {
        Self { nothing: true, requirements: Vec::new() }
    }
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// The query syntax: `app=web,tier in (a,b),!old`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("a selector may be {MAX_LENGTH} bytes long"));
        }
        let mut scanner = Scanner(text);
        let mut requirements = Vec::new();
        scanner.skip();
        while !scanner.0.is_empty() {
            let parsed = scanner.requirement().map_err(|why| format!("unable to parse requirement: {why}"))?;
            requirements.push(parsed);
            scanner.skip();
            if scanner.0.is_empty() {
                break;
            }
            if !scanner.eat(",") {
                return Err(format!(
                    "unable to parse requirement: found '{}', expected: ',' or 'end of string'",
                    scanner.0
                ));
            }
            scanner.skip();
            if scanner.0.is_empty() {
                return Err("unable to parse requirement: found '', expected: identifier after ','".into());
            }
        }
        Ok(Self { nothing: false, requirements })
    }

    /// The JSON form: `matchLabels` and `matchExpressions`; null selects nothing, an empty object everything.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        if value.is_null() {
            return Ok(Self::nothing());
        }
        let mut requirements = Vec::new();
        for (key, value) in value["matchLabels"].as_object().into_iter().flatten() {
            let value = value.as_str().ok_or("matchLabels: values are strings")?;
            requirements.push(Requirement::new(key, Test::In(vec![value.to_owned()]))?);
        }
        for expression in value["matchExpressions"].as_array().into_iter().flatten() {
            let key = expression["key"].as_str().unwrap_or_default();
            let values: Vec<String> = expression["values"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|value| value.as_str().map(str::to_owned))
                .collect();
            let test = match (expression["operator"].as_str().unwrap_or_default(), values.is_empty()) {
                ("In", false) => Test::In(values),
                ("NotIn", false) => Test::NotIn(values),
                ("Exists", true) => Test::Exists,
                ("DoesNotExist", true) => Test::DoesNotExist,
                ("In" | "NotIn", true) => return Err("for 'in', 'notin' operators, values set can't be empty".into()),
                ("Exists" | "DoesNotExist", false) => {
                    return Err("values set must be empty for exists and does not exist".into());
                }
                (other, _) => return Err(format!("{other:?} is not a valid label selector operator")),
            };
            requirements.push(Requirement::new(key, test)?);
        }
        Ok(Self { nothing: false, requirements })
    }

    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|requirement| requirement.matches(get(&requirement.key)))
    }

    /// The key and value of a requirement that only one value fulfils: what an index can answer.
    pub fn equalities(&self) -> impl Iterator<Item = (&str, &str)> {
        self.requirements.iter().filter_map(|requirement| match &requirement.test {
            Test::In(values) if values.len() == 1 => Some((requirement.key.as_str(), values[0].as_str())),
            _ => None,
        })
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { key, test }) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match test {
                Test::In(values) if values.len() == 1 => write!(f, "{key}={}", values[0]),
                Test::In(values) => write!(f, "{key} in ({})", values.join(",")),
                Test::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", values[0]),
                Test::NotIn(values) => write!(f, "{key} notin ({})", values.join(",")),
                Test::Exists => f.write_str(key),
                Test::DoesNotExist => write!(f, "!{key}"),
                Test::GreaterThan(bound) => write!(f, "{key}>{bound}"),
                Test::LessThan(bound) => write!(f, "{key}<{bound}"),
            }?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    pub field: String,
    pub equal: bool,
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<FieldRequirement>);

impl FieldSelector {
    /// `spec.nodeName=a,status.phase!=Running`; `\\`, `\,` and `\=` stand for themselves in values.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("a selector may be {MAX_LENGTH} bytes long"));
        }
        let mut all = Vec::new();
        for term in terms(text) {
            if term.is_empty() {
                continue;
            }
            let (field, equal, value) = if let Some((field, value)) = term.split_once("!=") {
                (field, false, value)
            } else if let Some((field, value)) = term.split_once("==") {
                (field, true, value)
            } else if let Some((field, value)) = term.split_once('=') {
                (field, true, value)
            } else {
                return Err(format!("invalid selector: '{text}'; can't understand '{term}'"));
            };
            let value =
                unescape(value).ok_or_else(|| format!("invalid field selector: invalid escape in '{value}'"))?;
            all.push(FieldRequirement { field: field.to_owned(), equal, value });
        }
        Ok(Self(all))
    }
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.0
    }
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }
    /// A field that an object lacks counts as empty, as upstream's do.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|r| (get(&r.field).unwrap_or_default() == r.value) == r.equal)
    }
}

/// Splits at commas that are not escaped.
fn terms(text: &str) -> Vec<&str> {
    let (mut all, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                all.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    all.push(&text[start..]);
    all
}

fn unescape(value: &str) -> Option<String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next().filter(|c| matches!(c, '\\' | ',' | '='))?),
            ',' | '=' => return None,
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(key: &str) -> Option<&'static str> {
        match key {
            "app" => Some("web"),
            "tier" => Some("front"),
            "n" => Some("5"),
            _ => None,
        }
    }

    #[test]
    fn label_syntax() {
        for (text, matches) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier!=back", true),
            ("app!=web", false),
            ("missing!=x", true),
            ("app in (web, api)", true),
            ("app notin (api)", true),
            ("app", true),
            ("!app", false),
            ("! missing", true),
            ("missing", false),
            ("n>4,n<6", true),
            ("n>5", false),
            ("app=", false),
            ("in in (a)", false),
        ] {
            let selector = LabelSelector::parse(text).unwrap();
            assert_eq!(selector.matches(labels), matches, "{text}");
            assert_eq!(LabelSelector::parse(&selector.to_string()).unwrap(), selector, "{text}");
        }
        for text in ["=", "a b", "a,", "a in b", "a in (b", "a=b c", "a>x", "-a=b", "a=-b-"] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn json_form() {
        let all = serde_json::json!({"matchLabels": {"app": "web"}, "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["front"]}, {"key": "x", "operator": "DoesNotExist"}]});
        assert!(LabelSelector::from_json(&all).unwrap().matches(labels));
        assert!(LabelSelector::from_json(&serde_json::json!({})).unwrap().is_everything());
        assert!(!LabelSelector::from_json(&Value::Null).unwrap().matches(labels));
        let bad = serde_json::json!({"matchExpressions": [{"key": "a", "operator": "Is", "values": ["b"]}]});
        assert!(LabelSelector::from_json(&bad).is_err());
    }

    #[test]
    fn field_syntax() {
        let get = |field: &str| (field == "status.phase").then_some("Running");
        for (text, matches) in [
            ("", true),
            ("status.phase=Running", true),
            ("status.phase!=Running", false),
            ("status.phase==Running,spec.nodeName=", true),
            ("spec.nodeName!=", false),
        ] {
            assert_eq!(FieldSelector::parse(text).unwrap().matches(get), matches, "{text}");
        }
        assert_eq!(FieldSelector::parse(r"a=b\,c\=d").unwrap().requirements()[0].value, "b,c=d");
        assert!(FieldSelector::parse("a").is_err() && FieldSelector::parse(r"a=\x").is_err());
    }
}
