//! The objects that are written: ConfigMaps, assembled from bytes, with a payload that nothing can compress.
//!
//! `data.seq` counts the writes of one object and `data.sent` is when (nanoseconds of the load generator's own clock,
//! 16 digits) the write was begun: watchers find it without parsing.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Instant;

use bytes::Bytes;
use memchr::memmem::Finder;
use rand::Rng;

/// Random text to cut payloads from.
const POOL_BYTES: usize = 4 << 20;
/// The largest payload.
pub const MAX_PAYLOAD: usize = 1 << 20;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static POOL: LazyLock<String> = LazyLock::new(|| {
    let mut rng = rand::rng();
    (0..POOL_BYTES).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
});

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Nanoseconds since the load generator's start.
pub fn clock() -> u64 {
    u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The clock at an instant; 0 for one before the start.
pub fn clock_at(instant: Instant) -> u64 {
    u64::try_from(instant.saturating_duration_since(*START).as_nanos()).unwrap_or(u64::MAX)
}

/// Incompressible text (6 bits a byte, at a random place of a long pool), so that neither the database's compression
/// nor the network's flatters anybody.
pub fn payload(size: usize) -> &'static str {
    let pool = POOL.as_str();
    let size = size.min(MAX_PAYLOAD);
    let at = rand::rng().random_range(0..pool.len() - size);
    // All of the pool is ASCII.
    &pool[at..at + size]
}

/// The body of a write.
pub fn config_map(name: &str, seq: u64, sent: u64, payload: &str) -> Bytes {
    let mut text = String::with_capacity(payload.len() + name.len() + 192);
    let _ = write!(
        text,
        "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"{name}\",\"labels\":{{\"app\":\"bench\"}}}},\
         \"data\":{{\"payload\":\"{payload}\",\"sent\":\"{sent:016}\",\"seq\":\"{seq}\"}}}}"
    );
    text.into()
}

/// A number that stands behind a marker such as `"sent":"`.
pub fn number_after(finder: &Finder<'_>, line: &[u8]) -> Option<u64> {
    let start = finder.find(line)? + finder.needle().len();
    let digits = line[start..].iter().take_while(|byte| byte.is_ascii_digit());
    let mut value: Option<u64> = None;
    for digit in digits {
        value = Some(value.unwrap_or(0).checked_mul(10)?.checked_add(u64::from(digit - b'0'))?);
    }
    value
}

pub const SENT: &str = "\"sent\":\"";
pub const SEQ: &str = "\"seq\":\"";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_json_and_numbers_are_found() {
        let body = config_map("x", 7, 123, payload(1024));
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(value["data"]["payload"].as_str().unwrap().len(), 1024);
        assert_eq!(number_after(&Finder::new(SEQ), &body), Some(7));
        assert_eq!(number_after(&Finder::new(SENT), &body), Some(123));
        assert_eq!(number_after(&Finder::new("\"none\":\""), &body), None);
        assert_eq!(number_after(&Finder::new(SEQ), b"\"seq\":\"\""), None);
    }
}
