//! Formats of names, labels and values, with upstream's messages; an empty answer means the value is fine.
//! Source: <https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>

pub const DNS1123_LABEL_MAX: usize = 63;
pub const DNS1123_SUBDOMAIN_MAX: usize = 253;
pub const DNS1035_LABEL_MAX: usize = 63;
pub const QUALIFIED_NAME_MAX: usize = 63;
pub const LABEL_VALUE_MAX: usize = 63;

const DNS1123_LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const DNS1123_SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const DNS1035_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED_NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const QUALIFIED_NAME_PARTS: &str = "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const C_IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";
const ENV_VAR_NAME: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const CONFIG_MAP_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const PORT_NAME_LETTER: &str = "must contain at least one letter (a-z)";
const WILDCARD_DNS1123_SUBDOMAIN: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn lower(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?`
fn label_shape(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|b| lower(*b))
        && bytes.last().is_some_and(|b| lower(*b))
        && bytes.iter().all(|b| lower(*b) || *b == b'-')
}

fn subdomain_shape(text: &str) -> bool {
    text.split('.').all(label_shape)
}

/// `([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]`
fn name_shape(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn check(text: &str, max: usize, fits: bool, message: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > max {
        errors.push(too_long(max));
    }
    if !fits {
        errors.push(message.to_owned());
    }
    errors
}

pub fn is_dns1123_label(text: &str) -> Vec<String> {
    check(text, DNS1123_LABEL_MAX, label_shape(text), DNS1123_LABEL)
}

pub fn is_dns1123_subdomain(text: &str) -> Vec<String> {
    check(text, DNS1123_SUBDOMAIN_MAX, subdomain_shape(text), DNS1123_SUBDOMAIN)
}

pub fn is_wildcard_dns1123_subdomain(text: &str) -> Vec<String> {
    let fits = text.strip_prefix("*.").is_some_and(subdomain_shape);
    check(text, DNS1123_SUBDOMAIN_MAX, fits, WILDCARD_DNS1123_SUBDOMAIN)
}

pub fn is_dns1035_label(text: &str) -> Vec<String> {
    let fits = label_shape(text) && text.as_bytes()[0].is_ascii_lowercase();
    check(text, DNS1035_LABEL_MAX, fits, DNS1035_LABEL)
}

/// `[prefix/]name`: label and annotation keys, resource names, condition types.
pub fn is_qualified_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let name = match text.split_once('/') {
        None => text,
        Some((_, name)) if name.contains('/') => return vec![QUALIFIED_NAME_PARTS.to_owned()],
        Some((prefix, name)) => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                errors.extend(is_dns1123_subdomain(prefix).into_iter().map(|why| format!("prefix part {why}")));
            }
            name
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > QUALIFIED_NAME_MAX {
        errors.push(format!("name part {}", too_long(QUALIFIED_NAME_MAX)));
    }
    if !name_shape(name) {
        errors.push(QUALIFIED_NAME.to_owned());
    }
    errors
}

pub fn is_label_value(text: &str) -> Vec<String> {
    check(text, LABEL_VALUE_MAX, text.is_empty() || name_shape(text), LABEL_VALUE)
}

pub fn is_c_identifier(text: &str) -> Vec<String> {
    let bytes = text.as_bytes();
    let fits = bytes.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    check(text, usize::MAX, fits, C_IDENTIFIER)
}

pub fn is_env_var_name(text: &str) -> Vec<String> {
    let fits = !text.is_empty() && text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=');
    check(text, usize::MAX, fits, ENV_VAR_NAME)
}

pub fn is_config_map_key(text: &str) -> Vec<String> {
    let shape = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let mut errors = check(text, DNS1123_SUBDOMAIN_MAX, shape, CONFIG_MAP_KEY);
    if text == "." {
        errors.push("must not be '.'".to_owned());
    } else if text == ".." {
        errors.push("must not be '..'".to_owned());
    } else if text.starts_with("..") {
        errors.push("must not start with '..'".to_owned());
    }
    errors
}

/// A container port's or service port's IANA-style name.
pub fn is_port_name(text: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if text.len() > 15 {
        errors.push(too_long(15));
    }
    if !text.bytes().all(|b| lower(b) || b == b'-') || text.is_empty() {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        errors.push(PORT_NAME_LETTER.to_owned());
    }
    if text.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

pub fn is_port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) { Vec::new() } else { vec!["must be between 1 and 65535, inclusive".to_owned()] }
}

pub fn is_ip(text: &str) -> Vec<String> {
    if text.parse::<std::net::IpAddr>().is_ok() {
        Vec::new()
    } else {
        vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()]
    }
}

/// What may stand as one segment of a URL path: names of RBAC objects.
pub fn is_path_segment(text: &str) -> Vec<String> {
    match text {
        "." | ".." => vec![format!("may not be '{text}'")],
        _ => ["/", "%"].iter().filter(|c| text.contains(**c)).map(|c| format!("may not contain '{c}'")).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        type Format = fn(&str) -> Vec<String>;
        let long = "a".repeat(64);
        let cases: &[(Format, &[&str], &[&str])] = &[
            (is_dns1123_label, &["a", "0", "a-b", "a1"], &["", "A", "-a", "a-", "a.b", "a_b", &long]),
            (is_dns1123_subdomain, &["a", "a.b-c.d0"], &["", ".a", "a.", "a..b", "A.b", "a_b"]),
            (is_wildcard_dns1123_subdomain, &["*.a.b"], &["*", "*.", "a.b", "*.*.a"]),
            (is_dns1035_label, &["a", "a0"], &["0a", "", "a."]),
            (
                is_qualified_name,
                &["a", "A_b.c-d", "example.com/Name", "0"],
                &["", "/a", "a/", "a/b/c", "-a", "X.com/a", &long],
            ),
            (is_label_value, &["", "a", "A_b.c"], &["-a", "a-", "a b", &long]),
            (is_c_identifier, &["a", "_A9"], &["", "9a", "a-b"]),
            (is_env_var_name, &["A", "a.b-c", "1X"], &["", "a=b", "\u{e9}"]),
            (is_config_map_key, &["a", "a.b_c-D", ".a"], &["", ".", "..", "..a", "a/b", "a b"]),
            (is_port_name, &["http", "a-1"], &["", "1", "-a", "a--b", "aaaaaaaaaaaaaaaa", "A"]),
            (is_ip, &["10.0.0.1", "::1"], &["", "10.0.0", "a"]),
            (is_path_segment, &["system:node", ""], &[".", "..", "a/b", "a%b"]),
        ];
        for (format, good, bad) in cases {
            for text in *good {
                assert_eq!(format(text), Vec::<String>::new(), "{text:?}");
            }
            for text in *bad {
                assert_ne!(format(text), Vec::<String>::new(), "{text:?}");
            }
        }
    }
}
