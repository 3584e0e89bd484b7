//! A short name for the content of a pod template: in the names and labels of ReplicaSets, and of ControllerRevisions.

use serde::Serialize;

/// Letters and digits that spell no words and are safe in names.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// 32-bit FNV-1a over the canonical JSON (sorted keys) and a count that tells colliding contents apart.
pub fn hash(content: &impl Serialize, collisions: Option<i32>) -> String {
    let canonical = serde_json::to_value(content).map(|v| v.to_string()).unwrap_or_default();
    let mut state: u32 = 0x811c_9dc5;
    let mut eat = |byte: u8| state = (state ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    canonical.bytes().for_each(&mut eat);
    collisions.into_iter().flat_map(i32::to_le_bytes).for_each(&mut eat);
    safe(&state.to_string())
}

fn safe(text: &str) -> String {
    text.bytes().map(|b| char::from(ALPHABET[usize::from(b) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hashes_are_stable_and_differ() {
        let content = json!({"b": 1, "a": [1, 2]});
        assert_eq!(hash(&content, None), hash(&json!({"a": [1, 2], "b": 1}), None));
        assert_ne!(hash(&content, None), hash(&content, Some(1)));
        assert_ne!(hash(&content, None), hash(&json!({"b": 2, "a": [1, 2]}), None));
        assert_eq!(hash(&json!({}), None), "5859f96865", "a release must not rename what exists");
    }
}
