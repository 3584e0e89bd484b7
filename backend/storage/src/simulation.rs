//! The store's logic in one thread, without PostgreSQL, in an order that a seed decides.
//!
//! Up to three backends plan batches on what they know, commit them if the database has not moved on, lose answers, hear
//! of each other late, crash; watches of every scope read a little, come too late, resume at another backend. A model
//! of a few lines says what is right at every step. What is simulated is planning, publishing, the cache's pictures and
//! the watches; the real database, with real faults, is in `tests/it`.
//!
//! A failure names its seed, and the seed reproduces it:
//! `PILOTHOUSE_SEED=7 PILOTHOUSE_EVENTS=1000000 cargo test -p pilothouse-storage simulation`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use imbl::OrdMap;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::entry::Parsed;
use crate::hub::Scope;
use crate::plan::{Plan, Unit, plan, prepare};
use crate::shared::Shared;
use crate::{
    Config, Error, Event, EventKind, Expect, Indexer, Key, Mutation, Obj, WatchItem, Watcher, encode, view::View,
};

const RESOURCE: &str = "pods";
/// The revision of an empty database.
const FIRST: u64 = 1;
/// Pictures of the past that the model keeps.
const PAST: u64 = 2000;
const FOLLOWERS: usize = 12;
/// Seeds and events of one run, unless the environment asks for others.
const SEEDS: std::ops::Range<u64> = 1..9;
const EVENTS: u64 = 15_000;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).unwrap()
    }
}

fn node(number: u64) -> String {
    format!("node-{}", number % 3)
}

fn indexer() -> Indexer {
    Arc::new(|_, object| {
        let node = object.value()["spec"]["nodeName"].as_str().unwrap_or_default();
        vec![(Cow::Borrowed("spec.nodeName"), node.to_owned())]
    })
}

fn bytes(key: &Key, number: u64) -> Vec<u8> {
    let name = &*key.name;
    encode(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"n": number.to_string()}},
                   "spec": {"nodeName": node(number), "number": number}}))
    .unwrap()
}

/// What was committed at a revision.
struct Change {
    kind: EventKind,
    key: Key,
    bytes: Vec<u8>,
    /// The selectable field before and after.
    nodes: (Option<String>, Option<String>),
}

impl Change {
    fn is_in(&self, scope: &Scope) -> bool {
        match scope {
            Scope::All => true,
            Scope::Namespace(namespace) => *namespace == self.key.namespace,
            Scope::Name(name) => *name == self.key.name,
            Scope::Object(namespace, name) => *namespace == self.key.namespace && *name == self.key.name,
            Scope::Field(_, value) => {
                [&self.nodes.0, &self.nodes.1].into_iter().flatten().any(|node| **node == **value)
            }
        }
    }
}

/// The truth.
#[derive(Default)]
struct Database {
    log: Vec<Change>,
    /// Key → revision and field, now.
    now: OrdMap<Key, (u64, String)>,
    /// The same at the newest revisions.
    past: BTreeMap<u64, OrdMap<Key, (u64, String)>>,
}

impl Database {
    fn top(&self) -> u64 {
        FIRST + self.log.len() as u64
    }

    fn at(&self, revision: u64) -> &Change {
        &self.log[usize::try_from(revision - FIRST - 1).unwrap()]
    }

    /// What PostgreSQL does with a batch: all of it on top of exactly its base, or nothing.
    fn commit(&mut self, plan: &Plan, units: &[Unit]) -> bool {
        if plan.base != self.top() {
            return false;
        }
        for step in &plan.steps {
            let mutation = &units[step.source.0].mutations[step.source.1];
            let (key, revision) = (mutation.key.clone(), self.top() + 1);
            let before = self.now.get(&key).cloned();
            assert_eq!(step.event.revision, revision, "revisions are dense");
            assert_eq!(
                step.previous,
                before.as_ref().map_or(0, |(revision, _)| *revision),
                "{key} is what it replaces"
            );
            if let Expect::Revision(expected) = mutation.expect {
                assert_eq!(step.previous, expected, "a compare and set finds what it expects");
            }
            let after = (step.event.kind != EventKind::Deleted).then(|| {
                let object = step.event.object.value();
                object["spec"]["nodeName"].as_str().unwrap().to_owned()
            });
            match &after {
                Some(node) => self.now.insert(key.clone(), (revision, node.clone())),
                None => self.now.remove(&key),
            };
            let nodes = (before.map(|(_, node)| node), after);
            self.log.push(Change { kind: step.event.kind, key, bytes: mutation.bytes.clone(), nodes });
            self.past.insert(revision, self.now.clone());
        }
        let old = self.top().saturating_sub(PAST);
        self.past = self.past.split_off(&old);
        true
    }

    fn check(&self, view: &View) {
        let Some(expected) = self.past.get(&view.revision) else { return };
        let found: Vec<(Key, u64)> =
            view.iter(None, None).map(|object| (object.key.clone(), object.revision)).collect();
        let expected: Vec<(Key, u64)> = expected.iter().map(|(key, (revision, _))| (key.clone(), *revision)).collect();
        assert_eq!(found, expected, "the picture at {}", view.revision);
    }
}

struct Backend {
    shared: Arc<Shared>,
    /// A batch on its way.
    sent: Option<(Vec<Unit>, Plan)>,
}

impl Backend {
    fn start(database: &Database, config: &Config) -> Self {
        let shared = Arc::new(Shared::new(config.clone(), indexer()).unwrap());
        let objects = database.now.iter().map(|(key, (revision, _))| {
            let change = database.at(*revision);
            let parsed = Parsed::of(key, &change.bytes, &shared.indexer).unwrap();
            Obj::new(crate::entry::entry(key.clone(), *revision, &change.bytes, parsed).unwrap())
        });
        shared.cache.reset(objects.collect(), database.top());
        Self { shared, sent: None }
    }

    /// Hears of at most so many changes.
    fn catch_up(&self, database: &Database, limit: u64) {
        let cache = &self.shared.cache;
        let from = cache.revision();
        let reached = database.top().min(from + limit);
        let mut latest: BTreeMap<Key, Option<Obj>> = BTreeMap::new();
        let mut events = Vec::new();
        for revision in from + 1..=reached {
            let change = database.at(revision);
            let parsed = Parsed::of(&change.key, &change.bytes, &self.shared.indexer).unwrap();
            let previous = latest.get(&change.key).cloned().unwrap_or_else(|| cache.get(&change.key));
            let event = Event::new(change.kind, change.key.clone(), revision, &change.bytes, parsed, previous).unwrap();
            let state = (event.kind != EventKind::Deleted).then(|| event.object.clone());
            latest.insert(change.key.clone(), state);
            events.push(Arc::new(event));
        }
        if reached > from {
            cache.apply(&events, reached);
        }
    }

    fn plan(&self, units: &[Unit]) -> Plan {
        let cache = &self.shared.cache;
        plan(cache.revision(), 0, units, |key| cache.get(key))
    }

    fn begin(&mut self, random: &mut Random) {
        let count = 1 + random.index(4);
        let units: Vec<Unit> = (0..count).map(|_| self.unit(random)).collect();
        let plan = self.plan(&units);
        if !plan.steps.is_empty() {
            self.sent = Some((units, plan));
        }
    }

    fn unit(&self, random: &mut Random) -> Unit {
        let shared = &self.shared;
        let mutations = (0..1 + random.index(2)).map(|_| {
            let key = Key::new(RESOURCE, format!("ns-{}", random.below(3)), format!("p-{}", random.below(12)));
            let number = random.below(1000);
            let user = "simulation";
            let mutation = match (shared.cache.get(&key), random.below(6)) {
                (None, _) => Mutation::create(key.clone(), bytes(&key, number), user),
                (Some(object), 0) => {
                    Mutation::delete(key.clone(), Expect::Revision(object.revision), bytes(&key, number), user)
                }
                // Somebody who has read an old state.
                (Some(object), 1) => {
                    let stale = Expect::Revision(object.revision.saturating_sub(1));
                    Mutation::update(key.clone(), stale, bytes(&key, number), user)
                }
                (Some(_), 2) => Mutation::update(key.clone(), Expect::Any, bytes(&key, number), user),
                (Some(object), _) => {
                    Mutation::update(key.clone(), Expect::Revision(object.revision), bytes(&key, number), user)
                }
            };
            prepare(mutation, &shared.config, &shared.indexer, &shared.sealer).unwrap()
        });
        let deadline = Instant::now() + Duration::from_secs(1);
        Unit {
            mutations: mutations.collect(),
            fence: None,
            bytes: 0,
            deadline,
            answer: oneshot::channel().0,
            span: tracing::Span::none(),
        }
    }

    /// The database gets the batch; now and then its answer is lost.
    fn commit(&mut self, database: &mut Database, random: &mut Random) {
        let Some((units, plan)) = self.sent.take() else { return };
        if database.commit(&plan, &units) {
            if random.below(10) > 0 {
                self.shared.cache.apply(&plan.events(), plan.top());
            }
            return;
        }
        self.catch_up(database, u64::MAX / 2);
        let plan = self.plan(&units);
        if !plan.steps.is_empty() {
            self.sent = Some((units, plan));
        }
    }
}

/// A client that watches.
struct Follower {
    scope: Scope,
    watcher: Option<(usize, Watcher)>,
    /// It knows everything of its scope up to here.
    seen: u64,
    events: u64,
}

impl Follower {
    /// Goes on at a backend, from where it was if that is possible.
    fn resume(&mut self, at: usize, backends: &[Backend], database: &Database) {
        let shared = &backends[at].shared;
        if self.seen > shared.cache.revision() {
            let refused = Watcher::new(shared.clone(), RESOURCE, self.scope.clone(), self.seen);
            assert!(matches!(refused, Err(Error::FutureRevision { .. })));
            return;
        }
        // Further back lies the log, which is PostgreSQL's.
        if self.seen < shared.cache.hub(RESOURCE).floor(&Scope::All) {
            let view = shared.cache.view(RESOURCE);
            database.check(&view);
            assert!(view.revision >= self.seen);
            self.seen = view.revision;
        }
        let watcher = Watcher::new(shared.clone(), RESOURCE, self.scope.clone(), self.seen).unwrap();
        self.watcher = Some((at, watcher));
    }

    /// Reads at most so many events.
    fn read(&mut self, most: u64, backends: &[Backend], database: &Database) {
        for _ in 0..most {
            let Some((at, watcher)) = &mut self.watcher else { return };
            match watcher.next().now_or_never() {
                Some(WatchItem::Event(event)) => {
                    let change = database.at(event.revision);
                    assert!(event.revision > self.seen, "{event:?} after {}", self.seen);
                    assert!(change.is_in(&self.scope), "{event:?} is not for {:?}", self.scope);
                    assert_eq!((event.kind, &event.object.key), (change.kind, &change.key));
                    assert_eq!(event.object.stored(), change.bytes);
                    Self::none_between(&self.scope, self.seen, event.revision - 1, database);
                    self.seen = event.revision;
                    self.events += 1;
                }
                Some(WatchItem::Gone) => {
                    self.watcher = None;
                    return;
                }
                Some(WatchItem::Progress(revision)) => {
                    assert!(revision >= self.seen);
                }
                Some(WatchItem::Closed) => panic!("nobody closes"),
                None => {
                    // Caught up: what it says it knows, it knows.
                    let revision = watcher.revision();
                    assert!(revision <= backends[*at].shared.cache.revision());
                    Self::none_between(&self.scope, self.seen, revision, database);
                    self.seen = self.seen.max(revision);
                    return;
                }
            }
        }
    }

    fn none_between(scope: &Scope, behind: u64, upto: u64, database: &Database) {
        for revision in behind + 1..=upto {
            let change = database.at(revision);
            assert!(
                !change.is_in(scope),
                "{:?} of {} at {revision} was left out of {scope:?}",
                change.kind,
                change.key
            );
        }
    }
}

fn scopes(random: &mut Random) -> Scope {
    let (namespace, name) = (format!("ns-{}", random.below(3)), format!("p-{}", random.below(12)));
    match random.below(5) {
        0 => Scope::All,
        1 => Scope::Namespace(namespace.into()),
        2 => Scope::Name(name.into()),
        3 => Scope::Object(namespace.into(), name.into()),
        _ => Scope::Field("spec.nodeName".into(), node(random.below(3)).into()),
    }
}

/// Runs one seed until so many events have been delivered; gives how many changes there were.
fn run(seed: u64, events: u64) -> u64 {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let config = Config {
        ring_events: 4 + random.index(200),
        ring_bytes: 2000 + random.index(200_000),
        ..Config::new("postgres://nobody@localhost/nowhere")
    };
    let mut database = Database::default();
    database.past.insert(FIRST, OrdMap::new());
    let mut backends: Vec<Backend> = (0..=seed % 3).map(|_| Backend::start(&database, &config)).collect();
    let follower = |random: &mut Random| Follower { scope: scopes(random), watcher: None, seen: FIRST, events: 0 };
    let mut followers: Vec<Follower> = (0..FOLLOWERS).map(|_| follower(&mut random)).collect();
    while followers.iter().map(|follower| follower.events).sum::<u64>() < events {
        let at = random.index(backends.len());
        match random.below(100) {
            0..=24 => {
                if backends[at].sent.is_none() {
                    backends[at].begin(&mut random);
                }
            }
            25..=49 => backends[at].commit(&mut database, &mut random),
            50..=59 => backends[at].catch_up(&database, 1 + random.below(20)),
            60..=91 => {
                let follower = &mut followers[random.index(FOLLOWERS)];
                if follower.watcher.is_none() {
                    follower.resume(at, &backends, &database);
                }
                follower.read(1 + random.below(30), &backends, &database);
            }
            92 | 93 => followers[random.index(FOLLOWERS)].watcher = None,
            94 if random.below(20) == 0 => {
                // A crash: what it had sent may have been committed or not, its watches are cut.
                if let Some((units, plan)) = backends[at].sent.take()
                    && random.below(2) == 0
                {
                    database.commit(&plan, &units);
                }
                for follower in &mut followers {
                    if follower.watcher.as_ref().is_some_and(|(backend, _)| *backend == at) {
                        follower.watcher = None;
                    }
                }
                backends[at] = Backend::start(&database, &config);
            }
            95..=97 => database.check(&backends[at].shared.cache.view(RESOURCE)),
            _ => {
                let hub = backends[at].shared.cache.hub(RESOURCE);
                let back = backends[at].shared.cache.revision().saturating_sub(random.below(100));
                if let Some(view) = hub.view_at(back) {
                    database.check(&view);
                }
            }
        }
    }
    database.log.len() as u64
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test]
async fn simulation() {
    let seeds = number("PILOTHOUSE_SEED").map_or(SEEDS, |seed| seed..seed + 1);
    let events = number("PILOTHOUSE_EVENTS").unwrap_or(EVENTS);
    for seed in seeds {
        let told = format!("seed {seed}");
        let outcome = std::panic::catch_unwind(|| run(seed, events));
        assert!(outcome.is_ok_and(|changes| changes > 100), "{told} fails: PILOTHOUSE_SEED={seed} reproduces it");
    }
}
