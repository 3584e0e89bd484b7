//! The keys that sign tokens and those whose tokens still verify.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rcgen::{KeyPair, PublicKeyData, SubjectPublicKeyInfo};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Error, claims::Claims};

/// The signing key, and the older ones whose tokens still verify (rotation: the new key signs, the old one stays in
/// the list until its last token has expired).
pub struct Keys {
    signing: EncodingKey,
    /// The first one belongs to the signing key.
    verifying: Vec<Verifying>,
}

struct Verifying {
    id: String,
    key: DecodingKey,
    /// The uncompressed point: 0x04, x, y.
    point: Vec<u8>,
}

fn bad(error: impl std::fmt::Display) -> Error {
    Error::Key(error.to_string())
}

impl Verifying {
    /// From the DER of a SubjectPublicKeyInfo; the key's id is its digest, as upstream's.
    fn new(info: &[u8], point: &[u8]) -> Result<Self, Error> {
        if point.len() != 65 {
            return Err(Error::Key("not a P-256 key".into()));
        }
        let pem = crate::pki::pem("PUBLIC KEY", info);
        Ok(Self {
            id: URL_SAFE_NO_PAD.encode(Sha256::digest(info)),
            key: DecodingKey::from_ec_pem(pem.as_bytes()).map_err(bad)?,
            point: point.to_vec(),
        })
    }

    fn from_pem(pem: &str) -> Result<Self, Error> {
        if pem.contains("PRIVATE KEY") {
            let pair = KeyPair::from_pem(pem).map_err(bad)?;
            return Self::new(&pair.subject_public_key_info(), pair.public_key_raw());
        }
        let info = SubjectPublicKeyInfo::from_pem(pem).map_err(bad)?;
        Self::new(&info.subject_public_key_info(), info.der_bytes())
    }
}

impl Keys {
    /// A new ES256 private key as PKCS#8 PEM. The caller stores it.
    pub fn generate_pem() -> Result<String, Error> {
        Ok(KeyPair::generate().map_err(bad)?.serialize_pem())
    }

    /// `signing` (private) signs and verifies, `older` (private or public) only verify. PEM, P-256.
    pub fn load(signing: &str, older: &[&str]) -> Result<Self, Error> {
        let verifying: Result<Vec<_>, _> =
            std::iter::once(&signing).chain(older).map(|pem| Verifying::from_pem(pem)).collect();
        Ok(Self { signing: EncodingKey::from_ec_pem(signing.as_bytes()).map_err(bad)?, verifying: verifying? })
    }

    pub(super) fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let mut header = Header::new(Algorithm::ES256);
        // Upstream's tokens carry no `typ`.
        header.typ = None;
        header.kid = self.verifying.first().map(|key| key.id.clone());
        jsonwebtoken::encode(&header, claims, &self.signing).map_err(|e| Error::Sign(e.to_string()))
    }

    /// The claims of a token one of our keys signed. Times, issuer and audience are the caller's to check.
    pub(super) fn open(&self, token: &str) -> Option<Claims> {
        let id = jsonwebtoken::decode_header(token).ok()?.kid;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        self.verifying
            .iter()
            .filter(|key| id.as_ref().is_none_or(|id| *id == key.id))
            .find_map(|key| jsonwebtoken::decode::<Claims>(token, &key.key, &validation).ok())
            .map(|data| data.claims)
    }

    pub(super) fn jwks(&self) -> Vec<Value> {
        let describe = |key: &Verifying| {
            json!({
                "use": "sig", "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": key.id,
                "x": URL_SAFE_NO_PAD.encode(&key.point[1..33]),
                "y": URL_SAFE_NO_PAD.encode(&key.point[33..65]),
            })
        };
        self.verifying.iter().map(describe).collect()
    }
}
