//! Says of each ServiceCIDR that it is ready, and keeps one that is deleted while addresses come from it.
//! Source: <https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/>

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::Api;

use crate::cache::Change;
use crate::error::{Next, Result, ignore_not_found};
use crate::key::Key;
use crate::run::{Context, Controller, Reconcile, reconciler};
use crate::write;

pub const CONTROLLER: Controller = Controller { name: "service-cidrs-controller", workers: 1, start };

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const READY: &str = "Ready";

fn start(cx: Context) -> Reconcile {
    cx.caches.service_cidrs.on({
        let (queue, store) = (cx.queue.clone(), cx.caches.service_cidrs.clone());
        // A range may let another go that it contains.
        move |_: &Change<'_, ServiceCIDR>| store.keys().into_iter().for_each(|key| queue.add(key))
    });
    cx.caches.ip_addresses.on({
        let (queue, store) = (cx.queue.clone(), cx.caches.service_cidrs.clone());
        move |change| {
            if change.new.is_none() {
                store.keys().into_iter().for_each(|key| queue.add(key));
            }
        }
    });
    reconciler(cx, reconcile)
}

/// An address range: `10.96.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    base: u128,
    prefix: u32,
    v6: bool,
}

fn number(address: IpAddr) -> (u128, bool) {
    match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), false),
        IpAddr::V6(v6) => (u128::from(v6), true),
    }
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let (base, v6) = number(address.parse().ok()?);
        let prefix: u32 = prefix.parse().ok().filter(|p| *p <= if v6 { 128 } else { 32 })?;
        Some(Self { base, prefix, v6 })
    }

    fn has(&self, (address, v6): (u128, bool)) -> bool {
        let host_bits = if self.v6 { 128 } else { 32 } - self.prefix;
        let net = |n: u128| n.checked_shr(host_bits).unwrap_or(0);
        v6 == self.v6 && net(address) == net(self.base)
    }

    fn contains(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.has((other.base, other.v6))
    }
}

fn ranges(cidr: &ServiceCIDR) -> Vec<Range> {
    let cidrs = cidr.spec.iter().flat_map(|s| s.cidrs.iter().flatten());
    cidrs.filter_map(|text| Range::parse(text)).collect()
}

/// Whether the range can go: no address comes from it, or only such as others give too.
fn is_free(cidr: &ServiceCIDR, others: &[Arc<ServiceCIDR>], addresses: &[IpAddr]) -> bool {
    let rest: Vec<Range> = others
        .iter()
        .filter(|o| o.metadata.uid != cidr.metadata.uid && o.metadata.deletion_timestamp.is_none())
        .flat_map(|o| ranges(o))
        .collect();
    ranges(cidr)
        .iter()
        .filter(|range| !rest.iter().any(|other| other.contains(range)))
        .all(|range| !addresses.iter().any(|a| range.has(number(*a))))
}

async fn reconcile(cx: Arc<Context>, key: Key) -> Result<Next> {
    let Some(cidr) = cx.caches.service_cidrs.get(&key) else { return Ok(None) };
    let api: Api<ServiceCIDR> = Api::all(cx.client.clone());
    let held = cidr.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER);
    if cidr.metadata.deletion_timestamp.is_none() {
        if !held {
            let mut new = (*cidr).clone();
            new.metadata.finalizers.get_or_insert_default().push(FINALIZER.into());
            // The change brings the key back.
            ignore_not_found(write::update(&api, &*cidr, &new).await)?;
            return Ok(None);
        }
        return set_ready(&api, &cidr, "True", "", "Kubernetes Service CIDR is ready").await;
    }
    if !held {
        return Ok(None);
    }
    let addresses: Vec<IpAddr> = cx.caches.ip_addresses.keys().iter().filter_map(|k| k.name.parse().ok()).collect();
    if is_free(&cidr, &cx.caches.service_cidrs.list(None), &addresses) {
        let mut new = (*cidr).clone();
        new.metadata.finalizers.get_or_insert_default().retain(|f| f != FINALIZER);
        ignore_not_found(write::update(&api, &*cidr, &new).await)?;
        return Ok(None);
    }
    let why = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";
    set_ready(&api, &cidr, "False", "Terminating", why).await
}

async fn set_ready(api: &Api<ServiceCIDR>, cidr: &ServiceCIDR, state: &str, reason: &str, why: &str) -> Result<Next> {
    let mut status = cidr.status.clone().unwrap_or_default();
    let conditions = status.conditions.get_or_insert_default();
    let old = conditions.iter().position(|c| c.type_ == READY).map(|at| conditions.remove(at));
    if old.as_ref().is_some_and(|old| old.status == state && old.reason == reason) {
        return Ok(None);
    }
    conditions.push(Condition {
        type_: READY.into(),
        status: state.into(),
        reason: reason.into(),
        message: why.into(),
        observed_generation: None,
        last_transition_time: Time(Timestamp::now()),
    });
    let new = ServiceCIDR { status: Some(status), ..cidr.clone() };
    ignore_not_found(write::update_status(api, cidr, &new).await)?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cidr(name: &str, cidrs: &[&str]) -> Arc<ServiceCIDR> {
        let metadata = json!({"name": name, "uid": name});
        Arc::new(serde_json::from_value(json!({"metadata": metadata, "spec": {"cidrs": cidrs}})).unwrap())
    }

    #[test]
    fn a_range_goes_when_its_addresses_are_gone_or_given_by_another() {
        let mine = cidr("mine", &["10.1.0.0/24", "fd00::/112"]);
        for (others, addresses, free) in [
            (vec![], vec![], true),
            (vec![], vec!["10.2.0.1", "10.1.1.0", "fd01::1"], true),
            (vec![], vec!["10.1.0.7"], false),
            (vec![], vec!["fd00::7"], false),
            (vec![cidr("wide", &["10.0.0.0/8"])], vec!["10.1.0.7"], true),
            (vec![cidr("wide", &["10.0.0.0/8"])], vec!["fd00::7"], false),
            (vec![cidr("narrow", &["10.1.0.0/25"])], vec!["10.1.0.7"], false),
            (vec![mine.clone()], vec!["10.1.0.7"], false),
        ] {
            let parsed: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
            assert_eq!(is_free(&mine, &others, &parsed), free, "{addresses:?} {}", others.len());
        }
    }
}
