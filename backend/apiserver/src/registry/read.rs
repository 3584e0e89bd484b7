//! One object: straight from the cache, never from PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use pilothouse_api::Status;
use pilothouse_kinds::Kind;
use pilothouse_storage::{Key, Obj};

use super::render;
use crate::custom;
use crate::error::{Subject, from_store};
use crate::negotiate;
use crate::server::{Answer, Call, Server};

/// How long a read waits for a revision it asked for.
pub const REVISION_PATIENCE: Duration = Duration::from_secs(3);

pub fn key(kind: &Kind, namespace: &str, name: &str) -> Key {
    Key::new(&*kind.storage, if kind.namespaced { namespace } else { "" }, name)
}

pub fn subject<'a>(kind: &'a Kind, name: &'a str) -> Subject<'a> {
    Subject { group: &kind.group, resource: &kind.plural, name }
}

/// Waits until the cache is as fresh as `resourceVersion` asks: empty is the newest, `0` is whatever there is, a
/// number is at least that.
pub async fn wait_for_version(server: &Server, version: &str, subject: Subject<'_>) -> Result<(), Status> {
    let outcome = match version {
        "0" => return Ok(()),
        "" => server.store.fresh().await.map(drop),
        text => server.store.wait_for(parse_version(text)?, REVISION_PATIENCE).await,
    };
    outcome.map_err(|error| from_store(error, subject))
}

pub fn parse_version(text: &str) -> Result<u64, Status> {
    text.parse().map_err(|_| {
        let why =
            format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax");
        Status::failure(500, "", why)
    })
}

/// The newest state of an object, or 404.
pub async fn newest(server: &Server, kind: &Kind, namespace: &str, name: &str) -> Result<Obj, Status> {
    wait_for_version(server, "", subject(kind, name)).await?;
    current(server, kind, namespace, name).await
}

/// The object as the cache has it, in the version of `kind`, or 404.
pub async fn current(server: &Server, kind: &Kind, namespace: &str, name: &str) -> Result<Obj, Status> {
    let stored = server.store.get(&key(kind, namespace, name));
    let stored = stored.ok_or_else(|| Status::not_found(&kind.group, &kind.plural, name))?;
    custom::serve_one(server, kind, stored).await
}

pub async fn get(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>) -> Answer {
    let wanted = negotiate::accept(&call.parts)?;
    let name = &call.info.name;
    wait_for_version(server, call.query.text("resourceVersion"), subject(kind, name)).await?;
    let object = current(server, kind, &call.info.namespace, name).await?;
    render::object(kind, &object, wanted, &call.query)
}
