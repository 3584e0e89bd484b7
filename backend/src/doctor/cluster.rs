//! What the API says: nodes, pods, leaders, extension servers, clocks.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};

use super::Finding;

/// A page of pods: a big cluster is looked at piece by piece.
const PAGE: u32 = 500;
/// Agents renew their lease every ten seconds; a node is lost after forty.
const LEASE_SECONDS: i64 = 40;
/// So far in our future no lease of a node with a right clock can be.
const SKEW_SECONDS: i64 = 5;
const LEADER: &str = "pilothouse-leader";
/// Why a container waits for an image that does not come.
const NO_IMAGE: [&str; 5] =
    ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"];

pub async fn look(kubeconfig: &Path) -> Vec<Finding> {
    match client(kubeconfig).await {
        Ok(client) => ask(client).await,
        Err(error) => vec![Finding::bad(
            format!("the API cannot be reached: {error:#}"),
            "Is the server running (`pilothouse status`)? Name another kubeconfig with --kubeconfig.",
        )],
    }
}

async fn client(kubeconfig: &Path) -> Result<Client> {
    let config = Kubeconfig::read_from(kubeconfig).context("reading the kubeconfig")?;
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    client.request_text(http::Request::get("/version").body(Vec::new())?).await?;
    Ok(client)
}

async fn ask(client: Client) -> Vec<Finding> {
    let (ready, nodes, leader, pods, services) =
        tokio::join!(ready(&client), nodes(&client), leader(&client), pods(&client), services(&client));
    let unknown = |error: anyhow::Error| {
        vec![Finding::warning(format!("could not be asked: {error:#}"), "The kubeconfig's user may not be allowed to.")]
    };
    [ready, nodes, leader, pods, services].into_iter().flat_map(|part| part.unwrap_or_else(unknown)).collect()
}

async fn ready(client: &Client) -> Result<Vec<Finding>> {
    let answer = client.request_text(http::Request::get("/readyz").body(Vec::new())?).await;
    Ok(vec![match answer {
        Ok(_) => Finding::good("the API is ready"),
        Err(error) => Finding::bad(format!("the API is not ready: {error}"), "See the server's log."),
    }])
}

async fn nodes(client: &Client) -> Result<Vec<Finding>> {
    let all = ListParams::default();
    let nodes = Api::<Node>::all(client.clone()).list(&all).await.context("nodes")?;
    let leases = Api::<Lease>::namespaced(client.clone(), "kube-node-lease").list(&all).await.context("leases")?;
    let renewed: BTreeMap<String, Timestamp> = leases
        .items
        .iter()
        .filter_map(|lease| Some((lease.name_any(), lease.spec.as_ref()?.renew_time.as_ref()?.0)))
        .collect();
    let now = Timestamp::now();
    Ok(nodes.items.iter().flat_map(|node| judge_node(node, renewed.get(&node.name_any()).copied(), now)).collect())
}

fn judge_node(node: &Node, renewed: Option<Timestamp>, now: Timestamp) -> Vec<Finding> {
    let name = node.name_any();
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref()).into_iter().flatten();
    let mut findings = Vec::new();
    let mut is_ready = false;
    for condition in conditions {
        let message = condition.message.as_deref().unwrap_or_default();
        match (condition.type_.as_str(), condition.status.as_str()) {
            ("Ready", "True") => is_ready = true,
            ("Ready", _) => {}
            (pressure, "True") => {
                findings
                    .push(Finding::warning(format!("node {name}: {pressure}: {message}"), "Make room on the node."));
            }
            _ => {}
        }
    }
    findings.push(if is_ready {
        Finding::good(format!("node {name} is ready"))
    } else {
        Finding::bad(format!("node {name} is not ready"), "See the agent's log, and whether it reaches the API.")
    });
    if let Some(renewed) = renewed.filter(|_| is_ready) {
        let age = now.as_second() - renewed.as_second();
        if age < -SKEW_SECONDS {
            let what = format!("the clock of node {name} is {} s ahead", -age);
            findings.push(Finding::warning(what, "Synchronise the clocks (NTP)."));
        } else if age > LEASE_SECONDS {
            let what = format!("node {name} renewed its lease {age} s ago, by its clock");
            findings.push(Finding::warning(what, "Its clock is behind (NTP), or its agent is held up."));
        }
    }
    findings
}

async fn leader(client: &Client) -> Result<Vec<Finding>> {
    let lease = Api::<Lease>::namespaced(client.clone(), "kube-system").get_opt(LEADER).await.context("the leader")?;
    let holder = lease.and_then(|lease| lease.spec).and_then(|spec| Some((spec.holder_identity?, spec.renew_time?.0)));
    let advice = "Controllers and scheduler stand still: see the servers' logs.";
    Ok(vec![match holder.filter(|(holder, _)| !holder.is_empty()) {
        Some((holder, renewed)) => {
            let age = Timestamp::now().as_second() - renewed.as_second();
            let what = format!("{holder} leads, and said so {age} s ago");
            Finding::by(what, age, 15, 60, advice)
        }
        None => Finding::bad("no server leads", advice),
    }])
}

async fn pods(client: &Client) -> Result<Vec<Finding>> {
    let api = Api::<Pod>::all(client.clone());
    let mut troubles = Troubles::default();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = api.list(&page).await.context("pods")?;
        list.items.iter().for_each(|pod| troubles.see(pod));
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(troubles.findings()),
        }
    }
}

/// What pods wait for.
#[derive(Default)]
struct Troubles {
    pods: usize,
    /// Image → pods that wait for it.
    images: BTreeMap<String, Vec<String>>,
    crashing: Vec<String>,
    unschedulable: Vec<String>,
}

impl Troubles {
    fn see(&mut self, pod: &Pod) {
        self.pods += 1;
        let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
        let Some(status) = &pod.status else { return };
        let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        for container in containers {
            let reason = container.state.as_ref().and_then(|state| state.waiting.as_ref()?.reason.as_deref());
            match reason {
                Some(reason) if NO_IMAGE.contains(&reason) => {
                    self.images.entry(container.image.clone()).or_default().push(name.clone());
                }
                Some("CrashLoopBackOff") => self.crashing.push(format!("{name} ({})", container.name)),
                _ => {}
            }
        }
        let conditions = status.conditions.iter().flatten();
        if conditions.into_iter().any(|it| it.type_ == "PodScheduled" && it.reason.as_deref() == Some("Unschedulable"))
        {
            self.unschedulable.push(name);
        }
    }

    fn findings(self) -> Vec<Finding> {
        /// Names that are told.
        const TOLD: usize = 5;
        let some = |names: &[String]| {
            let rest = names.len().saturating_sub(TOLD);
            let names = names.iter().take(TOLD).cloned().collect::<Vec<_>>().join(", ");
            if rest > 0 { format!("{names} and {rest} more") } else { names }
        };
        let mut findings = vec![Finding::good(format!("{} pods", self.pods))];
        for (image, pods) in &self.images {
            let what = format!("the image {image} is missing for {}", some(pods));
            findings.push(Finding::bad(what, "Correct its name, or import it: `pilothouse image import FILE`."));
        }
        if !self.crashing.is_empty() {
            let what = format!("crash again and again: {}", some(&self.crashing));
            findings.push(Finding::warning(what, "See their logs: kubectl logs --previous."));
        }
        if !self.unschedulable.is_empty() {
            let what = format!("fit on no node: {}", some(&self.unschedulable));
            findings.push(Finding::warning(what, "See their events: kubectl describe pod."));
        }
        findings
    }
}

async fn services(client: &Client) -> Result<Vec<Finding>> {
    let services = Api::<APIService>::all(client.clone()).list(&ListParams::default()).await.context("extensions")?;
    let is_away = |service: &&APIService| {
        let conditions = service.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|it| it.type_ == "Available" && it.status != "True")
    };
    let tell = |service: &APIService| {
        Finding::bad(
            format!("the extension server of {} is not available", service.name_any()),
            "Discovery and the deletion of namespaces wait for it: bring it back, or delete the APIService.",
        )
    };
    Ok(services.items.iter().filter(is_away).map(tell).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::doctor::Level;

    fn told(findings: Vec<Finding>) -> Vec<(Level, String)> {
        findings.into_iter().filter(|it| it.level > Level::Good).map(|it| (it.level, it.what)).collect()
    }

    #[test]
    fn nodes_are_judged() {
        let node = |ready: &str, disk: &str| -> Node {
            serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"conditions": [
                {"type": "Ready", "status": ready}, {"type": "DiskPressure", "status": disk, "message": "full"}]}}))
            .unwrap()
        };
        let now = Timestamp::from_second(1000).unwrap();
        let at = |seconds| Timestamp::from_second(seconds).ok();
        for (node, renewed, expected) in [
            (node("True", "False"), at(995), None),
            (node("True", "True"), at(995), Some((Level::Warning, "DiskPressure"))),
            (node("Unknown", "False"), at(100), Some((Level::Bad, "not ready"))),
            (node("True", "False"), at(900), Some((Level::Warning, "100 s ago"))),
            (node("True", "False"), at(1030), Some((Level::Warning, "30 s ahead"))),
        ] {
            let told = told(judge_node(&node, renewed, now));
            assert_eq!(told.len(), usize::from(expected.is_some()), "{told:?}");
            if let Some((level, what)) = expected {
                assert!(told[0].0 == level && told[0].1.contains(what), "{told:?}");
            }
        }
    }

    #[test]
    fn missing_images_are_named_once() {
        let pod = |name: &str, reason: &str| -> Pod {
            serde_json::from_value(
                json!({"metadata": {"name": name, "namespace": "d"}, "status": {"containerStatuses": [
                {"name": "c", "image": "nope:1", "imageID": "", "ready": false, "restartCount": 0,
                 "state": {"waiting": {"reason": reason}}}]}}),
            )
            .unwrap()
        };
        let mut troubles = Troubles::default();
        for (name, reason) in [("a", "ImagePullBackOff"), ("b", "ErrImagePull"), ("c", "CrashLoopBackOff")] {
            troubles.see(&pod(name, reason));
        }
        assert_eq!(
            told(troubles.findings()),
            [
                (Level::Bad, "the image nope:1 is missing for d/a, d/b".to_owned()),
                (Level::Warning, "crash again and again: d/c (c)".to_owned())
            ]
        );
    }
}
