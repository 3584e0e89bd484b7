//! argon2id, with the parameters OWASP recommends (19 MiB, two passes, one lane), which are argon2's own defaults.

use std::sync::LazyLock;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Argon2, Params};
use pilothouse_api::Status;
use rand::Rng;

/// A stored hash that asks for more memory than this (KiB) is refused, not obeyed.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
const MAX_PASSES: u32 = 16;

/// No letters or digits that look alike.
const ALPHABET: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const RANDOM_LENGTH: usize = 20;

/// A new random password of 115 bits.
pub fn random() -> String {
    let mut rng = rand::rng();
    (0..RANDOM_LENGTH).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}

/// The hash to store, in PHC form, with fresh salt. Tens of milliseconds of CPU.
pub fn hash(password: &str) -> Result<String, Status> {
    let salt = SaltString::encode_b64(&rand::random::<[u8; 16]>()).map_err(Status::internal)?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt).map_err(Status::internal)?;
    Ok(hash.to_string())
}

/// Without a stored hash the same work is done on one that no password fits.
pub(super) fn verify(stored: Option<&str>, password: &str) -> bool {
    static NOBODY: LazyLock<String> = LazyLock::new(|| hash(&random()).unwrap_or_default());
    let fits = |text: &str| {
        let Ok(hash) = PasswordHash::new(text) else { return false };
        let Ok(params) = Params::try_from(&hash) else { return false };
        params.m_cost() <= MAX_MEMORY_KIB
            && params.t_cost() <= MAX_PASSES
            && Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
    };
    match stored {
        Some(text) => fits(text),
        None => {
            fits(&NOBODY);
            false
        }
    }
}
