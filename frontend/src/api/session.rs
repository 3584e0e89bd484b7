//! Login, logout and the session that a reload finds again.

use pilothouse_api::Status;
use serde::Deserialize;
use serde_json::json;

use crate::api::call::{Call, JSON, Method};
use crate::api::http;
use crate::browser;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct User {
    pub username: String,
    pub groups: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    user: User,
    #[serde(default)]
    csrf_token: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// Not known yet.
    Asking,
    Out,
    In(User),
    /// The server does not answer; asked again until it does.
    Unreachable(String),
}

fn post(path: &str, body: String) -> Call {
    Call { method: Method::Post, path: path.into(), content_type: JSON, body, kubectl: String::new() }
}

fn enter(answer: serde_json::Value) -> Result<User, Status> {
    let session: Session =
        serde_json::from_value(answer).map_err(|error| Status::internal(format!("unexpected session: {error}")))?;
    http::set_csrf(&session.csrf_token);
    browser::remember(HINT, "yes");
    Ok(session.user)
}

/// The cookie itself is hidden from scripts; this remembers that there is one, so that a first visit asks nothing in vain.
const HINT: &str = "session";

pub async fn current() -> Result<User, Status> {
    if browser::recall(HINT).is_none() {
        return Err(Status::unauthorized());
    }
    enter(http::get_json("/auth/session").await?)
}

pub async fn login(username: &str, password: &str) -> Result<User, Status> {
    enter(http::send(&post("/auth/login", json!({ "username": username, "password": password }).to_string())).await?)
}

/// There is no session any more.
pub fn ended() {
    http::set_csrf("");
    browser::forget(HINT);
}

pub async fn logout() -> Result<(), Status> {
    http::send(&post("/auth/logout", "{}".into())).await.map(|_| ended())
}
