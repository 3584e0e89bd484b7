//! Every statement, each with a sentence on its cost.
//!
//! Invariant: no other file contains SQL, apart from the migrations.

/// Settings of the writer's session. Plans are generic, because planning anew for each batch costs more than the
/// batch; index nested loops are the only right plan for a handful of keys, whatever the statistics say; a writer that
/// hangs must not hold the revision lock for long.
pub(crate) const WRITER_SESSION: &str = "
SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET enable_hashjoin = off;
SET enable_mergejoin = off; SET enable_bitmapscan = off; SET jit = off; SET work_mem = '32MB';
SET statement_timeout = '10s'; SET lock_timeout = '4s'; SET idle_in_transaction_session_timeout = '3s'";

/// Less WAL for objects beyond 2 KB; refused by servers built without lz4, and then left alone.
pub(crate) const WRITER_COMPRESSION: &str = "SET default_toast_compression = 'lz4'";

/// Settings of the listener's session.
pub(crate) const LISTENER_SESSION: &str = "SET statement_timeout = '5s'; SET jit = off";

/// A wake-up call without content, to every backend.
pub(crate) const LISTEN: &str = "LISTEN pilothouse";

/// The server process of a session.
pub(crate) const PROCESS: &str = "SELECT pg_backend_pid()";

pub(crate) const BEGIN: &str = "BEGIN";
/// Commits, or rolls back after an error.
pub(crate) const END: &str = "COMMIT";
pub(crate) const ROLLBACK: &str = "ROLLBACK";

/// One picture of everything. Takes seconds for a million objects: longer than a statement may usually take.
pub(crate) const BEGIN_LOAD: &str = "
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; SET LOCAL enable_seqscan = on";

/// Where the log stands. One row, in cache.
pub(crate) const STATE: &str = "
SELECT revision, compacted, turn, fence, timeline,
       (SELECT coalesce(max(last), 0) FROM log_partitions) AS edge
FROM revision";

/// [`STATE`] under the row lock; waits for the batch of another backend, about a millisecond.
pub(crate) const STATE_LOCKED: &str = "
SELECT revision, compacted, turn, fence, timeline,
       (SELECT coalesce(max(last), 0) FROM log_partitions) AS edge
FROM revision FOR UPDATE";

/// What `fresh()` asks: one row, in cache.
pub(crate) const REVISION: &str = "SELECT revision FROM revision";

/// Says that a session may write, for as long as it lives. Shared with nobody: the number is the backend's own, and its
/// earlier sessions share it.
pub(crate) const WRITES: &str = "SELECT pg_advisory_lock_shared(7310580, $1::int4)";

/// How many other backends have sessions that may write: a look at the table of locks.
pub(crate) const OTHER_WRITERS: &str = "
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND classid = 7310580 AND objsubid = 2 AND objid <> $1::int4::oid
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// One batch, atomically: takes the revision row if nobody else has moved it, and only then writes. Costs per change
/// one log row, one log key, one object row, and an object key when it is a create; per batch one updated row, one
/// notification, one flush. No row comes back when the database had moved on: then nothing was done.
pub(crate) const COMMIT: &str = "
WITH turn AS (
    UPDATE revision SET revision = $1, time = greatest(time, clock_timestamp())
    WHERE revision = $2 AND turn = $3
    RETURNING time
), change AS MATERIALIZED (
    SELECT turn.time, c.*
    FROM turn, unnest($4::bigint[], $5::bigint[], $6::bigint[], $7::\"char\"[], $8::text[], $9::text[], $10::text[],
                      $11::text[], $12::boolean[], $13::bytea[])
         AS c (revision, previous, created, kind, resource, namespace, name, user_name, final, object)
), log AS (
    INSERT INTO changes (revision, previous, batch, time, kind, resource, namespace, name, user_name, object)
    SELECT revision, previous, $14::bigint, time, kind, resource, namespace, name, user_name, object FROM change
), put AS (
    INSERT INTO objects AS o (revision, created, resource, namespace, name, object)
    SELECT revision, created, resource, namespace, name, object FROM change WHERE final AND kind <> 'D'
    ON CONFLICT ON CONSTRAINT objects_pkey DO UPDATE
    SET revision = excluded.revision, object = excluded.object,
        created = CASE excluded.created WHEN 0 THEN o.created ELSE excluded.created END
), gone AS (
    DELETE FROM objects AS o USING change AS c
    WHERE c.final AND c.kind = 'D'
      AND o.resource = c.resource AND o.namespace = c.namespace AND o.name = c.name
)
SELECT pg_notify('pilothouse', ''),
       CASE WHEN $15::boolean THEN set_config('synchronous_commit', 'off', true) END
FROM turn";

/// The log from a revision on, that revision included (the anchor), at most so many rows and bytes: an index range.
pub(crate) const CHANGES: &str = "
SELECT revision, batch, kind, resource, namespace, name, object
FROM (SELECT revision, batch, kind, resource, namespace, name, object,
             sum(octet_length(object)) OVER (ORDER BY revision) AS total
      FROM changes WHERE revision >= $1 ORDER BY revision LIMIT $2) AS page
WHERE total - octet_length(object) < $3
ORDER BY revision";

/// All objects; a scan of the table, once per start.
pub(crate) const OBJECTS: &str = "SELECT revision, resource, namespace, name, object FROM objects";

/// Who wrote a revision: one index look-up.
pub(crate) const BATCH_OF: &str = "SELECT batch FROM changes WHERE revision = $1";

/// Makes every batch that was prepared before impossible to commit. Waits for the one that is being committed.
pub(crate) const TAKE_TURN: &str = "UPDATE revision SET turn = turn + 1";

/// Starts a timeline behind everything anyone may have seen; everything before counts as compacted.
pub(crate) const START_TIMELINE: &str = "
WITH start AS (
    UPDATE revision
    SET revision = greatest(revision, $1) + 1, compacted = greatest(revision, $1) + 1,
        turn = turn + 1, timeline = timeline + 1, time = greatest(time, clock_timestamp())
    RETURNING revision, time
)
INSERT INTO changes (revision, previous, batch, time, kind, resource, namespace, name, user_name, object)
SELECT revision, 0, $2, time, 'R', '', '', '', '', '' FROM start";

/// The anchor of an empty database.
pub(crate) const FIRST_CHANGE: &str = "
INSERT INTO changes (revision, previous, batch, time, kind, resource, namespace, name, user_name, object)
SELECT revision, 0, 0, time, 'R', '', '', '', '', '' FROM revision WHERE revision = 1
ON CONFLICT DO NOTHING";

/// Room in the log: nothing when there is enough, else some ten milliseconds of catalog work.
pub(crate) const EXTEND_LOG: &str = "SELECT extend_log($1, $2)";

/// Takes the mandate for background work.
pub(crate) const TAKE_FENCE: &str = "UPDATE revision SET fence = fence + 1, turn = turn + 1 RETURNING fence";

/// One resource's part of the log, for a watch that starts before the memory does: an index range of all resources'
/// changes, so limited in rows and bytes.
pub(crate) const REPLAY: &str = "
SELECT revision, previous, kind, namespace, name, object
FROM (SELECT revision, previous, kind, namespace, name, object,
             sum(octet_length(object)) OVER (ORDER BY revision) AS total
      FROM changes
      WHERE revision > $1 AND revision <= $2 AND resource = $3
        AND ($4::text IS NULL OR namespace = $4) AND ($5::text IS NULL OR name = $5)
      ORDER BY revision LIMIT $6) AS page
WHERE total - octet_length(object) < $7
ORDER BY revision";

/// Versions by revision, wherever they are: index look-ups.
pub(crate) const VERSIONS: &str = "
SELECT revision, previous, kind, resource, namespace, name, user_name, (extract(epoch FROM time) * 1e6)::bigint AS micros, object
FROM changes WHERE revision = ANY ($1) AND kind <> 'R'
UNION
SELECT revision, previous, kind, resource, namespace, name, user_name, (extract(epoch FROM time) * 1e6)::bigint AS micros, object
FROM history WHERE revision = ANY ($1)";

/// The first change of each object of a resource in a range of revisions, without its state: an index range of the log.
pub(crate) const FIRST_CHANGES: &str = "
SELECT DISTINCT ON (namespace, name) namespace, name, previous
FROM changes WHERE revision > $1 AND revision <= $2 AND resource = $3
ORDER BY namespace, name, revision";

/// The compacted revision: one row, in cache.
pub(crate) const COMPACTED: &str = "SELECT compacted FROM revision";

/// Moves the compacted revision forward, never back.
pub(crate) const COMPACT: &str = "
UPDATE revision SET compacted = $1 WHERE compacted < $1 AND revision > $1";

/// The first revision from a given one on that is still known, and when it was made: one index look-up per partition.
pub(crate) const TIME_FROM: &str = "
SELECT revision, (extract(epoch FROM time) * 1e6)::bigint AS micros FROM (
    (SELECT revision, time FROM history WHERE revision >= $1 ORDER BY revision LIMIT 1)
    UNION ALL
    (SELECT revision, time FROM changes WHERE revision >= $1 ORDER BY revision LIMIT 1)
) AS known ORDER BY revision LIMIT 1";

/// The oldest partition of the log that is wholly compacted, and does not hold the newest revision.
pub(crate) const RETIRING: &str = "
SELECT first, last, name, copied FROM log_partitions
WHERE last <= (SELECT least(compacted, revision - 1) FROM revision)
ORDER BY first LIMIT 1";

/// One backend at a time retires partitions; false when another one is at it. Released with the transaction.
pub(crate) const RETIRE_LOCK: &str = "SELECT pg_try_advisory_xact_lock(7310579, 2)";

/// Copies a partition to history: reads and writes it once. A version that was replaced within the partition knows by
/// what; replaced versions of excepted resources are left out.
pub(crate) const RETIRE_COPY: &str = "
INSERT INTO history (revision, previous, until_revision, until_time, time, kind, resource, namespace, name, user_name, object)
SELECT * FROM (
    SELECT revision, previous,
           lead(revision) OVER versions AS until_revision, lead(time) OVER versions AS until_time,
           time, kind, resource, namespace, name, user_name, object
    FROM changes WHERE revision BETWEEN $1 AND $2 AND kind <> 'R'
    WINDOW versions AS (PARTITION BY resource, namespace, name ORDER BY revision)) AS retired
WHERE until_revision IS NULL OR resource <> ALL ($3)
ON CONFLICT DO NOTHING";

/// Closes the versions in history that the partition's changes replaced: an index look-up per change.
pub(crate) const RETIRE_CLOSE: &str = "
UPDATE history AS h SET until_revision = c.revision, until_time = c.time
FROM changes AS c
WHERE c.revision BETWEEN $1 AND $2 AND c.kind <> 'R' AND c.previous > 0
  AND h.revision = c.previous AND h.until_revision IS NULL";

/// A deletion is replaced by nothing; it ends when the object is created anew.
pub(crate) const RETIRE_REVIVE: &str = "
UPDATE history AS h SET until_revision = c.revision, until_time = c.time
FROM changes AS c
WHERE c.revision BETWEEN $1 AND $2 AND c.kind = 'A'
  AND h.resource = c.resource AND h.namespace = c.namespace AND h.name = c.name
  AND h.kind = 'D' AND h.until_revision IS NULL AND h.revision < c.revision";

/// Drops what excepted resources no longer need: an index range of their few rows.
pub(crate) const RETIRE_NOISE: &str = "
DELETE FROM history WHERE resource = ANY ($1) AND (until_revision IS NOT NULL OR kind = 'D')";

/// Marks a partition as copied.
pub(crate) const RETIRE_COPIED: &str = "UPDATE log_partitions SET copied = true WHERE first = $1";

/// Forgets a partition.
pub(crate) const RETIRE_FORGET: &str = "DELETE FROM log_partitions WHERE first = $1";

/// Dropping needs the log for itself for a moment. Waiting long for that would hold up every writer, so it gives up
/// early and is tried again.
pub(crate) const RETIRE_PATIENCE: &str = "SET LOCAL lock_timeout = '100ms'";

/// Drops a partition: the space comes back at once. `name` comes from `log_partitions`.
pub(crate) fn drop_partition(name: &str) -> String {
    format!("DROP TABLE IF EXISTS \"{}\"", name.replace('"', "\"\""))
}

/// Retention of history: two index ranges. Only versions that were replaced, or deletions, ever go.
pub(crate) const PRUNE_HISTORY: &str = "
DELETE FROM history WHERE until_time < now() - make_interval(secs => $1)";
pub(crate) const PRUNE_DELETIONS: &str = "
DELETE FROM history WHERE kind = 'D' AND time < now() - make_interval(secs => $1)";

/// The versions of one object, newest first, from a revision backwards: one index look-up per version.
pub(crate) const OBJECT_HISTORY: &str = "
WITH RECURSIVE known AS (
    SELECT v.*, 1 AS depth FROM (
        SELECT revision, previous, kind, resource, namespace, name, user_name, time, object FROM changes WHERE revision = $1
        UNION SELECT revision, previous, kind, resource, namespace, name, user_name, time, object FROM history WHERE revision = $1) AS v
    UNION ALL
    SELECT v.*, known.depth + 1 FROM known, LATERAL (
        SELECT revision, previous, kind, resource, namespace, name, user_name, time, object FROM changes WHERE revision = known.previous
        UNION SELECT revision, previous, kind, resource, namespace, name, user_name, time, object FROM history WHERE revision = known.previous) AS v
    WHERE known.previous > 0 AND known.depth < $2
)
SELECT revision, previous, kind, resource, namespace, name, user_name, (extract(epoch FROM time) * 1e6)::bigint AS micros, object
FROM known ORDER BY revision DESC";

/// The newest deletion of an object: index look-ups.
pub(crate) const LAST_DELETION: &str = "
SELECT max(revision) AS revision FROM (
    SELECT revision FROM changes WHERE kind = 'D' AND resource = $1 AND namespace = $2 AND name = $3
    UNION ALL
    SELECT revision FROM history WHERE kind = 'D' AND resource = $1 AND namespace = $2 AND name = $3) AS deletions";

/// The recycle bin of a resource, newest first: partial indexes of deletions.
pub(crate) const DELETED: &str = "
SELECT DISTINCT revision, previous, kind, resource, namespace, name, user_name, (extract(epoch FROM time) * 1e6)::bigint AS micros, object
FROM (SELECT revision, previous, kind, resource, namespace, name, user_name, time, object FROM changes
      WHERE kind = 'D' AND resource = $1 AND ($2::text IS NULL OR namespace = $2)
      UNION ALL
      SELECT revision, previous, kind, resource, namespace, name, user_name, time, object FROM history
      WHERE kind = 'D' AND resource = $1 AND ($2::text IS NULL OR namespace = $2)) AS deletions
ORDER BY revision DESC LIMIT $3";

/// A resource as of a revision long past: reads every known older version of it. A background query.
pub(crate) const PAST: &str = "
SELECT revision, namespace, name, object FROM (
    SELECT DISTINCT ON (namespace, name) revision, namespace, name, kind, object FROM (
        SELECT revision, namespace, name, kind, object FROM history
        WHERE resource = $1 AND revision <= $2 AND ($3::text IS NULL OR namespace = $3)
          AND (until_revision IS NULL OR until_revision > $2)
        UNION ALL
        SELECT revision, namespace, name, kind, object FROM changes
        WHERE resource = $1 AND revision <= $2 AND ($3::text IS NULL OR namespace = $3)
        UNION ALL
        SELECT revision, namespace, name, 'M'::\"char\", object FROM objects
        WHERE resource = $1 AND revision <= $2 AND ($3::text IS NULL OR namespace = $3)) AS known
    ORDER BY namespace, name, revision DESC) AS newest
WHERE kind <> 'D' ORDER BY namespace, name LIMIT $4";

/// The server as a whole: catalog look-ups, and the sizes of the database's files.
pub(crate) const INSPECT: &str = "
SELECT current_setting('server_version'), pg_is_in_recovery(), pg_database_size(current_database()),
       coalesce(current_setting('data_directory', true), ''), (extract(epoch FROM clock_timestamp()) * 1e6)::bigint,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       current_setting('max_connections')::bigint,
       (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
       (SELECT age(datfrozenxid)::bigint FROM pg_database WHERE datname = current_database()),
       (SELECT coalesce(sum(checksum_failures), 0)::bigint FROM pg_stat_database)";

/// Settings by which acknowledged writes survive: a look-up each.
pub(crate) const INSPECT_SETTINGS: &str = "
SELECT name, setting FROM pg_settings
WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'autovacuum') ORDER BY name";

/// Our tables, partitions together: the sizes of their files, and what statistics say of their rows.
pub(crate) const INSPECT_TABLES: &str = "
SELECT coalesce(parent.relname, child.relname)::text AS name, sum(pg_total_relation_size(child.oid))::bigint,
       sum(coalesce(pg_stat_get_live_tuples(child.oid), 0))::bigint,
       sum(coalesce(pg_stat_get_dead_tuples(child.oid), 0))::bigint
FROM pg_class AS child
LEFT JOIN pg_inherits AS i ON i.inhrelid = child.oid
LEFT JOIN pg_class AS parent ON parent.oid = i.inhparent
WHERE child.relkind = 'r' AND child.relnamespace = current_schema()::regnamespace
GROUP BY 1 ORDER BY 2 DESC LIMIT 20";

/// Replication slots, and what is kept for them.
pub(crate) const INSPECT_SLOTS: &str = "
SELECT slot_name::text, active,
       CASE WHEN pg_is_in_recovery() THEN 0
            ELSE coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0) END::bigint
FROM pg_replication_slots ORDER BY 1";

/// Servers that follow, and how far behind they are.
pub(crate) const INSPECT_REPLICAS: &str = "
SELECT application_name, coalesce(state, ''), coalesce(sync_state, '') IN ('sync', 'quorum'),
       CASE WHEN pg_is_in_recovery() THEN 0
            ELSE coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn), 0) END::bigint
FROM pg_stat_replication ORDER BY 1";
