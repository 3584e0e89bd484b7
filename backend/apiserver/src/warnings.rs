//! `Warning` headers: what clients are to be told though the request went through.
//!
//! Invariant: each text is said once, and all of them together stay within [`MAX_CHARS`], so that no client's limit on
//! headers is met.

use http::header::WARNING;
use http::{HeaderMap, HeaderValue};

/// Characters of all texts; beyond it each is cut.
const MAX_CHARS: usize = 4 * 1024;
/// Characters of a text that is cut.
const MAX_CUT_CHARS: usize = 256;

/// Adds a header for each text.
pub fn add(headers: &mut HeaderMap, texts: &[String]) {
    let mut once: Vec<&str> = Vec::new();
    for text in texts.iter().map(String::as_str).filter(|text| !text.is_empty()) {
        if !once.contains(&text) && !text.chars().any(char::is_control) {
            once.push(text);
        }
    }
    let cut = once.iter().map(|text| text.chars().count()).sum::<usize>() > MAX_CHARS;
    let mut left = MAX_CHARS;
    for text in once {
        let text: String = text.chars().take(if cut { MAX_CUT_CHARS } else { MAX_CHARS }).collect();
        if let Ok(value) = HeaderValue::from_bytes(quoted(&text).as_bytes()) {
            headers.append(WARNING, value);
        }
        left = left.saturating_sub(text.chars().count());
        if left == 0 {
            return;
        }
    }
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("299 - \"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(texts: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        add(&mut headers, &texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        headers.get_all(WARNING).iter().map(|value| String::from_utf8(value.as_bytes().to_vec()).unwrap()).collect()
    }

    #[test]
    fn once_and_quoted() {
        assert_eq!(said(&["a \"b\" \\", "a \"b\" \\", "ü"]), ["299 - \"a \\\"b\\\" \\\\\"", "299 - \"ü\""]);
        assert!(said(&["", "a\r\nSet-Cookie: x"]).is_empty());
    }

    #[test]
    fn long_ones_are_cut() {
        let texts: Vec<String> = (0..100).map(|n| format!("{n:03}{}", "x".repeat(300))).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let all = said(&texts);
        assert_eq!((all.len(), all[0].len()), (16, 256 + "299 - \"\"".len()));
    }
}
