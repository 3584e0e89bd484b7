//! Logging in to the dashboard: users, passwords, sessions.
//!
//! A user is an object of our own group, `pilothouse.io/v1` `User` (cluster scoped): `spec.groups`,
//! `spec.displayName`, `spec.disabled`. The argon2id hash of the password is in Secret
//! `kube-system/pilothouse-user-NAME`, type `pilothouse.io/user-password`, key `hash`.
//!
//! Invariants:
//! - Sessions are stateless signed cookies; a changed password, a disabled or a deleted user ends them at once.
//! - An unknown user costs the same work as a wrong password.
//! - Memory for rate limits is bounded.

use std::net::IpAddr;

use jiff::Timestamp;
use pilothouse_api::Status;
use serde_json::Value;

use crate::{Reader, UserInfo};

/// The cookie's name.
pub const COOKIE: &str = "pilothouse-session";
/// The header that mutating requests by cookie carry.
pub const CSRF_HEADER: &str = "x-pilothouse-csrf";
/// Where users live.
pub const USERS: &str = "users.pilothouse.io";

/// A live session.
#[derive(Clone, Debug)]
pub struct Session {
    pub user: UserInfo,
    pub csrf_token: String,
    pub expires: Timestamp,
}

impl Session {
    /// `{"user":{"username","groups"},"csrfToken"}`: the body of `POST /auth/login` and `GET /auth/session`.
    pub fn body(&self) -> Value {
        serde_json::json!({
            "user": {"username": self.user.name, "groups": self.user.groups},
            "csrfToken": self.csrf_token,
        })
    }
}

pub struct Login {
    pub session: Session,
    /// The value of `Set-Cookie`.
    pub set_cookie: String,
}

pub struct Sessions {
    _key: [u8; 32],
}

impl Sessions {
    /// `key` signs the cookies: 32 random bytes, the same on every backend.
    pub fn new(key: [u8; 32]) -> Self {
        Self { _key: key }
    }

    /// Checks a password. Takes tens of milliseconds of CPU on purpose: call it off the event loop.
    /// Errors: 401 for any wrong pair, 429 when this user or this address tried too often.
    pub fn login(
        &self,
        _reader: &dyn Reader,
        _username: &str,
        _password: &str,
        _address: Option<IpAddr>,
        _now: Timestamp,
    ) -> Result<Login, Status> {
        Err(Status::unauthorized())
    }

    /// The session of a cookie's value. Errors: 401 when it is not, or no longer, good.
    pub fn check(&self, _reader: &dyn Reader, _cookie: &str, _now: Timestamp) -> Result<Session, Status> {
        Err(Status::unauthorized())
    }

    /// The session of a request's `Cookie` header, for `GET /auth/session`.
    pub fn of_request(
        &self,
        _reader: &dyn Reader,
        _headers: &http::HeaderMap,
        _now: Timestamp,
    ) -> Result<Session, Status> {
        Err(Status::unauthorized())
    }

    /// The `Set-Cookie` that ends a session in the browser.
    pub fn logout_cookie() -> String {
        format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Strict")
    }
}
