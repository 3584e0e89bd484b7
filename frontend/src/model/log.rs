//! Log lines of one or several containers, kept in the order of their timestamps, up to a limit.

use std::collections::VecDeque;

/// Older lines are dropped beyond this.
pub const MAX_LINES: usize = 20_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Unique and rising with arrival.
    pub id: u64,
    /// Which of the sources it came from.
    pub source: usize,
    /// RFC 3339 with fractions, as the server wrote it; may be empty.
    pub time: String,
    pub text: String,
}

#[derive(Default)]
pub struct LogBuffer {
    lines: VecDeque<LogLine>,
    next: u64,
    pub dropped: u64,
}

impl LogBuffer {
    /// Takes a line with the timestamp that `timestamps=true` puts before it. A line that is not younger than
    /// `after` was seen before the connection was lost and is left out. Returns the line's time.
    pub fn push(&mut self, source: usize, raw: &[u8], after: &str) -> Option<String> {
        let raw = String::from_utf8_lossy(raw);
        let raw = raw.trim_end_matches('\r');
        let (time, text) = match raw.split_once(' ') {
            Some((time, text)) if crate::model::time::parse(time).is_some() => (time, text),
            _ if crate::model::time::parse(raw).is_some() => (raw, ""),
            _ => ("", raw),
        };
        if !time.is_empty() && !after.is_empty() && order(time) <= order(after) {
            return None;
        }
        let line = LogLine { id: self.next, source, time: time.to_owned(), text: strip_escapes(text) };
        self.next += 1;
        // Lines of several sources arrive nearly in order: look for the place from the end.
        let place = if time.is_empty() {
            self.lines.len()
        } else {
            self.lines.iter().rposition(|old| order(&old.time) <= order(time)).map_or(0, |at| at + 1)
        };
        self.lines.insert(place, line);
        while self.lines.len() > MAX_LINES {
            self.lines.pop_front();
            self.dropped += 1;
        }
        Some(time.to_owned())
    }

    pub fn clear(&mut self) {
        self.lines.clear();
        self.dropped = 0;
    }

    /// The lines with `word` in them (any case), oldest first.
    pub fn matching(&self, word: &str) -> Vec<LogLine> {
        let word = word.to_lowercase();
        self.lines.iter().filter(|line| word.is_empty() || line.text.to_lowercase().contains(&word)).cloned().collect()
    }
}

/// A key that orders RFC 3339 times with fractions of any length.
fn order(time: &str) -> (i64, String) {
    let seconds = crate::model::time::parse(time).unwrap_or(i64::MIN);
    let fraction: String = time
        .get(19..)
        .unwrap_or_default()
        .strip_prefix('.')
        .unwrap_or_default()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    (seconds, fraction.trim_end_matches('0').to_owned())
}

/// Takes out ANSI escape sequences (colours), which a page does not show.
fn strip_escapes(text: &str) -> String {
    if !text.contains('\u{1b}') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            out.push(c);
        } else if chars.peek() == Some(&'[') {
            chars.next();
            for c in chars.by_ref() {
                if ('@'..='~').contains(&c) {
                    break;
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(buffer: &LogBuffer, word: &str) -> Vec<String> {
        buffer.matching(word).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_of_sources_are_merged_by_time() {
        let mut buffer = LogBuffer::default();
        for (source, line) in [
            (0, "2026-01-01T00:00:01.5Z b"),
            (1, "2026-01-01T00:00:01.25Z a"),
            (0, "2026-01-01T00:00:03Z d"),
            (1, "2026-01-01T00:00:02.000000001Z c"),
        ] {
            buffer.push(source, line.as_bytes(), "");
        }
        assert_eq!(texts(&buffer, ""), ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_resumed_stream_brings_no_line_twice() {
        let mut buffer = LogBuffer::default();
        let last = buffer.push(0, b"2026-01-01T00:00:01.120000000Z one", "").unwrap();
        assert_eq!(buffer.push(0, b"2026-01-01T00:00:01.12Z one", &last), None);
        assert!(buffer.push(0, b"2026-01-01T00:00:01.13Z two", &last).is_some());
        assert_eq!(texts(&buffer, "TWO"), ["two"]);
    }

    #[test]
    fn the_oldest_lines_go_first() {
        let mut buffer = LogBuffer::default();
        for n in 0..MAX_LINES + 5 {
            buffer.push(0, format!("line {n}").as_bytes(), "");
        }
        assert_eq!((buffer.lines.len(), buffer.dropped), (MAX_LINES, 5));
        assert_eq!(buffer.matching("line 5")[0].text, "line 5");
    }

    #[test]
    fn colours_are_left_out() {
        let mut buffer = LogBuffer::default();
        buffer.push(0, b"\x1b[1;31mred\x1b[0m and \xff\r", "");
        assert_eq!(texts(&buffer, ""), ["red and \u{fffd}"]);
    }
}
