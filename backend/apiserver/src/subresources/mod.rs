//! What lies below a resource: the parts of an object with rights of their own, actions, and streams to its node.

mod binding;
mod eviction;
mod isolate;
mod links;
mod reviews;
pub mod scale;
mod streams;
mod token;
mod websocket;

use std::sync::Arc;

use pilothouse_api::{Status, limits};
use pilothouse_kinds::Kind;
use serde_json::Value;

use crate::body::{self, Body};
use crate::door::UpgradeSlot;
use crate::negotiate;
use crate::registry::{metadata, options, patch, read, render, update};
use crate::server::{Answer, Call, Server};

pub use reviews::answer as review;

/// Answers a request about a subresource.
pub async fn answer(
    server: &Arc<Server>,
    call: &mut Call,
    kind: &Arc<Kind>,
    body: Body,
    upgrade: Option<UpgradeSlot>,
) -> Answer {
    let name = call.info.subresource.clone();
    let verb = call.info.verb.clone();
    let Some(sub) = kind.subresource(&name) else { return Err(Status::unknown_path()) };
    let offered = sub.verbs.iter().any(|offered| *offered == verb) || name == "proxy";
    if !offered {
        return Err(Status::method_not_allowed());
    }
    match (name.as_str(), verb.as_str()) {
        ("scale", _) => scale::answer(server, call, kind, body).await,
        ("binding", _) => binding::bind(server, call, kind, body).await,
        ("eviction", _) => eviction::evict(server, call, kind, body).await,
        ("token", _) => token::request(server, call, body).await,
        ("log", _) => streams::log(server, call, kind, upgrade).await,
        ("exec" | "attach" | "portforward", _) => streams::connect(server, call, kind, upgrade).await,
        ("proxy", _) => streams::proxy(server, call, kind, body, upgrade).await,
        (_, "get") => read::get(server, call, kind).await,
        (_, "update") => update::update(server, call, kind, body, &name).await,
        (_, "patch") => patch::patch(server, call, kind, body, &name).await,
        _ => Err(Status::method_not_allowed()),
    }
}

/// The JSON (or YAML) body of an action, checked against the schema of its kind.
async fn decoded(call: &mut Call, body: Body, group: &str, version: &str, kind: &str) -> Result<Value, Status> {
    let bytes = body::collect(body, limits::MAX_BODY_BYTES).await?;
    options::check(call)?;
    let validation = options::field_validation(call)?;
    let schema = pilothouse_schema::builtin()
        .gvk(group, version, kind)
        .ok_or_else(|| Status::internal(format!("the schema of {group}/{version} {kind} is missing")))?;
    let decoded = negotiate::decode(&call.parts.headers, &bytes, schema, validation)?;
    call.warnings.extend(decoded.warnings);
    placed(call, &decoded.object)?;
    Ok(decoded.object)
}

/// What is sent to an object is in the object's namespace, if it says.
fn placed(call: &Call, sent: &Value) -> Result<(), Status> {
    let (own, asked) = (metadata::text(sent, "namespace"), call.info.namespace.as_str());
    if own.is_empty() || asked.is_empty() || own == asked {
        return Ok(());
    }
    Err(Status::bad_request("the namespace of the provided object does not match the namespace sent on the request"))
}

/// Answers with an object that is not stored. It has no metadata of its own, so it cannot be shown as anything else.
fn shown(call: &Call, kind: &Kind, value: Value, status: http::StatusCode) -> Answer {
    render::encoded(kind, value, negotiate::accept_object(&call.parts)?, &call.query, status)
}
