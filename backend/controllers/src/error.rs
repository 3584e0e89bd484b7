//! What can go wrong in a reconcile. Every error means: look again later.

use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}", api_message(.0))]
    Api(#[from] kube::Error),
    /// The cache is behind; the next look will see more.
    #[error("{0}")]
    Stale(String),
    /// The object asks for what cannot be done; only a change of it helps.
    #[error("{0}")]
    Invalid(String),
    #[error("the reconcile panicked: {0}")]
    Panic(String),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;
/// When to look at the key again though nothing changes.
pub type Next = Option<Duration>;

impl Error {
    pub fn stale(message: impl Into<String>) -> Self {
        Self::Stale(message.into())
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status),
            _ => None,
        }
    }

    fn has_reason(&self, reason: &str) -> bool {
        self.status().is_some_and(|s| s.reason == reason)
    }

    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(|s| s.code == 404)
    }

    pub fn is_already_exists(&self) -> bool {
        self.has_reason("AlreadyExists")
    }

    /// Somebody else has written since the cache was read.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Stale(_)) || self.has_reason("Conflict")
    }

    pub fn is_forbidden(&self) -> bool {
        self.status().is_some_and(|s| s.code == 403)
    }

    pub fn is_invalid(&self) -> bool {
        self.status().is_some_and(|s| s.code == 422)
    }

    /// A create was refused because the namespace is going away: pointless to retry or report.
    pub fn is_namespace_terminating(&self) -> bool {
        let cause = |s: &kube::core::Status| {
            s.details.as_ref().is_some_and(|d| d.causes.iter().any(|c| c.reason == "NamespaceTerminating"))
        };
        self.status()
            .is_some_and(|s| s.code == 403 && (cause(s) || s.message.contains("because it is being terminated")))
    }
}

fn api_message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// Not found means done already.
pub fn ignore_not_found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
