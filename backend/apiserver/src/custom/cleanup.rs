//! The end of a definition: its instances go first.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use pilothouse_api::Status;
use pilothouse_kinds::Kind;
use pilothouse_storage::{Key, Store, WatchItem};
use serde_json::{Value, json};
use tracing::{info, warn};

use super::{DEFINITIONS, naming};
use crate::bootstrap::{apiserver, send};
use crate::registry::{delete, metadata};
use crate::server::{ApiServer, Call};

pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
const RETRY: Duration = Duration::from_secs(1);
/// How long an instance may take to go before all are asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// What the first delete of a definition does to it: it stays until its instances are gone.
pub fn mark_deleted(definition: &mut Value) {
    let mut finalizers: Vec<String> = metadata::finalizers(definition).into_iter().map(str::to_owned).collect();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers.push(FINALIZER.into());
        metadata::map(definition).insert("finalizers".into(), json!(finalizers));
    }
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    terminating(definition, true, "InstanceDeletionPending", message);
}

fn terminating(definition: &mut Value, status: bool, reason: &str, message: &str) {
    let status = if status { "True" } else { "False" };
    let condition = json!({"type": "Terminating", "status": status, "reason": reason, "message": message});
    if !definition["status"].is_object() {
        definition["status"] = json!({});
    }
    if let Some(of) = definition["status"].as_object_mut() {
        naming::set(of, condition, &metadata::now());
    }
}

/// Removes a deleted definition's instances and then itself, unless this backend is at it already.
pub fn start(api: &ApiServer, name: &str) {
    if !api.0.cleaning.0.lock().insert(name.to_owned()) {
        return;
    }
    let (api, name) = (api.clone(), name.to_owned());
    tokio::spawn(async move {
        let stop = api.0.shutdown.clone();
        tokio::select! {
            () = run(&api, &name) => {}
            () = stop.cancelled() => {}
        }
        api.0.cleaning.0.lock().remove(&name);
    });
}

async fn run(api: &ApiServer, name: &str) {
    loop {
        match round(api, name).await {
            Ok(true) => return,
            // Instances with finalizers of their own: whoever set them is at work.
            Ok(false) => {}
            Err(status) if status.code == 409 => {}
            Err(status) => {
                warn!(definition = name, %status, "the instances of a definition could not be removed; trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

fn path(name: &str, subresource: &str) -> String {
    format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}{subresource}")
}

/// True when there is nothing left to do.
async fn round(api: &ApiServer, name: &str) -> Result<bool, Status> {
    let server = &api.0;
    let Some(stored) = server.store.get(&Key::new(DEFINITIONS, "", name)) else { return Ok(true) };
    let mut definition = stored.value();
    if !metadata::finalizers(&definition).contains(&FINALIZER) {
        return Ok(true);
    }
    let under_way = ("InstanceDeletionInProgress", "CustomResource deletion is in progress");
    let is_told = |definition: &Value| {
        let conditions = definition["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|c| c["type"] == "Terminating" && c["reason"] == under_way.0)
    };
    if !is_told(&definition) {
        terminating(&mut definition, true, under_way.0, under_way.1);
        definition = send(api, Method::PUT, &path(name, "/status"), Some(&definition)).await?;
    }
    let kinds = Kind::from_crd(&definition).map_err(Status::internal)?;
    let storage = name.to_owned();
    let api_version = kinds.first().and_then(|(kind, _)| kind.definition()).map(|d| d.storage_api_version.clone());
    let kind = kinds.into_iter().map(|(kind, _)| Arc::new(kind)).find(|kind| Some(kind.api_version()) == api_version);
    let Some(kind) = kind else { return Err(Status::internal("no version is stored")) };
    for instance in &server.store.list(&storage, None).items {
        let mut call = Call::of_server(apiserver(), &kind, "delete", &instance.key.namespace, &instance.key.name);
        match delete::purge(server, &mut call, &kind).await {
            Err(status) if status.code != 404 => return Err(status),
            _ => {}
        }
    }
    if !gone(&server.store, &storage).await {
        return Ok(false);
    }
    info!(definition = name, "all instances are removed");
    terminating(&mut definition, false, "InstanceDeletionCompleted", "removed all instances");
    definition = send(api, Method::PUT, &path(name, "/status"), Some(&definition)).await?;
    let rest: Vec<String> = metadata::finalizers(&definition)
        .into_iter()
        .filter(|finalizer| *finalizer != FINALIZER)
        .map(str::to_owned)
        .collect();
    metadata::map(&mut definition).insert("finalizers".into(), json!(rest));
    send(api, Method::PUT, &path(name, ""), Some(&definition)).await?;
    Ok(true)
}

/// Waits until nothing of a resource is left; false when that takes too long.
async fn gone(store: &Store, storage: &str) -> bool {
    let empty = async {
        loop {
            let view = store.view(storage);
            if view.is_empty() {
                return true;
            }
            let Ok(mut watcher) = store.watch(storage, None, None, view.revision) else { return false };
            // What is closed gives the same at once for ever.
            if matches!(watcher.next().await, WatchItem::Closed) {
                return false;
            }
        }
    };
    tokio::time::timeout(ASK_AGAIN, empty).await.unwrap_or(false)
}
