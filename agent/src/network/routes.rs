//! Routes to the other nodes' pods: one per node, through that node's address.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use parking_lot::Mutex;
use tokio::process::Command;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Context, cni};

/// A failed route is tried again after this long.
const RETRY: Duration = Duration::from_secs(5);

/// Every node's pod network, for the proxy: traffic that stays inside them keeps its source address.
#[derive(Default)]
pub struct PodNetworks {
    by_node: Mutex<BTreeMap<String, (Ipv4Net, Ipv4Addr)>>,
    pub changed: Notify,
}

impl PodNetworks {
    pub fn all(&self) -> Vec<Ipv4Net> {
        let mut all: Vec<Ipv4Net> = self.by_node.lock().values().map(|(net, _)| *net).collect();
        all.sort();
        all.dedup();
        all
    }
}

fn place(node: &Node) -> Option<(Ipv4Net, Ipv4Addr)> {
    let cidr = node.spec.as_ref()?.pod_cidr.as_ref()?.parse().ok()?;
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    let address =
        addresses.iter().find(|a| a.type_ == "InternalIP" && a.address.contains('.'))?.address.parse().ok()?;
    Some((cidr, address))
}

/// The commands that turn the routes we made (`have`) into those wanted.
fn plan(have: &BTreeMap<Ipv4Net, Ipv4Addr>, want: &BTreeMap<Ipv4Net, Ipv4Addr>) -> Vec<Vec<String>> {
    let gone = have.keys().filter(|net| !want.contains_key(net)).map(|net| format!("route del {net}"));
    let new = want
        .iter()
        .filter(|(net, via)| have.get(net) != Some(via))
        .map(|(net, via)| format!("route replace {net} via {via}"));
    gone.chain(new).map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

async fn ip(arguments: &[String]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().await.map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}

async fn settle(context: &Context, nodes: &PodNetworks, have: &mut BTreeMap<Ipv4Net, Ipv4Addr>) -> bool {
    let by_node = nodes.by_node.lock().clone();
    if let Some((own, _)) = by_node.get(&context.node_name)
        && let Err(error) = cni::write(&context.cni_conf_dir, &context.data_dir, *own)
    {
        warn!(%error, "the CNI configuration cannot be written");
        return false;
    }
    let want = by_node.iter().filter(|(name, _)| **name != context.node_name).map(|(_, place)| *place).collect();
    let mut settled = true;
    for command in plan(have, &want) {
        if let Err(error) = ip(&command).await {
            warn!(command = command.join(" "), error, "a route was not set");
            settled = false;
        }
    }
    if settled {
        *have = want;
    }
    settled
}

/// Follows the nodes until `shutdown`.
pub async fn run(context: &Context, nodes: std::sync::Arc<PodNetworks>, shutdown: CancellationToken) {
    let events = watcher(Api::<Node>::all(context.client.clone()), watcher::Config::default()).default_backoff();
    pin_mut!(events);
    let mut have = BTreeMap::new();
    let mut settled = true;
    let mut fresh = None;
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = tokio::time::sleep(RETRY), if !settled => { settled = settle(context, &nodes, &mut have).await; continue }
            () = shutdown.cancelled() => return,
        };
        match event {
            Some(Ok(watcher::Event::Init)) => fresh = Some(BTreeMap::new()),
            Some(Ok(watcher::Event::InitApply(node))) => {
                if let (Some(fresh), Some(place)) = (&mut fresh, place(&node)) {
                    fresh.insert(node.name_any(), place);
                }
                continue;
            }
            Some(Ok(watcher::Event::InitDone)) => *nodes.by_node.lock() = fresh.take().unwrap_or_default(),
            Some(Ok(watcher::Event::Apply(node))) => {
                let (name, place) = (node.name_any(), place(&node));
                let mut by_node = nodes.by_node.lock();
                // Heartbeats change nodes all the time; only a new place matters.
                if by_node.get(&name) == place.as_ref() {
                    continue;
                }
                match place {
                    Some(place) => by_node.insert(name, place),
                    None => by_node.remove(&name),
                };
            }
            Some(Ok(watcher::Event::Delete(node))) => {
                nodes.by_node.lock().remove(&node.name_any());
            }
            Some(Err(error)) => {
                warn!(%error, "watching nodes");
                continue;
            }
            None => return,
        }
        settled = settle(context, &nodes, &mut have).await;
        nodes.changed.notify_waiters();
        nodes.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(list: &[(&str, &str)]) -> BTreeMap<Ipv4Net, Ipv4Addr> {
        list.iter().map(|(net, via)| (net.parse().unwrap(), via.parse().unwrap())).collect()
    }

    #[test]
    fn only_differences_are_programmed() {
        let have = routes(&[("10.244.1.0/24", "10.89.0.12"), ("10.244.2.0/24", "10.89.0.13")]);
        let want = routes(&[("10.244.1.0/24", "10.89.0.12"), ("10.244.3.0/24", "10.89.0.13")]);
        let lines: Vec<String> = plan(&have, &want).iter().map(|words| words.join(" ")).collect();
        assert_eq!(lines, ["route del 10.244.2.0/24", "route replace 10.244.3.0/24 via 10.89.0.13"]);
        assert!(plan(&want, &want).is_empty());
    }
}
