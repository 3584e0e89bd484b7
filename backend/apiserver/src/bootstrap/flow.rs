//! Keeps the objects of flow control in order: default ones are there and say what they should, and every FlowSchema
//! says whether its priority level exists.
//!
//! Invariant: what nobody changed is not written.

use std::time::Duration;

use http::Method;
use pilothouse_access::policy;
use pilothouse_api::Status;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::objects::{absent_is_fine, accept_race, apply, send};
use crate::fairness;
use crate::registry::metadata;
use crate::server::ApiServer;

/// How often it is looked at without a change.
const PERIOD: Duration = Duration::from_secs(60);
/// At least this long between two looks: what changes all the time is not followed at every step.
const PAUSE: Duration = Duration::from_millis(100);

const SCHEMAS: &str = "flowschemas";
const LEVELS: &str = "prioritylevelconfigurations";
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";

pub async fn keep(api: ApiServer, shutdown: CancellationToken) {
    loop {
        if let Err(status) = round(&api).await {
            warn!(%status, "the objects of flow control could not be kept in order");
        }
        tokio::time::sleep(PAUSE).await;
        tokio::select! {
            () = api.0.fairness.changed.notified() => {}
            () = tokio::time::sleep(PERIOD) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn round(api: &ApiServer) -> Result<(), Status> {
    let (levels, schemas) = policy::default_flow_control();
    for (plural, defaults) in [(LEVELS, levels), (SCHEMAS, schemas)] {
        let stored = stored(api, plural);
        for wanted in &defaults {
            accept_race(one(api, plural, find(&stored, wanted), wanted).await)?;
        }
        // What an older release brought along and this one does not.
        for object in stored.iter().filter(|object| find(&defaults, object).is_none()) {
            if object["metadata"]["annotations"][policy::AUTOUPDATE] == "true" {
                absent_is_fine(send(api, Method::DELETE, &path(plural, object), None).await)?;
            }
        }
    }
    let levels = stored(api, LEVELS);
    for schema in stored(api, SCHEMAS) {
        settle(api, &schema, &levels).await?;
    }
    Ok(())
}

fn stored(api: &ApiServer, plural: &str) -> Vec<Value> {
    let list = api.0.store.list(&format!("{plural}.flowcontrol.apiserver.k8s.io"), None);
    list.items.iter().map(|object| object.value()).collect()
}

fn find<'a>(all: &'a [Value], like: &Value) -> Option<&'a Value> {
    all.iter().find(|object| metadata::text(object, "name") == metadata::text(like, "name"))
}

fn collection(plural: &str) -> String {
    format!("/apis/flowcontrol.apiserver.k8s.io/v1/{plural}")
}

fn path(plural: &str, object: &Value) -> String {
    format!("{}/{}", collection(plural), metadata::text(object, "name"))
}

/// Creates a default object, or brings it back to what it should be.
async fn one(api: &ApiServer, plural: &str, stored: Option<&Value>, wanted: &Value) -> Result<Value, Status> {
    let Some(stored) = stored else { return send(api, Method::POST, &collection(plural), Some(wanted)).await };
    let Some(kind) = api.0.kinds.get("flowcontrol.apiserver.k8s.io", "v1", plural) else { return Ok(Value::Null) };
    let maintained = policy::maintained(stored);
    let mut new = stored.clone();
    new["metadata"]["annotations"][policy::AUTOUPDATE] = json!(maintained.to_string());
    if maintained {
        let mut wanted = wanted.clone();
        kind.default(&mut wanted);
        new["spec"] = wanted["spec"].take();
        // How much the exempt level lends is for the administrator to say.
        if stored["spec"]["exempt"].is_object() && new["spec"]["exempt"].is_object() {
            new["spec"]["exempt"] = stored["spec"]["exempt"].clone();
        }
    }
    if new == *stored { Ok(Value::Null) } else { send(api, Method::PUT, &path(plural, stored), Some(&new)).await }
}

/// Writes the condition `Dangling` where it is not as it should be.
async fn settle(api: &ApiServer, schema: &Value, levels: &[Value]) -> Result<(), Status> {
    let (status, reason, message) = fairness::dangling(schema, levels);
    let conditions = schema["status"]["conditions"].as_array();
    let old = conditions.into_iter().flatten().find(|condition| condition["type"] == "Dangling");
    if old.is_some_and(|old| old["status"] == status && old["reason"] == reason && old["message"] == message) {
        return Ok(());
    }
    let since = old.filter(|old| old["status"] == status).map(|old| old["lastTransitionTime"].clone());
    let condition = json!({"type": "Dangling", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since.unwrap_or_else(|| json!(metadata::now()))});
    let object = json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema",
        "metadata": {"name": schema["metadata"]["name"], "uid": schema["metadata"]["uid"]},
        "status": {"conditions": [condition]}});
    let path = format!("{}/status?fieldManager={MANAGER}&force=true", path(SCHEMAS, schema));
    match apply(api, &path, &object).await {
        // It went away, or came back as another one.
        Err(status) if matches!(status.code, 404 | 409) => Ok(()),
        other => other.map(drop),
    }
}
