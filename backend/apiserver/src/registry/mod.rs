//! The generic verbs: what every resource can do, written once over a dynamic object.

pub mod create;
pub mod delete;
pub mod list;
pub mod metadata;
pub mod options;
pub mod patch;
pub mod read;
pub mod render;
pub mod services;
pub mod update;
pub mod watch;

use std::sync::Arc;

use arc_swap::ArcSwap;
use indexmap::{Equivalent, IndexMap};
use pilothouse_api::Status;
use pilothouse_kinds::Kind;
use pilothouse_schema::{Schema, builtin};

use crate::body::Body;
use crate::server::{Answer, Call, Server};

type Address = (String, String, String);

/// A borrowed [`Address`]: every request looks its kind up, and that should allocate nothing.
#[derive(PartialEq, Eq, Hash)]
struct At<'a>(&'a str, &'a str, &'a str);

impl Equivalent<Address> for At<'_> {
    fn equivalent(&self, key: &Address) -> bool {
        (self.0, self.1, self.2) == (&*key.0, &*key.1, &*key.2)
    }
}

/// The kinds that are served: built-in ones, and those of CustomResourceDefinitions.
pub struct Kinds {
    table: ArcSwap<Table>,
}

#[derive(Default)]
pub struct Table {
    by_address: IndexMap<Address, Arc<Kind>>,
    pub all: Vec<Arc<Kind>>,
}

impl Table {
    fn new(all: Vec<Arc<Kind>>) -> Self {
        let address = |kind: &Arc<Kind>| (kind.group.to_string(), kind.version.to_string(), kind.plural.to_string());
        Self { by_address: all.iter().map(|kind| (address(kind), Arc::clone(kind))).collect(), all }
    }
}

impl Default for Kinds {
    fn default() -> Self {
        Self { table: ArcSwap::from_pointee(Table::new(pilothouse_kinds::builtin().to_vec())) }
    }
}

impl Kinds {
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        self.table.load().by_address.get(&At(group, version, plural)).cloned()
    }
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }
    /// Serves these beside the built-in ones.
    pub fn set_custom(&self, custom: Vec<Arc<Kind>>) {
        let all = pilothouse_kinds::builtin().iter().cloned().chain(custom).collect();
        self.table.store(Arc::new(Table::new(all)));
    }
}

/// The schema of a kind's objects.
pub fn schema(kind: &Kind) -> Arc<Schema> {
    match builtin().gvk(&kind.group, &kind.version, &kind.kind) {
        Some(schema) => Arc::clone(schema),
        None => Arc::clone(Schema::any()),
    }
}

/// Answers a request about a resource itself.
pub async fn answer(server: &Arc<Server>, call: &mut Call, kind: &Arc<Kind>, body: Body) -> Answer {
    let named = !call.info.name.is_empty();
    let verb = call.info.verb.clone();
    if !kind.has_verb(&verb) {
        return Err(Status::method_not_supported(&kind.group, &kind.plural, &verb));
    }
    match verb.as_str() {
        "get" => read::get(server, call, kind).await,
        "list" => list::list(server, call, kind).await,
        "watch" => watch::watch(server, call, kind).await,
        "create" if !named && !kind.is_stored() => crate::subresources::review(server, call, kind, body).await,
        "create" if !named => create::create(server, call, kind, body).await,
        "update" if named => update::update(server, call, kind, body, "").await,
        "patch" if named => patch::patch(server, call, kind, body, "").await,
        "delete" if named => delete::delete(server, call, kind, body).await,
        "deletecollection" => delete::delete_collection(server, call, kind, body).await,
        verb => Err(Status::method_not_supported(&kind.group, &kind.plural, verb)),
    }
}
