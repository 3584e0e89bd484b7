//! Field selectors: comparisons of fields, all of which must hold.
//! Source: <https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/>

use std::fmt;

use super::MAX_REQUIREMENTS;

/// One comparison of a field selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    pub field: String,
    pub equal: bool,
    pub value: String,
}

/// `status.phase=Running,spec.nodeName!=`: all must hold; an absent field counts as empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    pub fn everything() -> Self {
        Self::default()
    }

    /// Calls the fields by other names.
    pub fn rename(&mut self, name: impl Fn(&str) -> String) {
        for requirement in &mut self.requirements {
            requirement.field = name(&requirement.field);
        }
    }

    /// # Errors
    /// Upstream's sentence on the part that is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut requirements = Vec::new();
        for part in split_unescaped(text) {
            if part.is_empty() {
                continue;
            }
            let wrong = || format!("invalid selector: '{text}'; can't understand '{part}'");
            let (field, equal, value) = split_term(part).ok_or_else(wrong)?;
            let value = unescape(value)?;
            // No field with no value is everything.
            if field.is_empty() && value.is_empty() {
                continue;
            }
            requirements.push(FieldRequirement { field: field.to_owned(), equal, value });
            if requirements.len() > MAX_REQUIREMENTS {
                return Err(format!("a selector may have at most {MAX_REQUIREMENTS} requirements"));
            }
        }
        Ok(Self { requirements })
    }

    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The one value a field must have, if the selector demands one (`metadata.name=x` becomes a get).
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.requirements.iter().find(|r| r.equal && r.field == field).map(|r| r.value.as_str())
    }

    /// `get` answers with the value of a field; `None` counts as empty.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|r| (get(&r.field).unwrap_or_default() == r.value) == r.equal)
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, r) in self.requirements.iter().enumerate() {
            let value = r.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{}{}{}{value}", if index > 0 { "," } else { "" }, r.field, if r.equal { "=" } else { "!=" })?;
        }
        Ok(())
    }
}

/// Parts between commas that no backslash escapes.
fn split_unescaped(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut escaped) = (Vec::new(), 0, false);
    for (index, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == ',' {
            parts.push(&text[start..index]);
            start = index + 1;
        }
    }
    parts.push(&text[start..]);
    parts
}

fn split_term(part: &str) -> Option<(&str, bool, &str)> {
    for (index, _) in part.char_indices() {
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = part[index..].strip_prefix(operator) {
                return Some((&part[..index], equal, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => out.push(next),
                Some(other) => return Err(format!("invalid field selector: invalid escape sequence: \\{other}")),
                None => return Err("invalid field selector: invalid escape sequence: \\".to_owned()),
            },
            ',' | '=' => return Err(format!("invalid field selector: unescaped character in value: {c}")),
            other => out.push(other),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_selectors() {
        let s = FieldSelector::parse("status.phase!=Running,spec.nodeName=n1").unwrap();
        assert!(s.matches(|f| (f == "spec.nodeName").then_some("n1")));
        assert!(!s.matches(|_| None));
        assert_eq!(s.exact("spec.nodeName"), Some("n1"));
        assert_eq!(FieldSelector::parse(r"a=b\,c\=d").unwrap().requirements()[0].value, "b,c=d");
        assert_eq!(FieldSelector::parse("a").unwrap_err(), "invalid selector: 'a'; can't understand 'a'");
        assert!(FieldSelector::parse("").unwrap().is_everything());
        assert!(FieldSelector::parse("=").unwrap().is_everything());
        let round = FieldSelector::parse(r"a=b\,c\=d,x!=").unwrap();
        assert_eq!(FieldSelector::parse(&round.to_string()), Ok(round));
    }
}
