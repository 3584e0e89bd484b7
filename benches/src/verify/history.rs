//! What a history must be, as plain data: no clock, no network.
//!
//! A write says in its object which state it replaces (`data.prev`, the precondition it carries) and who it is
//! (`data.id`). So from a watch alone it can be told that nothing is missing, doubled or out of order: every event of
//! an object must name the object's preceding event. Several watches must tell the same history, and it must contain
//! every write that was acknowledged and none that was refused.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;

/// Who wrote: unique for each attempt. A deletion writes nothing, so it is named after the state it removed.
pub type Id = u64;

const DELETION: u64 = 1 << 63;

/// The name of the deletion that removed the state of a revision.
pub fn deletion_of(revision: u64) -> Id {
    DELETION | revision
}

/// Events that all watches have passed are kept this long, for acknowledgements that are still on their way.
const REMEMBERED: usize = 1 << 20;
/// Refusals remembered, to find them applied all the same.
const REFUSALS: usize = 1 << 18;
/// Violations told in full.
const TOLD: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Added,
    Modified,
    Deleted,
}

/// An event as a watch shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: Kind,
    pub revision: u64,
    pub object: String,
    /// The state that the write said it replaces; 0 for a create.
    pub previous: u64,
    pub id: Id,
}

/// One watch's view: the objects as the events so far make them.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Name → revision and writer of the current state.
    objects: HashMap<String, (u64, Id)>,
    reached: u64,
}

/// What a watch tells the judge of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    pub revision: u64,
    pub id: Id,
}

impl View {
    /// Starts from a list.
    pub fn reset(&mut self, objects: HashMap<String, (u64, Id)>, revision: u64) {
        *self = Self { objects, reached: revision };
    }

    pub fn reached(&self) -> u64 {
        self.reached
    }

    pub fn objects(&self) -> &HashMap<String, (u64, Id)> {
        &self.objects
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn apply(&mut self, event: &Event) -> Result<Fact, String> {
        if event.revision <= self.reached {
            return Err(format!("revision {} after {}: {event:?}", event.revision, self.reached));
        }
        self.reached = event.revision;
        let current = self.objects.get(&event.object).copied();
        let id = match (event.kind, current) {
            (Kind::Added, None) => event.id,
            (Kind::Added, Some((revision, _))) => {
                return Err(format!("added, but there since {revision}: {event:?}"));
            }
            (Kind::Modified, Some((revision, _))) if revision == event.previous => event.id,
            (Kind::Deleted, Some((revision, id))) if id == event.id => deletion_of(revision),
            (_, found) => return Err(format!("does not follow {found:?}: {event:?}")),
        };
        if event.kind == Kind::Deleted {
            self.objects.remove(&event.object);
        } else {
            self.objects.insert(event.object.clone(), (event.revision, event.id));
        }
        Ok(Fact { revision: event.revision, id })
    }
}

/// How an attempt to write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Done, at this revision where the answer tells it.
    Acknowledged(Option<u64>),
    /// Not done, and never to be.
    Refused,
    /// Nobody knows: both are right.
    Unknown,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
    /// Unanswered writes that turned out to be done.
    pub resolved: u64,
    /// Different events.
    pub events: u64,
    /// Events times watches.
    pub deliveries: u64,
    pub violations: u64,
}

struct Known {
    id: Id,
    /// A bit per watch that has seen it.
    seen: u64,
}

/// Brings together what all watches and all writers know. At most 64 watches.
#[derive(Default)]
pub struct Judge {
    counts: Counts,
    told: Vec<String>,
    positions: Vec<u64>,
    /// Ranges that a watch has skipped because it had to list anew: (behind, up to).
    skipped: Vec<Vec<(u64, u64)>>,
    /// Ranges that every watch has skipped: what happened there none of them can have seen.
    unseen: Vec<(u64, u64)>,
    /// Events that some watch has not yet passed.
    open: BTreeMap<u64, Known>,
    /// Events that all have passed, by writer.
    passed: HashMap<Id, u64>,
    order: VecDeque<Id>,
    acknowledged: HashMap<Id, Option<u64>>,
    refused: HashMap<Id, ()>,
    refusals: VecDeque<Id>,
    unknown: HashMap<Id, ()>,
}

impl Judge {
    /// Watches that all begin at one revision.
    pub fn new(watches: usize, from: u64) -> Self {
        assert!(watches <= 64, "a bit per watch");
        Self { positions: vec![from; watches], skipped: vec![Vec::new(); watches], ..Self::default() }
    }

    pub fn violation(&mut self, what: impl fmt::Display) {
        self.counts.violations += 1;
        if self.told.len() < TOLD {
            self.told.push(what.to_string());
        }
    }

    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    pub fn violations(&self) -> &[String] {
        &self.told
    }

    pub fn write(&mut self, id: Id, end: End) {
        match end {
            End::Acknowledged(revision) => {
                self.counts.acknowledged += 1;
                let seen = self.passed.get(&id).copied().or_else(|| self.find_open(id, revision));
                match (seen, revision) {
                    (Some(seen), Some(said)) if seen != said => {
                        self.violation(format!("write {id:x} was acknowledged at {said} and is at {seen}"));
                    }
                    (Some(_), _) => {}
                    (None, _) => drop(self.acknowledged.insert(id, revision)),
                }
            }
            End::Refused => {
                self.counts.refused += 1;
                if let Some(revision) = self.passed.get(&id).copied().or_else(|| self.find_open(id, None)) {
                    self.violation(format!("write {id:x} was refused and is at {revision}"));
                }
                self.refused.insert(id, ());
                self.refusals.push_back(id);
                if self.refusals.len() > REFUSALS
                    && let Some(old) = self.refusals.pop_front()
                {
                    self.refused.remove(&old);
                }
            }
            End::Unknown => {
                self.counts.unknown += 1;
                if self.passed.contains_key(&id) || self.find_open(id, None).is_some() {
                    self.counts.resolved += 1;
                } else {
                    self.unknown.insert(id, ());
                }
            }
        }
    }

    fn find_open(&self, id: Id, revision: Option<u64>) -> Option<u64> {
        match revision {
            Some(revision) => self.open.get(&revision).filter(|known| known.id == id).map(|_| revision),
            None => self.open.iter().rev().find(|(_, known)| known.id == id).map(|(revision, _)| *revision),
        }
    }

    /// A watch has seen an event; its events come in order.
    pub fn seen(&mut self, watch: usize, fact: Fact) {
        self.counts.deliveries += 1;
        let bit = 1 << watch;
        let position = std::mem::replace(&mut self.positions[watch], fact.revision);
        if fact.revision <= position {
            self.violation(format!("watch {watch}: {} after {position}", fact.revision));
            return;
        }
        match self.open.get_mut(&fact.revision) {
            Some(known) if known.id == fact.id => known.seen |= bit,
            Some(known) => {
                let other = known.id;
                self.violation(format!("watch {watch} has {:x} at {}, others {other:x}", fact.id, fact.revision));
            }
            None => self.first(fact, bit),
        }
        self.prune();
    }

    /// An event that no watch has shown before.
    fn first(&mut self, fact: Fact, bit: u64) {
        self.counts.events += 1;
        // Who passed this revision without it has missed it, unless they skipped it with good reason.
        for (other, position) in self.positions.clone().into_iter().enumerate() {
            if position > fact.revision && !self.has_skipped(other, fact.revision) {
                self.violation(format!("watch {other} passed {} without seeing {:x}", fact.revision, fact.id));
            }
        }
        if let Some(Some(said)) = self.acknowledged.remove(&fact.id)
            && said != fact.revision
        {
            self.violation(format!("write {:x} was acknowledged at {said} and is at {}", fact.id, fact.revision));
        }
        if self.refused.contains_key(&fact.id) {
            self.violation(format!("write {:x} was refused and is at {}", fact.id, fact.revision));
        }
        if self.unknown.remove(&fact.id).is_some() {
            self.counts.resolved += 1;
        }
        if let Some(before) = self.passed.get(&fact.id) {
            let before = *before;
            self.violation(format!("write {:x} is at {before} and again at {}", fact.id, fact.revision));
        }
        self.open.insert(fact.revision, Known { id: fact.id, seen: bit });
    }

    fn has_skipped(&self, watch: usize, revision: u64) -> bool {
        self.skipped[watch].iter().any(|(behind, upto)| revision > *behind && revision <= *upto)
    }

    /// A watch had to list anew, and goes on from there.
    pub fn skipped(&mut self, watch: usize, to: u64) {
        let from = std::mem::replace(&mut self.positions[watch], to);
        let mut unseen = vec![(from, to)];
        for (_, ranges) in self.skipped.iter().enumerate().filter(|(other, _)| *other != watch) {
            let common = |(a, b): &(u64, u64)| {
                let (a, b) = (*a, *b);
                ranges.iter().map(move |(c, d)| (a.max(*c), b.min(*d))).filter(|(behind, upto)| behind < upto)
            };
            unseen = unseen.iter().flat_map(common).collect();
        }
        self.unseen.extend(unseen);
        self.skipped[watch].push((from, to));
        self.prune();
    }

    /// Judges what every watch has passed.
    fn prune(&mut self) {
        let Some(all) = self.positions.iter().min().copied() else { return };
        while let Some(entry) = self.open.first_entry().filter(|entry| *entry.key() <= all) {
            let (revision, known) = entry.remove_entry();
            for watch in 0..self.positions.len() {
                if known.seen & (1 << watch) == 0 && !self.has_skipped(watch, revision) {
                    self.violation(format!("watch {watch} has not seen {:x} at {revision}", known.id));
                }
            }
            self.passed.insert(known.id, revision);
            self.order.push_back(known.id);
            if self.order.len() > REMEMBERED
                && let Some(old) = self.order.pop_front()
            {
                self.passed.remove(&old);
            }
        }
        for skipped in &mut self.skipped {
            skipped.retain(|(_, upto)| *upto > all);
        }
    }

    /// Everything has been said: what is still missing is lost, unless every watch had to list anew across it. Of a
    /// deletion only what it removed is known, so any such range may hold it that lies behind that.
    pub fn close(&mut self) {
        let lost: Vec<_> = self.acknowledged.drain().collect();
        for (id, revision) in lost {
            let may_hold = |(behind, upto): &(u64, u64)| match revision {
                Some(revision) => revision > *behind && revision <= *upto,
                None => id & !DELETION < *upto,
            };
            if !self.unseen.iter().any(may_hold) {
                self.violation(format!("write {id:x} was acknowledged at {revision:?} and never seen"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: Kind, revision: u64, previous: u64, id: Id) -> Event {
        Event { kind, revision, object: "a".into(), previous, id }
    }

    fn fact(revision: u64, id: Id) -> Fact {
        Fact { revision, id }
    }

    /// A view takes these events; the last one must be refused, or none.
    fn check(events: &[Event], sound: bool) {
        let mut view = View::default();
        let (last, before) = events.split_last().unwrap();
        for event in before {
            view.apply(event).unwrap();
        }
        assert_eq!(view.apply(last).is_ok(), sound, "{events:?}");
    }

    #[test]
    fn a_view_takes_only_what_follows() {
        use Kind::*;
        let (add, change) = (event(Added, 5, 0, 1), event(Modified, 7, 5, 2));
        check(&[add.clone(), change.clone()], true);
        check(&[add.clone(), change.clone(), event(Deleted, 9, 5, 2), event(Added, 10, 0, 3)], true);
        check(&[add.clone(), change.clone(), change.clone()], false);
        check(&[add.clone(), event(Modified, 7, 4, 2)], false);
        check(&[add.clone(), event(Modified, 5, 5, 2)], false);
        check(&[add.clone(), event(Added, 6, 0, 2)], false);
        check(&[add.clone(), change, event(Deleted, 9, 5, 1)], false);
        check(&[event(Modified, 7, 5, 2)], false);
    }

    fn judged(story: impl FnOnce(&mut Judge)) -> Vec<String> {
        let mut judge = Judge::new(2, 1);
        story(&mut judge);
        judge.close();
        judge.violations().to_vec()
    }

    #[test]
    fn agreement_is_sound_in_any_order_of_arrival() {
        let told = judged(|judge| {
            judge.seen(0, fact(2, 10));
            judge.write(10, End::Acknowledged(Some(2)));
            judge.write(11, End::Acknowledged(Some(4)));
            judge.seen(1, fact(2, 10));
            judge.seen(1, fact(4, 11));
            judge.seen(0, fact(4, 11));
            judge.write(deletion_of(4), End::Acknowledged(None));
            judge.seen(0, fact(5, deletion_of(4)));
            judge.write(12, End::Unknown);
            judge.seen(1, fact(5, deletion_of(4)));
            judge.write(13, End::Refused);
        });
        assert_eq!(told, [""; 0]);
    }

    #[test]
    fn every_kind_of_wrong_is_found() {
        let stories: [(&str, fn(&mut Judge)); 8] = [
            ("never seen", |judge| judge.write(10, End::Acknowledged(Some(2)))),
            ("and is at 3", |judge| {
                judge.write(10, End::Acknowledged(Some(2)));
                judge.seen(0, fact(3, 10));
            }),
            ("was refused", |judge| {
                judge.write(10, End::Refused);
                judge.seen(0, fact(3, 10));
            }),
            ("was refused", |judge| {
                judge.seen(0, fact(3, 10));
                judge.write(10, End::Refused);
            }),
            ("has not seen", |judge| {
                judge.seen(0, fact(2, 10));
                judge.seen(0, fact(3, 11));
                judge.seen(1, fact(3, 11));
            }),
            ("without seeing", |judge| {
                judge.seen(0, fact(3, 11));
                judge.seen(1, fact(2, 10));
            }),
            ("others", |judge| {
                judge.seen(0, fact(3, 11));
                judge.seen(1, fact(3, 10));
            }),
            ("and again", |judge| {
                judge.seen(0, fact(3, 11));
                judge.seen(1, fact(3, 11));
                judge.seen(0, fact(4, 11));
            }),
        ];
        for (expected, story) in stories {
            let told = judged(story);
            assert!(told.iter().any(|text| text.contains(expected)), "{expected}: {told:?}");
        }
    }

    #[test]
    fn who_lists_anew_may_miss_what_lies_between() {
        let told = judged(|judge| {
            judge.seen(0, fact(2, 10));
            judge.skipped(1, 5);
            judge.seen(0, fact(5, 11));
            judge.seen(0, fact(6, 12));
            judge.seen(1, fact(6, 12));
        });
        assert_eq!(told, [""; 0]);
    }

    #[test]
    fn only_what_all_had_to_skip_may_go_unseen() {
        for (revision, lost) in [(Some(4), false), (Some(5), false), (Some(3), true), (Some(6), true), (None, false)] {
            let told = judged(|judge| {
                judge.skipped(0, 5);
                judge.seen(1, fact(2, 10));
                judge.seen(1, fact(3, 11));
                judge.skipped(1, 8);
                judge.seen(0, fact(9, 12));
                judge.seen(1, fact(9, 12));
                let id = if revision.is_some() { 20 } else { deletion_of(3) };
                judge.write(id, End::Acknowledged(revision));
            });
            assert_eq!(told.iter().any(|text| text.contains("never seen")), lost, "{revision:?}: {told:?}");
        }
        let told = judged(|judge| {
            judge.skipped(0, 5);
            judge.write(20, End::Acknowledged(Some(4)));
        });
        assert_eq!(told.len(), 1, "one of the two could have seen it: {told:?}");
    }
}
