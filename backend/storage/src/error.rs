//! The crate's only error.

use crate::Obj;

/// Why the store did not do what it was asked.
///
/// Unless a variant says otherwise, nothing was changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// A create met an object of that key.
    #[error("an object of that name already exists")]
    AlreadyExists,
    /// An update or delete met no object.
    #[error("no object of that name exists")]
    NotFound,
    /// The object is not at the expected revision; `current` is what is there.
    #[error("the object has been modified; apply the change to the latest version and try again")]
    Conflict { current: Option<Obj> },
    /// The revision asked for is no longer in the log; `oldest` is the first that can be asked for.
    #[error("the revision asked for has been compacted; the oldest available one is {oldest}")]
    Compacted { oldest: u64 },
    /// The revision asked for lies in the future of this backend.
    #[error("revision {asked} is larger than the current revision {current}")]
    FutureRevision { asked: u64, current: u64 },
    /// The object, the unit or one of its names is larger than the store takes.
    #[error("{what} is {size} bytes long; the limit is {limit}")]
    TooLarge { what: &'static str, size: usize, limit: usize },
    /// The background work's mandate was taken over by another backend.
    #[error("fence {held} has been superseded by {current}")]
    Fenced { held: u64, current: u64 },
    /// PostgreSQL cannot be reached, or the queue of writes is full. The message says when it is unknown whether
    /// the change was applied: a caller should read before repeating it.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// A bug, here or in the caller, or a damaged database.
    #[error("internal error: {0}")]
    Internal(String),
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// True when repeating the request later may succeed without any change to it.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Error::Unavailable(_) | Error::FutureRevision { .. })
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => match database.code() {
                Some(code) if is_outage(&code) => Error::Unavailable(error.to_string()),
                _ => Error::Internal(error.to_string()),
            },
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => {
                Error::Unavailable(error.to_string())
            }
            _ => Error::Internal(error.to_string()),
        }
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(database) if !is_outage(database.code().code()) => {
                Error::Internal(format!("{} ({})", database.message(), database.code().code()))
            }
            Some(database) => Error::Unavailable(database.message().to_owned()),
            None => {
                // The library's own text is only "connection closed"; the cause says more.
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                Error::Unavailable(format!("{error}{cause}"))
            }
        }
    }
}

/// SQLSTATE classes that speak of the server's condition, not of the statement: connections, read-only standby,
/// rolled back by the server, resources, timeouts and operator intervention, system errors.
fn is_outage(code: &str) -> bool {
    ["08", "25", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class))
}
