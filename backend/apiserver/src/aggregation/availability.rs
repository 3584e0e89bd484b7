//! Can the extension servers be reached? The condition `Available` of their APIServices, and what they serve.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use pilothouse_api::Status;
use pilothouse_storage::{Key, WatchItem};
use serde_json::{Value, json};
use tracing::warn;

use super::link::HttpClient;
use super::services::Remote;
use super::{Aggregator, Offer, RESOURCE, proxy};
use crate::bootstrap::apply;
use crate::registry::metadata;
use crate::server::ApiServer;

/// How often those that answered are asked again, and those that did not.
const PERIOD: Duration = Duration::from_secs(15);
const RETRY: Duration = Duration::from_secs(1);
/// How long one may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Servers that are asked at once.
const AT_ONCE: usize = 16;
/// Longest list of resources, and longest index of OpenAPI documents.
const MAX_LIST: usize = 4 * 1024 * 1024;

const COLLECTION: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const MANAGER: &str = "pilothouse-aggregator";

struct Finding {
    available: bool,
    reason: &'static str,
    message: String,
}

fn refused(reason: &'static str, message: String) -> Finding {
    Finding { available: false, reason, message }
}

pub async fn run(api: &ApiServer) {
    loop {
        let revision = api.0.store.revision();
        let all_well = round(api).await;
        wait(api, revision, if all_well { PERIOD } else { RETRY }).await;
    }
}

/// Until it is time again, or an APIService has changed.
async fn wait(api: &ApiServer, revision: u64, time: Duration) {
    let changed = async {
        if let Ok(mut watcher) = api.0.store.watch(RESOURCE, None, None, revision) {
            loop {
                match watcher.next().await {
                    WatchItem::Progress(_) => {}
                    // It gives the same at once for ever; who waits for it would never let anybody else run.
                    WatchItem::Closed => break,
                    WatchItem::Event(_) | WatchItem::Gone => return,
                }
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = changed => {}
    }
}

/// Looks at every remote APIService; true when all can be reached.
async fn round(api: &ApiServer) -> bool {
    let aggregator = &api.0.aggregator;
    let remotes = aggregator.remotes(&api.0.store);
    let gone: Vec<String> = {
        let links = aggregator.links.lock();
        links.keys().filter(|name| !remotes.iter().any(|remote| remote.name == **name)).cloned().collect()
    };
    for name in gone {
        aggregator.links.lock().remove(&name);
        aggregator.set_offer(&name, None);
    }
    let checks = remotes.into_iter().map(|remote| async move {
        let finding = check(api, &remote).await;
        if let Err(status) = settle(api, &remote, &finding).await {
            warn!(service = remote.name, %status, "the condition of an APIService could not be written");
        }
        finding.available
    });
    let checks = futures::stream::iter(checks).buffer_unordered(AT_ONCE);
    checks.fold(true, |all, available| async move { all && available }).await
}

async fn check(api: &ApiServer, remote: &Remote) -> Finding {
    if let Err(finding) = in_cluster(api, remote) {
        return finding;
    }
    let aggregator = &api.0.aggregator;
    let path = format!("/apis/{}/{}", remote.group, remote.version);
    let url = format!("https://{}:{}{path}", remote.host(), remote.port);
    let failed =
        |why: String| refused("FailedDiscoveryCheck", format!("failing or missing response from {url}: {why}"));
    let client = match aggregator.client(remote) {
        Ok(client) => client,
        Err(why) => return failed(why),
    };
    match proxy::ask(&client, remote, &path, PATIENCE, MAX_LIST).await {
        Ok((code, bytes)) if code.is_success() => {
            let list: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let resources = list["resources"].as_array().cloned().unwrap_or_default();
            let openapi = openapi(aggregator, remote).await;
            let known = aggregator.offers.read().get(&remote.name).cloned();
            // The entry in the index names the content: the large document is read when that has changed.
            let swagger = match known {
                Some(known) if openapi.is_some() && known.openapi == openapi && known.resources == resources => {
                    known.swagger
                }
                _ => swagger(&client, remote).await.map(Arc::new),
            };
            aggregator.set_offer(&remote.name, Some(Offer { resources, openapi, swagger }));
            Finding { available: true, reason: "Passed", message: "all checks passed".into() }
        }
        Ok((code, _)) => failed(format!("bad status from {url}: {}", code.as_u16())),
        Err(why) => failed(format!("Get {url:?}: {why}")),
    }
}

/// Its entry in its own index of OpenAPI v3 documents.
async fn openapi(aggregator: &Arc<Aggregator>, remote: &Remote) -> Option<Value> {
    let client = aggregator.client(remote).ok()?;
    let (code, bytes) = proxy::ask(&client, remote, "/openapi/v3", PATIENCE, MAX_LIST).await.ok()?;
    if !code.is_success() {
        return None;
    }
    let mut index: Value = serde_json::from_slice(&bytes).ok()?;
    Some(index["paths"][format!("apis/{}/{}", remote.group, remote.version)].take()).filter(Value::is_object)
}

/// Its own OpenAPI v2 document.
async fn swagger(client: &HttpClient, remote: &Remote) -> Option<Value> {
    let (code, bytes) = proxy::ask(client, remote, "/openapi/v2", PATIENCE, MAX_LIST).await.ok()?;
    serde_json::from_slice(&bytes).ok().filter(|document: &Value| code.is_success() && document.is_object())
}

/// Whether the Service, its port and an endpoint are there.
fn in_cluster(api: &ApiServer, remote: &Remote) -> Result<(), Finding> {
    let store = &api.0.store;
    let (name, namespace) = (&remote.service, &remote.namespace);
    let Some(service) = store.get(&Key::new("services", namespace.as_str(), name.as_str())) else {
        return Err(refused("ServiceNotFound", format!("service/{name} in {namespace:?} is not present")));
    };
    let service = service.value();
    if service["spec"]["type"] == "ExternalName" {
        return Ok(());
    }
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let Some(port) = ports.into_iter().find(|port| port["port"] == remote.port) else {
        let message = format!("service/{name} in {namespace:?} is not listening on port {}", remote.port);
        return Err(refused("ServicePortError", message));
    };
    let port_name = port["name"].as_str().unwrap_or_default();
    let slices = store.list("endpointslices.discovery.k8s.io", Some(namespace));
    let own = slices.items.iter().filter(|slice| slice.label("kubernetes.io/service-name") == Some(name));
    let mut found = false;
    for slice in own.map(|slice| slice.value()) {
        found = true;
        let named = slice["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|p| p["name"].as_str().unwrap_or_default() == port_name);
        let ready = slice["endpoints"].as_array().into_iter().flatten().any(|e| e["conditions"]["ready"] != false);
        if named && ready {
            return Ok(());
        }
    }
    if found {
        let message =
            format!("endpoints for service/{name} in {namespace:?} have no addresses with port name {port_name:?}");
        Err(refused("MissingEndpoints", message))
    } else {
        Err(refused("EndpointsNotFound", format!("cannot find endpointslices for service/{name} in {namespace:?}")))
    }
}

/// Writes the condition where it is another one.
async fn settle(api: &ApiServer, remote: &Remote, finding: &Finding) -> Result<(), Status> {
    let Some(stored) = api.0.store.get(&Key::new(RESOURCE, "", &*remote.name)) else { return Ok(()) };
    available(api, &stored.value(), finding.available, finding.reason, &finding.message).await
}

/// Gives an APIService its condition `Available`.
///
/// # Errors
/// When it cannot be written.
pub async fn available(api: &ApiServer, stored: &Value, is: bool, reason: &str, message: &str) -> Result<(), Status> {
    let status = if is { "True" } else { "False" };
    let conditions = stored["status"]["conditions"].as_array();
    let old = conditions.into_iter().flatten().find(|condition| condition["type"] == "Available");
    if old.is_some_and(|old| old["status"] == status && old["reason"] == reason && old["message"] == message) {
        return Ok(());
    }
    let since = old.filter(|old| old["status"] == status).map(|old| old["lastTransitionTime"].clone());
    let condition = json!({"type": "Available", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since.unwrap_or_else(|| json!(metadata::now()))});
    let name = metadata::text(stored, "name");
    let object = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": name, "uid": stored["metadata"]["uid"]}, "status": {"conditions": [condition]}});
    let path = format!("{COLLECTION}/{name}/status?fieldManager={MANAGER}&force=true");
    match apply(api, &path, &object).await {
        // It went away, or came back as another one.
        Err(status) if matches!(status.code, 404 | 409) => Ok(()),
        other => other.map(drop),
    }
}
