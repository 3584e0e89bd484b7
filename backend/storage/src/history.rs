//! The time machine: versions of objects, deletions, and whole resources as they were, in the log and beyond it.

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::Row;

use crate::log::{self, LogVersion, signed, unsigned};
use crate::maintenance::newest_before;
use crate::shared::Shared;
use crate::{Error, EventKind, Key, Obj, Result, Snapshot, sql};

/// The most versions or deletions one question gives.
const MAX_VERSIONS: u32 = 1000;

/// The most objects of a past list.
const MAX_PAST: i64 = 200_000;

/// One version of an object: who made it, when, and what it was.
#[derive(Clone, Debug)]
pub struct Version {
    pub revision: u64,
    /// The revision of the version it replaced; 0 for a creation.
    pub previous: u64,
    pub kind: EventKind,
    pub time: Timestamp,
    pub user: Arc<str>,
    /// The state; of a deletion the last one.
    pub object: Obj,
}

impl Version {
    fn of(version: LogVersion) -> Result<Self> {
        Ok(Self {
            revision: version.revision,
            previous: version.previous,
            kind: EventKind::from_letter(version.kind)
                .ok_or_else(|| Error::Internal(format!("revision {} is no change", version.revision)))?,
            time: Timestamp::from_microsecond(version.micros)
                .map_err(|error| Error::Internal(format!("revision {}: {error}", version.revision)))?,
            user: version.user.into(),
            object: version.object,
        })
    }
}

/// The versions of an object that are still known, newest first. For a deleted one it starts with the deletion.
pub(crate) async fn versions(shared: &Shared, key: &Key, limit: u32) -> Result<Vec<Version>> {
    let start = match shared.cache.get(key) {
        Some(object) => Some(signed(object.revision)),
        None => {
            sqlx::query_scalar(sql::LAST_DELETION)
                .bind(&*key.resource)
                .bind(&*key.namespace)
                .bind(&*key.name)
                .fetch_one(&shared.pool)
                .await?
        }
    };
    let Some(start) = start else { return Ok(Vec::new()) };
    let limit = i32::try_from(limit.clamp(1, MAX_VERSIONS)).unwrap_or(i32::MAX);
    let rows = sqlx::query(sql::OBJECT_HISTORY).bind(start).bind(limit).fetch_all(&shared.pool).await?;
    rows.iter().map(|row| Version::of(log::version(shared, row)?)).collect()
}

/// One version, if it is still known.
pub(crate) async fn version(shared: &Shared, revision: u64) -> Result<Option<Version>> {
    log::versions(shared, &[revision]).await?.into_iter().next().map(Version::of).transpose()
}

/// The recycle bin: deletions of a resource, newest first. An object may have been created anew since.
pub(crate) async fn deleted(
    shared: &Shared,
    resource: &str,
    namespace: Option<&str>,
    limit: u32,
) -> Result<Vec<Version>> {
    let rows = sqlx::query(sql::DELETED)
        .bind(resource)
        .bind(namespace)
        .bind(i64::from(limit.clamp(1, MAX_VERSIONS)))
        .fetch_all(&shared.pool)
        .await?;
    rows.iter().map(|row| Version::of(log::version(shared, row)?)).collect()
}

/// The newest revision at an instant.
///
/// # Errors
/// `Compacted` when nothing so old is known.
pub(crate) async fn revision_at(shared: &Shared, time: Timestamp) -> Result<u64> {
    let row = sqlx::query(sql::TIME_FROM).bind(0i64).fetch_optional(&shared.pool).await?;
    let Some(row) = row else { return Ok(shared.cache.revision()) };
    let (oldest, micros): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    if micros > time.as_microsecond() {
        return Err(Error::Compacted { oldest: unsigned(oldest) });
    }
    newest_before(shared, time.as_microsecond(), unsigned(oldest), shared.cache.revision()).await
}

/// A resource as of a past revision, also one that is compacted, as long as history reaches back so far.
///
/// # Errors
/// `Compacted` when it does not, or when the resource is excepted from history; `FutureRevision`; `TooLarge`.
pub(crate) async fn past(shared: &Shared, resource: &str, namespace: Option<&str>, revision: u64) -> Result<Snapshot> {
    match log::view_at(shared, resource, revision).await {
        Err(Error::Compacted { oldest }) => {
            reaches_back(shared, resource, revision, oldest).await?;
        }
        view => return Ok(view?.snapshot(namespace)),
    }
    let rows = sqlx::query(sql::PAST)
        .bind(resource)
        .bind(signed(revision))
        .bind(namespace)
        .bind(MAX_PAST + 1)
        .fetch_all(&shared.pool)
        .await?;
    if rows.len() as i64 > MAX_PAST {
        return Err(Error::TooLarge { what: "the past list", size: rows.len(), limit: MAX_PAST as usize });
    }
    let items = rows
        .iter()
        .map(|row| {
            let key = Key::new(resource, row.try_get::<&str, _>(1)?, row.try_get::<&str, _>(2)?);
            log::object(shared, key, unsigned(row.try_get(0)?), row.try_get(3)?)
        })
        .collect::<Result<_>>()?;
    Ok(Snapshot { revision, items })
}

/// Retention removes what was replaced before its cutoff, so revisions made after the cutoff are whole.
async fn reaches_back(shared: &Shared, resource: &str, revision: u64, oldest: u64) -> Result<()> {
    let compacted = Err(Error::Compacted { oldest });
    let history = &shared.config.history;
    if history.except.iter().any(|excepted| excepted == resource) {
        return compacted;
    }
    let row = sqlx::query(sql::TIME_FROM).bind(signed(revision)).fetch_optional(&shared.pool).await?;
    let Some(row) = row else { return compacted };
    let keep = i64::try_from(history.keep_time.as_micros()).unwrap_or(i64::MAX);
    let cutoff = Timestamp::now().as_microsecond().saturating_sub(keep);
    if row.try_get::<i64, _>(1)? > cutoff { Ok(()) } else { compacted }
}
