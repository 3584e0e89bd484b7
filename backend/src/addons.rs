//! What every cluster brings along beside the control plane, shown as objects of kind `Addon` (`pilothouse.io/v1`):
//! today cluster DNS, which the agents serve on every node.
//!
//! Invariants: an ordinary API client, run by the leader; an addon's status is what its parts answer, never what was
//! intended.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

const MANAGER: &str = "pilothouse-addons";
const NAMESPACE: &str = "kube-system";
const DNS_SERVICE: &str = "kube-dns";
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// While something is not as it should be, it is looked after more often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const PROBE_PATIENCE: Duration = Duration::from_secs(3);
/// Nodes that are asked at the same time, and what each adds to the pause between rounds: at most ten a second.
const AT_ONCE: usize = 32;
const PAUSE_PER_NODE: Duration = Duration::from_millis(100);
/// Endpoints in one slice, as upstream's controllers have it; a thousand are allowed.
const PER_SLICE: usize = 100;
/// Nodes whose problems are told.
const TOLD: usize = 5;

#[derive(Clone, Debug)]
pub struct Config {
    pub cluster_dns: String,
    pub cluster_domain: String,
}

/// One node's part of an addon.
struct Part {
    node: String,
    address: String,
    problem: Option<String>,
}

async fn apply<K>(api: &Api<K>, name: &str, object: &Value) -> Result<()>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object))
        .await
        .with_context(|| format!("applying {name}"))?;
    Ok(())
}

fn labels() -> Value {
    json!({
        "k8s-app": "kube-dns",
        "kubernetes.io/cluster-service": "true",
        "kubernetes.io/name": "CoreDNS",
        "app.kubernetes.io/part-of": "pilothouse",
    })
}

async fn dns_service(client: &Client, config: &Config) -> Result<()> {
    let ports = json!([
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
    ]);
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": DNS_SERVICE, "namespace": NAMESPACE, "labels": labels()},
        "spec": {"clusterIP": config.cluster_dns, "ports": ports},
    });
    apply(&Api::<Service>::namespaced(client.clone(), NAMESPACE), DNS_SERVICE, &service).await
}

/// The nodes that serve, as the endpoints of the Service that has no selector.
async fn dns_endpoints(client: &Client, parts: &[Part]) -> Result<()> {
    let api = Api::<EndpointSlice>::namespaced(client.clone(), NAMESPACE);
    let mut names = Vec::new();
    // No nodes are an empty slice.
    for (index, parts) in parts.chunks(PER_SLICE).chain(parts.is_empty().then_some(parts)).enumerate() {
        let name = if index == 0 { "kube-dns-nodes".to_owned() } else { format!("kube-dns-nodes-{index}") };
        apply(&api, &name, &slice(&name, parts)).await?;
        names.push(name);
    }
    let managed = ListParams::default().labels(&format!("endpointslice.kubernetes.io/managed-by={MANAGER}"));
    for slice in api.list(&managed).await.context("listing the slices")?.items {
        let name = slice.name_any();
        if !names.contains(&name) {
            api.delete(&name, &DeleteParams::default()).await.with_context(|| format!("deleting {name}"))?;
        }
    }
    Ok(())
}

fn slice(name: &str, parts: &[Part]) -> Value {
    let endpoints: Vec<Value> = parts
        .iter()
        .map(|part| {
            json!({"addresses": [part.address], "nodeName": part.node,
                   "conditions": {"ready": part.problem.is_none(), "serving": part.problem.is_none(), "terminating": false}})
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {
            "kubernetes.io/service-name": DNS_SERVICE, "endpointslice.kubernetes.io/managed-by": MANAGER}},
        "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}],
    })
}

fn address(node: &Node) -> Option<String> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    addresses.iter().find(|address| address.type_ == "InternalIP").map(|address| address.address.clone())
}

async fn probe(client: &Client, node: &str) -> Option<String> {
    let request = http::Request::get(format!("/api/v1/nodes/{node}/proxy/healthz/dns")).body(Vec::new());
    let request = request.map_err(|error| error.to_string()).ok()?;
    match timeout(PROBE_PATIENCE, client.request_text(request)).await {
        Ok(Ok(text)) if text.trim() == "ok" => None,
        Ok(Ok(text)) => Some(text.trim().to_owned()),
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("did not answer in time".into()),
    }
}

async fn parts(client: &Client) -> Result<Vec<Part>> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.context("listing the nodes")?;
    let probes = nodes.items.into_iter().filter_map(|node| {
        let (name, address) = (node.name_any(), address(&node)?);
        Some(async move {
            let problem = probe(client, &name).await;
            Part { node: name, address, problem }
        })
    });
    Ok(futures::stream::iter(probes).buffered(AT_ONCE).collect().await)
}

fn condition(parts: &[Part], former: &Value) -> Value {
    let problems: BTreeMap<&str, &str> =
        parts.iter().filter_map(|part| Some((part.node.as_str(), part.problem.as_deref()?))).collect();
    let (status, reason, message) = if parts.is_empty() {
        ("False", "NoNodes", "the cluster has no nodes that could serve".to_owned())
    } else if problems.is_empty() {
        ("True", "Serving", format!("{} of {} nodes serve", parts.len(), parts.len()))
    } else {
        let mut texts: Vec<String> =
            problems.iter().take(TOLD).map(|(node, problem)| format!("{node}: {problem}")).collect();
        if problems.len() > TOLD {
            texts.push(format!("and {} more", problems.len() - TOLD));
        }
        let serving = parts.len() - problems.len();
        let status = if serving == 0 { "False" } else { "True" };
        (status, "PartlyServing", format!("{serving} of {} nodes serve; {}", parts.len(), texts.join("; ")))
    };
    let since = match &former["lastTransitionTime"] {
        Value::String(time) if former["status"] == status => time.clone(),
        _ => Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    };
    json!({"type": "Available", "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
}

/// Returns when to look again.
async fn look(client: &Client, config: &Config) -> Result<Duration> {
    dns_service(client, config).await?;
    let parts = parts(client).await?;
    dns_endpoints(client, &parts).await?;
    let resource = ApiResource {
        group: "pilothouse.io".into(),
        version: "v1".into(),
        api_version: "pilothouse.io/v1".into(),
        kind: "Addon".into(),
        plural: "addons".into(),
    };
    let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
    let head = json!({"apiVersion": "pilothouse.io/v1", "kind": "Addon", "metadata": {"name": "dns"}});
    let mut addon = head.clone();
    addon["spec"] = json!({
        "title": "Cluster DNS",
        "description": format!("Names of Services and pods in {}, answered on every node at {}", config.cluster_domain, config.cluster_dns),
    });
    apply(&api, "dns", &addon).await?;
    let stored = api.get("dns").await.context("reading the addon")?;
    let former =
        stored.data["status"]["conditions"].as_array().and_then(|all| all.first()).cloned().unwrap_or_default();
    let condition = condition(&parts, &former);
    let ready = parts.iter().filter(|part| part.problem.is_none()).count();
    let mut status = head;
    status["status"] = json!({"desiredNodes": parts.len(), "readyNodes": ready, "conditions": [condition]});
    if stored.data["status"] != status["status"] {
        api.patch_status("dns", &PatchParams::apply(MANAGER).force(), &Patch::Apply(&status))
            .await
            .context("writing the addon's status")?;
    }
    let well = ready == parts.len() && !parts.is_empty();
    let all = PAUSE_PER_NODE.saturating_mul(u32::try_from(parts.len()).unwrap_or(u32::MAX));
    Ok(all.max(if well { LOOK_EVERY } else { LOOK_AGAIN }))
}

pub async fn run(client: Client, config: Config, shutdown: CancellationToken) {
    loop {
        let pause = look(&client, &config).await.unwrap_or_else(|error| {
            warn!("addons: {error:#}");
            LOOK_AGAIN
        });
        tokio::select! { () = sleep(pause) => {}, () = shutdown.cancelled() => return }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(node: &str, problem: Option<&str>) -> Part {
        Part { node: node.into(), address: "10.89.0.11".into(), problem: problem.map(str::to_owned) }
    }

    #[test]
    fn the_condition_says_what_is_wrong_and_since_when() {
        let well = condition(&[part("a", None)], &Value::Null);
        assert_eq!((&well["status"], &well["message"]), (&json!("True"), &json!("1 of 1 nodes serve")));
        let partly = condition(&[part("a", None), part("b", Some("no answer"))], &well);
        assert_eq!(partly["message"], "1 of 2 nodes serve; b: no answer");
        assert_eq!(partly["lastTransitionTime"], well["lastTransitionTime"]);
        assert_eq!(condition(&[part("b", Some("no answer"))], &well)["status"], "False");
        assert_eq!(condition(&[], &well)["reason"], "NoNodes");
    }

    #[test]
    fn many_problems_are_not_all_told() {
        let names: Vec<String> = (0..9).map(|index| format!("n{index}")).collect();
        let parts: Vec<Part> = names.iter().map(|name| part(name, Some("gone"))).collect();
        let message = condition(&parts, &Value::Null)["message"].to_string();
        assert!(message.contains("n4: gone; and 4 more") && !message.contains("n5"), "{message}");
    }

    #[test]
    fn who_does_not_serve_is_not_ready() {
        let slice = slice("s", &[part("a", Some("gone")), part("b", None)]);
        assert_eq!(slice["endpoints"][0]["conditions"]["ready"], false);
        assert_eq!(slice["endpoints"][1]["conditions"]["ready"], true);
    }
}
