-- The store: current objects, the log of changes, and what the time machine keeps of it.
-- Names are compared bytewise (COLLATE "C"): that is the order of Kubernetes lists, and the cheapest one.

CREATE TABLE revision (
    single    boolean     NOT NULL DEFAULT true,
    revision  bigint      NOT NULL,
    compacted bigint      NOT NULL,
    turn      bigint      NOT NULL,
    fence     bigint      NOT NULL,
    timeline  bigint      NOT NULL,
    time      timestamptz NOT NULL,
    CONSTRAINT revision_pkey PRIMARY KEY (single),
    CONSTRAINT revision_single CHECK (single),
    CONSTRAINT revision_order CHECK (compacted >= 0 AND compacted <= revision)
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
COMMENT ON TABLE revision IS 'One row: its lock orders the batches of all backends. Updated by every batch, always in place (HOT).';
COMMENT ON COLUMN revision.single IS 'Always true: there is one row.';
COMMENT ON COLUMN revision.revision IS 'The newest revision; the next change gets the one after it.';
COMMENT ON COLUMN revision.compacted IS 'Changes up to here may be gone from the log; watches and exact lists must start at it or later.';
COMMENT ON COLUMN revision.turn IS 'Raised by everything but an append. A batch prepared before it was raised cannot commit.';
COMMENT ON COLUMN revision.fence IS 'The newest mandate for background work; writes under an older one are refused.';
COMMENT ON COLUMN revision.timeline IS 'Raised when acknowledged history was lost (a crash with asynchronous commits, a failover); caches are then rebuilt.';
COMMENT ON COLUMN revision.time IS 'When the newest change was made; never goes back, so times in the log are in the order of revisions.';
INSERT INTO revision (revision, compacted, turn, fence, timeline, time) VALUES (1, 0, 0, 0, 0, clock_timestamp());

CREATE TABLE objects (
    revision  bigint NOT NULL,
    created   bigint NOT NULL,
    resource  text   COLLATE "C" NOT NULL,
    namespace text   COLLATE "C" NOT NULL,
    name      text   COLLATE "C" NOT NULL,
    object    bytea  NOT NULL,
    CONSTRAINT objects_pkey PRIMARY KEY (resource, namespace, name)
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.1);
COMMENT ON TABLE objects IS 'The current state of every object. Only the key is indexed, so an update can stay on its page (HOT).';
COMMENT ON COLUMN objects.revision IS 'The revision of the last change: the resourceVersion.';
COMMENT ON COLUMN objects.created IS 'The revision that created the object.';
COMMENT ON COLUMN objects.resource IS 'The group resource: pods, deployments.apps.';
COMMENT ON COLUMN objects.namespace IS 'Empty for cluster-scoped resources.';
COMMENT ON COLUMN objects.name IS 'metadata.name.';
COMMENT ON COLUMN objects.object IS 'Canonical JSON: apiVersion, kind, metadata first; without metadata.resourceVersion.';

CREATE TABLE changes (
    revision  bigint      NOT NULL,
    previous  bigint      NOT NULL,
    batch     bigint      NOT NULL,
    time      timestamptz NOT NULL,
    kind      "char"      NOT NULL,
    resource  text        COLLATE "C" NOT NULL,
    namespace text        COLLATE "C" NOT NULL,
    name      text        COLLATE "C" NOT NULL,
    user_name text        COLLATE "C" NOT NULL,
    object    bytea       NOT NULL,
    CONSTRAINT changes_pkey PRIMARY KEY (revision)
) PARTITION BY RANGE (revision);
CREATE INDEX changes_deleted ON changes (resource, namespace, name) WHERE kind = 'D';
COMMENT ON TABLE changes IS 'The log: one row per revision, without gaps. Append only; compaction drops whole partitions.';
COMMENT ON COLUMN changes.revision IS 'Dense and in the order of commits.';
COMMENT ON COLUMN changes.previous IS 'The revision of the state this change replaced; 0 if there was none. Links the versions of an object.';
COMMENT ON COLUMN changes.batch IS 'A random name of the batch that wrote the row: tells whether a commit of unknown outcome happened.';
COMMENT ON COLUMN changes.time IS 'When it was made.';
COMMENT ON COLUMN changes.kind IS 'A added, M modified, D deleted, R reset (no object: the start of a timeline).';
COMMENT ON COLUMN changes.resource IS 'As in objects.';
COMMENT ON COLUMN changes.namespace IS 'As in objects.';
COMMENT ON COLUMN changes.name IS 'As in objects.';
COMMENT ON COLUMN changes.user_name IS 'Who made it.';
COMMENT ON COLUMN changes.object IS 'The new state; of a deletion the last one.';
COMMENT ON INDEX changes_deleted IS 'The recycle bin.';

CREATE TABLE log_partitions (
    first  bigint  NOT NULL,
    last   bigint  NOT NULL,
    name   text    NOT NULL,
    copied boolean NOT NULL DEFAULT false,
    CONSTRAINT log_partitions_pkey PRIMARY KEY (first),
    CONSTRAINT log_partitions_range CHECK (first <= last)
);
COMMENT ON TABLE log_partitions IS 'The partitions of changes, adjacent and in order.';
COMMENT ON COLUMN log_partitions.first IS 'Its first revision.';
COMMENT ON COLUMN log_partitions.last IS 'Its last revision.';
COMMENT ON COLUMN log_partitions.name IS 'The table.';
COMMENT ON COLUMN log_partitions.copied IS 'Whether history has it, so that the table can be dropped.';

CREATE TABLE history (
    revision       bigint      NOT NULL,
    previous       bigint      NOT NULL,
    until_revision bigint,
    until_time     timestamptz,
    time           timestamptz NOT NULL,
    kind           "char"      NOT NULL,
    resource       text        COLLATE "C" NOT NULL,
    namespace      text        COLLATE "C" NOT NULL,
    name           text        COLLATE "C" NOT NULL,
    user_name      text        COLLATE "C" NOT NULL,
    object         bytea       NOT NULL,
    CONSTRAINT history_pkey PRIMARY KEY (revision)
);
CREATE INDEX history_object ON history (resource, namespace, name, revision);
CREATE INDEX history_until ON history (until_time);
CREATE INDEX history_deleted ON history (time) WHERE kind = 'D';
COMMENT ON TABLE history IS 'Changes that compaction took out of the log, with a retention of their own.';
COMMENT ON COLUMN history.revision IS 'As in changes.';
COMMENT ON COLUMN history.previous IS 'As in changes.';
COMMENT ON COLUMN history.until_revision IS 'The revision that replaced this version; null while that one is still in the log or there is none.';
COMMENT ON COLUMN history.until_time IS 'When it was replaced.';
COMMENT ON COLUMN history.time IS 'As in changes.';
COMMENT ON COLUMN history.kind IS 'As in changes.';
COMMENT ON COLUMN history.resource IS 'As in changes.';
COMMENT ON COLUMN history.namespace IS 'As in changes.';
COMMENT ON COLUMN history.name IS 'As in changes.';
COMMENT ON COLUMN history.user_name IS 'As in changes.';
COMMENT ON COLUMN history.object IS 'As in changes.';
COMMENT ON INDEX history_object IS 'The versions of one object, and lists as of a past revision.';
COMMENT ON INDEX history_until IS 'What retention removes.';
COMMENT ON INDEX history_deleted IS 'Deletions, which nothing replaces, for retention.';

-- Makes sure the log has partitions up to a revision; gives the last revision they take. Attaching a table that is
-- already made blocks no writer, unlike CREATE TABLE … PARTITION OF.
CREATE FUNCTION extend_log(wanted bigint, size bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    edge  bigint;
    child text;
BEGIN
    PERFORM pg_advisory_xact_lock(7310579, 1);
    SELECT coalesce(max(last), 0) INTO edge FROM log_partitions;
    WHILE edge < wanted LOOP
        child := 'changes_' || (edge + 1);
        EXECUTE format('CREATE TABLE %I (LIKE changes INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMMENTS)', child);
        EXECUTE format('COMMENT ON TABLE %I IS %L', child, format('The log from revision %s to %s.', edge + 1, edge + size));
        EXECUTE format('ALTER TABLE changes ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', child, edge + 1, edge + size + 1);
        INSERT INTO log_partitions (first, last, name) VALUES (edge + 1, edge + size, child);
        edge := edge + size;
    END LOOP;
    RETURN edge;
END $$;
COMMENT ON FUNCTION extend_log IS 'Makes partitions of changes, each for size revisions, until they reach the wanted revision.';
