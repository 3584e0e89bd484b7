//! The objects every cluster has, written through the same door as everybody's.

use futures::{StreamExt, TryStreamExt};
use http::{Method, Request};
use pilothouse_access::policy::{bootstrap_objects, reconcile};
use pilothouse_access::{UserInfo, groups};
use pilothouse_api::Status;
use serde_json::Value;

use crate::body;
use crate::server::{ApiServer, InProcess};

/// Longest answer to one of our own requests.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// Objects that are written at once: the store commits them together.
const AT_ONCE: usize = 32;

/// The identity of the server itself.
pub fn apiserver() -> UserInfo {
    UserInfo::new("system:apiserver", &[groups::MASTERS, groups::AUTHENTICATED])
}

/// Sends one request of the server's own; the answer's object.
///
/// # Errors
/// Whatever the request was answered with.
pub async fn send(api: &ApiServer, method: Method, path: &str, object: Option<&Value>) -> Result<Value, Status> {
    send_as(api, method, path, object, "application/json").await
}

/// Server-side apply of the server's own.
///
/// # Errors
/// Those of [`send`].
pub async fn apply(api: &ApiServer, path: &str, object: &Value) -> Result<Value, Status> {
    send_as(api, Method::PATCH, path, Some(object), "application/apply-patch+yaml").await
}

async fn send_as(
    api: &ApiServer,
    method: Method,
    path: &str,
    object: Option<&Value>,
    media: &'static str,
) -> Result<Value, Status> {
    let body = object.map_or_else(body::empty, |object| body::full(object.to_string()));
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().map_err(Status::internal)?;
    let headers = request.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(media));
    headers.insert(http::header::USER_AGENT, http::HeaderValue::from_static("pilothouse-apiserver"));
    request.extensions_mut().insert(InProcess(std::sync::Arc::new(apiserver())));
    let response = api.handle(request).await;
    let failed = !response.status().is_success();
    let bytes = body::collect(response.into_body(), MAX_ANSWER).await?;
    if failed {
        return Err(serde_json::from_slice::<Status>(&bytes).map_err(Status::internal)?);
    }
    serde_json::from_slice(&bytes).map_err(Status::internal)
}

/// The path of an object's collection, by its own apiVersion and kind.
fn collection(object: &Value) -> Option<String> {
    let (version, kind) = (object["apiVersion"].as_str()?, object["kind"].as_str()?);
    let found =
        pilothouse_kinds::builtin().iter().find(|known| known.kind == kind && known.api_version() == version)?;
    let root = if found.group.is_empty() { "/api" } else { "/apis" };
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Some(format!("{root}/{version}/namespaces/{namespace}/{}", found.plural)),
        None => Some(format!("{root}/{version}/{}", found.plural)),
    }
}

/// Creates what is missing, completes roles and bindings. A default that is refused is logged and left out: it would be
/// refused again.
pub async fn write(api: &ApiServer) -> Result<(), Status> {
    let all = bootstrap_objects();
    // Namespaces first: the rest lies in them.
    let (first, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|object| object["kind"] == "Namespace");
    for objects in [first, rest] {
        let writes = objects.into_iter().map(|object| async move { tolerated(write_one(api, &object).await, &object) });
        futures::stream::iter(writes).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    }
    Ok(())
}

fn tolerated(outcome: Result<(), Status>, object: &Value) -> Result<(), Status> {
    match outcome {
        Err(status) if matches!(status.code, 400 | 403 | 422) => {
            tracing::error!(kind = %object["kind"], name = %object["metadata"]["name"], %status, "a default object is refused");
            Ok(())
        }
        other => other,
    }
}

async fn write_one(api: &ApiServer, object: &Value) -> Result<(), Status> {
    let Some(collection) = collection(object) else {
        tracing::warn!(kind = %object["kind"], "a default object is of a kind that is not served");
        return Ok(());
    };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let path = format!("{collection}/{}", escaped(name));
    // What the cache has is good enough: a write that comes too late is refused.
    match send(api, Method::GET, &format!("{path}?resourceVersion=0"), None).await {
        Ok(stored) => match reconcile(&stored, object) {
            Some(merged) => accept_race(send(api, Method::PUT, &path, Some(&merged)).await),
            None => Ok(()),
        },
        Err(status) if status.code == 404 => accept_race(send(api, Method::POST, &collection, Some(object)).await),
        Err(status) => Err(status),
    }
}

pub fn absent_is_fine(outcome: Result<Value, Status>) -> Result<Option<Value>, Status> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(status) if status.code == 404 => Ok(None),
        Err(status) => Err(status),
    }
}

/// Another backend that does the same at the same time is no failure.
pub fn accept_race(outcome: Result<Value, Status>) -> Result<(), Status> {
    match outcome {
        Err(status) if status.code == 409 => Ok(()),
        other => other.map(drop),
    }
}

/// A name as one segment of a path: the default roles have colons in theirs.
fn escaped(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string()
}
