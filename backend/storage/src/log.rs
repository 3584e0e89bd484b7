//! Reading the log of changes behind the cache's memory: replays for watches, exact past views for lists.
//!
//! Invariant: what is read counts only if the compacted revision, read afterwards, shows that nothing of the range had
//! been dropped. Partitions are dropped only after the compacted revision has passed them.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::entry::{self, Parsed};
use crate::hub::Scope;
use crate::shared::Shared;
use crate::view::{At, Slot, View};
use crate::{Error, Event, EventKind, Key, Obj, Result, sql};

/// A page of the log: few enough bytes that a handful of replays fits into memory.
pub(crate) const PAGE_ROWS: i64 = 500;
pub(crate) const PAGE_BYTES: i64 = 4 << 20;

/// Versions fetched by one statement.
const FETCH: usize = 2000;

/// A page of a replay: the events, and how far they reach.
pub(crate) struct Replayed {
    pub events: Vec<Arc<Event>>,
    pub upto: u64,
}

/// The events of a scope behind `from`.
pub(crate) async fn replay(shared: &Shared, resource: &Arc<str>, scope: &Scope, from: u64) -> Result<Replayed> {
    let _permit = shared.replays.acquire().await.map_err(|_| Error::Unavailable("closing".to_owned()))?;
    shared.metrics.replays.inc();
    let upto = shared.cache.revision();
    let (namespace, name) = match scope {
        Scope::All | Scope::Field(..) => (None, None),
        Scope::Namespace(namespace) => (Some(&**namespace), None),
        Scope::Name(name) => (None, Some(&**name)),
        Scope::Object(namespace, name) => (Some(&**namespace), Some(&**name)),
    };
    let rows = sqlx::query(sql::REPLAY)
        .bind(signed(from))
        .bind(signed(upto))
        .bind(&**resource)
        .bind(namespace)
        .bind(name)
        .bind(PAGE_ROWS)
        .bind(PAGE_BYTES)
        .fetch_all(&shared.pool)
        .await?;
    let rows: Vec<LogRow> = rows.iter().map(LogRow::read).collect::<Result<_>>()?;
    let bytes: usize = rows.iter().map(|row| row.object.len()).sum();
    let cut = rows.len() as i64 >= PAGE_ROWS || bytes as i64 >= PAGE_BYTES;
    let upto = rows.last().filter(|_| cut).map_or(upto, |last| last.revision);

    let mut known: HashMap<u64, Obj> = HashMap::new();
    let before: Vec<u64> =
        rows.iter().map(|row| row.previous).filter(|previous| (1..=from).contains(previous)).collect();
    for version in versions(shared, &before).await? {
        known.insert(version.revision, version.object);
    }
    uncompacted(shared, from).await?;

    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(kind) = EventKind::from_letter(row.kind) else { continue };
        let key = shared.cache.interned(Key::new(resource.clone(), row.namespace, row.name));
        let stored = shared.sealer.open(&key, &row.object)?;
        let parsed = Parsed::of(&key, &stored, &shared.indexer)?;
        let previous = known.get(&row.previous).cloned();
        let event = Arc::new(Event::new(kind, key, row.revision, &stored, parsed, previous)?);
        known.insert(row.revision, event.object.clone());
        if scope.matches(&event) {
            events.push(event);
        }
    }
    Ok(Replayed { events, upto })
}

/// A resource at an exact past revision: the present, with the changes since then undone.
pub(crate) async fn view_at(shared: &Shared, resource: &str, revision: u64) -> Result<View> {
    let current = shared.cache.revision();
    if revision > current {
        return Err(Error::FutureRevision { asked: revision, current });
    }
    let hub = shared.cache.hub(resource);
    if let Some(view) = hub.view_at(revision) {
        return Ok(view);
    }
    if revision < shared.compacted() {
        return Err(Error::Compacted { oldest: shared.compacted() });
    }
    let mut view = hub.view(current);
    let changed = sqlx::query(sql::FIRST_CHANGES)
        .bind(signed(revision))
        .bind(signed(view.revision))
        .bind(resource)
        .fetch_all(&shared.pool)
        .await?;
    let mut before = Vec::new();
    for row in &changed {
        let (namespace, name): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        match unsigned(row.try_get(2)?) {
            0 => drop(view.objects.remove(&At(namespace, name))),
            previous => before.push(previous),
        }
    }
    for chunk in before.chunks(FETCH) {
        let found = versions(shared, chunk).await?;
        if found.len() < chunk.len() {
            uncompacted(shared, revision).await?;
            return Err(Error::Internal(format!("the log lacks {} versions", chunk.len() - found.len())));
        }
        for version in found {
            view.objects.insert(Slot::of(&version.object.key), version.object);
        }
    }
    uncompacted(shared, revision).await?;
    view.revision = revision;
    Ok(view)
}

/// One version of an object, from the log or from history.
pub(crate) struct LogVersion {
    pub revision: u64,
    pub previous: u64,
    pub kind: i8,
    pub user: String,
    pub micros: i64,
    pub object: Obj,
}

/// Versions by revision, in no order; those that are gone are missing.
pub(crate) async fn versions(shared: &Shared, revisions: &[u64]) -> Result<Vec<LogVersion>> {
    if revisions.is_empty() {
        return Ok(Vec::new());
    }
    let revisions: Vec<i64> = revisions.iter().map(|revision| signed(*revision)).collect();
    let rows = sqlx::query(sql::VERSIONS).bind(revisions).fetch_all(&shared.pool).await?;
    rows.iter().map(|row| version(shared, row)).collect()
}

/// Reads a row of the shape of [`sql::VERSIONS`].
pub(crate) fn version(shared: &Shared, row: &PgRow) -> Result<LogVersion> {
    let key: Key = Key::new(row.try_get::<&str, _>(3)?, row.try_get::<&str, _>(4)?, row.try_get::<&str, _>(5)?);
    let revision = unsigned(row.try_get(0)?);
    let object = object(shared, key, revision, row.try_get(8)?)?;
    Ok(LogVersion {
        revision,
        previous: unsigned(row.try_get(1)?),
        kind: row.try_get(2)?,
        user: row.try_get(6)?,
        micros: row.try_get(7)?,
        object,
    })
}

/// An object made of what the database holds.
pub(crate) fn object(shared: &Shared, key: Key, revision: u64, stored: &[u8]) -> Result<Obj> {
    let key = shared.cache.interned(key);
    let stored = shared.sealer.open(&key, stored)?;
    let parsed = Parsed::of(&key, &stored, &shared.indexer)?;
    Ok(Arc::new(entry::entry(key, revision, &stored, parsed)?))
}

/// Fails if anything behind `from` may have been dropped by now.
async fn uncompacted(shared: &Shared, from: u64) -> Result<()> {
    let compacted = unsigned(sqlx::query_scalar(sql::COMPACTED).fetch_one(&shared.pool).await?);
    shared.set_compacted(compacted);
    if compacted > from { Err(Error::Compacted { oldest: compacted }) } else { Ok(()) }
}

struct LogRow {
    revision: u64,
    previous: u64,
    kind: i8,
    namespace: String,
    name: String,
    object: Vec<u8>,
}

impl LogRow {
    fn read(row: &PgRow) -> Result<Self> {
        Ok(Self {
            revision: unsigned(row.try_get(0)?),
            previous: unsigned(row.try_get(1)?),
            kind: row.try_get(2)?,
            namespace: row.try_get(3)?,
            name: row.try_get(4)?,
            object: row.try_get(5)?,
        })
    }
}

/// A revision as PostgreSQL's bigint, which has room for 9·10¹⁸; larger ones, which only a client can make up, lie in
/// the future all the same.
pub(crate) fn signed(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

/// A revision from PostgreSQL, where none is negative.
pub(crate) fn unsigned(revision: i64) -> u64 {
    u64::try_from(revision).unwrap_or_default()
}
