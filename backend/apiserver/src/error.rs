//! The one place where errors of the crates below become a `Status`, and a `Status` a response.

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use pilothouse_api::Status;
use pilothouse_storage::Error as StoreError;

use crate::body::{self, Body};
use crate::negotiate::{Media, Wanted};
use crate::registry::render;

/// What an object is called in errors about it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub group: &'a str,
    pub resource: &'a str,
    pub name: &'a str,
}

pub const EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. \
You can start a new list without the continue parameter, or use the continue token in this response to retrieve the \
remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were \
created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// A store's error about `subject` in Kubernetes' words.
pub fn from_store(error: StoreError, subject: Subject<'_>) -> Status {
    let Subject { group, resource, name } = subject;
    match error {
        StoreError::AlreadyExists => Status::already_exists(group, resource, name),
        StoreError::NotFound => Status::not_found(group, resource, name),
        StoreError::Conflict { .. } => Status::modified(group, resource, name),
        StoreError::Compacted { oldest } => {
            Status::expired(format!("too old resource version: the oldest available is {oldest}"))
        }
        StoreError::FutureRevision { asked, current } => Status::too_large_resource_version(asked, current),
        error @ StoreError::TooLarge { .. } => Status::too_large(error.to_string()),
        StoreError::Unavailable(why) => Status::unavailable(format!("the database cannot be reached: {why}"), 1),
        error => Status::internal(error),
    }
}

/// The response that carries a `Status`.
pub fn response(status: &Status) -> Response<Body> {
    response_as(status, Wanted::JSON)
}

/// The same in the client's format.
pub fn response_as(status: &Status, wanted: Wanted) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // Who cannot be told in what it reads is told that in JSON.
    if wanted.media != Media::Json && status.code != 406 {
        let mut response = render::document(&serde_json::json!(status), wanted, code);
        retry(status, response.headers_mut());
        return response;
    }
    let text = serde_json::to_vec(status).unwrap_or_default();
    let mut response = Response::new(body::full(text));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    retry(status, headers);
    response
}

fn retry(status: &Status, headers: &mut HeaderMap) {
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if seconds > 0 {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
}
