//! What goes wrong, in the words of the language's first implementation, on which clients match.

/// An expression that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CompileError(pub String);

/// An evaluation that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A value was not what the expression needed. `&&`, `||` and the like may get over it.
    #[error("{0}")]
    Failed(String),
    /// Nothing gets over this one.
    #[error("operation cancelled: actual cost limit exceeded")]
    OverBudget,
}

impl Error {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }
    pub(crate) fn no_such_key(key: &str) -> Self {
        Self::Failed(format!("no such key: {key}"))
    }
    pub(crate) fn no_such_overload() -> Self {
        Self::Failed("no such overload".into())
    }
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
