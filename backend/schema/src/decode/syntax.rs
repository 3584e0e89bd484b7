//! What is no JSON, in the words of Go's parser: clients show them, and scripts look for them.

use serde_json::Error;
use serde_json::error::Category;

/// What the parser had before it when it stopped, and what it calls that.
const PLACES: &[(&str, &str)] = &[
    ("expected `:`", "after object key"),
    ("expected `,` or `}`", "after object key:value pair"),
    ("expected `,` or `]`", "after array element"),
    ("key must be a string", "looking for beginning of object key string"),
    ("trailing comma", "looking for beginning of object key string"),
    ("trailing characters", "after top-level value"),
    ("expected value", "looking for beginning of value"),
];

/// `invalid character 'd' looking for beginning of value`.
pub fn go_words(error: &Error, body: &[u8]) -> String {
    if error.classify() == Category::Eof {
        return "unexpected end of JSON input".to_owned();
    }
    let text = error.to_string();
    let (Some((_, place)), Some(at)) = (PLACES.iter().find(|(said, _)| text.starts_with(said)), character(error, body))
    else {
        return text;
    };
    format!("invalid character {at:?} {place}")
}

/// The character at the error's place.
fn character(error: &Error, body: &[u8]) -> Option<char> {
    let line = body.split(|byte| *byte == b'\n').nth(error.line().checked_sub(1)?)?;
    let rest = line.get(error.column().checked_sub(1)?..)?;
    let text = rest.utf8_chunks().next()?.valid();
    text.chars().next()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn as_go_says_it() {
        for (body, words) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("data: {}", "invalid character 'd' looking for beginning of value"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\": 1 2}", "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{a: 1}", "invalid character 'a' looking for beginning of object key string"),
            ("{} x", "invalid character 'x' after top-level value"),
        ] {
            let error = serde_json::from_str::<Value>(body).expect_err(body);
            assert_eq!(go_words(&error, body.as_bytes()), words, "{body}");
        }
    }
}
