//! Label selectors: the query syntax, the JSON form, and matching.
//! Source: <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors>

use std::fmt;

use serde_json::Value;

use super::MAX_REQUIREMENTS;
use crate::field::{Error, Path};
use crate::names;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Equals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    /// Sorted, unique.
    pub values: Vec<String>,
}

impl Requirement {
    fn new(key: String, operator: Operator, mut values: Vec<String>) -> Result<Self, String> {
        check_key(&key)?;
        values.sort();
        values.dedup();
        let all = || Value::from(values.clone());
        let path = Path::new("values");
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                let detail = "for 'in', 'notin' operators, values set can't be empty";
                return Err(Error::invalid(path, all(), detail).to_string());
            }
            Operator::Equals | Operator::NotEquals if values.len() != 1 => {
                let detail = "exact-match compatibility requires one single value";
                return Err(Error::invalid(path, all(), detail).to_string());
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                let detail = "values set must be empty for exists and does not exist";
                return Err(Error::invalid(path, all(), detail).to_string());
            }
            Operator::GreaterThan | Operator::LessThan => {
                if values.len() != 1 {
                    let detail = "for 'Gt', 'Lt' operators, exactly one value is required";
                    return Err(Error::invalid(path, all(), detail).to_string());
                }
                if values[0].parse::<i64>().is_err() {
                    let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                    return Err(Error::invalid(path.index(0), values[0].as_str(), detail).to_string());
                }
            }
            _ => {}
        }
        for (at, value) in values.iter().enumerate() {
            let wrong = names::is_label_value(value);
            if !wrong.is_empty() {
                return Err(Error::invalid(path.index(at).key(&key), value.as_str(), wrong.join("; ")).to_string());
            }
        }
        Ok(Self { key, operator, values })
    }

    fn has(&self, value: &str) -> bool {
        self.values.binary_search_by(|v| v.as_str().cmp(value)).is_ok()
    }

    /// Does an object whose label `key` is `value` satisfy it?
    pub fn admits(&self, value: Option<&str>) -> bool {
        let compared = |wanted: std::cmp::Ordering| {
            let (Some(have), Some(limit)) = (value, self.values.first()) else { return false };
            match (have.parse::<i64>(), limit.parse::<i64>()) {
                (Ok(have), Ok(limit)) => have.cmp(&limit) == wanted,
                _ => false,
            }
        };
        match self.operator {
            Operator::In | Operator::Equals => value.is_some_and(|v| self.has(v)),
            Operator::NotIn | Operator::NotEquals => value.is_none_or(|v| !self.has(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => compared(std::cmp::Ordering::Greater),
            Operator::LessThan => compared(std::cmp::Ordering::Less),
        }
    }
}

fn check_key(key: &str) -> Result<(), String> {
    let wrong = names::is_qualified_name(key);
    if wrong.is_empty() { Ok(()) } else { Err(Error::invalid(Path::root(), key, wrong.join("; ")).to_string()) }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, list) = (&self.key, || self.values.join(","));
        match self.operator {
            Operator::In => write!(f, "{key} in ({})", list()),
            Operator::NotIn => write!(f, "{key} notin ({})", list()),
            Operator::Equals => write!(f, "{key}={}", list()),
            Operator::NotEquals => write!(f, "{key}!={}", list()),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{}", list()),
            Operator::LessThan => write!(f, "{key}<{}", list()),
        }
    }
}

/// All requirements must hold; `nothing` matches no object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    pub fn everything() -> Self {
        Self::default()
    }

    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// The query syntax: `app=web,tier in (a,b),!legacy`.
    ///
    /// # Errors
    /// Upstream's sentence on the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let requirements = Parser { tokens: lex(text), position: 0 }.parse()?;
        Ok(Self { requirements, nothing: false })
    }

    /// The JSON form `{matchLabels, matchExpressions}`; null selects nothing, `{}` everything.
    ///
    /// # Errors
    /// Upstream's sentence on the first thing that is wrong.
    pub fn from_json(value: &Value) -> Result<Self, String> {
        let object = match value {
            Value::Null => return Ok(Self::nothing()),
            Value::Object(object) => object,
            _ => return Err("a label selector must be an object".to_owned()),
        };
        let mut requirements = Vec::new();
        if let Some(labels) = object.get("matchLabels").and_then(Value::as_object) {
            for (key, value) in labels {
                let value = value.as_str().ok_or("matchLabels must map strings to strings")?;
                requirements.push(Requirement::new(key.clone(), Operator::Equals, vec![value.to_owned()])?);
            }
        }
        if let Some(expressions) = object.get("matchExpressions").and_then(Value::as_array) {
            for expression in expressions {
                let text = |name: &str| expression.get(name).and_then(Value::as_str).unwrap_or_default();
                let operator = match text("operator") {
                    "In" => Operator::In,
                    "NotIn" => Operator::NotIn,
                    "Exists" => Operator::Exists,
                    "DoesNotExist" => Operator::DoesNotExist,
                    other => return Err(format!("{other:?} is not a valid label selector operator")),
                };
                let values = expression.get("values").and_then(Value::as_array);
                let values = values.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
                requirements.push(Requirement::new(text("key").to_owned(), operator, values)?);
            }
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self { requirements, nothing: false })
    }

    /// A plain map of labels (`spec.selector` of Services and ReplicationControllers); an empty one selects everything.
    ///
    /// # Errors
    /// Upstream's sentence on the first thing that is wrong.
    pub fn from_map(value: &Value) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for (key, value) in value.as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::new(key.clone(), Operator::Equals, vec![value])?);
        }
        Ok(Self { requirements, nothing: false })
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// `get` answers with the value of a label.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.admits(get(&r.key)))
    }

    /// Matching against a JSON object of labels (`metadata.labels`); null is no labels.
    pub fn matches_json(&self, labels: &Value) -> bool {
        self.matches(|key| labels.get(key).and_then(Value::as_str))
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Identifier(String),
    Symbol(&'static str),
    In,
    NotIn,
    Error(String),
    End,
}

impl Token {
    fn literal(&self) -> &str {
        match self {
            Self::Identifier(text) | Self::Error(text) => text,
            Self::Symbol(text) => text,
            Self::In => "in",
            Self::NotIn => "notin",
            Self::End => "",
        }
    }
    /// Where a key or value is expected, `in` and `notin` are plain words.
    fn word(&self) -> Option<String> {
        match self {
            Self::Identifier(text) => Some(text.clone()),
            Self::In | Self::NotIn => Some(self.literal().to_owned()),
            _ => None,
        }
    }
}

fn lex(text: &str) -> Vec<Token> {
    const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", ",", "(", ")", ">", "<"];
    let special = |c: char| matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<');
    let blank = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(blank);
    while let Some(first) = rest.chars().next() {
        if special(first) {
            // A run of special characters is one token; unknown runs such as `=>` are errors, `),` and the like are split.
            match SYMBOLS.iter().find(|s| rest.starts_with(**s)) {
                Some(symbol) => {
                    tokens.push(Token::Symbol(symbol));
                    rest = &rest[symbol.len()..];
                }
                None => {
                    tokens.push(Token::Error(first.to_string()));
                    rest = &rest[first.len_utf8()..];
                }
            }
        } else {
            let end = rest.find(|c| special(c) || blank(c)).unwrap_or(rest.len());
            tokens.push(match &rest[..end] {
                "in" => Token::In,
                "notin" => Token::NotIn,
                word => Token::Identifier(word.to_owned()),
            });
            rest = &rest[end..];
        }
        rest = rest.trim_start_matches(blank);
    }
    tokens.push(Token::End);
    tokens
}

struct Parser {
    tokens: Vec<Token>,
    position: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.position).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.position += 1;
        token
    }

    fn parse(mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            let begins = |t: &Token| t.word().is_some() || *t == Token::Symbol("!");
            if *self.peek() == Token::End {
                return Ok(requirements);
            }
            if !begins(self.peek()) {
                return Err(format!("found '{}', expected: !, identifier, or 'end of string'", self.peek().literal()));
            }
            requirements.push(self.requirement().map_err(|e| format!("unable to parse requirement: {e}"))?);
            if requirements.len() > MAX_REQUIREMENTS {
                return Err(format!("a selector may have at most {MAX_REQUIREMENTS} requirements"));
            }
            match self.next() {
                Token::End => return Ok(requirements),
                Token::Symbol(",") => {
                    if !begins(self.peek()) {
                        return Err(format!("found '{}', expected: identifier after ','", self.peek().literal()));
                    }
                }
                other => return Err(format!("found '{}', expected: ',' or 'end of string'", other.literal())),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let negated = *self.peek() == Token::Symbol("!");
        if negated {
            self.position += 1;
        }
        let token = self.next();
        let Some(key) = token.word() else { return Err(format!("found '{}', expected: identifier", token.literal())) };
        check_key(&key)?;
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Requirement::new(key, Operator::Exists, Vec::new());
        }
        let token = self.next();
        let operator = match &token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Symbol("=" | "==") => Operator::Equals,
            Token::Symbol("!=") => Operator::NotEquals,
            Token::Symbol(">") => Operator::GreaterThan,
            Token::Symbol("<") => Operator::LessThan,
            other => {
                return Err(format!("found '{}', expected: in, notin, =, ==, !=, gt, lt", other.literal()));
            }
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        Requirement::new(key, operator, values)
    }

    fn exact_value(&mut self) -> Result<String, String> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(String::new());
        }
        let token = self.next();
        token.word().ok_or_else(|| format!("found '{}', expected: identifier", token.literal()))
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        let open = self.next();
        if open != Token::Symbol("(") {
            return Err(format!("found '{}' expected: '('", open.literal()));
        }
        let mut values = Vec::new();
        loop {
            // Empty members count: `(a,,b)` and `()` hold the empty value.
            let member = match self.peek() {
                Token::Symbol("," | ")") => String::new(),
                other => {
                    let word = other.word();
                    let word =
                        word.ok_or_else(|| format!("found '{}', expected: ',', ')' or identifier", other.literal()))?;
                    self.position += 1;
                    word
                }
            };
            values.push(member);
            match self.next() {
                Token::Symbol(")") => return Ok(values),
                Token::Symbol(",") => {}
                other => return Err(format!("found '{}', expected: ',' or ')'", other.literal())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(selector: &str, labels: &[(&str, &str)]) -> bool {
        let selector = LabelSelector::parse(selector).unwrap_or_else(|e| panic!("{selector}: {e}"));
        selector.matches(|key| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v))
    }

    #[test]
    fn matches_as_upstream() {
        let labels = [("app", "web"), ("tier", "a"), ("n", "5")];
        for yes in [
            "",
            "app=web",
            "app==web",
            "app",
            "!gone",
            "app!=db",
            "gone!=x",
            "tier in (a,b)",
            "tier notin (c)",
            "gone notin (x)",
            "n>4",
            "n<6",
            "app = web , tier in (a)",
            "x.io/y!=1",
            "in notin (a)",
        ] {
            assert!(check(yes, &labels), "{yes}");
        }
        for no in ["app=db", "gone", "!app", "app!=web", "tier in (b)", "tier notin (a)", "n>5", "app>1", "gone in ()"]
        {
            assert!(!check(no, &labels), "{no}");
        }
        assert!(check("e in (a,,b)", &[("e", "")]));
    }

    #[test]
    fn prints_and_parses_back() {
        for text in ["a=b", "a in (b,c),!d,e", "a notin (x),b!=c", "n>1,m<2"] {
            let parsed = LabelSelector::parse(text).unwrap();
            assert_eq!(parsed.to_string(), text);
            assert_eq!(LabelSelector::parse(&parsed.to_string()), Ok(parsed));
        }
    }

    #[test]
    fn refuses_in_upstreams_words() {
        for (text, message) in [
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("=a", "found '=', expected: !, identifier, or 'end of string'"),
            ("a=b,", "found '', expected: identifier after ','"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            (
                "a>x",
                "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ] {
            assert_eq!(LabelSelector::parse(text).unwrap_err(), message, "{text}");
        }
        assert!(
            LabelSelector::parse("a/b/c=d")
                .unwrap_err()
                .starts_with("unable to parse requirement: <nil>: Invalid value: \"a/b/c\": a valid label key")
        );
    }

    #[test]
    fn json_form() {
        let selector = |v| LabelSelector::from_json(&v);
        assert!(selector(json!(null)).unwrap().is_nothing());
        assert!(selector(json!({})).unwrap().is_everything());
        let s = selector(json!({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "b", "operator": "In", "values": ["y", "x"]}]})).unwrap();
        assert_eq!(s.to_string(), "a=1,b in (x,y)");
        assert!(s.matches_json(&json!({"a": "1", "b": "x"})) && !s.matches_json(&json!(null)));
        let wrong = selector(json!({"matchExpressions": [{"key": "b", "operator": "Foo"}]}));
        assert_eq!(wrong.unwrap_err(), "\"Foo\" is not a valid label selector operator");
    }
}
