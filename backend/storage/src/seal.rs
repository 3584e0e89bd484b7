//! Encryption at rest, for the resources that deserve it.
//!
//! Invariant: what is sealed is bound to its key: bytes moved to another object in the database do not open.
//!
//! Format: a version byte, four bytes that tell the key, a random nonce, ChaCha20-Poly1305. Plain objects start with a
//! brace, so both can stand side by side; an object is sealed when it is next written.

use std::borrow::Cow;
use std::fmt;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use crate::{Error, Key, Result};

const VERSION: u8 = 1;
const ID_LEN: usize = 4;

/// What is encrypted, and with which keys.
#[derive(Clone)]
pub struct Sealing {
    /// The first one seals, all of them open. To rotate, put a new one in front, and drop the old one when everything
    /// has been written anew. Random nonces allow some billions of writes per key.
    pub keys: Vec<[u8; 32]>,
    /// The resources to seal: `secrets`.
    pub resources: Vec<String>,
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealing").field("keys", &self.keys.len()).field("resources", &self.resources).finish()
    }
}

#[derive(Default)]
pub(crate) struct Sealer {
    keys: Vec<([u8; ID_LEN], LessSafeKey)>,
    resources: Vec<String>,
    random: Option<SystemRandom>,
}

impl Sealer {
    pub fn new(sealing: &Sealing) -> Result<Self> {
        let key = |bytes: &[u8; 32]| {
            let key = UnboundKey::new(&CHACHA20_POLY1305, bytes)
                .map_err(|_| Error::Internal("a sealing key cannot be used".to_owned()))?;
            let mut id = [0; ID_LEN];
            id.copy_from_slice(&digest(&SHA256, bytes).as_ref()[..ID_LEN]);
            Ok((id, LessSafeKey::new(key)))
        };
        if sealing.keys.is_empty() && !sealing.resources.is_empty() {
            return Err(Error::Internal("sealing needs a key".to_owned()));
        }
        Ok(Self {
            keys: sealing.keys.iter().map(key).collect::<Result<_>>()?,
            resources: sealing.resources.clone(),
            random: Some(SystemRandom::new()),
        })
    }

    /// The sealed form, or none for a resource that is stored plainly.
    pub fn seal(&self, key: &Key, plain: &[u8]) -> Result<Option<Vec<u8>>> {
        let (Some((id, sealing)), Some(random)) = (self.keys.first(), &self.random) else { return Ok(None) };
        if !self.resources.iter().any(|resource| **resource == *key.resource) {
            return Ok(None);
        }
        let failed = |_| Error::Internal(format!("{key} cannot be sealed"));
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce).map_err(failed)?;
        let mut body = plain.to_vec();
        let nonce_used = Nonce::assume_unique_for_key(nonce);
        sealing.seal_in_place_append_tag(nonce_used, Aad::from(bound(key)), &mut body).map_err(failed)?;
        Ok(Some([&[VERSION][..], id, &nonce, &body].concat()))
    }

    /// The plain form of whatever is stored.
    pub fn open<'a>(&self, key: &Key, stored: &'a [u8]) -> Result<Cow<'a, [u8]>> {
        if stored.first() != Some(&VERSION) {
            return Ok(Cow::Borrowed(stored));
        }
        let parts = stored[1..].split_at_checked(ID_LEN).and_then(|(id, rest)| {
            let (nonce, body) = rest.split_at_checked(NONCE_LEN)?;
            Some((id, Nonce::try_assume_unique_for_key(nonce).ok()?, body))
        });
        let (id, nonce, body) = parts.ok_or_else(|| Error::Internal(format!("{key} is sealed, but cut short")))?;
        let (_, opening) = self.keys.iter().find(|(known, _)| known == id).ok_or_else(|| {
            Error::Internal(format!("{key} is sealed with a key that is not among the configured ones"))
        })?;
        let mut body = body.to_vec();
        let length = opening
            .open_in_place(nonce, Aad::from(bound(key)), &mut body)
            .map_err(|_| Error::Internal(format!("{key} is sealed, and damaged or of another object")))?
            .len();
        body.truncate(length);
        Ok(Cow::Owned(body))
    }
}

/// What a seal is bound to. None of the parts can contain the separator.
fn bound(key: &Key) -> Vec<u8> {
    [key.resource.as_bytes(), key.namespace.as_bytes(), key.name.as_bytes()].join(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(keys: &[u8]) -> Sealer {
        let keys = keys.iter().map(|byte| [*byte; 32]).collect();
        Sealer::new(&Sealing { keys, resources: vec!["secrets".to_owned()] }).unwrap()
    }

    #[test]
    fn seals_what_it_should_and_opens_everything() {
        let (secret, pod) = (Key::new("secrets", "ns", "a"), Key::new("pods", "ns", "a"));
        let plain = br#"{"password":"hunter2"}"#;
        let (old, rotated, other) = (sealer(&[1]), sealer(&[2, 1]), sealer(&[3]));
        assert_eq!(old.seal(&pod, plain).unwrap(), None);
        assert_eq!(Sealer::default().seal(&secret, plain).unwrap(), None);
        let sealed = old.seal(&secret, plain).unwrap().unwrap();
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        assert_ne!(old.seal(&secret, plain).unwrap().unwrap(), sealed, "equal contents are not seen to be equal");
        for opener in [&old, &rotated] {
            assert_eq!(&*opener.open(&secret, &sealed).unwrap(), plain);
        }
        assert_eq!(&*other.open(&secret, plain).unwrap(), plain, "what was stored plainly stays readable");
        assert!(other.open(&secret, &sealed).is_err());
        assert!(old.open(&secret, &rotated.seal(&secret, plain).unwrap().unwrap()).is_err());
        assert!(old.open(&Key::new("secrets", "ns", "b"), &sealed).is_err(), "bound to its object");
        for cut in 1..sealed.len() {
            assert!(old.open(&secret, &sealed[..cut]).is_err());
        }
        let mut damaged = sealed.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert!(old.open(&secret, &damaged).is_err());
    }
}
