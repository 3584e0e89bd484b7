//! What a batch will do: preconditions, revisions, events. Pure.
//!
//! Invariants:
//! - Revisions are dense: the first step gets `base + 1`, each further one the next.
//! - A unit that fails leaves no step and disturbs no other; a later mutation of a key sees the earlier ones of the
//!   batch, of other units too.
//! - The plan is right if and only if the database is at `base` when it is committed; its refusals too.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Span;

use crate::entry::{self, Parsed};
use crate::seal::Sealer;
use crate::{Change, Config, Durability, Error, Event, EventKind, Expect, Indexer, Key, Mutation, Obj, Result};

/// Names longer than this cannot be Kubernetes', and would outgrow an index row.
const MAX_NAME_BYTES: usize = 512;

/// A mutation, checked and parsed by its caller's task, so that the sequencer need not.
pub(crate) struct Prepared {
    pub key: Key,
    pub expect: Expect,
    pub delete: bool,
    pub bytes: Vec<u8>,
    /// What is stored instead of the bytes, if they are to be encrypted.
    pub sealed: Option<Vec<u8>>,
    pub parsed: Parsed,
    pub user: Arc<str>,
    pub durability: Durability,
}

/// Mutations that succeed or fail together.
pub(crate) struct Unit {
    pub mutations: Vec<Prepared>,
    pub fence: Option<u64>,
    pub bytes: usize,
    pub deadline: Instant,
    pub answer: oneshot::Sender<Result<Vec<Obj>>>,
    /// The write's part in its request's trace; disabled when nobody collects traces.
    pub span: Span,
}

impl Unit {
    /// Whether anyone still wants it done.
    pub fn is_wanted(&self, now: Instant) -> bool {
        now < self.deadline && !self.answer.is_closed()
    }

    pub fn answer(self, result: Result<Vec<Obj>>) {
        // The caller may have left.
        let _ = self.answer.send(result);
    }
}

/// One row of the log to be.
pub(crate) struct Step {
    pub event: Arc<Event>,
    /// Where the bytes are: unit, mutation.
    pub source: (usize, usize),
    /// The revision of the state it replaces, or 0.
    pub previous: u64,
    /// The revision that creates the object if that is in this batch, or 0.
    pub created: u64,
    /// Whether it is the batch's last step on its key: the state that goes into `objects`.
    pub is_final: bool,
}

#[derive(Default)]
pub(crate) struct Plan {
    pub base: u64,
    pub steps: Vec<Step>,
    /// For each unit its steps, or why it fails.
    pub results: Vec<Result<Range<usize>>>,
    /// Nobody needs to wait for the disk.
    pub relaxed: bool,
}

impl Plan {
    /// The revision after the batch.
    pub fn top(&self) -> u64 {
        self.base + self.steps.len() as u64
    }

    pub fn events(&self) -> Vec<Arc<Event>> {
        self.steps.iter().map(|step| step.event.clone()).collect()
    }

    /// The answers, in the order of the units.
    pub fn answers(self) -> impl Iterator<Item = Result<Vec<Obj>>> {
        let steps = self.steps;
        self.results
            .into_iter()
            .map(move |result| result.map(|range| steps[range].iter().map(|step| step.event.object.clone()).collect()))
    }
}

/// Checks and parses a mutation.
pub(crate) fn prepare(mutation: Mutation, config: &Config, indexer: &Indexer, sealer: &Sealer) -> Result<Prepared> {
    let Mutation { key, expect, change, user, durability } = mutation;
    for (what, name) in [("the resource", &key.resource), ("the namespace", &key.namespace), ("the name", &key.name)] {
        if name.len() > MAX_NAME_BYTES {
            return Err(Error::TooLarge { what, size: name.len(), limit: MAX_NAME_BYTES });
        }
        // PostgreSQL's text cannot hold it; one such unit would spoil its whole batch.
        if name.contains('\0') {
            return Err(Error::Internal(format!("{what} contains a NUL character")));
        }
    }
    if key.resource.is_empty() || key.name.is_empty() {
        return Err(Error::Internal("a key needs a resource and a name".to_owned()));
    }
    let (delete, bytes) = match change {
        Change::Put(bytes) => (false, bytes),
        Change::Delete(bytes) => (true, bytes),
    };
    if bytes.len() > config.max_object_bytes {
        return Err(Error::TooLarge { what: "the object", size: bytes.len(), limit: config.max_object_bytes });
    }
    if entry::splice_at(&bytes).is_none() {
        return Err(Error::Internal(format!("the bytes of {key} do not come from encode()")));
    }
    let parsed = Parsed::of(&key, &bytes, indexer)?;
    let sealed = sealer.seal(&key, &bytes)?;
    let user = if user.contains('\0') { user.replace('\0', "\u{fffd}").into() } else { user };
    Ok(Prepared { key, expect, delete, bytes, sealed, parsed, user, durability })
}

/// Plans a batch on top of `base`, where `current` gives the objects at `base`.
pub(crate) fn plan(base: u64, fence: u64, units: &[Unit], current: impl Fn(&Key) -> Option<Obj>) -> Plan {
    let mut plan = Plan { base, relaxed: true, ..Plan::default() };
    // The last step on each key so far.
    let mut touched: HashMap<&Key, usize> = HashMap::new();
    for (index, unit) in units.iter().enumerate() {
        let start = plan.steps.len();
        let result = match unit.fence {
            Some(held) if held != fence => Err(Error::Fenced { held, current: fence }),
            _ => plan.unit(index, unit, &mut touched, &current),
        };
        match result {
            Ok(()) => {
                plan.results.push(Ok(start..plan.steps.len()));
                plan.relaxed &= unit.mutations.iter().all(|mutation| mutation.durability == Durability::Relaxed);
            }
            Err(error) => {
                plan.results.push(Err(error));
                plan.undo(start, units, &mut touched);
            }
        }
    }
    for at in touched.into_values() {
        plan.steps[at].is_final = true;
    }
    plan
}

impl Plan {
    fn unit<'a>(
        &mut self,
        index: usize,
        unit: &'a Unit,
        touched: &mut HashMap<&'a Key, usize>,
        current: &impl Fn(&Key) -> Option<Obj>,
    ) -> Result<()> {
        for (at, mutation) in unit.mutations.iter().enumerate() {
            let before = touched.get(&mutation.key).map(|step| &self.steps[*step]);
            let previous = match before {
                Some(step) if step.event.kind == EventKind::Deleted => None,
                Some(step) => Some(step.event.object.clone()),
                None => current(&mutation.key),
            };
            check(mutation, previous.as_ref(), before.is_some())?;
            let kind = match &previous {
                _ if mutation.delete => EventKind::Deleted,
                Some(_) => EventKind::Modified,
                None => EventKind::Added,
            };
            let revision = self.top() + 1;
            let created = match kind {
                EventKind::Added => revision,
                _ => before.map_or(0, |step| step.created),
            };
            let (key, parsed) = (mutation.key.clone(), mutation.parsed.clone());
            let before = previous.as_ref().map_or(0, |previous| previous.revision);
            let event = Arc::new(Event::new(kind, key, revision, &mutation.bytes, parsed, previous)?);
            touched.insert(&mutation.key, self.steps.len());
            self.steps.push(Step { event, source: (index, at), previous: before, created, is_final: false });
        }
        Ok(())
    }

    /// Takes a failed unit's steps back.
    fn undo<'a>(&mut self, start: usize, units: &'a [Unit], touched: &mut HashMap<&'a Key, usize>) {
        if self.steps.len() == start {
            return;
        }
        self.steps.truncate(start);
        touched.clear();
        for (at, step) in self.steps.iter().enumerate() {
            touched.insert(&units[step.source.0].mutations[step.source.1].key, at);
        }
    }
}

/// Whether a mutation's precondition holds. A conflict within a batch names no current object: that one is not
/// committed yet.
fn check(mutation: &Prepared, current: Option<&Obj>, in_batch: bool) -> Result<()> {
    match (mutation.expect, current) {
        (Expect::Absent, None) if !mutation.delete => Ok(()),
        (Expect::Absent, Some(_)) => Err(Error::AlreadyExists),
        (_, None) => Err(Error::NotFound),
        (Expect::Any, Some(_)) => Ok(()),
        (Expect::Revision(wanted), Some(current)) if wanted == current.revision && !in_batch => Ok(()),
        (Expect::Revision(_), Some(current)) => Err(Error::Conflict { current: (!in_batch).then(|| current.clone()) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{encode, no_fields};
    use proptest::prelude::*;
    use serde_json::json;
    use std::time::Duration;

    fn mutation(name: &str, expect: Expect, delete: bool) -> Mutation {
        let key = Key::new("pods", "ns", name);
        let bytes = encode(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}})).unwrap();
        if delete { Mutation::delete(key, expect, bytes, "u") } else { Mutation::update(key, expect, bytes, "u") }
    }

    fn unit(mutations: Vec<Mutation>) -> Unit {
        let config = Config::new("");
        let mutations: Vec<_> = mutations
            .into_iter()
            .map(|mutation| prepare(mutation, &config, &no_fields(), &Sealer::default()).unwrap())
            .collect();
        let deadline = Instant::now() + Duration::from_secs(1);
        Unit { mutations, fence: None, bytes: 0, deadline, answer: oneshot::channel().0, span: Span::none() }
    }

    /// The database as the model sees it.
    fn existing(names: &[(&str, u64)]) -> HashMap<Key, Obj> {
        names
            .iter()
            .map(|(name, revision)| {
                let prepared = unit(vec![mutation(name, Expect::Any, false)]).mutations.remove(0);
                let entry = entry::entry(prepared.key.clone(), *revision, &prepared.bytes, prepared.parsed).unwrap();
                (prepared.key, Arc::new(entry))
            })
            .collect()
    }

    fn check(existing_names: &[(&str, u64)], units: Vec<Vec<Mutation>>, expect: &str) {
        let units: Vec<Unit> = units.into_iter().map(unit).collect();
        let existing = existing(existing_names);
        let plan = plan(100, 0, &units, |key| existing.get(key).cloned());
        let shown: Vec<String> = plan
            .results
            .iter()
            .map(|result| match result {
                Ok(range) => plan.steps[range.clone()]
                    .iter()
                    .map(|step| {
                        let mark = if step.is_final { "!" } else { "" };
                        format!(
                            "{}{}<{}{mark}",
                            step.event.kind.letter() as u8 as char,
                            step.event.revision,
                            step.previous
                        )
                    })
                    .collect::<Vec<_>>()
                    .join(" "),
                Err(error) => format!("{error:?}").split([' ', '(']).next().unwrap().to_owned(),
            })
            .collect();
        assert_eq!(shown.join(", "), expect);
    }

    #[test]
    fn preconditions() {
        use Expect::*;
        check(&[], vec![vec![mutation("a", Absent, false)]], "A101<0!");
        check(&[("a", 5)], vec![vec![mutation("a", Absent, false)]], "AlreadyExists");
        check(&[("a", 5)], vec![vec![mutation("a", Revision(5), false)]], "M101<5!");
        check(&[("a", 5)], vec![vec![mutation("a", Revision(4), false)]], "Conflict");
        check(&[("a", 5)], vec![vec![mutation("a", Any, true)]], "D101<5!");
        check(&[], vec![vec![mutation("a", Any, true)]], "NotFound");
        check(&[], vec![vec![mutation("a", Revision(1), false)]], "NotFound");
        check(&[], vec![vec![mutation("a", Absent, true)]], "NotFound");
    }

    #[test]
    fn units_are_atomic_and_chained() {
        use Expect::*;
        // One compare and set of two wins; the loser changes nothing.
        check(
            &[("a", 5)],
            vec![vec![mutation("a", Revision(5), false)], vec![mutation("a", Revision(5), false)]],
            "M101<5!, Conflict",
        );
        // The second unit fails on its second mutation; its first one leaves no trace.
        check(
            &[("a", 5)],
            vec![
                vec![mutation("b", Absent, false)],
                vec![mutation("c", Absent, false), mutation("a", Absent, false)],
                vec![mutation("c", Absent, false)],
            ],
            "A101<0!, AlreadyExists, A102<0!",
        );
        // Create, change, delete, create of one key in one batch.
        check(
            &[],
            vec![
                vec![mutation("a", Absent, false), mutation("a", Any, false)],
                vec![mutation("a", Any, true)],
                vec![mutation("a", Absent, false)],
            ],
            "A101<0 M102<101, D103<102, A104<0!",
        );
        // A failed unit that touched a key of an earlier one gives it back.
        check(
            &[],
            vec![
                vec![mutation("a", Absent, false)],
                vec![mutation("a", Any, true), mutation("z", Any, false)],
                vec![mutation("a", Any, false)],
            ],
            "A101<0, NotFound, M102<101!",
        );
    }

    #[test]
    fn fences() {
        let mut old = unit(vec![mutation("a", Expect::Absent, false)]);
        old.fence = Some(1);
        let plan = plan(1, 2, &[old], |_| None);
        assert!(matches!(plan.results[0], Err(Error::Fenced { held: 1, current: 2 })));
    }

    #[test]
    fn refuses_what_would_spoil_a_batch() {
        let config = Config { max_object_bytes: 100, ..Config::new("") };
        let bytes = encode(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}})).unwrap();
        let large = encode(&json!({"apiVersion": "v1", "kind": "P", "metadata": {}, "x": "y".repeat(100)})).unwrap();
        for (key, bytes) in [
            (Key::new("pods", "n\0", "a"), bytes.clone()),
            (Key::new("pods", "n", "a".repeat(600)), bytes.clone()),
            (Key::new("pods", "n", ""), bytes),
            (Key::new("pods", "n", "a"), large),
            (Key::new("pods", "n", "a"), b"{}".to_vec()),
        ] {
            assert!(prepare(Mutation::create(key, bytes, "u"), &config, &no_fields(), &Sealer::default()).is_err());
        }
    }

    proptest! {
        /// The plan does to the objects what doing its units one after another does.
        #[test]
        fn equals_one_by_one(script in prop::collection::vec(
            prop::collection::vec((0..4u8, 0..3u8, any::<bool>()), 1..4), 0..12)) {
            let make = |script: &[(u8, u8, bool)]| script.iter().map(|(name, expect, delete)| {
                let expect = match expect { 0 => Expect::Absent, 1 => Expect::Any, _ => Expect::Revision(7) };
                mutation(&name.to_string(), expect, *delete)
            }).collect::<Vec<_>>();
            let start = existing(&[("0", 7), ("1", 8)]);
            let units: Vec<Unit> = script.iter().map(|s| unit(make(s))).collect();
            let whole = plan(100, 0, &units, |key| start.get(key).cloned());

            let (mut state, mut base, mut results) = (start.clone(), 100, Vec::new());
            for unit in &units {
                let one = plan(base, 0, std::slice::from_ref(unit), |key| state.get(key).cloned());
                base = one.top();
                results.push(one.results[0].is_ok());
                for step in one.steps {
                    let key = step.event.object.key.clone();
                    if step.event.kind == EventKind::Deleted { state.remove(&key); } else { state.insert(key, step.event.object.clone()); }
                }
            }
            prop_assert_eq!(whole.results.iter().map(Result::is_ok).collect::<Vec<_>>(), results);
            prop_assert_eq!(whole.top(), base);
            let mut folded = start.clone();
            for (at, step) in whole.steps.iter().enumerate() {
                prop_assert_eq!(step.event.revision, 101 + at as u64);
                let key = step.event.object.key.clone();
                prop_assert_eq!(step.previous, folded.get(&key).map_or(0, |o| o.revision));
                if step.event.kind == EventKind::Deleted { folded.remove(&key); } else { folded.insert(key, step.event.object.clone()); }
                let last = whole.steps[at + 1..].iter().all(|later| later.event.object.key != step.event.object.key);
                prop_assert_eq!(step.is_final, last);
            }
            let shape = |state: &HashMap<Key, Obj>| { let mut s: Vec<_> = state.iter().map(|(k, o)| (k.clone(), o.revision)).collect(); s.sort(); s };
            prop_assert_eq!(shape(&folded), shape(&state));
        }
    }
}
