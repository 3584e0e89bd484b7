//! The formats of strings that are checked; others say nothing. Upstream's own notions of them, not those of the RFCs.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use pilothouse_api::names;
use regex::Regex;

/// Whether it is a format of strings.
pub fn is_known(format: &str) -> bool {
    KNOWN.contains(&format)
}

const KNOWN: [&str; 27] = [
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "date-time",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8s-long-name",
    "k8s-short-name",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

/// Whether a format says anything of values of a type, none for any type.
pub fn says_anything(of: &str, format: &str) -> bool {
    match of {
        "" | "string" => is_known(format),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    }
}

/// Whether a text has a format; unknown formats are had by all.
pub fn has(format: &str, text: &str) -> bool {
    match format {
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()),
        "byte" => BASE64.is_match(text),
        "cidr" => cidr(text),
        "creditcard" => credit_card(text),
        "date" => date(text),
        "date-time" | "datetime" => date_time(text),
        "duration" => duration(text),
        "email" => email(text),
        "hexcolor" => HEX_COLOR.is_match(text),
        "hostname" => text.len() <= 255 && HOSTNAME.is_match(text) && text.split('.').all(|label| label.len() <= 63),
        "ipv4" => text.contains('.') && is_ip(text),
        "ipv6" => text.contains(':') && is_ip(text),
        "isbn" => isbn10(text) || isbn13(text),
        "isbn10" => isbn10(text),
        "isbn13" => isbn13(text),
        "k8s-long-name" => text.len() <= 253 && !text.is_empty() && text.split('.').all(is_label),
        "k8s-short-name" => names::is_dns1123_label(text).is_empty(),
        "mac" => mac(text),
        "rgbcolor" => RGB_COLOR.is_match(text),
        "ssn" => text.len() == 11 && SSN.is_match(text),
        "uri" => uri(text),
        "uuid" => uuid(text, None),
        "uuid3" => uuid(text, Some('3')),
        "uuid4" => uuid(text, Some('4')),
        "uuid5" => uuid(text, Some('5')),
        _ => true,
    }
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| unreachable!("a pattern of ours: {error}"))
}

static BASE64: LazyLock<Regex> =
    LazyLock::new(|| pattern("^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$"));
/// The last label consists of letters, two at least.
static HOSTNAME: LazyLock<Regex> = LazyLock::new(|| {
    const C: &str = r"[a-zA-Z0-9\p{S}\p{L}]";
    const D: &str = r"[a-zA-Z0-9\p{S}\p{L}-]";
    pattern(&format!(r"^({C}((-?{C}{{0,62}})?)|({C}(({D}{{0,61}}{C})?)(\.)){{1,}}([a-zA-Z\p{{L}}]){{2,63}})$"))
});
static HEX_COLOR: LazyLock<Regex> = LazyLock::new(|| pattern("^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"));
static RGB_COLOR: LazyLock<Regex> = LazyLock::new(|| {
    const N: &str = r"\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*";
    pattern(&format!(r"^rgb\({N},{N},{N}\)$"))
});
static SSN: LazyLock<Regex> = LazyLock::new(|| pattern("^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$"));
static CREDIT_CARD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        "^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|\
         3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$",
    )
});
/// The time of a date-time, in small letters.
static TIME: LazyLock<Regex> =
    LazyLock::new(|| pattern("^([0-9]{2}):([0-9]{2}):([0-9]{2})(?:.[0-9]+)?(?:z|[+-][0-9]{2}:[0-9]{2})$"));
static WORDED_DURATION: LazyLock<Regex> = LazyLock::new(|| pattern("[0-9]+\\s*([A-Za-zµ]+)"));

fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = label.as_bytes();
    bytes.first().is_some_and(|b| inner(*b))
        && bytes.last().is_some_and(|b| inner(*b))
        && bytes.iter().all(|b| inner(*b) || *b == b'-')
}

/// An address, in whose numbers zeros may lead.
fn is_ip(text: &str) -> bool {
    let bare = |part: &str| match part.trim_start_matches('0') {
        "" if !part.is_empty() => "0".to_owned(),
        rest => rest.to_owned(),
    };
    let v4 = || text.split('.').map(bare).collect::<Vec<_>>().join(".");
    text.parse::<Ipv6Addr>().is_ok() || v4().parse::<Ipv4Addr>().is_ok()
}

fn cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let most = if address.contains(':') { 128 } else { 32 };
    is_ip(address) && length.bytes().all(|b| b.is_ascii_digit()) && length.parse::<u8>().is_ok_and(|n| n <= most)
}

fn digits_of(text: &str) -> Vec<u32> {
    text.chars().filter_map(|c| c.to_digit(10)).collect()
}

fn credit_card(text: &str) -> bool {
    let digits = digits_of(text);
    let plain: String = digits.iter().map(ToString::to_string).collect();
    let doubled = |n: u32| if n < 5 { 2 * n } else { 2 * n - 9 };
    let sum: u32 = digits.iter().rev().enumerate().map(|(at, n)| if at % 2 == 1 { doubled(*n) } else { *n }).sum();
    CREDIT_CARD.is_match(&plain) && sum.is_multiple_of(10)
}

/// What is left of a book's number without blanks and hyphens.
fn compact(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect()
}

fn isbn10(text: &str) -> bool {
    let text = compact(text);
    let value = |(at, c): (usize, char)| if at == 9 && c == 'X' { Some(10) } else { c.to_digit(10) };
    let digits: Option<Vec<u32>> = text.chars().enumerate().map(value).collect();
    digits.is_some_and(|digits| {
        digits.len() == 10 && (1..).zip(&digits).map(|(at, n)| at * n).sum::<u32>().is_multiple_of(11)
    })
}

fn isbn13(text: &str) -> bool {
    let text = compact(text);
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(10)).collect();
    digits.is_some_and(|digits| {
        let weighed = digits.iter().enumerate().map(|(at, n)| if at % 2 == 0 { *n } else { 3 * n });
        digits.len() == 13 && weighed.sum::<u32>().is_multiple_of(10)
    })
}

fn date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
}

fn date_time(text: &str) -> bool {
    let text = text.to_lowercase();
    let mut parts = text.split('t');
    let (Some(day), Some(time)) = (parts.next(), parts.next()) else { return false };
    let within = |text: &str, most: &str| text <= most;
    date(day)
        && TIME
            .captures(time)
            .is_some_and(|found| within(&found[1], "23") && within(&found[2], "59") && within(&found[3], "59"))
}

/// Go's durations (`1h30m`, `-1.5s`, `0`), or in words: `5 minutes`, `2d`.
fn duration(text: &str) -> bool {
    /// The last of each is what a longer word may begin with.
    const UNITS: [(&[&str], &str); 8] = [
        (&["ns"], "nano"),
        (&["us", "µs"], "micro"),
        (&["ms"], "milli"),
        (&["s"], "sec"),
        (&["m"], "min"),
        (&["h", "hr"], "hour"),
        (&["d"], "day"),
        (&["w", "wk"], "week"),
    ];
    let unit = |word: &str| {
        let word = word.to_lowercase();
        UNITS.iter().any(|(short, long)| short.contains(&word.as_str()) || word.starts_with(long))
    };
    go_duration(text) || WORDED_DURATION.captures_iter(text).any(|found| unit(&found[1]))
}

fn go_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, after) = rest.split_at(number);
        if !digits.bytes().any(|b| b.is_ascii_digit()) || digits.matches('.').count() > 1 {
            return false;
        }
        let Some(unit) = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"].into_iter().find(|unit| after.starts_with(unit))
        else {
            return false;
        };
        // `m` is also the beginning of `ms`, which comes first in the list.
        rest = after.get(unit.len()..).unwrap_or_default();
    }
    !text.is_empty() && text != "-" && text != "+"
}

/// An address as in the header of a mail: `a@b`, `"a b"@c`, `A <a@b>`.
fn email(text: &str) -> bool {
    let text = text.trim();
    let address = match text.strip_suffix('>').and_then(|rest| rest.rsplit_once('<')) {
        Some((_, address)) => address,
        None => text,
    };
    let Some((name, host)) = address.rsplit_once('@') else { return false };
    let atoms = |text: &str| {
        let allowed = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
        text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(allowed))
    };
    let quoted = name.len() > 2 && name.starts_with('"') && name.ends_with('"');
    (quoted || atoms(name)) && atoms(host)
}

/// Six, eight or twenty bytes, in pairs of digits, in fours with dots, or all in one.
fn mac(text: &str) -> bool {
    if matches!(text.len(), 12 | 16 | 40) && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return true;
    }
    let (groups, width): (Vec<&str>, usize) =
        if text.contains('.') { (text.split('.').collect(), 4) } else { (text.split([':', '-']).collect(), 2) };
    let mixed = text.contains(':') && text.contains('-');
    !mixed
        && matches!(groups.len() * width / 2, 6 | 8 | 20)
        && groups.iter().all(|group| group.len() == width && group.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn uri(text: &str) -> bool {
    let scheme = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_alphabetic())
            && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    };
    let absolute = text.split_once(':').is_some_and(|(head, rest)| scheme(head) && !rest.is_empty());
    (absolute || text.starts_with('/')) && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn uuid(text: &str, version: Option<char>) -> bool {
    // Each hyphen may be left out by itself.
    let mut digits: Vec<char> = Vec::with_capacity(32);
    for c in text.chars() {
        match c {
            '-' if matches!(digits.len(), 8 | 12 | 16 | 20) => {}
            c if c.is_ascii_hexdigit() => digits.push(c.to_ascii_lowercase()),
            _ => return false,
        }
    }
    let variant = digits.get(16).copied().unwrap_or_default();
    digits.len() == 32
        && !text.contains("--")
        && version.is_none_or(|version| digits[12] == version)
        && (!matches!(version, Some('4' | '5')) || "89ab".contains(variant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_upstreams() {
        for (format, good, bad) in [
            ("bsonobjectid", &["507f1f77bcf86cd799439011"][..], &["507f1f77", "507f1f77bcf86cd79943901z"][..]),
            ("byte", &["YQ==", "YWJj"], &["", "YQ", "a"]),
            ("cidr", &["10.0.0.0/8", "10.0.0.1/8", "::/0", "010.0.0.0/8"], &["10.0.0.0/33", "10.0.0.1", "::/129"]),
            ("creditcard", &["4111111111111111", "4111 1111 1111 1111"], &["4111111111111112", "1", ""]),
            ("date", &["2020-01-01"], &["2020-13-01", "2020-1-1", "2020-02-30"]),
            (
                "date-time",
                &["2020-01-01T00:00:00Z", "2020-01-01t00:00:00z", "2020-01-01T00:00:00.123456789+01:00"],
                &["2020-01-01T00:00:00", "2020-01-01 00:00:00Z", "2020-01-01T24:00:00Z", ""],
            ),
            ("duration", &["1h", "1h30m", "-5s", "1.5h", "1d", "5 minutes", "2 days"], &["5", "", "a"]),
            ("email", &["a@b.c", "a@b", "\"x y\"@b.c", "A <a@b.c>"], &["@b", "a", "a@", "a b@c"]),
            ("hexcolor", &["#fff", "fff", "#a0b1c2"], &["#ffff", ""]),
            ("hostname", &["a.bc", "abc", "a"], &["a.b.c", "10.0.0.1", "-a", "A.b.", "a_b", ""]),
            ("ipv4", &["10.0.0.1", "010.0.0.1", "::ffff:1.2.3.4"], &["1.2.3", "::1"]),
            ("ipv6", &["::1", "::ffff:1.2.3.4"], &["fe80::1%eth0", "10.0.0.1"]),
            ("isbn", &["0321751043", "978-0321751041"], &["0321751044", "978-0321751042"]),
            ("k8s-long-name", &["a-b", "a.b.c"], &["Abc", "a..b", "", "-a"]),
            ("k8s-short-name", &["a-b"], &["a.b", "Abc"]),
            (
                "mac",
                &["00:11:22:33:44:55", "00-11-22-33-44-55", "0011.2233.4455", "001122334455"],
                &["00:11", "00:11-22:33:44:55"],
            ),
            ("rgbcolor", &["rgb(1,2,3)", "rgb(1, 2, 30)"], &["rgb(1,2,300)", "rgb(1,2)"]),
            ("ssn", &["123-45-6789"], &["123456789", "123-45-678"]),
            ("uri", &["http://a", "/a", "a:b", "http://"], &["http://a b", "a", ""]),
            (
                "uuid",
                &["550e8400-e29b-41d4-a716-446655440000", "550E8400E29B41D4A716446655440000"],
                &["{550e8400-e29b-41d4-a716-446655440000}", "550e8400"],
            ),
            ("unheard-of", &["anything"], &[]),
            ("uuid4", &["550e8400-e29b-41d4-a716-446655440000"], &["550e8400-e29b-31d4-a716-446655440000"]),
        ] {
            for text in good {
                assert!(has(format, text), "{format}: {text}");
            }
            for text in bad {
                assert!(!has(format, text), "{format}: {text}");
            }
        }
    }
}
