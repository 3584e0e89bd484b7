//! Changes: sends a call, keeps a record of it, and says in words what came of it.

use leptos::prelude::Update;
use pilothouse_api::Status;
use serde_json::Value;

use crate::api::call::Call;
use crate::api::http;
use crate::app::App;

/// Calls remembered for the list of calls.
const MAX_RECORDS: usize = 100;

#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub call: Call,
    /// Seconds since 1970.
    pub at: i64,
    pub took_ms: u32,
    /// HTTP status, 0 without an answer.
    pub code: u16,
    pub message: String,
}

pub async fn perform(app: App, call: &Call) -> Result<Value, Status> {
    let start = js_sys::Date::now();
    let outcome = http::send(call).await;
    let (code, message) = match &outcome {
        Ok(_) => (200, String::new()),
        Err(status) => (status.code, status.message.clone()),
    };
    let took_ms = (js_sys::Date::now() - start) as u32;
    app.calls.update(|calls| {
        calls.insert(0, Record { call: call.clone(), at: (start / 1000.0) as i64, took_ms, code, message });
        calls.truncate(MAX_RECORDS);
    });
    outcome
}

/// What a refusal means, for people.
pub fn in_words(status: &Status) -> String {
    match (status.code, status.reason.as_str()) {
        (0, _) => "The server does not answer. Nothing was changed as far as is known.".into(),
        (401, _) => "Your session has ended. Log in again.".into(),
        (403, _) => format!("Not allowed: {}", status.message),
        (404, _) => format!("Not there any more: {}", status.message),
        (409, "AlreadyExists") => format!("That name is taken: {}", status.message),
        (409, _) => "The object was changed meanwhile by someone else.".into(),
        (429, _) => "The server asks to slow down. Try again in a moment.".into(),
        (503, _) => format!("The server cannot do this now: {}", status.message),
        _ => status.message.clone(),
    }
}
