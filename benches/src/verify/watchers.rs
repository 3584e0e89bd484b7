//! Watches that never give up: they resume where they were, at whichever backend, and go back to see whether the past
//! is still the same.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use rand::Rng;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::history::{Event, View};
use super::wire::{self, Told};
use super::{Counters, Message};
use crate::client::{Connection, Lines};
use crate::target::Target;

const RECONNECT: Duration = Duration::from_millis(50);
/// Silence after which a watch looks elsewhere: bookmarks come once a minute.
const SILENCE: Duration = Duration::from_secs(90);
/// Events remembered, to be seen again.
const PAST: usize = 2000;
/// How often a watch goes back.
const REWIND: Duration = Duration::from_secs(4);
/// How long a slow watch rests after each piece it reads, and how long now and then.
const REST: Duration = Duration::from_millis(40);
const NAP: Duration = Duration::from_secs(4);
/// Of so many rests one is a nap.
const NAPS: u32 = 200;

/// How a watch behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    Steady,
    /// Goes back now and then.
    Rewinding,
    /// Reads slowly.
    Slow,
}

pub struct Watch {
    pub number: usize,
    pub targets: Vec<Target>,
    pub collection: String,
    pub temper: Temper,
    pub view: View,
    pub judge: mpsc::Sender<Message>,
    pub counters: Arc<Counters>,
    /// Where this watch is, for those who wait for it.
    pub position: Arc<AtomicU64>,
    pub stop: CancellationToken,
    /// Nobody writes any more: a slow watch catches up.
    pub hurry: CancellationToken,
    pub past: VecDeque<Event>,
}

enum Ended {
    Stopped,
    /// Try again from the same place.
    Again,
    TooOld,
}

impl Watch {
    pub async fn run(mut self) -> View {
        let mut at = self.number;
        while !self.stop.is_cancelled() {
            let target = self.targets[at % self.targets.len()].clone();
            at += 1;
            match self.follow(&target).await {
                Ok(Ended::Stopped) => break,
                Ok(Ended::TooOld) => {
                    if self.list(&target).await.is_err() {
                        tokio::time::sleep(RECONNECT).await;
                    }
                }
                Ok(Ended::Again) => {}
                Err(_) => tokio::time::sleep(RECONNECT).await,
            }
            self.counters.reconnects.fetch_add(1, Ordering::Relaxed);
        }
        self.view
    }

    /// Starts over with a list.
    async fn list(&mut self, target: &Target) -> Result<()> {
        let mut connection = Connection::open(target).await?;
        let list = wire::List::read(&connection.expect(Method::GET, &self.collection, Bytes::new()).await?)?;
        let revision = list.revision()?;
        if revision < self.view.reached() {
            bail!("a list at {revision} when {} was seen", self.view.reached());
        }
        self.view.reset(list.objects()?, revision);
        self.past.clear();
        self.counters.relists.fetch_add(1, Ordering::Relaxed);
        let _ = self.judge.send(Message::Skipped(self.number, revision)).await;
        self.position.store(revision, Ordering::Relaxed);
        Ok(())
    }

    async fn follow(&mut self, target: &Target) -> Result<Ended> {
        let mut connection = Connection::open(target).await?;
        // Going back: what follows must be what followed then.
        let mut again: VecDeque<Event> = VecDeque::new();
        let mut from = self.view.reached();
        if self.temper == Temper::Rewinding && self.past.len() > 1 {
            let back = rand::rng().random_range(1..self.past.len());
            again = self.past.iter().skip(self.past.len() - back).cloned().collect();
            from = self.past[self.past.len() - back - 1].revision;
            self.counters.rewinds.fetch_add(1, Ordering::Relaxed);
        }
        let path = format!("{}?watch=1&allowWatchBookmarks=true&resourceVersion={from}", self.collection);
        let response = connection.send(Method::GET, &path, Bytes::new()).await?;
        match response.status().as_u16() {
            200 => {}
            410 => return Ok(self.too_old(from)),
            code => bail!("a watch answers {code}"),
        }
        let begun = Instant::now();
        let (mut body, mut lines) = (response.into_body(), Lines::default());
        loop {
            let frame = tokio::select! {
                frame = tokio::time::timeout(SILENCE, body.frame()) => frame?,
                () = self.stop.cancelled() => return Ok(Ended::Stopped),
            };
            let Some(frame) = frame else { return Ok(Ended::Again) };
            let frame = frame?;
            let Some(data) = frame.data_ref() else { continue };
            let mut told = Vec::new();
            lines.feed(data, |bytes| told.push(wire::line(bytes)));
            for one in told {
                match one? {
                    Told::Event(event) => self.event(event, &mut again).await,
                    Told::TooOld if again.is_empty() => return Ok(Ended::TooOld),
                    Told::TooOld => return Ok(self.too_old(from)),
                    Told::Bookmark(revision) => {
                        self.counters.bookmarks.fetch_add(1, Ordering::Relaxed);
                        if again.is_empty() && revision < self.view.reached() {
                            self.violation(format!("a bookmark at {revision} after {}", self.view.reached())).await;
                        }
                    }
                    Told::Other => {}
                }
            }
            if self.temper == Temper::Slow {
                let rest = if rand::rng().random_ratio(1, NAPS) { NAP } else { REST };
                tokio::select! { () = tokio::time::sleep(rest) => {}, () = self.hurry.cancelled() => {} }
            }
            if self.temper == Temper::Rewinding && again.is_empty() && begun.elapsed() > REWIND {
                return Ok(Ended::Again);
            }
        }
    }

    /// The past may be gone, and with it what was to be seen again; the present is not affected by that.
    fn too_old(&mut self, from: u64) -> Ended {
        if from == self.view.reached() {
            return Ended::TooOld;
        }
        self.past.clear();
        Ended::Again
    }

    async fn violation(&self, what: String) {
        let _ = self.judge.send(Message::Wrong(format!("watch {}: {what}", self.number))).await;
    }

    async fn event(&mut self, event: Event, again: &mut VecDeque<Event>) {
        if let Some(expected) = again.pop_front() {
            if expected != event {
                self.violation(format!("on going back, {event:?} where {expected:?} had been")).await;
                again.clear();
            }
            return;
        }
        match self.view.apply(&event) {
            Ok(fact) => {
                let _ = self.judge.send(Message::Seen(self.number, fact)).await;
                self.position.store(fact.revision, Ordering::Relaxed);
            }
            Err(what) => self.violation(what).await,
        }
        if self.temper == Temper::Rewinding {
            self.past.push_back(event);
            if self.past.len() > PAST {
                self.past.pop_front();
            }
        }
    }
}
