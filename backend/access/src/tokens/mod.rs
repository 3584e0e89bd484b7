//! ServiceAccount tokens: minted for `TokenRequest`, verified on every request, described by jwks and OpenID documents;
//! and bootstrap tokens.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/>

use jiff::Timestamp;
use pilothouse_api::Status;
use serde_json::Value;

use crate::{Reader, UserInfo};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("bad key: {0}")]
    Key(String),
    #[error("signing failed: {0}")]
    Sign(String),
}

/// The signing key, and the older ones whose tokens still verify.
pub struct Keys;

impl Keys {
    /// A new ES256 private key as PKCS#8 PEM. The caller stores it.
    pub fn generate_pem() -> Result<String, Error> {
        Err(Error::Key("not available".into()))
    }
    /// `signing` signs and verifies, `older` (private or public PEM) only verify.
    pub fn load(_signing: &str, _older: &[&str]) -> Result<Self, Error> {
        Ok(Self)
    }
}

#[derive(Clone, Debug)]
pub struct Config {
    /// `https://kubernetes.default.svc.cluster.local`
    pub issuer: String,
    /// What tokens for the API server carry; the first is the default of TokenRequest.
    pub audiences: Vec<String>,
    /// Longest life of a token in seconds; longer requests are cut.
    pub max_expiration_seconds: i64,
}

pub struct ServiceAccountTokens {
    _keys: Keys,
    _config: Config,
}

/// A token that verified.
#[derive(Clone, Debug)]
pub struct Verified {
    pub user: UserInfo,
    /// The asked audiences that the token carries.
    pub audiences: Vec<String>,
}

impl ServiceAccountTokens {
    pub fn new(keys: Keys, config: Config) -> Self {
        Self { _keys: keys, _config: config }
    }

    /// Answers `POST …/serviceaccounts/NAME/token`: takes the `TokenRequest` and gives it back with its `status`.
    /// Errors: 404 for a missing account or bound object, 409 for another uid, 422 for bad spec fields.
    pub fn request(
        &self,
        _reader: &dyn Reader,
        _namespace: &str,
        _name: &str,
        _request: Value,
        _now: Timestamp,
    ) -> Result<Value, Status> {
        Err(Status::unavailable("tokens are not available", 1))
    }

    /// Verifies signature, issuer, audience (any of `audiences`, by default the API server's), times, and that the
    /// account and the objects the token is bound to still live. None: this is no token of ours.
    pub fn verify(
        &self,
        _reader: &dyn Reader,
        _token: &str,
        _audiences: &[String],
        _now: Timestamp,
    ) -> Option<Result<Verified, Status>> {
        None
    }

    /// `/openid/v1/jwks`
    pub fn jwks(&self) -> Value {
        serde_json::json!({"keys": []})
    }

    /// `/.well-known/openid-configuration`; `jwks_uri` is the full URL of `/openid/v1/jwks`.
    pub fn openid_configuration(&self, _jwks_uri: &str) -> Value {
        serde_json::json!({})
    }
}
