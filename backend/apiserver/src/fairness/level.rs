//! A priority level at work: its queues behind a lock that is held for moments, and the turns of its requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::config::LevelSpec;
use super::demand::{Observed, Smoothed};
use super::measures::FlowMeasures;
use super::queues::{Arrival, QueueSet, Refusal, Seat, Ticket};
use super::sharing::Bounds;

/// How long a request waits for its turn before it is told to come back: a quarter of a request's time.
const PATIENCE: Duration = Duration::from_secs(15);

type Queues = QueueSet<oneshot::Sender<Seat>>;

pub struct Level {
    pub name: String,
    pub exempt: bool,
    clock: Instant,
    queues: Mutex<Queues>,
    /// Of the exempt level: seats in use, and the most of them since the last period.
    used: AtomicU32,
    high: AtomicU32,
    pub state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct State {
    pub bounds: Bounds,
    /// By what all need; while the server is behind, fewer of them count.
    pub seats: u32,
    pub smoothed: Smoothed,
    pub seen: Observed,
}

impl Level {
    pub fn new(spec: &LevelSpec, bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            name: spec.name.clone(),
            exempt: spec.exempt,
            clock: Instant::now(),
            queues: Mutex::new(QueueSet::new(spec.shape, bounds.at_first(), 0.0)),
            used: AtomicU32::new(0),
            high: AtomicU32::new(0),
            state: Mutex::new(State { bounds, ..State::default() }),
        })
    }

    fn now(&self) -> f64 {
        self.clock.elapsed().as_secs_f64()
    }

    /// New settings; who fits now runs.
    pub fn configure(&self, spec: &LevelSpec, limit: u32) {
        let mut queues = self.queues.lock();
        let begun = queues.configure(self.now(), spec.shape, limit);
        run(begun);
    }

    /// What was demanded since the last period.
    pub fn observe(&self) -> Observed {
        if self.exempt {
            let high = self.high.swap(self.used.load(Ordering::Relaxed), Ordering::Relaxed);
            return Observed { high, average: f64::from(high), deviation: 0.0 };
        }
        self.queues.lock().demand(self.now())
    }

    fn finish(&self, seat: Seat) {
        let mut queues = self.queues.lock();
        let begun = queues.finish(self.now(), seat);
        run(begun);
    }
}

/// Tells those whose turn it is, under the queues' lock, so that one who gives up at the same moment finds out.
fn run(begun: Vec<(oneshot::Sender<Seat>, Seat)>) {
    for (turn, seat) in begun {
        // The receiver lives as long as the request waits, and giving up takes the lock first.
        let _ = turn.send(seat);
    }
}

/// Held while a request runs; its end is the next one's turn.
pub struct Turn {
    level: Arc<Level>,
    measures: Arc<FlowMeasures>,
    begun: Instant,
    seats: u32,
    /// None on the exempt level.
    seat: Option<Seat>,
}

impl Turn {
    fn new(level: &Arc<Level>, measures: &Arc<FlowMeasures>, seats: u32, seat: Option<Seat>) -> Self {
        measures.dispatched.inc();
        measures.running.inc();
        measures.seats_running.inc_by(seats.into());
        let (level, measures) = (Arc::clone(level), Arc::clone(measures));
        Self { level, measures, begun: Instant::now(), seats, seat }
    }

    pub fn is_exempt(&self) -> bool {
        self.seat.is_none()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.measures.running.dec();
        self.measures.seats_running.dec_by(self.seats.into());
        self.measures.executed.observe(self.begun.elapsed().as_secs_f64());
        match self.seat.take() {
            Some(seat) => self.level.finish(seat),
            None => {
                self.level.used.fetch_sub(self.seats, Ordering::Relaxed);
            }
        }
    }
}

/// A request that waits. However it ends (its turn, no patience, a client that went away), it leaves nothing behind.
struct Place<'a> {
    level: &'a Arc<Level>,
    measures: &'a FlowMeasures,
    ticket: Option<Ticket>,
    turn: oneshot::Receiver<Seat>,
    seats: u32,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.measures.waiting.dec();
        self.measures.seats_waiting.dec_by(self.seats.into());
        let Some(ticket) = self.ticket.take() else { return };
        let mut queues = self.level.queues.lock();
        let now = self.level.now();
        let begun = match (queues.abandon(now, ticket), self.turn.try_recv()) {
            // Its turn came in this moment: it passes it on.
            (None, Ok(seat)) => queues.finish(now, seat),
            _ => queues.dispatch(now),
        };
        run(begun);
    }
}

/// Why a request has no turn.
pub type Reason = &'static str;

/// A turn on the level, waited for if need be.
pub async fn enter(level: &Arc<Level>, measures: &Arc<FlowMeasures>, flow: u64, seats: u32) -> Result<Turn, Reason> {
    measures.estimated.observe(seats.into());
    if level.exempt {
        let used = level.used.fetch_add(seats, Ordering::Relaxed) + seats;
        level.high.fetch_max(used, Ordering::Relaxed);
        return Ok(Turn::new(level, measures, seats, None));
    }
    let mut waits = None;
    let arrival = {
        let mut queues = level.queues.lock();
        let now = level.now();
        let arrival = queues.arrive(now, flow, seats, || {
            let (turn, receiver) = oneshot::channel();
            waits = Some(receiver);
            turn
        });
        if matches!(arrival, Arrival::Wait(..)) {
            run(queues.dispatch(now));
        }
        arrival
    };
    let (ticket, length) = match arrival {
        Arrival::Run(seat) => {
            measures.waited.observe(0.0);
            return Ok(Turn::new(level, measures, seats, Some(seat)));
        }
        Arrival::Refused(Refusal::ConcurrencyLimit) => return Err("concurrency-limit"),
        Arrival::Refused(Refusal::QueueFull) => return Err("queue-full"),
        Arrival::Wait(ticket, length) => (ticket, length),
    };
    // The queue made its payload, or it would not be waiting.
    let Some(turn) = waits else { return Err("queue-full") };
    let came = Instant::now();
    measures.queue_length.observe(length as f64);
    measures.waiting.inc();
    measures.seats_waiting.inc_by(seats.into());
    let mut place = Place { level, measures, ticket: Some(ticket), turn, seats };
    match timeout(PATIENCE, &mut place.turn).await {
        Ok(Ok(seat)) => {
            place.ticket = None;
            measures.waited.observe(came.elapsed().as_secs_f64());
            Ok(Turn::new(level, measures, seats, Some(seat)))
        }
        _ => {
            measures.waited_in_vain.observe(came.elapsed().as_secs_f64());
            Err("time-out")
        }
    }
}
