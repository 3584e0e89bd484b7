//! Gives each node its part of the pods' network.
//!
//! Invariants:
//! - Two nodes never hold overlapping ranges: allocation is done by one worker, from the ranges of all nodes, and a
//!   range just given is remembered until the cache shows it.
//! - A range once given is never changed while the node exists.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;

use crate::error::{Error, Next, Result, ignore_not_found};
use crate::key::Key;
use crate::run::{Context, Controller, Reconcile, reconciler};

/// One worker: allocations are made one after the other. Acts as the node controller, whose role covers it.
pub const CONTROLLER: Controller = Controller { name: "node-controller", workers: 1, start };

/// An IPv6 node range, upstream's default.
const NODE_MASK_V6: u8 = 64;

struct State {
    cx: Context,
    ranges: Result<Vec<Range>, String>,
    /// Ranges given but not in the cache yet.
    given: Mutex<BTreeMap<Key, Vec<String>>>,
}

fn start(cx: Context) -> Reconcile {
    let ranges = parse_ranges(&cx.deps.cluster.pod_cidr, cx.deps.cluster.node_mask);
    if let Err(error) = &ranges {
        tracing::error!(%error, "the pods' network cannot be divided; nodes get no ranges");
    }
    cx.caches.nodes.on(cx.enqueue());
    reconciler(State { cx, ranges, given: Mutex::default() }, reconcile)
}

async fn reconcile(state: Arc<State>, key: Key) -> Result<Next> {
    let Some(node) = state.cx.caches.nodes.get(&key) else {
        state.given.lock().remove(&key);
        return Ok(None);
    };
    if !cidrs(&node).is_empty() {
        state.given.lock().remove(&key);
        return Ok(None);
    }
    let ranges = state.ranges.as_ref().map_err(Error::invalid)?;
    let again = state.given.lock().get(&key).cloned();
    let wanted = match again {
        Some(given) => given,
        None => {
            let nodes = state.cx.caches.nodes.list(None);
            let given = state.given.lock();
            let used: BTreeSet<&str> =
                nodes.iter().flat_map(|n| cidrs(n)).chain(given.values().flatten().map(String::as_str)).collect();
            let free: Option<Vec<String>> = ranges.iter().map(|r| r.first_free(&used)).collect();
            drop(given);
            let Some(free) = free else {
                state.cx.events.normal(
                    &*node,
                    "CIDRNotAvailable",
                    format!("Node {} status is now: CIDRNotAvailable", key.name),
                );
                return Err(Error::stale("the pods' network has no free range left for this node"));
            };
            state.given.lock().insert(key.clone(), free.clone());
            free
        }
    };
    let api: Api<Node> = Api::all(state.cx.client.clone());
    let patch = json!({
        "metadata": {"uid": node.metadata.uid},
        "spec": {"podCIDR": wanted.first(), "podCIDRs": wanted},
    });
    let written = api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await;
    if ignore_not_found(written.map_err(Error::from))?.is_none() {
        state.given.lock().remove(&key);
    }
    Ok(None)
}

fn cidrs(node: &Node) -> Vec<&str> {
    let Some(spec) = node.spec.as_ref() else { return Vec::new() };
    match spec.pod_cidrs.as_ref().filter(|c| !c.is_empty()) {
        Some(cidrs) => cidrs.iter().map(String::as_str).collect(),
        None => spec.pod_cidr.as_deref().into_iter().collect(),
    }
}

/// A network and the size of the nodes' parts of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    /// The network's address; IPv4 in the low 32 bits.
    base: u128,
    v6: bool,
    /// log2 of the number of parts.
    parts_log: u8,
    node_mask: u8,
}

fn parse_ranges(text: &str, node_mask: u8) -> Result<Vec<Range>, String> {
    text.split(',').map(str::trim).map(|part| Range::parse(part, node_mask)).collect()
}

impl Range {
    fn parse(text: &str, node_mask_v4: u8) -> Result<Self, String> {
        let bad = || format!("{text:?} is not a network such as 10.244.0.0/16");
        let (address, mask) = text.split_once('/').ok_or_else(bad)?;
        let mask: u8 = mask.parse().map_err(|_| bad())?;
        let (address, v6) = match (address.parse::<Ipv4Addr>(), address.parse::<Ipv6Addr>()) {
            (Ok(v4), _) => (u128::from(u32::from(v4)), false),
            (_, Ok(v6)) => (u128::from(v6), true),
            _ => return Err(bad()),
        };
        let (bits, node_mask) = if v6 { (128, NODE_MASK_V6) } else { (32, node_mask_v4) };
        if mask == 0 || node_mask > bits || mask > node_mask || node_mask - mask > 20 {
            return Err(format!("{text}: nodes' ranges of /{node_mask} do not fit, or are more than a million"));
        }
        let host = u32::from(bits - mask);
        let base = if host >= 128 { 0 } else { address >> host << host };
        Ok(Self { base, v6, parts_log: node_mask - mask, node_mask })
    }

    fn part(&self, index: u32) -> String {
        let bits = if self.v6 { 128 } else { 32 };
        let address = self.base + (u128::from(index) << (bits - self.node_mask));
        let mask = self.node_mask;
        match u32::try_from(address) {
            Ok(v4) if !self.v6 => format!("{}/{mask}", Ipv4Addr::from(v4)),
            _ => format!("{}/{mask}", Ipv6Addr::from(address)),
        }
    }

    fn first_free(&self, used: &BTreeSet<&str>) -> Option<String> {
        (0..1u32 << self.parts_log).map(|i| self.part(i)).find(|part| !used.contains(part.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_divide_the_network_without_overlap() {
        let ranges = parse_ranges("10.244.0.0/16, fd00:10:244::/56", 24).unwrap();
        assert_eq!(ranges.len(), 2);
        assert_eq!(ranges[0].part(0), "10.244.0.0/24");
        assert_eq!(ranges[0].part(255), "10.244.255.0/24");
        assert_eq!(ranges[1].part(1), "fd00:10:244:1::/64");
        let parts: BTreeSet<String> = (0..256).map(|i| ranges[0].part(i)).collect();
        assert_eq!(parts.len(), 256);
        let used: BTreeSet<&str> = parts.iter().map(String::as_str).filter(|p| *p != "10.244.7.0/24").collect();
        assert_eq!(ranges[0].first_free(&used).as_deref(), Some("10.244.7.0/24"));
        let all: BTreeSet<&str> = parts.iter().map(String::as_str).collect();
        assert_eq!(ranges[0].first_free(&all), None);
    }

    #[test]
    fn bad_networks_are_refused() {
        for text in ["", "10.244.0.0", "10.244.0.0/x", "10.244.0.0/25", "10.0.0.0/0", "::/1", "host/16", "10.0.0.0/40"]
        {
            assert!(parse_ranges(text, 24).is_err(), "{text}");
        }
        assert_eq!(Range::parse("10.244.3.7/16", 24).unwrap().part(0), "10.244.0.0/24");
    }
}
