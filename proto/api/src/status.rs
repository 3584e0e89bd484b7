//! `Status`: the one shape in which the API says that something went wrong (or, for deletes, right).
//! Source: <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/>

use serde::{Deserialize, Serialize};

use crate::field::ErrorList;

pub type Result<T, E = Status> = std::result::Result<T, E>;

#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub api_version: String,
    #[serde(default)]
    pub metadata: ListMeta,
    #[serde(default)]
    pub status: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// Zero, and not written, of what a delete left nothing behind of.
    #[serde(default, skip_serializing_if = "is_none")]
    pub code: u16,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct ListMeta {
    /// With 410 Expired of a list: where to go on, without consistency.
    #[serde(rename = "continue", default, skip_serializing_if = "String::is_empty")]
    pub continue_: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Cause {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

fn is_none(code: &u16) -> bool {
    *code == 0
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// `pods` of the core group, `deployments.apps` of a named one: how errors name a resource.
pub fn group_resource(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

impl Status {
    pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind: "Status".into(),
            api_version: "v1".into(),
            metadata: ListMeta::default(),
            status: "Failure".into(),
            message: message.into(),
            reason: reason.into(),
            details: None,
            code,
        }
    }
    /// The answer to a delete that leaves nothing behind.
    pub fn success(name: &str, group: &str, resource: &str, uid: &str) -> Self {
        let details = Details {
            name: name.into(),
            group: group.into(),
            kind: resource.into(),
            uid: uid.into(),
            ..Details::default()
        };
        Self { status: "Success".into(), details: Some(details), ..Self::failure(0, "", "") }
    }
    fn about(mut self, group: &str, resource: &str, name: &str) -> Self {
        self.details =
            Some(Details { name: name.into(), group: group.into(), kind: resource.into(), ..Details::default() });
        self
    }
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }
    #[must_use]
    pub fn with_continue(mut self, token: &str) -> Self {
        token.clone_into(&mut self.metadata.continue_);
        self
    }
    #[must_use]
    pub fn cause(mut self, reason: &str, message: impl Into<String>, field: &str) -> Self {
        let cause = Cause { reason: reason.into(), message: message.into(), field: field.into() };
        self.details.get_or_insert_default().causes.push(cause);
        self
    }
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, "BadRequest", message)
    }
    pub fn unauthorized() -> Self {
        Self::failure(401, "Unauthorized", "Unauthorized")
    }
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let subject = group_resource(group, resource);
        let message = if name.is_empty() {
            format!("{subject} is forbidden: {why}")
        } else {
            format!("{subject} {name:?} is forbidden: {why}")
        };
        Self::failure(403, "Forbidden", message).about(group, resource, name)
    }
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        Self::failure(404, "NotFound", format!("{} {name:?} not found", group_resource(group, resource)))
            .about(group, resource, name)
    }
    /// A path that names nothing the server knows.
    pub fn unknown_path() -> Self {
        Self::failure(404, "NotFound", "the server could not find the requested resource").retry_after(0)
    }
    /// The path is there, but not for this method.
    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self { details: Some(Details::default()), ..Self::failure(405, "MethodNotAllowed", message) }
    }
    pub fn method_not_supported(group: &str, resource: &str, verb: &str) -> Self {
        let message = format!("{verb} is not supported on resources of kind {:?}", group_resource(group, resource));
        Self::failure(405, "MethodNotAllowed", message).about(group, resource, "")
    }
    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::failure(406, "NotAcceptable", message)
    }
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        Self::failure(409, "AlreadyExists", format!("{} {name:?} already exists", group_resource(group, resource)))
            .about(group, resource, name)
    }
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", group_resource(group, resource));
        Self::failure(409, "Conflict", message).about(group, resource, name)
    }
    /// The stale-resourceVersion conflict, in the words clients look for.
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        Self::conflict(
            group,
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }
    pub fn gone(message: impl Into<String>) -> Self {
        Self::failure(410, "Gone", message)
    }
    /// A resourceVersion or continue token older than the log.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, "Expired", message)
    }
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::failure(413, "RequestEntityTooLarge", message)
    }
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::failure(415, "UnsupportedMediaType", message)
    }
    /// Validation failed: one cause per field error.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &ErrorList) -> Self {
        // The message says the same thing once, however often the causes do.
        let mut texts: Vec<String> = Vec::with_capacity(errors.len());
        for text in errors.iter().map(ToString::to_string) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let joined = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut status =
            Self::failure(422, "Invalid", format!("{} {name:?} is invalid: {joined}", group_resource(group, kind)))
                .about(group, kind, name);
        for error in errors {
            // The root is not left out: upstream calls it `<nil>`.
            status = status.cause(error.kind.reason(), error.body(), &error.field.to_string());
        }
        status
    }
    pub fn too_many_requests(message: impl Into<String>, seconds: u32) -> Self {
        Self::failure(429, "TooManyRequests", message).retry_after(seconds)
    }
    pub fn internal(message: impl std::fmt::Display) -> Self {
        let text = message.to_string();
        Self::failure(500, "InternalError", format!("Internal error occurred: {text}")).cause("", text, "")
    }
    pub fn unavailable(message: impl Into<String>, seconds: u32) -> Self {
        Self::failure(503, "ServiceUnavailable", message).retry_after(seconds)
    }
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::failure(504, "Timeout", format!("Timeout: {}", message.into()))
    }
    /// The request asked for a resourceVersion the server has not reached.
    pub fn too_large_resource_version(asked: u64, current: u64) -> Self {
        Self::failure(504, "Timeout", format!("Timeout: Too large resource version: {asked}, current: {current}"))
            .cause("ResourceVersionTooLarge", "Too large resource version", "")
            .retry_after(1)
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} {})", self.message, self.code, self.reason)
    }
}

impl std::error::Error for Status {}
