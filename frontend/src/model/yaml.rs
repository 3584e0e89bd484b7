//! Prints an object as YAML, in block style with Kubernetes' indentation.
//!
//! Invariant: what is printed reads back as the same value. Parsing is the server's work: edited text is sent to it
//! as `application/yaml`.

use std::fmt::Write;

use serde_json::{Map, Value};

/// What people look for first stands first; the rest follows in alphabetical order, `status` last.
const TOP: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];
const METADATA: [&str; 6] = ["name", "generateName", "namespace", "labels", "annotations", "finalizers"];
const NAMED: [&str; 2] = ["name", "image"];

pub fn print(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => print_map(&mut out, map, 0, &TOP, false),
        Value::Array(items) if !items.is_empty() => print_list(&mut out, items, 0),
        other => {
            print_inline(&mut out, other, 0);
        }
    }
    out
}

fn rank<'a>(first: &[&str], key: &'a str) -> (usize, &'a str) {
    let place = first.iter().position(|name| *name == key);
    (place.unwrap_or(if key == "status" { first.len() + 1 } else { first.len() }), key)
}

fn print_map(out: &mut String, map: &Map<String, Value>, indent: usize, first: &[&str], mut started: bool) {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by(|a, b| rank(first, a.0).cmp(&rank(first, b.0)));
    for (key, value) in entries {
        if !started {
            pad(out, indent);
        }
        started = false;
        print_string(out, key);
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                let order: &[&str] = if indent == 0 && key == "metadata" { &METADATA } else { &NAMED };
                print_map(out, inner, indent + 2, order, false);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                print_list(out, items, indent);
            }
            other => {
                out.push(' ');
                print_inline(out, other, indent + 2);
            }
        }
    }
}

fn print_list(out: &mut String, items: &[Value], indent: usize) {
    for item in items {
        pad(out, indent);
        out.push_str("- ");
        match item {
            Value::Object(inner) if !inner.is_empty() => print_map(out, inner, indent + 2, &NAMED, true),
            Value::Array(inner) if !inner.is_empty() => {
                // A nested list starts on a line of its own so that its dashes line up.
                out.truncate(out.len() - 1);
                out.push('\n');
                print_list(out, inner, indent + 2);
            }
            other => print_inline(out, other, indent + 2),
        }
    }
}

fn print_inline(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => {
            let _ = write!(out, "{flag}");
        }
        Value::Number(number) => {
            let _ = write!(out, "{number}");
        }
        Value::String(text) if is_block(text) => return print_block(out, text, indent),
        Value::String(text) => print_string(out, text),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
    }
    out.push('\n');
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Several lines of printable text are shown as they are.
fn is_block(text: &str) -> bool {
    text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && text.chars().all(|c| c == '\n' || c == '\t' || is_printable(c))
        && !text.lines().any(|line| line.starts_with('\t'))
}

fn is_printable(c: char) -> bool {
    !c.is_control() && c != '\u{feff}' && c != '\u{2028}' && c != '\u{2029}'
}

fn print_block(out: &mut String, text: &str, indent: usize) {
    let body = text.trim_end_matches('\n');
    out.push('|');
    match text.len() - body.len() {
        0 => out.push('-'),
        1 => {}
        _ => out.push('+'),
    }
    out.push('\n');
    for line in body.split('\n') {
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
        out.push('\n');
    }
    out.extend(std::iter::repeat_n('\n', (text.len() - body.len()).saturating_sub(1)));
}

fn print_string(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c if (c as u32) <= 0xff => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if (c as u32) <= 0xffff => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => {
                let _ = write!(out, "\\U{:08x}", c as u32);
            }
        }
    }
    out.push('"');
}

/// Whether a string may stand without quotes and still be read as that string.
fn is_plain(text: &str) -> bool {
    let Some(first) = text.chars().next() else { return false };
    let harmless_start = first.is_ascii_alphabetic()
        || first == '_'
        || first == '/'
        || first == '$'
        || first == '('
        || (first.is_ascii_digit() && !looks_numeric(text));
    harmless_start
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && text.chars().all(|c| is_printable(c) && c != '\u{85}' && c != '\u{a0}')
        && !is_word(text)
}

/// Words that some YAML reader takes for a boolean, a null or a number.
fn is_word(text: &str) -> bool {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "true", "false", "on", "off", "null"];
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Numbers in any base, dates and times: anything that begins with a digit and is not clearly a word.
fn looks_numeric(text: &str) -> bool {
    let allowed =
        |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | '_' | '-' | '+' | ':' | 'x' | 'o' | 'T' | 'Z' | ' ');
    text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn prints_what_matters_first() {
        let pod = json!({
            "status": {"phase": "Running"}, "kind": "Pod", "apiVersion": "v1",
            "metadata": {"uid": "9", "namespace": "default", "name": "web", "labels": {"app": "web"}},
            "spec": {"containers": [{"image": "demo:1", "name": "web", "args": ["-c", "echo: hi"], "ports": [{"containerPort": 80}], "env": []}]},
        });
        let expected = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\n  namespace: default\n  labels:\n    app: web\n  uid: \"9\"\n\
            spec:\n  containers:\n  - name: web\n    image: demo:1\n    args:\n    - \"-c\"\n    - \"echo: hi\"\n    env: []\n    ports:\n    - containerPort: 80\n\
            status:\n  phase: Running\n";
        assert_eq!(print(&pod), expected);
    }

    #[test]
    fn quotes_what_would_be_read_as_something_else() {
        for text in [
            "",
            "true",
            "No",
            "null",
            "~",
            "1",
            "1.5",
            "0x1f",
            "1e3",
            "2024-01-01",
            "12:30",
            "- a",
            "a: b",
            "a #b",
            "*x",
            "&x",
            "@x",
            "%x",
            "!x",
            "{a",
            "[a",
            "'a",
            "a:",
            " a",
            "a ",
            "|",
            ">",
            "?",
            "=",
            "<<",
            ".5",
            "+1",
            "-1",
        ] {
            let printed = print(&json!({ "k": text }));
            assert!(printed.starts_with("k: \""), "{text:?} printed {printed:?}");
        }
        for text in [
            "web",
            "demo:1",
            "registry.local/a/b@sha256:0f",
            "a#b",
            "10.244.0.0/16",
            "100m",
            "256Mi",
            "http://x/y?z=1",
            "$(NAME)",
            "/bin/sh",
            "v1.36.0",
        ] {
            assert_eq!(print(&json!({ "k": text })), format!("k: {text}\n"));
        }
    }

    #[test]
    fn keeps_line_ends_of_blocks() {
        assert_eq!(print(&json!({"a": "x\ny"})), "a: |-\n  x\n  y\n");
        assert_eq!(print(&json!({"a": "x\n\ny\n"})), "a: |\n  x\n\n  y\n");
        assert_eq!(print(&json!({"a": "x\n\n\n"})), "a: |+\n  x\n\n\n");
        assert_eq!(print(&json!({"a": "  x\ny"})), "a: \"  x\\ny\"\n");
        assert_eq!(print(&json!({"a": "x\r\ny\u{1}"})), "a: \"x\\r\\ny\\x01\"\n");
        assert_eq!(print(&json!([{"a": "x\ny\n"}, [1, 2], {}])), "- a: |\n    x\n    y\n-\n  - 1\n  - 2\n- {}\n");
    }
}
