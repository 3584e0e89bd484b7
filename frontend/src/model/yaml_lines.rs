//! Finds the line of a field in YAML text, so that the server's field errors can be shown where they belong.
//! Understands block style; in flow style the line of the surrounding field is found.

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Item(usize),
}

/// Splits `spec.containers[0].env[1]` and `metadata.labels[a.b/c]`.
fn parse_path(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (inside, tail) = after.split_once(']').unwrap_or((after, ""));
            steps.push(inside.parse().map_or_else(|_| Step::Key(inside.to_owned()), Step::Item));
            rest = tail;
        } else {
            let trimmed = rest.trim_start_matches('.');
            let end = trimmed.find(['.', '[']).unwrap_or(trimmed.len());
            if end > 0 {
                steps.push(Step::Key(trimmed[..end].to_owned()));
            }
            rest = &trimmed[end..];
        }
    }
    steps
}

/// The line (from 1) of the field, or of its nearest ancestor that is in the text.
pub fn line_of(text: &str, path: &str) -> Option<usize> {
    let wanted = parse_path(path);
    let mut best: Option<(usize, usize)> = None;
    walk(text, |line, steps| {
        let shared = steps.iter().zip(&wanted).take_while(|(a, b)| a == b).count();
        if shared == steps.len() && best.is_none_or(|(depth, _)| shared > depth) {
            best = Some((shared, line));
        }
    });
    best.map(|(_, line)| line)
}

/// Calls `seen(line, path)` for every key and list item of block-style YAML.
fn walk(text: &str, mut seen: impl FnMut(usize, &[Step])) {
    let mut stack: Vec<(usize, Step)> = Vec::new();
    let mut block: Option<usize> = None;
    for (index, line) in text.lines().enumerate() {
        let mut rest = line.trim_start_matches(' ');
        let mut indent = line.len() - rest.len();
        if rest.is_empty() || rest.starts_with('#') || rest == "---" {
            continue;
        }
        if let Some(limit) = block {
            if indent > limit {
                continue;
            }
            block = None;
        }
        let mut report = |stack: &[(usize, Step)]| {
            let path: Vec<Step> = stack.iter().map(|(_, step)| step.clone()).collect();
            seen(index + 1, &path);
        };
        while let Some(after) = rest.strip_prefix('-').filter(|after| after.is_empty() || after.starts_with(' ')) {
            let mut item = 0;
            while let Some((at, step)) = stack.last() {
                match step {
                    Step::Item(last) if *at == indent => {
                        item = last + 1;
                        stack.pop();
                    }
                    _ if *at > indent => {
                        stack.pop();
                    }
                    _ => break,
                }
            }
            stack.push((indent, Step::Item(item)));
            report(&stack);
            let inner = after.trim_start_matches(' ');
            indent += 1 + after.len() - inner.len();
            rest = inner;
        }
        let Some((key, value)) = split_key(rest) else { continue };
        while stack.last().is_some_and(|(at, _)| *at >= indent) {
            stack.pop();
        }
        stack.push((indent, Step::Key(key)));
        report(&stack);
        if value.starts_with(['|', '>']) {
            block = Some(indent);
        }
    }
}

fn split_key(rest: &str) -> Option<(String, &str)> {
    if let Some(quoted) = rest.strip_prefix('"') {
        let end = quoted.find('"')?;
        let value = quoted[end + 1..].trim_start().strip_prefix(':')?;
        return Some((quoted[..end].to_owned(), value.trim()));
    }
    let (key, value) = rest.split_once(": ").or_else(|| rest.strip_suffix(':').map(|key| (key, "")))?;
    Some((key.trim().to_owned(), value.trim()))
}

/// The scalar at a path, where it is written in block style, or in a flow mapping on one line (`metadata: {name: web}`).
pub fn value_of(text: &str, path: &str) -> Option<String> {
    let wanted = parse_path(path);
    let mut found: Option<(usize, usize)> = None;
    walk(text, |line, steps| {
        let shared = steps.iter().zip(&wanted).take_while(|(a, b)| a == b).count();
        if shared == steps.len() && found.is_none_or(|(depth, _)| shared > depth) {
            found = Some((shared, line));
        }
    });
    let (depth, line) = found?;
    let (_, value) = split_key(text.lines().nth(line - 1)?.trim_start_matches([' ', '-']))?;
    match wanted.get(depth) {
        None => scalar(value),
        Some(Step::Key(key)) if depth + 1 == wanted.len() => scalar(flow_entry(value, key)?),
        Some(_) => None,
    }
}

/// Without quotes and without the comment behind it; `None` for what is no scalar.
fn scalar(value: &str) -> Option<String> {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(rest) = value.strip_prefix(quote) {
            return rest.split_once(quote).map(|(inside, _)| inside.to_owned());
        }
    }
    let value = value.split(" #").next().unwrap_or_default().trim();
    (!value.is_empty() && !value.starts_with(['{', '[', '|', '>', '&', '*', '#'])).then(|| value.to_owned())
}

/// The value of a key on the first level of `{a: b, c: {d: e}}`.
fn flow_entry<'a>(value: &'a str, key: &str) -> Option<&'a str> {
    let inside = value.trim().strip_prefix('{')?;
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in inside.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let (name, value) = inside[start..at].split_once(':').unwrap_or(("", ""));
                if name.trim().trim_matches(['"', '\'']) == key {
                    return Some(value.trim());
                }
                if c == '}' {
                    return None;
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    None
}

/// The line a YAML parser's own message names (`line 3`), if it does.
pub fn line_in_message(message: &str) -> Option<usize> {
    let after = message.split_once("line ")?.1;
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    after[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "apiVersion: apps/v1\nmetadata:\n  name: web\n  labels:\n    a.b/c: d\nspec:\n  script: |\n    replicas: no\n  replicas: 3\n  containers:\n  - name: one\n    ports:\n    - containerPort: 80\n    - containerPort: 81\n      name: x\n  - name: two\n    \"image\": demo\n";

    #[test]
    fn finds_fields() {
        let cases = [
            ("metadata.name", 3),
            ("metadata.labels[a.b/c]", 5),
            ("spec.replicas", 9),
            ("spec.containers[0].name", 11),
            ("spec.containers[0].ports[1].containerPort", 14),
            ("spec.containers[0].ports[1].name", 15),
            ("spec.containers[1].name", 16),
            ("spec.containers[1].image", 17),
            ("spec.containers[1].resources.limits", 16),
            ("spec.containers", 10),
            ("spec.missing", 6),
        ];
        for (path, line) in cases {
            assert_eq!(line_of(TEXT, path), Some(line), "{path}");
        }
        assert_eq!(line_of(TEXT, "data.x"), None);
    }

    #[test]
    fn reads_scalars() {
        let cases = [
            ("apiVersion", Some("apps/v1")),
            ("metadata.name", Some("web")),
            ("spec.replicas", Some("3")),
            ("spec.containers[1].image", Some("demo")),
            ("spec", None),
            ("spec.script", None),
            ("metadata.uid", None),
        ];
        for (path, value) in cases {
            assert_eq!(value_of(TEXT, path).as_deref(), value, "{path}");
        }
        let flow = "metadata: {labels: {name: no, x: [1, 2]}, name: \"a b\", namespace: c} # d\n";
        assert_eq!(
            (
                value_of(flow, "metadata.name").as_deref(),
                value_of(flow, "metadata.namespace").as_deref(),
                value_of(flow, "metadata.uid")
            ),
            (Some("a b"), Some("c"), None)
        );
    }

    #[test]
    fn reads_the_line_of_a_parser_error() {
        assert_eq!(
            line_in_message("error converting YAML to JSON: yaml: line 12: did not find expected key"),
            Some(12)
        );
        assert_eq!(line_in_message("no number"), None);
    }
}
