//! The one task that writes, and the only one that publishes to the cache.
//!
//! Invariants:
//! - Changes are published in revision order, each once, only when they are known to be committed.
//! - A batch commits only on top of exactly the revision it was planned on; refusals are answered only when the database
//!   was seen at that revision, too. So the cache is a sound basis for preconditions, however many backends write.
//! - A commit whose outcome is unknown is looked up before anything else is written; it can no longer happen after that.
//! - A caller gets an answer, or hears that it is unknown; never a wrong one.

mod link;
mod load;
mod recovery;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{Span, field, trace_span};

use crate::plan::{Plan, Unit, plan};
use crate::shared::Shared;
use crate::{Error, Result, TRACES};

use link::{Link, Sent};
use recovery::BACKOFF;

/// After meeting another backend's batch, this long each batch takes the row lock before it is planned: optimism would
/// be wasted, and the lock's queue is fair.
const CONTENTION: Duration = Duration::from_millis(200);

/// What the sequencer knows about the log besides what is in the cache.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    pub turn: i64,
    pub fence: u64,
    pub timeline: i64,
    /// The batch that wrote the cache's revision: shows whether the log still is the one the cache was made from.
    pub anchor: i64,
    pub loaded: bool,
}

/// A batch that was sent, but whose answer never came.
struct Doubt {
    units: Vec<Unit>,
    plan: Plan,
    batch: i64,
}

/// How a batch went.
enum Outcome {
    /// Committed (or all refused), on top of the plan's base.
    Done(Plan, Option<i64>),
    /// The database had moved on; nothing was done.
    Moved,
    /// PostgreSQL refused it; nothing was done.
    Failed(Error),
    /// The connection broke before anything was sent.
    Broken(Error),
    /// The connection broke while it was being committed.
    Unknown(Plan, i64, Error),
}

impl Outcome {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Done(_, Some(_)) => "committed",
            Self::Done(_, None) => "refused",
            Self::Moved => "moved",
            Self::Failed(_) => "failed",
            Self::Broken(_) => "broken",
            Self::Unknown(..) => "unknown",
        }
    }
}

pub(crate) struct Sequencer {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Unit>,
    /// Units taken from the queue that have to be planned again.
    waiting: VecDeque<Unit>,
    link: Option<Link>,
    known: Known,
    doubt: Option<Doubt>,
    contended_until: Instant,
    looked_at: Instant,
    batches: i64,
}

impl Sequencer {
    /// Connects and loads the cache, so that the store opens with everything in place.
    ///
    /// # Errors
    /// When PostgreSQL cannot be reached within the write timeout.
    pub async fn start(shared: Arc<Shared>, queue: mpsc::Receiver<Unit>) -> Result<Self> {
        let now = Instant::now();
        let mut sequencer = Self {
            shared,
            queue,
            waiting: VecDeque::new(),
            link: None,
            known: Known::default(),
            doubt: None,
            contended_until: now,
            looked_at: now,
            batches: random(),
        };
        let (mut pause, longest) = BACKOFF;
        loop {
            match sequencer.connect().await {
                Ok(()) => return Ok(sequencer),
                Err(error @ Error::Unavailable(_)) if now.elapsed() < sequencer.shared.config.write_timeout => {
                    tracing::debug!(%error, "waiting for PostgreSQL");
                    sleep(pause).await;
                    pause = (pause * 2).min(longest);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Works until the store closes.
    pub async fn run(mut self) {
        let shared = self.shared.clone();
        // Also when it panics: a store without its writer must not go on as if nothing had happened.
        let _close = shared.closing.clone().drop_guard();
        while !shared.closing.is_cancelled() {
            if !self.link.as_ref().is_some_and(Link::is_alive) {
                self.reconnect().await;
                continue;
            }
            let look_at = self.looked_at + shared.config.poll_interval;
            let unit = match self.waiting.pop_front() {
                Some(unit) => unit,
                None => tokio::select! {
                    biased;
                    () = shared.closing.cancelled() => break,
                    unit = self.queue.recv() => match unit {
                        Some(unit) => unit,
                        None => break,
                    },
                    () = shared.wake.notified() => { self.look().await; continue }
                    () = sleep_until(look_at) => { self.look().await; continue }
                },
            };
            let batch = self.fill(unit);
            if !batch.is_empty() {
                self.commit(batch).await;
            }
        }
        self.queue.close();
        self.refuse_all(&Error::Unavailable("the store is closing".to_owned()));
    }

    /// A batch: this unit and what else has come meanwhile, up to the limits.
    fn fill(&mut self, first: Unit) -> Vec<Unit> {
        let config = &self.shared.config;
        let now = Instant::now();
        let (mut bytes, mut mutations) = (0, 0);
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(unit) = next {
            if unit.is_wanted(now) {
                bytes += unit.bytes;
                mutations += unit.mutations.len();
                batch.push(unit);
            }
            let room =
                batch.len() < config.batch_units && bytes < config.batch_bytes && mutations < 4 * config.batch_units;
            next = if room { self.waiting.pop_front().or_else(|| self.queue.try_recv().ok()) } else { None };
        }
        batch
    }

    /// Writes a batch and answers it; or keeps it for after the next connection.
    async fn commit(&mut self, units: Vec<Unit>) {
        let started = Instant::now();
        let spans = spans(&units);
        let outcome = loop {
            let locked = Instant::now() < self.contended_until;
            let outcome = if locked { self.attempt_locked(&units).await } else { self.attempt(&units).await };
            match outcome {
                Outcome::Moved => {
                    self.shared.metrics.contended.inc();
                    self.contended_until = Instant::now() + CONTENTION;
                }
                outcome => break outcome,
            }
        };
        for span in &spans {
            span.record("outcome", outcome.as_str());
            if let Outcome::Done(plan, _) = &outcome {
                span.record("revision", plan.top());
            }
        }
        // What follows is no longer the batch's time.
        drop(spans);
        match outcome {
            Outcome::Done(plan, batch) => {
                if let Some(batch) = batch {
                    self.shared.cache.apply(&plan.events(), plan.top());
                    self.known.anchor = batch;
                    let metrics = &self.shared.metrics;
                    metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
                    metrics.batch_units.observe(units.len() as f64);
                    metrics.changes.inc_by(plan.steps.len() as u64);
                }
                self.shared.verified_at(started.into_std());
                self.looked_at = started;
                self.answer(units, plan);
            }
            // Either it is the unit's own fault, or the server's condition, which is everyone's.
            Outcome::Failed(error) if units.len() == 1 || matches!(error, Error::Unavailable(_)) => {
                // Whoever asked for it tells.
                tracing::debug!(%error, "PostgreSQL refuses a write");
                units.into_iter().for_each(|unit| unit.answer(Err(error.clone())));
            }
            // One unit may have spoiled it for all.
            Outcome::Failed(_) => {
                for unit in units {
                    Box::pin(self.commit(vec![unit])).await;
                }
            }
            Outcome::Broken(error) => {
                self.lose(&error);
                self.waiting.extend(units);
            }
            Outcome::Unknown(plan, batch, error) => {
                self.lose(&error);
                self.shared.metrics.doubts.inc();
                self.doubt = Some(Doubt { units, plan, batch });
            }
            Outcome::Moved => {}
        }
    }

    /// Without a lock: one round trip if nobody else writes.
    async fn attempt(&mut self, units: &[Unit]) -> Outcome {
        let plan = self.plan(units);
        if plan.steps.is_empty() {
            // Nothing to commit, so it has to be asked whether the refusals are right.
            let turn = self.known.turn;
            return match self.catch_up().await {
                Ok(()) if self.shared.cache.revision() == plan.base && self.known.turn == turn => {
                    Outcome::Done(plan, None)
                }
                Ok(()) => Outcome::Moved,
                Err(error) => Outcome::Broken(error),
            };
        }
        let batch = self.next_batch();
        let turn = self.known.turn;
        let Some(link) = &mut self.link else { return Outcome::Broken(lost()) };
        if let Err(error) = link.make_room(&self.shared, plan.top()).await {
            return Outcome::Broken(error);
        }
        match link.send(&plan, units, batch, turn).await {
            Sent::Committed => Outcome::Done(plan, Some(batch)),
            Sent::Moved => match self.catch_up().await {
                Ok(()) => Outcome::Moved,
                Err(error) => Outcome::Broken(error),
            },
            Sent::Refused(error) => Outcome::Failed(error),
            Sent::Lost(error) => Outcome::Unknown(plan, batch, error),
        }
    }

    /// Under the revision row's lock: more round trips, but sure to come to its turn.
    async fn attempt_locked(&mut self, units: &[Unit]) -> Outcome {
        let batch = self.next_batch();
        let ahead = self.shared.cache.revision() + self.shared.config.partition_revisions / 2;
        let shared = self.shared.clone();
        let Some(link) = &mut self.link else { return Outcome::Broken(lost()) };
        if let Err(error) = link.make_room(&shared, ahead).await {
            return Outcome::Broken(error);
        }
        match link.lock(&shared, &mut self.known).await {
            Ok(true) => {}
            Ok(false) => {
                return match self.rebuild().await {
                    Ok(()) => Outcome::Moved,
                    Err(error) => Outcome::Broken(error),
                };
            }
            Err(error) => return Outcome::Broken(error),
        }
        let plan = self.plan(units);
        let turn = self.known.turn;
        let Some(link) = &mut self.link else { return Outcome::Broken(lost()) };
        if plan.steps.is_empty() || plan.top() > shared.edge() {
            let outcome = match link.unlock().await {
                Ok(()) if plan.steps.is_empty() => Outcome::Done(plan, None),
                Ok(()) => match link.make_room(&shared, plan.top()).await {
                    Ok(()) => Outcome::Moved,
                    Err(error) => Outcome::Broken(error),
                },
                Err(error) => Outcome::Broken(error),
            };
            return outcome;
        }
        match link.send_locked(&plan, units, batch, turn).await {
            Sent::Committed => Outcome::Done(plan, Some(batch)),
            Sent::Moved => Outcome::Broken(Error::Internal("the revision moved under its lock".to_owned())),
            Sent::Refused(error) => Outcome::Failed(error),
            Sent::Lost(error) => Outcome::Unknown(plan, batch, error),
        }
    }

    fn plan(&self, units: &[Unit]) -> Plan {
        let cache = &self.shared.cache;
        plan(cache.revision(), self.known.fence, units, |key| cache.get(key))
    }

    fn answer(&self, units: Vec<Unit>, plan: Plan) {
        for (unit, answer) in units.into_iter().zip(plan.answers()) {
            if answer.is_err() {
                self.shared.metrics.refused.inc();
            }
            unit.answer(answer);
        }
    }

    /// Looks for other backends' changes.
    async fn look(&mut self) {
        if let Err(error) = self.catch_up().await {
            self.lose(&error);
        }
    }

    /// Brings the cache to the log's end; rebuilds it when the log is no longer the one it was made from.
    async fn catch_up(&mut self) -> Result<()> {
        let shared = self.shared.clone();
        let link = self.link.as_mut().ok_or_else(lost)?;
        self.looked_at = Instant::now();
        if link.catch_up(&shared, &mut self.known).await? { Ok(()) } else { self.rebuild().await }
    }

    fn next_batch(&mut self) -> i64 {
        self.batches = self.batches.wrapping_add(1);
        self.batches
    }
}

/// The batch in the trace of each of its units that has one: what it waited for is seen there, whoever else is in it.
fn spans(units: &[Unit]) -> Vec<Span> {
    let traced = units.iter().filter(|unit| !unit.span.is_disabled());
    let span = |unit: &Unit| {
        trace_span!(
            target: TRACES,
            parent: &unit.span,
            "sequencer.batch",
            units = units.len(),
            mutations = units.iter().map(|unit| unit.mutations.len()).sum::<usize>(),
            revision = field::Empty,
            outcome = field::Empty,
        )
    };
    traced.map(span).collect()
}

fn lost() -> Error {
    Error::Unavailable("not connected".to_owned())
}

/// A number no other backend starts from; the standard library seeds its hashers from the system's randomness.
pub(crate) fn random() -> i64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish().cast_signed()
}
