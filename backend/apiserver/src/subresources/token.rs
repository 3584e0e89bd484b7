//! `serviceaccounts/token`: bound, expiring tokens.

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use pilothouse_api::Status;

use crate::admission;
use crate::body::{Body, full};
use crate::error::Subject;
use crate::registry::read::wait_for_version;
use crate::server::{Answer, Call, Server, with_status};

pub async fn request(server: &Arc<Server>, call: &mut Call, body: Body) -> Answer {
    let request = super::decoded(call, body, "authentication.k8s.io", "v1", "TokenRequest").await?;
    let (namespace, name) = (call.info.namespace.clone(), call.info.name.clone());
    // The account or the pod may have been written by another backend a moment ago.
    wait_for_version(server, "", Subject { group: "", resource: "serviceaccounts", name: &name }).await?;
    let node = call.user.name.strip_prefix("system:node:");
    if node.is_some() && request["spec"]["boundObjectRef"].is_null() {
        return Err(Status::forbidden("", "serviceaccounts", &name, "nodes may only request tokens bound to a pod"));
    }
    let accounts = server.kinds.get("", "v1", "serviceaccounts").ok_or_else(Status::unknown_path)?;
    let request = admission::create(server, call, &accounts, "token", &name, request).await?;
    let answer = server.tokens.request(&*server.reader, &namespace, &name, request, Timestamp::now())?;
    Ok(with_status(StatusCode::CREATED, "application/json", full(answer.to_string())))
}
