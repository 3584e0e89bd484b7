//! Requests to the server the page came from. Every failure is a `Status`, also the server's silence (code 0).

use std::cell::{Cell, RefCell};

use js_sys::Uint8Array;
use pilothouse_api::Status;
use serde_json::Value;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortSignal, Headers, ReadableStreamDefaultReader, Request, RequestCredentials, RequestInit, Response};

use crate::api::call::{Call, JSON, Method};

/// Reason of the status that stands for "no answer".
pub const UNREACHABLE: &str = "Unreachable";
pub const CSRF_HEADER: &str = "X-Pilothouse-CSRF";

thread_local! {
    static CSRF: RefCell<String> = const { RefCell::new(String::new()) };
    static ON_UNAUTHORIZED: Cell<Option<fn()>> = const { Cell::new(None) };
}

pub fn set_csrf(token: &str) {
    CSRF.with_borrow_mut(|csrf| token.clone_into(csrf));
}

/// What to do when the session is no longer valid.
pub fn on_unauthorized(action: fn()) {
    ON_UNAUTHORIZED.set(Some(action));
}

fn unreachable(error: &JsValue) -> Status {
    let detail =
        js_sys::Reflect::get(error, &"message".into()).ok().and_then(|text| text.as_string()).unwrap_or_default();
    Status::failure(0, UNREACHABLE, format!("The server does not answer ({detail})"))
}

/// Sends and waits for the head of the answer; an answer that is not a success becomes its `Status`.
pub async fn open(call: &Call, accept: &str, signal: Option<&AbortSignal>) -> Result<Response, Status> {
    let response = request(call, accept, signal).await.map_err(|error| unreachable(&error))?;
    if response.ok() {
        return Ok(response);
    }
    let code = response.status();
    let retry = response.headers().get("retry-after").ok().flatten().and_then(|text| text.parse::<u32>().ok());
    let body = body(&response).await.unwrap_or_default();
    let mut status =
        serde_json::from_slice::<Status>(&body).ok().filter(|status| status.kind == "Status").unwrap_or_else(|| {
            let text = String::from_utf8_lossy(&body);
            let text = text.lines().next().unwrap_or_default().chars().take(300).collect::<String>();
            Status::failure(code, "", if text.is_empty() { format!("The server answered {code}") } else { text })
        });
    status.code = code;
    if let Some(seconds) = retry {
        status = status.retry_after(seconds);
    }
    if code == 401 && !call.path.starts_with("/auth/") {
        if let Some(action) = ON_UNAUTHORIZED.get() {
            action();
        }
    }
    Err(status)
}

async fn request(call: &Call, accept: &str, signal: Option<&AbortSignal>) -> Result<Response, JsValue> {
    let headers = Headers::new()?;
    headers.set("Accept", accept)?;
    if call.method != Method::Get {
        let token = CSRF.with_borrow(Clone::clone);
        if !token.is_empty() {
            headers.set(CSRF_HEADER, &token)?;
        }
    }
    let init = RequestInit::new();
    init.set_method(call.method.word());
    init.set_credentials(RequestCredentials::SameOrigin);
    init.set_signal(signal);
    if !call.body.is_empty() {
        headers.set("Content-Type", call.content_type)?;
        init.set_body(&JsValue::from_str(&call.body));
    }
    init.set_headers(&headers);
    let request = Request::new_with_str_and_init(&call.path, &init)?;
    let window = web_sys::window().ok_or(JsValue::NULL)?;
    JsFuture::from(window.fetch_with_request(&request)).await?.dyn_into()
}

pub async fn body(response: &Response) -> Result<Vec<u8>, Status> {
    let promise = response.array_buffer().map_err(|error| unreachable(&error))?;
    let buffer = JsFuture::from(promise).await.map_err(|error| unreachable(&error))?;
    Ok(Uint8Array::new(&buffer).to_vec())
}

pub fn get(path: impl Into<String>) -> Call {
    Call { method: Method::Get, path: path.into(), content_type: JSON, body: String::new(), kubectl: String::new() }
}

/// Sends and reads the answer as JSON.
pub async fn send(call: &Call) -> Result<Value, Status> {
    let response = open(call, JSON, None).await?;
    let body = body(&response).await?;
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&body).map_err(|error| Status::internal(format!("the answer is not JSON: {error}")))
}

pub async fn get_json(path: impl Into<String>) -> Result<Value, Status> {
    send(&get(path)).await
}

/// The chunks of an answer's body as they arrive.
pub struct Chunks {
    reader: ReadableStreamDefaultReader,
}

impl Chunks {
    pub fn of(response: &Response) -> Result<Self, Status> {
        let stream = response.body().ok_or_else(|| Status::internal("the answer has no body"))?;
        let reader = stream.get_reader().dyn_into().map_err(|_| Status::internal("the answer cannot be streamed"))?;
        Ok(Self { reader })
    }

    /// `None` at the end. An abort or a broken connection is an error.
    pub async fn next(&self) -> Result<Option<Vec<u8>>, Status> {
        let part = JsFuture::from(self.reader.read()).await.map_err(|error| unreachable(&error))?;
        let done = js_sys::Reflect::get(&part, &"done".into()).ok().is_none_or(|done| done.is_truthy());
        if done {
            return Ok(None);
        }
        let value = js_sys::Reflect::get(&part, &"value".into()).unwrap_or(JsValue::UNDEFINED);
        Ok(Some(Uint8Array::new(&value).to_vec()))
    }
}
