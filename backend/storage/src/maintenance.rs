//! Background work of every backend: room in the log, compaction, history's retention, the memory's age limit.
//!
//! Invariants:
//! - The compacted revision moves first, and only forward; partitions are dropped only behind it. The newest change is
//!   never dropped.
//! - Every version that was current at some revision not compacted is in `objects`, `changes` or `history`.
//! - Several backends may do all of this at once: each step is a transaction that another one's makes superfluous.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Row};

use crate::database::bounded;
use crate::log::{signed, unsigned};
use crate::shared::Shared;
use crate::{Result, sql};

/// How often the cheap things are looked at.
const TICK: Duration = Duration::from_millis(500);

/// Memory is trimmed and gauges are set every so many ticks.
const TIDY_TICKS: u32 = 10;

/// Longer than the pool's statement timeout, and than a round of several statements usually takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Partitions retired in one go.
const RETIRE_AT_ONCE: usize = 64;

pub(crate) async fn run(shared: Arc<Shared>) {
    let work = async {
        let mut compacted_at = Instant::now();
        let mut pruned_at = Instant::now();
        for tick in 0u32.. {
            tokio::time::sleep(TICK).await;
            if tick.is_multiple_of(TIDY_TICKS) {
                shared.cache.trim(shared.config.ring_age);
                gauges(&shared);
            }
            if !shared.is_available() {
                continue;
            }
            if let Err(error) = bounded(PATIENCE, make_room(&shared)).await {
                tracing::warn!(%error, "cannot extend the log; the sequencer will");
            }
            let interval = shared.config.compaction.interval;
            if !interval.is_zero() && compacted_at.elapsed() >= interval {
                compacted_at = Instant::now();
                if let Err(error) = bounded(PATIENCE, compact_by_policy(&shared)).await {
                    tracing::warn!(%error, "compaction failed; it will be tried again");
                }
            }
            if pruned_at.elapsed() >= Duration::from_secs(3600) {
                pruned_at = Instant::now();
                if let Err(error) = bounded(PATIENCE, prune_history(&shared)).await {
                    tracing::warn!(%error, "pruning history failed; it will be tried again");
                }
            }
        }
    };
    tokio::select! {
        () = shared.closing.cancelled() => {}
        () = work => {}
    }
    shared.set_available(false);
    shared.cache.wake_all();
}

fn gauges(shared: &Shared) {
    let metrics = &shared.metrics;
    let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    metrics.revision.set(gauge(shared.cache.revision()));
    metrics.compacted.set(gauge(shared.compacted()));
    metrics.available.set(i64::from(shared.is_available()));
    metrics.objects.set(gauge(shared.cache.objects() as u64));
    metrics.watchers.set(gauge(shared.watchers.load(std::sync::atomic::Ordering::Relaxed) as u64));
    let (events, bytes) =
        shared.cache.hubs().iter().map(|hub| hub.weight()).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    metrics.ring_events.set(gauge(events as u64));
    metrics.ring_bytes.set(gauge(bytes as u64));
}

/// Keeps at least half a partition of room ahead of the revision.
async fn make_room(shared: &Shared) -> Result<()> {
    let size = shared.config.partition_revisions.max(1);
    let wanted = shared.cache.revision() + size / 2 + 1;
    if wanted > shared.edge() {
        let edge: i64 =
            sqlx::query_scalar(sql::EXTEND_LOG).bind(signed(wanted)).bind(signed(size)).fetch_one(&shared.pool).await?;
        shared.set_edge(unsigned(edge));
    }
    Ok(())
}

/// Compacts as far as the policy allows.
pub(crate) async fn compact_by_policy(shared: &Shared) -> Result<()> {
    let policy = &shared.config.compaction;
    let by_count = shared.cache.revision().saturating_sub(policy.keep_revisions.max(1));
    if by_count > shared.compacted() {
        let age = i64::try_from(policy.keep_time.as_micros()).unwrap_or(i64::MAX);
        let cutoff = jiff::Timestamp::now().as_microsecond().saturating_sub(age);
        // The newest change that is older than the cutoff may go, and everything before it.
        let target = newest_before(shared, cutoff, shared.compacted(), by_count).await?;
        if target > shared.compacted() {
            compact(shared, target).await?;
        }
    }
    retire(shared).await
}

/// Declares everything up to a revision compacted.
pub(crate) async fn compact(shared: &Shared, target: u64) -> Result<()> {
    sqlx::query(sql::COMPACT).bind(signed(target)).execute(&shared.pool).await?;
    let compacted: i64 = sqlx::query_scalar(sql::COMPACTED).fetch_one(&shared.pool).await?;
    shared.set_compacted(unsigned(compacted));
    Ok(())
}

/// The newest revision in `(low, high]` made at or before an instant, or `low`. Times are in the order of revisions, so
/// a binary search by key finds it.
pub(crate) async fn newest_before(shared: &Shared, micros: i64, low: u64, high: u64) -> Result<u64> {
    let (mut low, mut high) = (low, high);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let row = sqlx::query(sql::TIME_FROM).bind(signed(middle)).fetch_optional(&shared.pool).await?;
        // A revision that is gone counts as being as old as the one that follows it.
        let old = match row {
            Some(row) => row.try_get::<i64, _>(1)? <= micros,
            None => false,
        };
        if old { low = middle } else { high = middle - 1 }
    }
    Ok(low)
}

/// Moves wholly compacted partitions to history, and drops them.
pub(crate) async fn retire(shared: &Shared) -> Result<()> {
    for _ in 0..RETIRE_AT_ONCE {
        if !copy_next(shared).await? || !drop_next(shared).await? {
            break;
        }
    }
    Ok(())
}

/// Copies the oldest retiring partition to history. False when there is none, or another backend is at it.
async fn copy_next(shared: &Shared) -> Result<bool> {
    let except = &shared.config.history.except;
    let mut tx = shared.pool.begin().await?;
    if !sqlx::query_scalar::<_, bool>(sql::RETIRE_LOCK).fetch_one(&mut *tx).await? {
        return Ok(false);
    }
    let Some(row) = sqlx::query(sql::RETIRING).fetch_optional(&mut *tx).await? else { return Ok(false) };
    let (first, last, copied): (i64, i64, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(3)?);
    if !copied {
        sqlx::query(sql::RETIRE_COPY).bind(first).bind(last).bind(except).execute(&mut *tx).await?;
        sqlx::query(sql::RETIRE_CLOSE).bind(first).bind(last).execute(&mut *tx).await?;
        sqlx::query(sql::RETIRE_REVIVE).bind(first).bind(last).execute(&mut *tx).await?;
        sqlx::query(sql::RETIRE_NOISE).bind(except).execute(&mut *tx).await?;
        sqlx::query(sql::RETIRE_COPIED).bind(first).execute(&mut *tx).await?;
        tx.commit().await?;
    }
    Ok(true)
}

/// Drops the oldest retiring partition, if history has it. False when it cannot be had right now.
async fn drop_next(shared: &Shared) -> Result<bool> {
    let mut tx = shared.pool.begin().await?;
    if !sqlx::query_scalar::<_, bool>(sql::RETIRE_LOCK).fetch_one(&mut *tx).await? {
        return Ok(false);
    }
    let Some(row) = sqlx::query(sql::RETIRING).fetch_optional(&mut *tx).await? else { return Ok(false) };
    let (first, name, copied): (i64, String, bool) = (row.try_get(0)?, row.try_get(2)?, row.try_get(3)?);
    if !copied {
        return Ok(false);
    }
    sqlx::query(sql::RETIRE_FORGET).bind(first).execute(&mut *tx).await?;
    sqlx::query(sql::RETIRE_PATIENCE).execute(&mut *tx).await?;
    if let Err(error) = sqlx::query(AssertSqlSafe(sql::drop_partition(&name))).execute(&mut *tx).await {
        tracing::debug!(%error, name, "the log is busy; its partition will be dropped later");
        return Ok(false);
    }
    tx.commit().await?;
    shared.metrics.retired.inc();
    tracing::info!(name, "retired a partition of the log");
    Ok(true)
}

/// Applies history's retention.
pub(crate) async fn prune_history(shared: &Shared) -> Result<()> {
    let keep = shared.config.history.keep_time.as_secs_f64();
    sqlx::query(sql::PRUNE_HISTORY).bind(keep).execute(&shared.pool).await?;
    sqlx::query(sql::PRUNE_DELETIONS).bind(keep).execute(&shared.pool).await?;
    Ok(())
}
