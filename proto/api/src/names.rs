//! The syntax of names, keys and addresses, in upstream's words.
//!
//! Every `is_*` answers with what is wrong: an empty list means the value is fine. The texts carry over from
//! `k8s.io/apimachinery/pkg/util/validation`, since clients and tests match on them.

use std::net::{IpAddr, Ipv6Addr};

/// Longest DNS label (RFC 1123, RFC 1035), label value and name part of a qualified name.
pub const LABEL_MAX: usize = 63;
/// Longest DNS subdomain, hence longest name of most objects.
pub const SUBDOMAIN_MAX: usize = 253;

const DNS1123_LABEL_FMT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const DNS1123_LABEL_MSG: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
const DNS1123_SUBDOMAIN_FMT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const DNS1123_SUBDOMAIN_MSG: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
const DNS1035_LABEL_FMT: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const DNS1035_LABEL_MSG: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character";
const WILDCARD_MSG: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
const UNDERSCORE_FMT: &str = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
const UNDERSCORE_MSG: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
const KEY_FMT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const KEY_MSG: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const VALUE_MSG: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const CONDITION_REASON_MSG: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_'";
const C_IDENTIFIER_MSG: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'";
const ENV_MSG: &str = "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit";
const RELAXED_ENV_MSG: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";
const CONFIG_KEY_MSG: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";

pub fn max_len_error(max: usize) -> String {
    format!("must be no more than {max} characters")
}

/// The words of a failed pattern, with examples: `(e.g. 'a',  or 'b', regex used …)`, upstream's punctuation included.
pub fn regex_error(message: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{message} (regex used for validation is '{pattern}')");
    }
    let shown: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{message} (e.g. {}regex used for validation is '{pattern}')", shown.join(" or "))
}

pub fn range_error(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

fn lower_alnum(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// First and last byte obey `end`, all obey `inner`, and there is at least one.
fn framed(s: &str, end: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    let b = s.as_bytes();
    match (b.first(), b.last()) {
        (Some(first), Some(last)) => end(*first) && end(*last) && b.iter().all(|c| inner(*c)),
        _ => false,
    }
}

fn label_1123(s: &str) -> bool {
    framed(s, lower_alnum, |b| lower_alnum(b) || b == b'-')
}

fn subdomain_1123(s: &str) -> bool {
    s.split('.').all(label_1123)
}

fn label_1035(s: &str) -> bool {
    label_1123(s) && s.as_bytes()[0].is_ascii_lowercase()
}

fn key_part(s: &str) -> bool {
    framed(s, |b| b.is_ascii_alphanumeric(), |b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

pub fn is_dns1123_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_MAX {
        errors.push(max_len_error(LABEL_MAX));
    }
    if !label_1123(value) {
        errors.push(if subdomain_1123(value) {
            "must not contain dots".to_owned()
        } else {
            regex_error(DNS1123_LABEL_MSG, DNS1123_LABEL_FMT, &["my-name", "123-abc"])
        });
    }
    errors
}

pub fn is_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        errors.push(max_len_error(SUBDOMAIN_MAX));
    }
    if !subdomain_1123(value) {
        errors.push(regex_error(DNS1123_SUBDOMAIN_MSG, DNS1123_SUBDOMAIN_FMT, &["example.com"]));
    }
    errors
}

/// A DNS subdomain whose labels may hold underscores (search domains of a pod's DNS config).
pub fn is_dns1123_subdomain_with_underscore(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        errors.push(max_len_error(SUBDOMAIN_MAX));
    }
    let label = |s: &str| {
        let s = s.strip_prefix('_').unwrap_or(s);
        framed(s, lower_alnum, |b| lower_alnum(b) || matches!(b, b'-' | b'_'))
    };
    if !value.split('.').all(label) {
        errors.push(regex_error(UNDERSCORE_MSG, UNDERSCORE_FMT, &["example.com"]));
    }
    errors
}

pub fn is_dns1035_label(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_MAX {
        errors.push(max_len_error(LABEL_MAX));
    }
    if !label_1035(value) {
        errors.push(regex_error(DNS1035_LABEL_MSG, DNS1035_LABEL_FMT, &["my-name", "abc-123"]));
    }
    errors
}

pub fn is_wildcard_dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        errors.push(max_len_error(SUBDOMAIN_MAX));
    }
    if !value.strip_prefix("*.").is_some_and(subdomain_1123) {
        let pattern = format!("\\*\\.{DNS1123_SUBDOMAIN_FMT}");
        errors.push(regex_error(WILDCARD_MSG, &pattern, &["*.example.com"]));
    }
    errors
}

/// The length of names that are no DNS names is counted in bytes, and said so.
fn max_bytes_error(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// `[prefix/]name`: label keys, annotation keys, finalizers, condition types, resource names.
pub fn is_qualified_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    let mut parts = value.split('/');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    if parts.next().is_some() {
        let text = regex_error(KEY_MSG, KEY_FMT, &["MyName", "my.name", "123-abc"]);
        return vec![format!(
            "a valid label key {text} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        )];
    }
    let name = match second {
        None => first,
        Some(name) => {
            if first.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                let wrong = is_dns1123_subdomain(first).into_iter();
                errors.extend(wrong.map(|e| format!("prefix part {}", in_bytes(e))));
            }
            name
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        errors.push(format!("name part {}", max_bytes_error(LABEL_MAX)));
    }
    if !key_part(name) {
        errors.push(format!("name part {}", regex_error(KEY_MSG, KEY_FMT, &["MyName", "my.name", "123-abc"])));
    }
    errors
}

/// A complaint about a length, where upstream counts bytes.
pub fn in_bytes(wrong: String) -> String {
    match wrong.strip_suffix(" characters") {
        Some(rest) if wrong.starts_with("must be no more than") => format!("{rest} bytes"),
        _ => wrong,
    }
}

pub fn is_label_value(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > LABEL_MAX {
        errors.push(max_bytes_error(LABEL_MAX));
    }
    if !value.is_empty() && !key_part(value) {
        errors.push(regex_error(VALUE_MSG, &format!("({KEY_FMT})?"), &["MyValue", "my_value", "12345"]));
    }
    errors
}

pub fn is_c_identifier(value: &str) -> Vec<String> {
    let b = value.as_bytes();
    let fine = b.first().is_some_and(|c| c.is_ascii_alphabetic() || *c == b'_')
        && b.iter().all(|c| c.is_ascii_alphanumeric() || *c == b'_');
    if fine {
        return Vec::new();
    }
    vec![regex_error(C_IDENTIFIER_MSG, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])]
}

/// The reason of a condition.
pub fn is_condition_reason(value: &str) -> Vec<String> {
    let b = value.as_bytes();
    let inside = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b',' | b':');
    let ends = b.last().is_some_and(|c| c.is_ascii_alphanumeric() || *c == b'_');
    if b.first().is_some_and(u8::is_ascii_alphabetic) && ends && b.iter().all(inside) {
        return Vec::new();
    }
    vec![regex_error(
        CONDITION_REASON_MSG,
        "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?",
        &["my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"],
    )]
}

/// The names shells understand: what `envFrom` takes over from a ConfigMap's keys.
pub fn is_env_var_name(value: &str) -> Vec<String> {
    let b = value.as_bytes();
    let start = |c: u8| c.is_ascii_alphabetic() || matches!(c, b'-' | b'.' | b'_');
    let fine = b.first().is_some_and(|c| start(*c)) && b.iter().all(|c| start(*c) || c.is_ascii_digit());
    let mut errors = Vec::new();
    if !fine {
        let pattern = "[-._a-zA-Z][-._a-zA-Z0-9]*";
        errors.push(regex_error(ENV_MSG, pattern, &["my.env-name", "MY_ENV.NAME", "MyEnvName1"]));
    }
    errors.extend(parent_prefix(value));
    errors
}

/// What a container's `env[].name` may be (any printable ASCII but `=`).
pub fn is_relaxed_env_var_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.is_empty() {
        errors.push("environment variable name must be non-empty".to_owned());
    }
    if value.chars().any(|c| !(' '..='~').contains(&c) || c == '=') {
        errors.push(RELAXED_ENV_MSG.to_owned());
    }
    errors
}

pub fn is_config_map_key(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > SUBDOMAIN_MAX {
        errors.push(max_len_error(SUBDOMAIN_MAX));
    }
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if value.is_empty() || !value.bytes().all(fine) {
        errors.push(regex_error(CONFIG_KEY_MSG, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    errors.extend(parent_prefix(value));
    errors
}

fn parent_prefix(value: &str) -> Option<String> {
    match value {
        "." => Some("must not be '.'".to_owned()),
        ".." => Some("must not be '..'".to_owned()),
        _ if value.starts_with("..") => Some("must not start with '..'".to_owned()),
        _ => None,
    }
}

/// Names that only have to fit into a path of the API: RBAC roles and bindings, CSRs' relatives.
pub fn is_path_segment_name(value: &str) -> Vec<String> {
    if matches!(value, "." | "..") {
        return vec![format!("may not be '{value}'")];
    }
    is_path_segment_prefix(value)
}

/// What a `generateName` of such a name may be.
pub fn is_path_segment_prefix(value: &str) -> Vec<String> {
    ['/', '%'].into_iter().filter(|c| value.contains(*c)).map(|c| format!("may not contain '{c}'")).collect()
}

pub fn is_port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) { Vec::new() } else { vec![range_error(1, 65535)] }
}

/// An IANA service name: a container port's name.
pub fn is_port_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.len() > 15 {
        errors.push(max_len_error(15));
    }
    if value.is_empty() || !value.bytes().all(|b| lower_alnum(b) || b == b'-') {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

pub fn is_percent(value: &str) -> Vec<String> {
    let digits = value.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Vec::new();
    }
    let message = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![regex_error(message, "[0-9]+%", &["1%", "93%"])]
}

pub fn is_http_header_name(value: &str) -> Vec<String> {
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Vec::new();
    }
    let message = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![regex_error(message, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// An address as old API fields take it: leading zeros in IPv4 octets are ignored.
pub fn parse_ip(value: &str) -> Option<IpAddr> {
    if let Ok(ip) = value.parse() {
        return Some(ip);
    }
    if value.contains(':') {
        let (head, tail) = value.rsplit_once(':')?;
        let tail = without_leading_zeros(tail)?;
        return format!("{head}:{tail}").parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    without_leading_zeros(value)?.parse().ok()
}

fn without_leading_zeros(v4: &str) -> Option<String> {
    if v4.bytes().any(|b| !b.is_ascii_digit() && b != b'.') || v4.len() > 64 {
        return None;
    }
    let octets: Vec<&str> = v4
        .split('.')
        .map(|octet| {
            let short = octet.trim_start_matches('0');
            if short.is_empty() && !octet.is_empty() { "0" } else { short }
        })
        .collect();
    Some(octets.join("."))
}

/// An address with a prefix length; the address keeps its host bits.
pub fn parse_cidr(value: &str) -> Option<(IpAddr, u8)> {
    let (ip, bits) = value.split_once('/')?;
    let ip = parse_ip(ip)?;
    if bits.is_empty() || bits.len() > 3 || !bits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let bits: u8 = bits.parse().ok()?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    (bits <= most).then_some((ip, bits))
}

/// An address as old API fields take it.
pub fn is_ip(value: &str) -> Vec<String> {
    if parse_ip(value).is_some() {
        return Vec::new();
    }
    vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()]
}

/// An address in the one canonical form (new API fields, names of `IPAddress` objects).
pub fn is_canonical_ip(value: &str) -> Vec<String> {
    let Some(ip) = parse_ip(value) else { return is_ip(value) };
    let mut errors = Vec::new();
    if value.parse::<IpAddr>().is_err() {
        errors.push("must not have leading 0s".to_owned());
    }
    if let IpAddr::V6(v6) = ip
        && v6.to_ipv4_mapped().is_some()
    {
        errors.push("must not be an IPv4-mapped IPv6 address".to_owned());
    }
    if errors.is_empty() && ip.to_string() != value {
        errors.push(format!("must be in canonical form ({:?})", ip.to_string()));
    }
    errors
}

pub fn is_cidr(value: &str) -> Vec<String> {
    if parse_cidr(value).is_some() {
        return Vec::new();
    }
    vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_refuses() {
        type Check = fn(&str) -> Vec<String>;
        let table: &[(Check, &[&str], &[&str])] = &[
            (is_dns1123_label, &["a", "0", "a-b", "123-abc"], &["", "A", "-a", "a-", "a.b", "a_b", "ä"]),
            (is_dns1123_subdomain, &["a", "a.b", "0.1", "x-y.z"], &["", "a..b", ".a", "a.", "A.b", "a_b"]),
            (is_dns1035_label, &["a", "a1", "a-1"], &["1a", "", "a.b", "a-"]),
            (is_qualified_name, &["a", "A.b_c", "x.io/Y", "0"], &["", "/a", "x/", "a/b/c", "X.io/a", "-a"]),
            (is_label_value, &["", "a", "A_b.c", "1"], &["-", "a b", "a-", ".a"]),
            (is_c_identifier, &["_", "a1", "A"], &["", "1a", "a-b"]),
            (is_condition_reason, &["A", "a_b", "A,B:c"], &["", "1a", "_", "a-b", "a,"]),
            (is_env_var_name, &["A", "_a.b-c", "-"], &["", "1A", "a=b", "..a", "a b"]),
            (is_relaxed_env_var_name, &["A", "1 A", "%"], &["", "a=b", "\n", "ü"]),
            (is_config_map_key, &["a", "A_b.c", ".a"], &["", "..", "..a", "a/b", "."]),
            (is_port_name, &["http", "a-1", "1a"], &["", "1", "A", "a--b", "-a", "abcdefghijklmnop"]),
            (is_percent, &["1%", "100%"], &["", "%", "1", "a%"]),
            (is_http_header_name, &["X-A"], &["", "a b", "a_b"]),
            (is_ip, &["1.2.3.4", "01.2.3.4", "::1", "::ffff:1.2.3.4"], &["", "1.2.3", "1.2.3.256", "g::", "1.2.3.4.5"]),
            (is_canonical_ip, &["1.2.3.4", "::1"], &["01.2.3.4", "0::1", "::ffff:1.2.3.4", "x"]),
            (is_cidr, &["1.2.3.0/24", "::/0"], &["1.2.3.4", "1.2.3.0/33", "::/129", "1.2.3.0/+1"]),
            (is_path_segment_name, &["system:a", "A b"], &[".", "..", "a/b", "a%"]),
            (is_wildcard_dns1123_subdomain, &["*.a.b"], &["*", "a.b", "*.*.a"]),
        ];
        for (check, fine, wrong) in table {
            for value in *fine {
                assert!(check(value).is_empty(), "{value:?}: {:?}", check(value));
            }
            for value in *wrong {
                assert!(!check(value).is_empty(), "{value:?} should be refused");
            }
        }
    }

    #[test]
    fn speaks_upstreams_words() {
        assert_eq!(
            is_dns1123_subdomain("Foo_Bar"),
            [
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            ]
        );
        assert_eq!(
            is_label_value("a b"),
            [
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            ]
        );
        assert_eq!(is_dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(is_dns1123_label(&"a".repeat(64)), ["must be no more than 63 characters"]);
    }
}
