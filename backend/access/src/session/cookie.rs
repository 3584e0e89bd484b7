//! The cookie: who, until when, and a stamp of the password, signed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Longer cookies are not ours.
const MAX_COOKIE_BYTES: usize = 2048;
const TAG_BYTES: usize = 32;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Payload {
    #[serde(rename = "u")]
    pub user: String,
    /// Seconds since 1970.
    #[serde(rename = "e")]
    pub expires: i64,
    #[serde(rename = "s")]
    pub stamp: String,
}

/// Derives one key for each use from the caller's, so that a CSRF token is never a cookie's signature.
pub(super) struct Signer {
    key: [u8; 32],
}

impl Signer {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    fn mac(&self, purpose: &str, data: &[u8]) -> Hmac<Sha256> {
        // The key has the length of the hash's block or less, for which HMAC has no error.
        let mut mac = Hmac::<Sha256>::new(&self.key.into_block());
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(data);
        mac
    }

    pub(super) fn seal(&self, payload: &Payload) -> String {
        let body = serde_json::to_vec(payload).unwrap_or_default();
        let tag = self.mac("session", &body).finalize().into_bytes();
        URL_SAFE_NO_PAD.encode([&tag[..], &body].concat())
    }

    pub(super) fn open(&self, cookie: &str) -> Option<Payload> {
        if cookie.len() > MAX_COOKIE_BYTES {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(cookie).ok()?;
        let (tag, body) = bytes.split_at_checked(TAG_BYTES)?;
        self.mac("session", body).verify_slice(tag).ok()?;
        serde_json::from_slice(body).ok()
    }

    /// The CSRF token that belongs to a cookie.
    pub(super) fn csrf(&self, cookie: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.mac("csrf", cookie.as_bytes()).finalize().into_bytes())
    }
}

trait IntoBlock {
    fn into_block(self) -> hmac::digest::Key<Hmac<Sha256>>;
}

impl IntoBlock for [u8; 32] {
    /// HMAC pads keys shorter than the block (64 bytes) with zeros.
    fn into_block(self) -> hmac::digest::Key<Hmac<Sha256>> {
        let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
        block[..32].copy_from_slice(&self);
        block
    }
}

/// Changes when the user is made anew or its password changes.
pub(super) fn stamp(uid: &str, hash: &str) -> String {
    let digest = Sha256::new().chain_update(uid).chain_update([0]).chain_update(hash).finalize();
    URL_SAFE_NO_PAD.encode(&digest[..12])
}
