//! ServiceAccount tokens: minted for `TokenRequest`, verified on every request, described by jwks and OpenID documents;
//! and bootstrap tokens.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/>
//!
//! Invariants:
//! - Only ES256 by one of our own keys verifies; the algorithm is never taken from the token.
//! - A token dies with its account and with the object it is bound to: both are looked up by name and uid.
//! - What is remembered of verified tokens is bounded, and older than [`cache::FRESH`] it is looked up again.

pub mod bootstrap;
mod cache;
mod claims;
mod keys;
mod request;
mod verify;

use jiff::Timestamp;
use serde_json::{Value, json};

pub use keys::Keys;
pub use verify::{Refused, Verified};

use crate::UserInfo;
use claims::{Claims, Kubernetes, Reference};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("bad key: {0}")]
    Key(String),
    #[error("signing failed: {0}")]
    Sign(String),
}

#[derive(Clone, Debug)]
pub struct Config {
    /// `https://kubernetes.default.svc.cluster.local`
    pub issuer: String,
    /// What tokens for the API server carry: the default of TokenRequest, and what requests need.
    pub audiences: Vec<String>,
    /// Longest life of a token in seconds; longer requests are cut.
    pub max_expiration_seconds: i64,
}

impl Config {
    /// A cluster's defaults: the issuer in the cluster's domain, itself the only audience, tokens of a day at most.
    pub fn for_domain(cluster_domain: &str) -> Self {
        let issuer = format!("https://kubernetes.default.svc.{cluster_domain}");
        Self { audiences: vec![issuer.clone()], issuer, max_expiration_seconds: 24 * 60 * 60 }
    }
}

/// Mints and verifies. Share it in an `Arc`.
pub struct ServiceAccountTokens {
    keys: Keys,
    config: Config,
    cache: cache::Cache,
}

/// For whom a token is, and how long.
#[derive(Clone, Debug, Default)]
pub struct Mint<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    pub audiences: &'a [String],
    pub seconds: i64,
    /// The object whose end is the token's end: (`pod`, `secret` or `node`, name, uid).
    pub bound: Option<Bound<'a>>,
    /// The node of a bound pod, for information: (name, uid).
    pub node: Option<(&'a str, &'a str)>,
}

#[derive(Clone, Copy, Debug)]
pub enum Bound<'a> {
    Pod { name: &'a str, uid: &'a str },
    Secret { name: &'a str, uid: &'a str },
    Node { name: &'a str, uid: &'a str },
}

impl ServiceAccountTokens {
    pub fn new(keys: Keys, config: Config) -> Self {
        Self { keys, config, cache: cache::Cache::default() }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A signed token. The caller has checked that the account and the bound object exist.
    pub fn mint(&self, what: &Mint<'_>, now: Timestamp) -> Result<String, Error> {
        let reference = |name: &str, uid: &str| Some(Reference { name: name.to_owned(), uid: uid.to_owned() });
        let mut kubernetes = Kubernetes {
            namespace: what.namespace.to_owned(),
            serviceaccount: Reference { name: what.name.to_owned(), uid: what.uid.to_owned() },
            pod: None,
            secret: None,
            node: what.node.and_then(|(name, uid)| reference(name, uid)),
        };
        match what.bound {
            Some(Bound::Pod { name, uid }) => kubernetes.pod = reference(name, uid),
            Some(Bound::Secret { name, uid }) => kubernetes.secret = reference(name, uid),
            Some(Bound::Node { name, uid }) => kubernetes.node = reference(name, uid),
            None => {}
        }
        let issued = now.as_second();
        self.keys.sign(&Claims {
            iss: self.config.issuer.clone(),
            sub: UserInfo::service_account(what.namespace, what.name, "").name,
            aud: what.audiences.to_vec(),
            exp: issued.saturating_add(what.seconds),
            nbf: issued,
            iat: issued,
            jti: uuid::Uuid::new_v4().to_string(),
            kubernetes,
        })
    }

    /// `/openid/v1/jwks`, media type `application/jwk-set+json`.
    pub fn jwks(&self) -> Value {
        json!({"keys": self.keys.jwks()})
    }

    /// `/.well-known/openid-configuration`; `jwks_uri` is the full URL of `/openid/v1/jwks`.
    pub fn openid_configuration(&self, jwks_uri: &str) -> Value {
        json!({
            "issuer": self.config.issuer,
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }
}

#[cfg(test)]
mod tests;
