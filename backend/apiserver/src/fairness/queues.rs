//! The queues of one priority level: who runs now, who waits, who is refused, and who is next.
//!
//! Each flow is dealt a hand of queues by its hash and waits in the shortest of them, so that a flood of one flow fills
//! only its own hand (shuffle sharding). Among the queues the next request is taken from the one that has used the
//! least so far, in seat-seconds of a common meter (fair queueing).
//! Source: <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/>
//!
//! Invariants: pure, time is an argument; more seats than the limit are only ever in use by one wide request that runs
//! alone; a queue never holds more than its length; nobody waits while the next in turn would fit.

use std::collections::VecDeque;

use super::demand::Demand;

/// How long a request is thought to take before it has run.
const ESTIMATE: f64 = 0.003;

/// The queues of a level. Without queues what does not fit is refused at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub queues: usize,
    pub hand: usize,
    pub length: usize,
}

impl Shape {
    pub const NONE: Self = Self { queues: 0, hand: 0, length: 0 };
}

/// Held by what runs; to be given back with [`QueueSet::finish`].
#[derive(Debug)]
pub struct Seat {
    queue: Option<usize>,
    pub seats: u32,
    begun: f64,
}

/// The place of a request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    queue: usize,
    number: u64,
}

#[derive(Debug)]
pub enum Arrival {
    Run(Seat),
    /// Waits; so many wait in its queue now.
    Wait(Ticket, usize),
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There are no queues, and all seats are taken.
    ConcurrencyLimit,
    QueueFull,
}

struct Waiting<T> {
    number: u64,
    seats: u32,
    /// The meter when it came.
    arrived: f64,
    payload: T,
}

struct Queue<T> {
    waiting: VecDeque<Waiting<T>>,
    seats_waiting: u32,
    running: u32,
    seats_running: u32,
    /// The meter at which its next request begins.
    next: f64,
}

impl<T> Queue<T> {
    fn new() -> Self {
        Self { waiting: VecDeque::new(), seats_waiting: 0, running: 0, seats_running: 0, next: 0.0 }
    }
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running == 0
    }
    /// It can have lost nothing by what it has not asked for.
    fn catch_up(&mut self) {
        if let Some(oldest) = self.waiting.front() {
            self.next = self.next.max(oldest.arrived);
        }
    }
}

pub struct QueueSet<T> {
    shape: Shape,
    limit: u32,
    queues: Vec<Queue<T>>,
    /// Seat-seconds that each busy queue could have used so far.
    meter: f64,
    at: f64,
    running: u32,
    waiting: usize,
    seats_running: u32,
    seats_waiting: u32,
    /// Queues that are not idle.
    active: usize,
    /// The queue that was served last.
    robin: usize,
    numbers: u64,
    demand: Demand,
}

impl<T> QueueSet<T> {
    pub fn new(shape: Shape, limit: u32, now: f64) -> Self {
        Self {
            shape,
            limit,
            queues: (0..shape.queues).map(|_| Queue::new()).collect(),
            meter: 0.0,
            at: now,
            running: 0,
            waiting: 0,
            seats_running: 0,
            seats_waiting: 0,
            active: 0,
            robin: 0,
            numbers: 0,
            demand: Demand::new(now),
        }
    }

    /// What was demanded since the last time this was asked.
    pub fn demand(&mut self, now: f64) -> super::demand::Observed {
        self.demand.take(now)
    }

    /// Changes shape and limit; gives who may run now. Queues too many are served to their end.
    pub fn configure(&mut self, now: f64, shape: Shape, limit: u32) -> Vec<(T, Seat)> {
        self.advance(now);
        (self.shape, self.limit) = (shape, limit);
        while self.queues.len() < shape.queues {
            self.queues.push(Queue::new());
        }
        self.shrink();
        self.dispatch(now)
    }

    fn shrink(&mut self) {
        while self.queues.len() > self.shape.queues && self.queues.last().is_some_and(Queue::is_idle) {
            self.queues.pop();
        }
    }

    /// Moves the meter on: as many seats as are wanted, at most all, are shared by the queues that want them.
    fn advance(&mut self, now: f64) {
        let passed = (now - self.at).max(0.0);
        self.at = self.at.max(now);
        if self.active > 0 {
            let used = (self.seats_running + self.seats_waiting).min(self.limit.max(1));
            self.meter += passed * f64::from(used) / self.active as f64;
        }
    }

    fn fits(&self, seats: u32) -> bool {
        if seats > self.limit { self.running == 0 } else { self.seats_running + seats <= self.limit }
    }

    fn note(&mut self) {
        self.demand.set(self.at, self.seats_running + self.seats_waiting);
    }

    /// A request has come. `payload` is made only if it has to wait.
    pub fn arrive(&mut self, now: f64, flow: u64, seats: u32, payload: impl FnOnce() -> T) -> Arrival {
        self.advance(now);
        if self.shape.queues == 0 {
            if !self.fits(seats) {
                return Arrival::Refused(Refusal::ConcurrencyLimit);
            }
            let seat = self.begin(None, seats, now);
            return Arrival::Run(seat);
        }
        let index = self.shortest(flow);
        if self.waiting == 0 && self.fits(seats) {
            if self.queues[index].is_idle() {
                self.active += 1;
                self.queues[index].next = self.meter;
            }
            let seat = self.begin(Some(index), seats, now);
            return Arrival::Run(seat);
        }
        if self.queues[index].waiting.len() >= self.shape.length {
            return Arrival::Refused(Refusal::QueueFull);
        }
        self.numbers += 1;
        let (number, arrived) = (self.numbers, self.meter);
        let queue = &mut self.queues[index];
        if queue.is_idle() {
            self.active += 1;
            queue.next = arrived;
        }
        queue.waiting.push_back(Waiting { number, seats, arrived, payload: payload() });
        queue.seats_waiting += seats;
        queue.catch_up();
        let length = queue.waiting.len();
        self.waiting += 1;
        self.seats_waiting += seats;
        self.note();
        Arrival::Wait(Ticket { queue: index, number }, length)
    }

    /// Who of those that wait may run. To be asked after [`Arrival::Wait`]: what is first may fit although others wait.
    pub fn dispatch(&mut self, now: f64) -> Vec<(T, Seat)> {
        let mut all = Vec::new();
        while let Some(index) = self.next_queue() {
            let Some(seats) = self.queues[index].waiting.front().map(|first| first.seats) else { break };
            if !self.fits(seats) {
                break;
            }
            let Some(first) = self.queues[index].waiting.pop_front() else { break };
            self.robin = index;
            self.leave_queue(index, seats);
            let seat = self.begin(Some(index), seats, now);
            self.queues[index].catch_up();
            all.push((first.payload, seat));
        }
        all
    }

    /// What ran has ended; gives who may run now.
    pub fn finish(&mut self, now: f64, seat: Seat) -> Vec<(T, Seat)> {
        self.advance(now);
        self.running -= 1;
        self.seats_running -= seat.seats;
        if let Some(queue) = seat.queue.and_then(|index| self.queues.get_mut(index)) {
            queue.running -= 1;
            queue.seats_running -= seat.seats;
            // The estimate is replaced by what it was.
            queue.next += f64::from(seat.seats) * ((now - seat.begun).max(0.0) - ESTIMATE);
            queue.catch_up();
            if queue.is_idle() {
                self.active -= 1;
            }
        }
        self.note();
        self.shrink();
        self.dispatch(now)
    }

    /// Takes a request out that no longer wants to wait. None: it runs already, its seat must be given back.
    pub fn abandon(&mut self, now: f64, ticket: Ticket) -> Option<T> {
        self.advance(now);
        let queue = self.queues.get_mut(ticket.queue)?;
        let at = queue.waiting.iter().position(|waiting| waiting.number == ticket.number)?;
        let gone = queue.waiting.remove(at)?;
        queue.catch_up();
        let idle = queue.is_idle();
        self.leave_queue(ticket.queue, gone.seats);
        if idle {
            self.active -= 1;
        }
        self.note();
        Some(gone.payload)
    }

    fn leave_queue(&mut self, index: usize, seats: u32) {
        self.queues[index].seats_waiting -= seats;
        self.waiting -= 1;
        self.seats_waiting -= seats;
    }

    fn begin(&mut self, index: Option<usize>, seats: u32, now: f64) -> Seat {
        if let Some(queue) = index.and_then(|index| self.queues.get_mut(index)) {
            queue.running += 1;
            queue.seats_running += seats;
            queue.next += ESTIMATE * f64::from(seats);
        }
        self.running += 1;
        self.seats_running += seats;
        self.note();
        Seat { queue: index, seats, begun: now }
    }

    /// The queue of the flow's hand in which the least work waits.
    fn shortest(&self, flow: u64) -> usize {
        let mut best: Option<(usize, (u32, u32))> = None;
        deal(flow, self.shape.queues, self.shape.hand, |index| {
            let queue = &self.queues[index];
            let weight = (queue.seats_waiting, queue.seats_running);
            if best.is_none_or(|(_, least)| weight < least) {
                best = Some((index, weight));
            }
        });
        best.map_or(0, |(index, _)| index)
    }

    /// The queue whose first request would end first by the meter, in turn among equals.
    fn next_queue(&self) -> Option<usize> {
        if self.waiting == 0 {
            return None;
        }
        let count = self.queues.len();
        let mut best: Option<(usize, f64)> = None;
        for step in 1..=count {
            let index = (self.robin + step) % count;
            let queue = &self.queues[index];
            let Some(first) = queue.waiting.front() else { continue };
            let end = queue.next + ESTIMATE * f64::from(first.seats);
            if best.is_none_or(|(_, least)| end < least) {
                best = Some((index, end));
            }
        }
        best.map(|(index, _)| index)
    }

    #[cfg(test)]
    fn counts(&self) -> (u32, usize) {
        (self.seats_running, self.waiting)
    }
}

/// Largest hand that is dealt.
const MAX_HAND: usize = 64;

/// Deals `hand` different cards out of `deck` by the hash; the same hash gets the same hand.
fn deal(mut hash: u64, deck: usize, hand: usize, mut card: impl FnMut(usize)) {
    let hand = hand.min(deck).min(MAX_HAND);
    // The cards dealt so far, in order: the n-th of those that are left is found by stepping over them.
    let mut dealt = [0usize; MAX_HAND];
    for count in 0..hand {
        let left = (deck - count) as u64;
        let mut index = (hash % left) as usize;
        hash /= left;
        let mut place = 0;
        while place < count && dealt[place] <= index {
            index += 1;
            place += 1;
        }
        dealt.copy_within(place..count, place + 1);
        dealt[place] = index;
        card(index);
    }
}

#[cfg(test)]
#[path = "queues_tests.rs"]
mod tests;
