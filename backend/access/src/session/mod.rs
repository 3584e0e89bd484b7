//! Logging in to the dashboard: users, passwords, sessions.
//!
//! A user is an object of our own group, `pilothouse.io/v1` `User` (cluster scoped): `spec.groups`,
//! `spec.displayName`, `spec.disabled`. The argon2id hash of the password is in Secret
//! `kube-system/pilothouse-user-NAME`, type `pilothouse.io/user-password`, key `hash`.
//!
//! Invariants:
//! - Sessions are stateless signed cookies; a changed password, a disabled or a deleted user ends them at once.
//! - An unknown user costs the same work as a wrong password.
//! - Memory is bounded: rate limits live in a fixed table, and few passwords are hashed at a time.

mod cookie;
mod limiter;
pub mod password;

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, header};
use jiff::Timestamp;
use pilothouse_api::Status;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

pub use password::{hash as hash_password, random as random_password};

use crate::{Reader, UserInfo, text, uid_of};
use cookie::{Payload, Signer};
use limiter::Limiter;

/// The cookie's name.
pub const COOKIE: &str = "pilothouse-session";
/// The header that mutating requests by cookie carry.
pub const CSRF_HEADER: &str = "x-pilothouse-csrf";
/// Where users live.
pub const USERS: &str = "users.pilothouse.io";

/// The type of the Secrets with passwords.
pub const SECRET_TYPE: &str = "pilothouse.io/user-password";
const NAMESPACE: &str = "kube-system";
/// A working day; the next morning one logs in again.
const SESSION_LIFE: Duration = Duration::from_secs(12 * 60 * 60);
/// Each password being hashed takes 19 MiB and tens of milliseconds of a core.
const MAX_CONCURRENT_HASHES: usize = 4;
const MAX_NAME_BYTES: usize = 253;
const MAX_PASSWORD_BYTES: usize = 1024;

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
        json!({
            "user": {"username": self.user.name, "groups": self.user.groups},
            "csrfToken": self.csrf_token,
        })
    }
}

#[derive(Debug)]
pub struct Login {
    pub session: Session,
    /// The value of `Set-Cookie`.
    pub set_cookie: String,
}

/// Share it in an `Arc`.
pub struct Sessions {
    signer: Signer,
    limiter: Limiter,
    hashing: AtomicUsize,
}

/// One of the few places in which a password is being hashed.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(count: &'a AtomicUsize) -> Option<Self> {
        let place = Self(count);
        (count.fetch_add(1, Ordering::AcqRel) < MAX_CONCURRENT_HASHES).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A user as stored, with the hash of its password.
struct Account {
    user: UserInfo,
    hash: String,
    /// Changes with the password and with the user's identity; part of every session.
    stamp: String,
}

impl Sessions {
    /// `key` signs the cookies: 32 random bytes, the same on every backend.
    pub fn new(key: [u8; 32]) -> Self {
        Self { signer: Signer::new(key), limiter: Limiter::default(), hashing: AtomicUsize::new(0) }
    }

    /// Checks a password. Takes tens of milliseconds of CPU on purpose: call it off the event loop.
    /// Errors: 401 for any wrong pair, 429 when this user or this address failed too often.
    pub fn login(
        &self,
        reader: &dyn Reader,
        username: &str,
        password: &str,
        address: Option<IpAddr>,
        now: Timestamp,
    ) -> Result<Login, Status> {
        let refused = || Status::failure(401, "Unauthorized", "wrong user name or password");
        if username.is_empty() || username.len() > MAX_NAME_BYTES || password.len() > MAX_PASSWORD_BYTES {
            return Err(refused());
        }
        if let Some(seconds) = self.limiter.blocked(username, address, now) {
            return Err(Status::too_many_requests("too many failed logins, try again later", seconds));
        }
        let Some(_place) = Place::take(&self.hashing) else {
            return Err(Status::too_many_requests("too many logins at once, try again later", 1));
        };
        let account = account(reader, username);
        let good = password::verify(account.as_ref().map(|a| a.hash.as_str()), password);
        let Some(account) = account.filter(|_| good) else {
            self.limiter.failed(username, address, now);
            return Err(refused());
        };
        let expires = now + SESSION_LIFE;
        let payload = Payload { user: account.user.name.clone(), expires: expires.as_second(), stamp: account.stamp };
        let value = self.signer.seal(&payload);
        let set_cookie =
            format!("{COOKIE}={value}; Path=/; Max-Age={}; HttpOnly; Secure; SameSite=Strict", SESSION_LIFE.as_secs());
        let session = Session { csrf_token: self.signer.csrf(&value), user: account.user, expires };
        Ok(Login { session, set_cookie })
    }

    /// The session of a cookie's value. Errors: 401 when it is not, or no longer, good.
    pub fn check(&self, reader: &dyn Reader, cookie: &str, now: Timestamp) -> Result<Session, Status> {
        let find = || {
            let payload = self.signer.open(cookie)?;
            let expires = Timestamp::from_second(payload.expires).ok()?;
            let account = account(reader, &payload.user).filter(|a| a.stamp == payload.stamp)?;
            (now < expires).then(|| Session { user: account.user, csrf_token: self.signer.csrf(cookie), expires })
        };
        find().ok_or_else(Status::unauthorized)
    }

    /// The session of a request's `Cookie` header, for `GET /auth/session`.
    pub fn of_request(&self, reader: &dyn Reader, headers: &HeaderMap, now: Timestamp) -> Result<Session, Status> {
        self.check(reader, cookie(headers).ok_or_else(Status::unauthorized)?, now)
    }

    /// The `Set-Cookie` that ends a session in the browser.
    pub fn logout_cookie() -> String {
        format!("{COOKIE}=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Strict")
    }
}

/// The session cookie's value among a request's cookies.
pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE && !value.is_empty()).then_some(value)
    })
}

/// A request that changes something carries the session's CSRF token; one that opens a stream comes from our own
/// pages, since browsers send cookies with WebSockets of any page. Errors: 403.
pub fn check_origin(method: &Method, headers: &HeaderMap, session: &Session) -> Result<(), Status> {
    let refuse = |why: &str| Err(Status::failure(403, "Forbidden", why));
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if !reads && *method != Method::CONNECT {
        let given = header(CSRF_HEADER);
        if !bool::from(given.as_bytes().ct_eq(session.csrf_token.as_bytes())) {
            return refuse("the request has no valid X-Pilothouse-CSRF header");
        }
        return Ok(());
    }
    if headers.contains_key(header::UPGRADE) || *method == Method::CONNECT {
        let host = header("host");
        let same = header("origin").strip_prefix("https://").is_some_and(|origin| origin.eq_ignore_ascii_case(host));
        if host.is_empty() || !same {
            return refuse("the stream was opened from another origin");
        }
    }
    Ok(())
}

/// The user that may log in; None for one that is missing, disabled, being deleted, without a password, or named like
/// a system identity.
fn account(reader: &dyn Reader, name: &str) -> Option<Account> {
    if name.starts_with("system:") {
        return None;
    }
    let object = reader.get(USERS, "", name)?;
    let disabled = object.pointer("/spec/disabled").and_then(Value::as_bool).unwrap_or(false);
    if disabled || !text(&object, "/metadata/deletionTimestamp").is_empty() {
        return None;
    }
    let secret = reader.get("secrets", NAMESPACE, &secret_name(name))?;
    if text(&secret, "/type") != SECRET_TYPE {
        return None;
    }
    let hash = String::from_utf8(STANDARD.decode(text(&secret, "/data/hash")).ok()?).ok()?;
    let groups = object.pointer("/spec/groups").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let user = UserInfo {
        name: name.to_owned(),
        uid: uid_of(&object).to_owned(),
        groups: groups.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        ..UserInfo::default()
    };
    let stamp = cookie::stamp(&user.uid, &hash);
    Some(Account { user: user.authenticated(), hash, stamp })
}

fn secret_name(user: &str) -> String {
    format!("pilothouse-user-{user}")
}

/// The `User` object of a new user.
pub fn user_object(name: &str, display_name: &str, groups: &[&str]) -> Value {
    json!({
        "apiVersion": "pilothouse.io/v1", "kind": "User",
        "metadata": {"name": name},
        "spec": {"displayName": display_name, "groups": groups, "disabled": false},
    })
}

/// The Secret with the hash (of [`hash_password`]) of a user's password.
pub fn password_secret(user: &str, hash: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": SECRET_TYPE,
        "metadata": {"name": secret_name(user), "namespace": NAMESPACE},
        "data": {"hash": STANDARD.encode(hash)},
    })
}

#[cfg(test)]
mod tests;
