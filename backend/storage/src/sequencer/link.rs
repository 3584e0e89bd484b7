//! The sequencer's session: its statements, and what they mean. Every step has a time limit; a link that exceeds one
//! is given up, which ends the transaction on the server.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::time::{sleep_until, timeout};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use super::Known;
use crate::database::Session;
use crate::entry::Parsed;
use crate::log::{PAGE_BYTES, PAGE_ROWS, signed, unsigned};
use crate::plan::{Plan, Unit};
use crate::shared::Shared;
use crate::{Error, Event, EventKind, Key, Result, sql};

/// Longer than the session's own statement timeout never takes an answer; a commit may be that slow on a busy disk.
const STEP_TIMEOUT: Duration = Duration::from_secs(4);

/// What came of sending a batch.
pub(super) enum Sent {
    Committed,
    Moved,
    Refused(Error),
    Lost(Error),
}

pub(super) struct Link {
    pub(super) session: Session,
    commit: Statement,
    state: Statement,
    state_locked: Statement,
    changes: Statement,
    /// Nothing is written before: see [`crate::sole`].
    writes_from: Instant,
}

/// A row of [`sql::STATE`].
pub(super) struct State {
    pub revision: u64,
    pub compacted: u64,
    pub turn: i64,
    pub fence: u64,
    pub timeline: i64,
    pub edge: u64,
}

impl State {
    pub fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            revision: unsigned(row.try_get(0)?),
            compacted: unsigned(row.try_get(1)?),
            turn: row.try_get(2)?,
            fence: unsigned(row.try_get(3)?),
            timeline: row.try_get(4)?,
            edge: unsigned(row.try_get(5)?),
        })
    }
}

impl Link {
    pub async fn open(shared: &Shared) -> Result<Self> {
        let session = shared.database.session(None).await?;
        let client = &session.client;
        let link = step(async {
            client.batch_execute(sql::WRITER_SESSION).await?;
            if client.batch_execute(sql::WRITER_COMPRESSION).await.is_err() {
                tracing::debug!("this PostgreSQL has no lz4; large objects are compressed with its default");
            }
            let (commit, state, state_locked, changes) = tokio::try_join!(
                client.prepare(sql::COMMIT),
                client.prepare(sql::STATE),
                client.prepare(sql::STATE_LOCKED),
                client.prepare(sql::CHANGES),
            )?;
            Ok((commit, state, state_locked, changes))
        })
        .await;
        let (commit, state, state_locked, changes) = link?;
        step(async { Ok(client.query(sql::WRITES, &[&shared.sole.number]).await?) }).await?;
        let writes_from = Instant::now() + shared.sole.patience();
        shared.writer_process.store(session.process, Ordering::Relaxed);
        Ok(Self { session, commit, state, state_locked, changes, writes_from })
    }

    /// Waits until this session may write.
    pub(super) async fn may_write(&self) {
        if Instant::now() < self.writes_from {
            sleep_until(self.writes_from.into()).await;
        }
    }

    pub fn is_alive(&self) -> bool {
        self.session.is_alive()
    }

    /// Makes every batch sent before impossible to commit from now on.
    pub async fn take_turn(&mut self) -> Result<()> {
        step(async { Ok(self.session.client.execute(sql::TAKE_TURN, &[]).await?) }).await?;
        Ok(())
    }

    /// Who wrote a revision.
    pub async fn batch_of(&mut self, revision: u64) -> Result<Option<i64>> {
        let row = step(async { Ok(self.session.client.query_opt(sql::BATCH_OF, &[&signed(revision)]).await?) }).await?;
        row.map(|row| row.try_get(0)).transpose().map_err(Error::from)
    }

    /// Makes sure that the log has room up to a revision.
    pub async fn make_room(&mut self, shared: &Shared, top: u64) -> Result<()> {
        if top <= shared.edge() {
            return Ok(());
        }
        let size = shared.config.partition_revisions.max(1);
        let row =
            step(async { Ok(self.session.client.query_one(sql::EXTEND_LOG, &[&signed(top), &signed(size)]).await?) })
                .await?;
        shared.set_edge(unsigned(row.try_get(0)?));
        Ok(())
    }

    /// Publishes what the log has beyond the cache. False when the log is not the one the cache was made from.
    pub async fn catch_up(&mut self, shared: &Shared, known: &mut Known) -> Result<bool> {
        self.pull(shared, known, false).await
    }

    /// Begins a transaction that holds the revision row's lock, and catches up under it. False as with
    /// [`Link::catch_up`]; then the transaction is over.
    pub async fn lock(&mut self, shared: &Shared, known: &mut Known) -> Result<bool> {
        // Not while the others wait for the lock.
        self.may_write().await;
        let same = self.pull(shared, known, true).await?;
        if !same {
            self.unlock().await?;
        }
        Ok(same)
    }

    pub async fn unlock(&mut self) -> Result<()> {
        step(async { Ok(self.session.client.batch_execute(sql::ROLLBACK).await?) }).await
    }

    async fn pull(&mut self, shared: &Shared, known: &mut Known, locked: bool) -> Result<bool> {
        let mut begin = locked;
        loop {
            let asked = Instant::now();
            let from = shared.cache.revision();
            let client = &self.session.client;
            let state = if locked { &self.state_locked } else { &self.state };
            let range: [&(dyn ToSql + Sync); 3] = [&signed(from), &PAGE_ROWS, &PAGE_BYTES];
            // All are on their way before the first answer is awaited.
            let (state, rows) = step(async {
                let begin = async { if begin { client.batch_execute(sql::BEGIN).await } else { Ok(()) } };
                let (begun, state, rows) =
                    tokio::join!(begin, client.query_one(state, &[]), client.query(&self.changes, &range));
                begun?;
                Ok((state?, rows?))
            })
            .await?;
            begin = false;
            let state = State::read(&state)?;
            shared.set_compacted(state.compacted);
            shared.set_edge(state.edge);
            let anchor = match rows.first() {
                Some(row) if unsigned(row.try_get(0)?) == from => Some(row.try_get::<_, i64>(1)?),
                _ => None,
            };
            if state.timeline != known.timeline || state.revision < from || anchor != Some(known.anchor) {
                return Ok(false);
            }
            let mut events = Vec::with_capacity(rows.len().saturating_sub(1));
            let mut latest = std::collections::HashMap::new();
            let (mut reached, mut bytes, mut writer) = (from, 0, known.anchor);
            for row in &rows {
                bytes += row.try_get::<_, &[u8]>(6)?.len();
                reached = unsigned(row.try_get(0)?);
                writer = row.try_get(1)?;
                if reached > from
                    && let Some(event) = event(shared, row, &latest)?
                {
                    let state = (event.kind != EventKind::Deleted).then(|| event.object.clone());
                    latest.insert(event.object.key.clone(), state);
                    events.push(event);
                }
            }
            if reached > from {
                shared.cache.apply(&events, reached);
                known.anchor = writer;
            }
            known.turn = state.turn;
            known.fence = state.fence;
            if (rows.len() as i64) < PAGE_ROWS && (bytes as i64) < PAGE_BYTES {
                shared.verified_at(asked);
                return Ok(true);
            }
        }
    }

    /// Sends a batch that commits by itself.
    pub async fn send(&mut self, plan: &Plan, units: &[Unit], batch: i64, turn: i64) -> Sent {
        self.may_write().await;
        match timeout(STEP_TIMEOUT, self.execute(plan, units, batch, turn)).await {
            Ok(Ok(true)) => Sent::Committed,
            Ok(Ok(false)) => Sent::Moved,
            Ok(Err(error)) => self.failed(error),
            Err(_) => Sent::Lost(slow()),
        }
    }

    /// Sends a batch within the transaction that [`Link::lock`] began, and ends that: by a commit if all went well.
    pub async fn send_locked(&mut self, plan: &Plan, units: &[Unit], batch: i64, turn: i64) -> Sent {
        let both = async {
            // The end is on its way before the batch is answered; after an error PostgreSQL turns it into a rollback.
            tokio::join!(self.execute(plan, units, batch, turn), self.session.client.batch_execute(sql::END))
        };
        match timeout(STEP_TIMEOUT, both).await {
            Ok((Ok(true), Ok(()))) => Sent::Committed,
            Ok((Ok(false), Ok(()))) => Sent::Moved,
            Ok((Err(error), _) | (Ok(_), Err(error))) => self.failed(error),
            Err(_) => Sent::Lost(slow()),
        }
    }

    /// An error that the server has stated means that the transaction is rolled back, unless it says that the process
    /// is going down: then the statement may have been past its commit. A server that has become read-only is no longer
    /// the one to talk to.
    fn failed(&self, error: tokio_postgres::Error) -> Sent {
        let stated = error.as_db_error().is_some_and(|error| {
            let code = error.code().code();
            !code.starts_with("57P") && code != "25006"
        });
        if stated && self.is_alive() { Sent::Refused(error.into()) } else { Sent::Lost(error.into()) }
    }

    async fn execute(
        &self,
        plan: &Plan,
        units: &[Unit],
        batch: i64,
        turn: i64,
    ) -> std::result::Result<bool, tokio_postgres::Error> {
        let column = Columns::of(plan, units);
        let parameters: [&(dyn ToSql + Sync); 15] = [
            &signed(plan.top()),
            &signed(plan.base),
            &turn,
            &column.revisions,
            &column.previous,
            &column.created,
            &column.kinds,
            &column.resources,
            &column.namespaces,
            &column.names,
            &column.users,
            &column.finals,
            &column.objects,
            &batch,
            &plan.relaxed,
        ];
        debug_assert!(!plan.steps.is_empty());
        Ok(!self.session.client.query(&self.commit, &parameters).await?.is_empty())
    }
}

/// A batch as columns, which PostgreSQL unnests.
#[derive(Default)]
struct Columns<'a> {
    revisions: Vec<i64>,
    previous: Vec<i64>,
    created: Vec<i64>,
    kinds: Vec<i8>,
    resources: Vec<&'a str>,
    namespaces: Vec<&'a str>,
    names: Vec<&'a str>,
    users: Vec<&'a str>,
    finals: Vec<bool>,
    objects: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    fn of(plan: &Plan, units: &'a [Unit]) -> Self {
        let mut columns = Self::default();
        for step in &plan.steps {
            let mutation = &units[step.source.0].mutations[step.source.1];
            columns.revisions.push(signed(step.event.revision));
            columns.previous.push(signed(step.previous));
            columns.created.push(signed(step.created));
            columns.kinds.push(step.event.kind.letter());
            columns.resources.push(&mutation.key.resource);
            columns.namespaces.push(&mutation.key.namespace);
            columns.names.push(&mutation.key.name);
            columns.users.push(&mutation.user);
            columns.finals.push(step.is_final);
            columns.objects.push(mutation.sealed.as_ref().unwrap_or(&mutation.bytes));
        }
        columns
    }
}

/// An event from a row of [`sql::CHANGES`]; none for a reset. `latest` has the objects that the same page changed.
fn event(
    shared: &Shared,
    row: &Row,
    latest: &std::collections::HashMap<Key, Option<crate::Obj>>,
) -> Result<Option<Arc<Event>>> {
    let Some(kind) = EventKind::from_letter(row.try_get(2)?) else { return Ok(None) };
    let key = Key::new(row.try_get::<_, &str>(3)?, row.try_get::<_, &str>(4)?, row.try_get::<_, &str>(5)?);
    let key = shared.cache.interned(key);
    let stored = shared.sealer.open(&key, row.try_get(6)?)?;
    let parsed = Parsed::of(&key, &stored, &shared.indexer)?;
    let previous = latest.get(&key).cloned().unwrap_or_else(|| shared.cache.get(&key));
    Ok(Some(Arc::new(Event::new(kind, key, unsigned(row.try_get(0)?), &stored, parsed, previous)?)))
}

/// Bounds a step; whoever gets an error gives the link up.
pub(super) async fn step<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(STEP_TIMEOUT, work).await.map_err(|_| slow())?
}

fn slow() -> Error {
    Error::Unavailable("PostgreSQL takes too long to answer".to_owned())
}
