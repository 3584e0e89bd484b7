//! Immutable pictures of a resource: what lists are made of.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::shared_ptr::DefaultSharedPtr;

use crate::{Key, Obj};

/// All objects of one resource at one revision; taking and cloning one costs nothing, whatever the size.
#[derive(Clone)]
pub struct View {
    pub revision: u64,
    pub(crate) objects: Objects,
}

/// A list made of a [`View`].
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub revision: u64,
    /// In list order: by namespace, then name.
    pub items: Vec<Obj>,
}

/// A piece of a list.
#[derive(Clone, Debug)]
pub struct Page {
    pub revision: u64,
    pub items: Vec<Obj>,
    /// Whether objects follow after the last item.
    pub more: bool,
}

pub(crate) type Objects = OrdMap<Slot, Obj>;

/// The place of an object within its resource. Separate from the object: a B-tree keeps stale keys in its branches,
/// and they must not keep stale versions alive.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl Slot {
    pub fn of(key: &Key) -> Self {
        Self { namespace: key.namespace.clone(), name: key.name.clone() }
    }
}

/// A borrowed [`Slot`], so that a look-up allocates nothing.
#[derive(Clone, Copy)]
pub(crate) struct At<'a>(pub &'a str, pub &'a str);

impl equivalent::Equivalent<Slot> for At<'_> {
    fn equivalent(&self, slot: &Slot) -> bool {
        self.0 == &*slot.namespace && self.1 == &*slot.name
    }
}

impl equivalent::Comparable<Slot> for At<'_> {
    fn compare(&self, slot: &Slot) -> Ordering {
        self.0.cmp(&slot.namespace).then_with(|| self.1.cmp(&slot.name))
    }
}

impl View {
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Obj> {
        self.objects.get(&At(namespace, name))
    }

    /// Whether both show the same objects in the same versions: certain when true, and true when nothing was written in
    /// between.
    pub fn is_same(&self, other: &Self) -> bool {
        self.objects.ptr_eq(&other.objects)
    }

    /// How many objects there are in all namespaces.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The objects in list order, of one namespace or all, those behind `after` (namespace, name). The start costs a
    /// search, not a scan.
    pub fn iter<'a>(&'a self, namespace: Option<&'a str>, after: Option<(&str, &str)>) -> Items<'a> {
        let first = At(namespace.unwrap_or_default(), "");
        let start = match after.map(|(namespace, name)| At(namespace, name)) {
            Some(after) if (after.0, after.1) >= (first.0, first.1) => Bound::Excluded(after),
            _ => Bound::Included(first),
        };
        Items { range: self.objects.range((start, Bound::Unbounded)), namespace }
    }

    pub fn snapshot(&self, namespace: Option<&str>) -> Snapshot {
        let mut items = Vec::with_capacity(if namespace.is_none() { self.len() } else { 0 });
        items.extend(self.iter(namespace, None).cloned());
        Snapshot { revision: self.revision, items }
    }

    pub fn page(&self, namespace: Option<&str>, after: Option<(&str, &str)>, limit: usize) -> Page {
        let mut rest = self.iter(namespace, after);
        let items: Vec<Obj> = rest.by_ref().take(limit).cloned().collect();
        Page { revision: self.revision, items, more: rest.next().is_some() }
    }
}

/// The iterator of [`View::iter`].
pub struct Items<'a> {
    range: imbl::ordmap::RangedIter<'a, Slot, Obj, DefaultSharedPtr>,
    namespace: Option<&'a str>,
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a Obj;

    fn next(&mut self) -> Option<&'a Obj> {
        let (slot, object) = self.range.next()?;
        self.namespace.is_none_or(|namespace| namespace == &*slot.namespace).then_some(object)
    }
}
