//! Who is it? An ordered table of authenticators; the first that finds credentials of its kind decides.
//!
//! Invariants:
//! - Bad credentials are 401, never anonymous; no credentials at all are `system:anonymous`.
//! - A mutating request authenticated by the session cookie has the CSRF header, a WebSocket by cookie the same origin:
//!   checked here, so that no route can forget it.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/authentication/>

mod impersonate;

use std::sync::Arc;

use http::{HeaderMap, Method, header};
use jiff::Timestamp;
use pilothouse_api::Status;
use serde_json::{Value, json};

use crate::session::{self, Sessions};
use crate::tokens::{Refused, ServiceAccountTokens, bootstrap};
use crate::{Reader, UserInfo, pki};

pub use impersonate::impersonate;

/// How a request proved who it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Anonymous,
    ClientCertificate,
    ServiceAccountToken,
    BootstrapToken,
    Session,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    pub user: Arc<UserInfo>,
    pub via: Via,
}

/// What an authenticator may look at.
struct Asked<'a> {
    method: &'a Method,
    headers: &'a HeaderMap,
    peer_certificate: Option<&'a [u8]>,
    bearer: Option<&'a str>,
    now: Timestamp,
}

/// `None`: no credentials of this kind, or not this one's to judge.
type Authenticate = fn(&Authenticator, &Asked<'_>) -> Option<Result<Identity, Status>>;

/// In order. What none of them takes is anonymous, unless it carried a bearer token.
const ALL: &[(&str, Authenticate)] = &[
    ("client certificate", client_certificate),
    ("service account token", service_account_token),
    ("bootstrap token", bootstrap_token),
    ("session cookie", session_cookie),
];

pub struct Authenticator {
    reader: Arc<dyn Reader>,
    tokens: Arc<ServiceAccountTokens>,
    sessions: Arc<Sessions>,
}

impl Authenticator {
    pub fn new(reader: Arc<dyn Reader>, tokens: Arc<ServiceAccountTokens>, sessions: Arc<Sessions>) -> Self {
        Self { reader, tokens, sessions }
    }

    /// The identity behind a request. `peer_certificate` is the DER of the client certificate that TLS verified.
    /// Errors: 401 for bad credentials, 403 for a cookie request without its CSRF token or from another origin.
    pub fn authenticate(
        &self,
        method: &Method,
        headers: &HeaderMap,
        peer_certificate: Option<&[u8]>,
    ) -> Result<Identity, Status> {
        self.authenticate_at(method, headers, peer_certificate, Timestamp::now())
    }

    pub fn authenticate_at(
        &self,
        method: &Method,
        headers: &HeaderMap,
        peer_certificate: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<Identity, Status> {
        let asked = Asked { method, headers, peer_certificate, bearer: bearer(headers)?, now };
        for (name, authenticate) in ALL {
            match authenticate(self, &asked) {
                None => {}
                Some(Ok(identity)) => return Ok(identity),
                Some(Err(status)) => {
                    tracing::debug!(authenticator = name, reason = status.message, "credentials refused");
                    return Err(status);
                }
            }
        }
        if asked.bearer.is_some() {
            return Err(Status::unauthorized());
        }
        Ok(Identity { user: Arc::new(UserInfo::anonymous()), via: Via::Anonymous })
    }

    /// The `status` of a `TokenReview` (authentication.k8s.io/v1) for its `spec`.
    pub fn review(&self, spec: &Value, now: Timestamp) -> Value {
        let token = spec.get("token").and_then(Value::as_str).unwrap_or("");
        let asked = spec.get("audiences").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let audiences: Vec<String> = asked.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let error = match self.tokens.verify(&*self.reader, token, &audiences, now) {
            Ok(verified) => {
                let user = json!(verified.user);
                let mut status = json!({"authenticated": true, "user": user});
                if !audiences.is_empty() {
                    status["audiences"] = json!(verified.audiences);
                }
                return status;
            }
            Err(refused) => refused,
        };
        // Bootstrap tokens have no audience of their own: they are good for the API server.
        let for_us = audiences.is_empty() || audiences.iter().any(|a| self.tokens.config().audiences.contains(a));
        if error == Refused::Foreign
            && for_us
            && let Some(user) = bootstrap::verify(&*self.reader, token, now)
        {
            return json!({"authenticated": true, "user": json!(user)});
        }
        let error = match error {
            Refused::Foreign => "invalid bearer token".to_owned(),
            other => format!("[invalid bearer token, {other}]"),
        };
        json!({"user": {}, "error": error})
    }
}

/// The token of an `Authorization: Bearer` header. Other schemes are not ours; a header that is no text is refused.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Status> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let text = value.to_str().map_err(|_| Status::unauthorized())?.trim();
    let Some((scheme, token)) = text.split_once(' ') else { return Ok(None) };
    let token = token.trim();
    Ok((scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token))
}

/// Whom a client certificate (DER, verified by TLS) names. Reading it costs more than the rest of a small request, so
/// the door does it once per connection. Errors: 401 for one that names nobody.
pub fn certified(der: &[u8]) -> Result<UserInfo, Status> {
    pki::identity(der).map(UserInfo::authenticated).map_err(|_| Status::unauthorized())
}

fn client_certificate(_: &Authenticator, asked: &Asked<'_>) -> Option<Result<Identity, Status>> {
    let user = certified(asked.peer_certificate?);
    Some(user.map(|user| Identity { user: user.into(), via: Via::ClientCertificate }))
}

fn service_account_token(of: &Authenticator, asked: &Asked<'_>) -> Option<Result<Identity, Status>> {
    match of.tokens.verify(&*of.reader, asked.bearer?, &[], asked.now) {
        Ok(verified) => Some(Ok(Identity { user: verified.user, via: Via::ServiceAccountToken })),
        Err(Refused::Foreign) => None,
        Err(refused) => {
            tracing::debug!(%refused, "service account token refused");
            Some(Err(Status::unauthorized()))
        }
    }
}

fn bootstrap_token(of: &Authenticator, asked: &Asked<'_>) -> Option<Result<Identity, Status>> {
    let user = bootstrap::verify(&*of.reader, asked.bearer?, asked.now)?;
    Some(Ok(Identity { user: user.into(), via: Via::BootstrapToken }))
}

/// The cookie is only looked at when the request brings nothing better.
fn session_cookie(of: &Authenticator, asked: &Asked<'_>) -> Option<Result<Identity, Status>> {
    if asked.bearer.is_some() {
        return None;
    }
    let cookie = session::cookie(asked.headers)?;
    let session = match of.sessions.check(&*of.reader, cookie, asked.now) {
        Ok(session) => session,
        Err(status) => return Some(Err(status)),
    };
    let allowed = session::check_origin(asked.method, asked.headers, &session);
    Some(allowed.map(|()| Identity { user: session.user.into(), via: Via::Session }))
}

#[cfg(test)]
mod tests;
