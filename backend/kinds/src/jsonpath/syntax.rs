//! What a JSONPath may look like to upstream's clients, told in their words. Paths are not looked up by this.
//! Source: <https://kubernetes.io/docs/reference/kubectl/jsonpath/>

/// How deeply paths nest: unions in filters in arrays.
const MAX_DEPTH: usize = 16;
const ENDS: &[char] = &[' ', '\t', '\r', '\n', '.', ',', '[', ']', '$', '@', '{', '}'];

/// # Errors
/// Where the path stops making sense.
pub(crate) fn check(path: &str) -> Result<(), String> {
    action(path, 0)
}

/// What stands between braces.
fn action(path: &str, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err("nests too deeply".into());
    }
    let mut parser = Parser { rest: path, depth, recursive: false };
    while !parser.rest.is_empty() {
        // Text may follow, and further actions: nobody looks into it here.
        if parser.rest.starts_with('}') {
            return Ok(());
        }
        parser.step()?;
    }
    Ok(())
}

struct Parser<'t> {
    rest: &'t str,
    depth: usize,
    /// The last step was a descent.
    recursive: bool,
}

impl<'t> Parser<'t> {
    fn step(&mut self) -> Result<(), String> {
        let recursive = std::mem::take(&mut self.recursive);
        if let Some(after) = self.rest.strip_prefix("[?(") {
            return self.filter(after);
        }
        if let Some(after) = self.rest.strip_prefix("..") {
            if recursive {
                return Err("invalid multiple recursive descent".into());
            }
            self.rest = after;
            self.recursive = !after.starts_with(is_word);
            if !self.recursive {
                self.word();
            }
            return Ok(());
        }
        let Some(first) = self.rest.chars().next() else { return Ok(()) };
        let after = &self.rest[first.len_utf8()..];
        match first {
            '\r' | '\n' => return Err("unclosed action".into()),
            ' ' | '@' | '$' => self.rest = after,
            '[' => return self.array(after),
            '"' | '\'' => return self.quote(after, first),
            '.' => {
                self.rest = after;
                self.word();
            }
            '+' | '-' | '0'..='9' => return self.number(),
            c if is_word(c) => self.word(),
            c => return Err(format!("unrecognized character in action: U+{:04X} '{c}'", u32::from(c))),
        }
        Ok(())
    }

    /// A name, up to what ends it; a backslash takes away what the next character means.
    fn word(&mut self) {
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            if c == '\\' {
                chars.next();
            } else if ENDS.contains(&c) {
                self.rest = &self.rest[at..];
                return;
            }
        }
        self.rest = "";
    }

    fn number(&mut self) -> Result<(), String> {
        let signed = usize::from(self.rest.starts_with(['+', '-']));
        let digits = self.rest[signed..].find(|c: char| c != '.' && !c.is_ascii_digit());
        let (number, rest) = self.rest.split_at(digits.map_or(self.rest.len(), |at| at + signed));
        self.rest = rest;
        match number.parse::<f64>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("cannot parse number {number}")),
        }
    }

    fn quote(&mut self, after: &'t str, end: char) -> Result<(), String> {
        let mut before = end;
        for (at, c) in after.char_indices() {
            if c == '\n' {
                break;
            }
            if c == end && before != '\\' {
                self.rest = &after[at + c.len_utf8()..];
                return Ok(());
            }
            before = c;
        }
        Err("unterminated quoted string".into())
    }

    fn array(&mut self, after: &'t str) -> Result<(), String> {
        let end = after.find([']', '\n']).filter(|end| after[*end..].starts_with(']'));
        let Some(end) = end else { return Err("unterminated array".into()) };
        let (text, rest) = (&after[..end], &after[end + 1..]);
        self.rest = rest;
        if text.contains(',') {
            let mut parts = text.split(',').map(|part| format!("[{}]", part.trim_matches(' ')));
            return parts.try_for_each(|part| action(&part, self.depth + 1));
        }
        let key = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).filter(|key| !key.contains('\''));
        if let Some(key) = key {
            return action(&format!(".{key}"), self.depth + 1);
        }
        if text == "*" {
            return Ok(());
        }
        let parts: Vec<&str> = text.split(':').collect();
        let is_index = |part: &&str| part.strip_prefix('-').unwrap_or(part).bytes().all(|b| b.is_ascii_digit());
        if parts.len() > 3 || !parts.iter().all(is_index) {
            return Err(format!("invalid array index {text}"));
        }
        match parts.iter().find(|part| !part.is_empty() && part.parse::<i64>().is_err()) {
            Some(part) => Err(format!("array index {part} is not a number")),
            None => Ok(()),
        }
    }

    /// `[?(@.a == "b")]`: parentheses within quotes end nothing.
    fn filter(&mut self, after: &'t str) -> Result<(), String> {
        let (mut quote, mut closed, mut before) = (None, false, '(');
        let mut end = None;
        for (at, c) in after.char_indices() {
            match (c, quote) {
                ('\n', _) => break,
                ('"' | '\'', None) => quote = Some(c),
                (c, Some(open)) if c == open && before != '\\' => closed = true,
                (')', quote) if quote.is_some() == closed => {
                    end = Some(at);
                    break;
                }
                _ => {}
            }
            before = c;
        }
        let Some(end) = end else { return Err("unterminated filter".into()) };
        let (text, rest) = (&after[..end], &after[end + 1..]);
        self.rest = rest.strip_prefix(']').ok_or("unclosed array expect ]")?;
        let compares = |c: char| "!<>=".contains(c);
        let (left, compared) = text.split_at(text.find(compares).unwrap_or(text.len()));
        let right = compared.trim_start_matches(compares);
        if left.is_empty() || right.is_empty() {
            return action(text, self.depth + 1);
        }
        action(left, self.depth + 1).and_then(|()| action(right, self.depth + 1))
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for path in [
            "spec.validations[0].expression",
            ".spec",
            "..name",
            "$.a['b.c'].d",
            ".items[*].name",
            ".items[0:2:1]",
            ".items[0,1]",
            ".items[?(@.type==\"Re)ady\")].status",
            "'quoted'",
            "a b",
            "-1.5",
            "a}b%",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
        for (path, why) in [
            ("150%", "unrecognized character in action: U+0025 '%'"),
            ("../x", "unrecognized character in action: U+002F '/'"),
            ("....", "invalid multiple recursive descent"),
            ("a[", "unterminated array"),
            ("a[x]", "invalid array index x"),
            ("a[99999999999999999999]", "array index 99999999999999999999 is not a number"),
            ("a[?(@.b)", "unclosed array expect ]"),
            ("a[?(@.b", "unterminated filter"),
            ("\"a", "unterminated quoted string"),
            ("1.2.3", "cannot parse number 1.2.3"),
            ("a\nb", "unclosed action"),
        ] {
            assert_eq!(check(path), Err(why.to_owned()), "{path}");
        }
    }
}
