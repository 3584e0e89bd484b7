//! The generic verbs: what every resource can do, written once over a dynamic object.

pub mod create;
pub mod delete;
pub mod devices;
pub mod kinds;
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

use pilothouse_api::Status;
use pilothouse_kinds::Kind;
use pilothouse_schema::{Schema, builtin};

use crate::body::Body;
use crate::server::{Answer, Call, Server};

pub use kinds::Kinds;

/// The schema of a kind's objects.
pub fn schema(kind: &Kind) -> Arc<Schema> {
    if let Some(schema) = kind.schema() {
        return Arc::clone(schema);
    }
    match builtin().gvk(&kind.group, &kind.version, &kind.kind) {
        Some(schema) => Arc::clone(schema),
        None => Arc::clone(Schema::any()),
    }
}

/// Answers a request about a resource itself.
pub async fn answer(server: &Arc<Server>, call: &mut Call, kind: &Arc<Kind>, body: Body) -> Answer {
    let named = !call.info.name.is_empty();
    let verb = call.info.verb.clone();
    let of_many = matches!(verb.as_str(), "list" | "watch" | "deletecollection");
    if named && !of_many && !["get", "update", "patch", "delete"].iter().any(|verb| kind.has_verb(verb)) {
        return Err(Status::unknown_path());
    }
    if !kind.has_verb(&verb) {
        return Err(Status::method_not_allowed());
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
        _ => Err(Status::method_not_allowed()),
    }
}
