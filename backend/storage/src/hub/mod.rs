//! One resource in the cache: its objects, and its recent events for watches.
//!
//! Invariants:
//! - Objects and events are only ever changed together, under one lock, in revision order.
//! - A lane holds, in order, every event of its scope whose revision is above its floor. So a watcher either finds its
//!   next event or knows that it came too late; there is no third case.
//! - An event leaves all lanes at the same moment, so lanes keep nothing in memory that the main one does not.

mod lane;
mod wake;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::RwLock;

pub(crate) use lane::{Found, Position, Scope};
pub(crate) use wake::Wake;

use crate::view::{At, Objects, Slot, View};
use crate::{Event, EventKind, Key, Obj};
use lane::Lane;

/// How much recent past a hub keeps in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingLimits {
    pub events: usize,
    pub bytes: usize,
}

pub(crate) struct Hub {
    pub resource: Arc<str>,
    limits: RingLimits,
    state: RwLock<State>,
}

struct State {
    objects: Objects,
    /// The revision of the newest change applied.
    last: u64,
    all: Lane,
    lanes: HashMap<Scope, Lane>,
    /// The fields of the lanes by field, with the number of their watchers.
    fields: Vec<(Arc<str>, usize)>,
    /// When each event of the main lane came, coarsely: (sequence number behind, instant), in order.
    marks: VecDeque<(u64, Instant)>,
    bytes: usize,
}

impl Hub {
    /// An empty hub that knows everything that happens after `revision`.
    pub fn new(resource: Arc<str>, revision: u64, limits: RingLimits) -> Self {
        Self::with(resource, Objects::default(), revision, limits)
    }

    pub fn with(resource: Arc<str>, objects: Objects, revision: u64, limits: RingLimits) -> Self {
        let state = State {
            objects,
            last: revision,
            all: Lane::new(VecDeque::new(), revision),
            lanes: HashMap::new(),
            fields: Vec::new(),
            marks: VecDeque::new(),
            bytes: 0,
        };
        Self { resource, limits, state: RwLock::new(state) }
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<Obj> {
        self.state.read().objects.get(&At(namespace, name)).cloned()
    }

    pub fn len(&self) -> usize {
        self.state.read().objects.len()
    }

    /// The objects; `published` is the store's revision, read before.
    pub fn view(&self, published: u64) -> View {
        let state = self.state.read();
        View { revision: published.max(state.last), objects: state.objects.clone() }
    }

    /// The objects at an exact revision, if the memory reaches back so far.
    pub fn view_at(&self, revision: u64) -> Option<View> {
        let (mut objects, undo) = {
            let state = self.state.read();
            if revision < state.all.floor {
                return None;
            }
            let from = state.all.ring.partition_point(|event| event.revision <= revision);
            (state.objects.clone(), state.all.ring.range(from..).cloned().collect::<Vec<_>>())
        };
        for event in undo.iter().rev() {
            let slot = Slot::of(&event.object.key);
            match &event.previous {
                Some(previous) => objects.insert(slot, previous.clone()),
                None => objects.remove(&slot),
            };
        }
        Some(View { revision, objects })
    }

    /// Applies events in revision order; gives whom to wake, and how many watches each wakes.
    pub fn apply(&self, events: &[Arc<Event>], now: Instant) -> Vec<(Arc<Wake>, usize)> {
        let mut woken: Vec<(Arc<Wake>, usize)> = Vec::new();
        let mut state = self.state.write();
        let state = &mut *state;
        for event in events {
            debug_assert!(event.revision > state.last, "{event:?} after {}", state.last);
            let key = &event.object.key;
            if event.kind == EventKind::Deleted {
                state.objects.remove(&At(&key.namespace, &key.name));
            } else {
                state.objects.insert(Slot::of(key), event.object.clone());
            }
            state.last = event.revision;
            state.bytes += event.weight();
            state.all.ring.push_back(event.clone());
            if state.all.watchers > 0 {
                push_unique(&mut woken, &state.all);
            }
            for scope in state.scopes(event) {
                if let Some(lane) = state.lanes.get_mut(&scope) {
                    lane.ring.push_back(event.clone());
                    push_unique(&mut woken, lane);
                }
            }
        }
        // Marks a second apart are fine enough for trimming by age.
        match state.marks.back_mut() {
            Some((end, at)) if now.duration_since(*at).as_secs() < 1 => *end = state.all.end(),
            _ => state.marks.push_back((state.all.end(), now)),
        }
        while state.all.ring.len() > self.limits.events || (state.bytes > self.limits.bytes && state.all.ring.len() > 1)
        {
            state.drop_oldest();
        }
        woken
    }

    /// Drops events that came before an instant.
    pub fn trim(&self, before: Instant) {
        if self.state.read().marks.front().is_none_or(|(_, at)| *at >= before) {
            return;
        }
        let mut state = self.state.write();
        while let Some((end, _)) = state.marks.front().copied().filter(|(_, at)| *at < before) {
            while state.all.first < end && !state.all.ring.is_empty() {
                state.drop_oldest();
            }
            state.marks.pop_front();
        }
    }

    /// Replaces everything; all watchers are too late from here on. Gives whom to tell.
    pub fn reset(&self, objects: Objects, revision: u64) -> Vec<Arc<Wake>> {
        let mut state = self.state.write();
        let state = &mut *state;
        state.objects = objects;
        state.last = revision;
        state.bytes = 0;
        state.marks.clear();
        state.all.break_off(revision);
        state.lanes.values_mut().for_each(|lane| lane.break_off(revision));
        std::iter::once(&state.all).chain(state.lanes.values()).map(|lane| lane.wake.clone()).collect()
    }

    /// Every watcher, to be told that the store closes.
    pub fn wakers(&self) -> Vec<Arc<Wake>> {
        let state = self.state.read();
        std::iter::once(&state.all).chain(state.lanes.values()).map(|lane| lane.wake.clone()).collect()
    }

    /// Registers a watcher. The position of the first event behind `from`, or none if the memory does not reach back so
    /// far; then [`Hub::position`] finds it later.
    pub fn join(&self, scope: &Scope, from: u64) -> Option<Position> {
        let mut state = self.state.write();
        let state = &mut *state;
        state.watch_field(scope, true);
        let lane = if *scope == Scope::All {
            &mut state.all
        } else {
            state.lanes.entry(scope.clone()).or_insert_with(|| {
                let ring = state.all.ring.iter().filter(|event| scope.matches(event)).cloned().collect();
                Lane::new(ring, state.all.floor)
            })
        };
        lane.watchers += 1;
        lane.position(from)
    }

    /// [`Hub::join`] for a watcher that has joined.
    pub fn position(&self, scope: &Scope, from: u64) -> Option<Position> {
        let state = self.state.read();
        state.lane(scope)?.position(from)
    }

    /// The revision behind which the memory has everything of the scope.
    #[cfg(test)]
    pub fn floor(&self, scope: &Scope) -> u64 {
        let state = self.state.read();
        state.lane(scope).map_or(state.all.floor, |lane| lane.floor)
    }

    pub fn leave(&self, scope: &Scope) {
        let mut state = self.state.write();
        state.watch_field(scope, false);
        if *scope == Scope::All {
            state.all.watchers -= 1;
        } else if let Some(lane) = state.lanes.get_mut(scope) {
            lane.watchers -= 1;
            if lane.watchers == 0 {
                state.lanes.remove(scope);
            }
        }
    }

    /// The events from a position on, at most `limit`.
    pub fn read(&self, scope: &Scope, next: u64, limit: usize) -> Found {
        let state = self.state.read();
        state.lane(scope).map_or(Found::TooLate, |lane| lane.read(next, limit))
    }

    /// The number of events and of bytes held for watches.
    pub fn weight(&self) -> (usize, usize) {
        let state = self.state.read();
        (state.all.ring.len(), state.bytes)
    }
}

impl State {
    fn lane(&self, scope: &Scope) -> Option<&Lane> {
        if *scope == Scope::All { Some(&self.all) } else { self.lanes.get(scope) }
    }

    /// The existing narrow scopes that an event belongs to. Empty, and free, when nobody watches narrowly.
    fn scopes(&self, event: &Event) -> Vec<Scope> {
        if self.lanes.is_empty() {
            return Vec::new();
        }
        let Key { namespace, name, .. } = &event.object.key;
        let mut all = vec![
            Scope::Namespace(namespace.clone()),
            Scope::Name(name.clone()),
            Scope::Object(namespace.clone(), name.clone()),
        ];
        for (field, _) in &self.fields {
            all.extend(event.fields(field).map(|value| Scope::Field(field.clone(), value.into())));
        }
        all.retain(|scope| self.lanes.contains_key(scope));
        all
    }

    /// Counts the watchers by field, so that only watched fields are looked at.
    fn watch_field(&mut self, scope: &Scope, joins: bool) {
        let Scope::Field(field, _) = scope else { return };
        let at = self.fields.iter().position(|(known, _)| known == field);
        match (at, joins) {
            (Some(at), true) => self.fields[at].1 += 1,
            (None, true) => self.fields.push((field.clone(), 1)),
            (Some(at), false) if self.fields[at].1 > 1 => self.fields[at].1 -= 1,
            (Some(at), false) => drop(self.fields.swap_remove(at)),
            (None, false) => {}
        }
    }

    fn drop_oldest(&mut self) {
        let Some(event) = self.all.ring.front().cloned() else { return };
        self.bytes = self.bytes.saturating_sub(event.weight());
        self.all.drop_front(event.revision);
        for scope in self.scopes(&event) {
            if let Some(lane) = self.lanes.get_mut(&scope) {
                lane.drop_front(event.revision);
            }
        }
    }
}

fn push_unique(woken: &mut Vec<(Arc<Wake>, usize)>, lane: &Lane) {
    // Looking at the last few is enough: a batch often touches one lane many times, and waking twice is harmless.
    if !woken.iter().rev().take(4).any(|(known, _)| Arc::ptr_eq(known, &lane.wake)) {
        woken.push((lane.wake.clone(), lane.watchers));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Parsed, encode, no_fields};
    use proptest::prelude::*;
    use serde_json::json;
    use std::time::Duration;

    const LIMITS: RingLimits = RingLimits { events: 8, bytes: 1 << 20 };

    fn event(hub: &Hub, revision: u64, namespace: &str, name: &str, delete: bool) -> Arc<Event> {
        let key = Key::new("pods", namespace, name);
        let stored = encode(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}})).unwrap();
        let previous = hub.get(namespace, name);
        let kind = match (&previous, delete) {
            (_, true) => EventKind::Deleted,
            (None, _) => EventKind::Added,
            (Some(_), _) => EventKind::Modified,
        };
        let parsed = Parsed::of(&key, &stored, &no_fields()).unwrap();
        Arc::new(Event::new(kind, key, revision, &stored, parsed, previous).unwrap())
    }

    fn revisions(found: &Found) -> Vec<u64> {
        match found {
            Found::Events { events, .. } => events.iter().map(|event| event.revision).collect(),
            Found::Nothing => Vec::new(),
            Found::TooLate => panic!("too late"),
        }
    }

    #[test]
    fn lanes_see_their_own_events_only() {
        let hub = Hub::new("pods".into(), 10, LIMITS);
        let (mine, all) = (Scope::Namespace("a".into()), Scope::All);
        let position = hub.join(&mine, 10).unwrap();
        for (revision, namespace) in [(11, "a"), (12, "b"), (14, "a")] {
            hub.apply(&[event(&hub, revision, namespace, "x", false)], Instant::now());
        }
        assert_eq!(revisions(&hub.read(&mine, position.next, 9)), [11, 14]);
        assert_eq!(revisions(&hub.read(&all, hub.position(&all, 11).unwrap().next, 9)), [12, 14]);
        assert!(hub.join(&all, 9).is_none(), "what happened before the floor is unknown");
        let late = Scope::Object("b".into(), "x".into());
        assert_eq!(revisions(&hub.read(&late, hub.join(&late, 10).unwrap().next, 9)), [12]);
    }

    #[test]
    fn a_quiet_lane_is_never_too_late_a_slow_one_is() {
        let hub = Hub::new("pods".into(), 0, LIMITS);
        let (quiet, slow) = (Scope::Namespace("quiet".into()), Scope::Namespace("busy".into()));
        let quiet_at = hub.join(&quiet, 0).unwrap();
        let slow_at = hub.join(&slow, 0).unwrap();
        for revision in 1..100 {
            hub.apply(&[event(&hub, revision, "busy", "x", false)], Instant::now());
        }
        assert!(matches!(hub.read(&quiet, quiet_at.next, 9), Found::Nothing));
        assert!(matches!(hub.read(&slow, slow_at.next, 9), Found::TooLate));
        hub.apply(&[event(&hub, 100, "quiet", "x", false)], Instant::now());
        assert_eq!(revisions(&hub.read(&quiet, quiet_at.next, 9)), [100]);
    }

    #[test]
    fn age_trims_and_reset_ends_everything() {
        let hub = Hub::new("pods".into(), 0, LIMITS);
        let at = hub.join(&Scope::All, 0).unwrap();
        let start = Instant::now();
        hub.apply(&[event(&hub, 1, "a", "x", false)], start);
        hub.apply(&[event(&hub, 2, "a", "x", false)], start + Duration::from_secs(20));
        hub.trim(start + Duration::from_secs(10));
        assert_eq!(hub.weight().0, 1);
        assert!(matches!(hub.read(&Scope::All, at.next, 9), Found::TooLate));
        let now = hub.position(&Scope::All, 2).unwrap();
        assert!(matches!(hub.read(&Scope::All, now.next, 9), Found::Nothing));
        hub.reset(Objects::default(), 7);
        assert!(matches!(hub.read(&Scope::All, now.next, 9), Found::TooLate));
        assert_eq!((hub.len(), hub.floor(&Scope::All)), (0, 7));
    }

    proptest! {
        /// Whatever happens, undoing leads to exactly what was there, and a lane equals the filtered whole.
        #[test]
        fn undo_and_lanes(changes in prop::collection::vec((0..3u8, 0..3u8, any::<bool>()), 0..40)) {
            let hub = Hub::new("pods".into(), 0, RingLimits { events: 1000, bytes: 1 << 20 });
            let scope = Scope::Namespace("1".into());
            let at = hub.join(&scope, 0).unwrap();
            let mut pictures = vec![hub.view(0)];
            let mut seen = Vec::new();
            let mut revision = 0;
            for (namespace, name, delete) in changes {
                let (namespace, name) = (namespace.to_string(), name.to_string());
                if delete && hub.get(&namespace, &name).is_none() { continue; }
                revision += 1;
                hub.apply(&[event(&hub, revision, &namespace, &name, delete)], Instant::now());
                if namespace == "1" { seen.push(revision); }
                pictures.push(hub.view(revision));
            }
            for picture in &pictures {
                let back = hub.view_at(picture.revision).unwrap();
                let shape = |view: &View| view.iter(None, None).map(|o| (o.key.clone(), o.revision)).collect::<Vec<_>>();
                prop_assert_eq!(shape(&back), shape(picture));
            }
            prop_assert_eq!(revisions(&hub.read(&scope, at.next, 1000)), seen);
        }
    }
}
