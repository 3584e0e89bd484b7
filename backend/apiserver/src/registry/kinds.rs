//! The kinds that are served: built-in ones, and those of CustomResourceDefinitions.
//!
//! Invariants: a change of one definition costs what that definition and its group cost, however many there are; a kind
//! that is replaced or withdrawn says so to those who still hold it (its life ends).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indexmap::{Equivalent, IndexMap};
use parking_lot::RwLock;
use pilothouse_kinds::Kind;
use tokio_util::sync::CancellationToken;

/// Group, version, plural.
type Address = (String, String, String);

/// A borrowed [`Address`]: every request looks its kind up, and that should allocate nothing.
#[derive(PartialEq, Eq, Hash)]
struct At<'a>(&'a str, &'a str, &'a str);

impl Equivalent<Address> for At<'_> {
    fn equivalent(&self, key: &Address) -> bool {
        (self.0, self.1, self.2) == (&*key.0, &*key.1, &*key.2)
    }
}

fn address(kind: &Kind) -> Address {
    (kind.group.to_string(), kind.version.to_string(), kind.plural.to_string())
}

/// What is served of one definition.
#[derive(Default)]
pub struct Served {
    /// The revision of the definition this was made from.
    pub revision: u64,
    /// Of what in the definition makes the kinds.
    pub digest: [u8; 32],
    /// One per served version.
    pub kinds: Vec<Arc<Kind>>,
    /// Objects written later than this are as the definition wants them.
    pub settled_at: AtomicU64,
    /// The definition is being deleted: nothing new is created.
    pub terminating: bool,
    /// Cancelled when these kinds are replaced or withdrawn.
    pub life: CancellationToken,
}

/// The kinds of one group.
pub struct Group {
    pub name: String,
    pub kinds: Vec<Arc<Kind>>,
    /// Changes whenever the kinds do.
    pub stamp: u64,
}

pub struct Kinds {
    builtin: IndexMap<Address, Arc<Kind>>,
    custom: RwLock<Custom>,
    stamp: AtomicU64,
}

#[derive(Default)]
struct Custom {
    /// By the name of the definition, which is also the kinds' storage.
    definitions: HashMap<String, Arc<Served>>,
    by_address: IndexMap<Address, Arc<Kind>>,
    groups: BTreeMap<String, CustomGroup>,
}

#[derive(Default)]
struct CustomGroup {
    definitions: BTreeSet<String>,
    stamp: u64,
}

impl Default for Kinds {
    fn default() -> Self {
        let builtin = pilothouse_kinds::builtin().iter().map(|kind| (address(kind), Arc::clone(kind))).collect();
        Self { builtin, custom: RwLock::default(), stamp: AtomicU64::new(1) }
    }
}

impl Kinds {
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        let at = At(group, version, plural);
        match self.builtin.get(&at) {
            Some(kind) => Some(Arc::clone(kind)),
            None => self.custom.read().by_address.get(&at).cloned(),
        }
    }

    pub fn is_builtin(&self, group: &str, version: &str, plural: &str) -> bool {
        self.builtin.contains_key(&At(group, version, plural))
    }

    /// Every kind, in no order to rely on but that built-in ones come first.
    pub fn all(&self) -> Vec<Arc<Kind>> {
        let custom = self.custom.read();
        let served = custom.definitions.values().flat_map(|served| &served.kinds);
        pilothouse_kinds::builtin().iter().chain(served).cloned().collect()
    }

    /// Changes whenever a kind does.
    pub fn stamp(&self) -> u64 {
        self.stamp.load(Ordering::Acquire)
    }

    /// The groups by name, each with its kinds.
    pub fn groups(&self) -> Vec<Group> {
        let custom = self.custom.read();
        let mut groups: BTreeMap<&str, Group> = BTreeMap::new();
        let empty = |name: &str, stamp| Group { name: name.to_owned(), kinds: Vec::new(), stamp };
        for kind in pilothouse_kinds::builtin() {
            groups.entry(&kind.group).or_insert_with(|| empty(&kind.group, 0)).kinds.push(Arc::clone(kind));
        }
        for (name, of) in &custom.groups {
            let group = groups.entry(name).or_insert_with(|| empty(name, 0));
            group.stamp = of.stamp;
            let served = of.definitions.iter().filter_map(|name| custom.definitions.get(name));
            group.kinds.extend(served.flat_map(|served| served.kinds.iter().cloned()));
        }
        groups.into_values().filter(|group| !group.kinds.is_empty()).collect()
    }

    /// The names of the definitions that are known.
    pub fn definitions(&self) -> Vec<String> {
        self.custom.read().definitions.keys().cloned().collect()
    }

    pub fn definition(&self, name: &str) -> Option<Arc<Served>> {
        self.custom.read().definitions.get(name).cloned()
    }

    /// Puts what is served of a definition, unless what is there is newer.
    pub fn put(&self, name: &str, group: &str, served: Served) {
        let mut custom = self.custom.write();
        let before = custom.definitions.get(name).cloned();
        if before.as_ref().is_some_and(|before| before.revision > served.revision) {
            return;
        }
        for kind in before.iter().flat_map(|before| &before.kinds) {
            custom.by_address.swap_remove(&address(kind));
        }
        for kind in &served.kinds {
            custom.by_address.insert(address(kind), Arc::clone(kind));
        }
        let same = before.as_ref().is_some_and(|before| before.digest == served.digest);
        custom.definitions.insert(name.to_owned(), Arc::new(served));
        if !same {
            let stamp = self.stamp.fetch_add(1, Ordering::AcqRel) + 1;
            let group = custom.groups.entry(group.to_owned()).or_default();
            group.definitions.insert(name.to_owned());
            group.stamp = stamp;
            if let Some(before) = before {
                before.life.cancel();
            }
        }
    }

    /// Withdraws what is served of a definition that is gone.
    pub fn remove(&self, name: &str) {
        let mut custom = self.custom.write();
        let Some(before) = custom.definitions.remove(name) else { return };
        for kind in &before.kinds {
            custom.by_address.swap_remove(&address(kind));
        }
        let stamp = self.stamp.fetch_add(1, Ordering::AcqRel) + 1;
        let group = name.split_once('.').map(|(_, group)| group.to_owned()).unwrap_or_default();
        if let Some(of) = custom.groups.get_mut(&group) {
            of.definitions.remove(name);
            of.stamp = stamp;
            if of.definitions.is_empty() {
                custom.groups.remove(&group);
            }
        }
        before.life.cancel();
    }

    /// Ends when the kind is replaced or withdrawn; a built-in kind's never does.
    pub fn life(&self, kind: &Kind) -> CancellationToken {
        if !kind.is_custom() {
            return CancellationToken::new();
        }
        match self.definition(&kind.storage) {
            Some(served) => served.life.clone(),
            None => {
                let ended = CancellationToken::new();
                ended.cancel();
                ended
            }
        }
    }
}
