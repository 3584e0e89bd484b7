//! Mirrors Endpoints that people write for Services without a selector into EndpointSlices, which is what proxies read.
//! Source: <https://kubernetes.io/docs/concepts/services-networking/service/#endpointslice-mirroring>

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};

use super::plan::{self, Group, Owner};
use super::{MANAGED_BY, SERVICE_NAME};
use crate::cache::LAST_APPLIED;
use crate::error::{Next, Result};
use crate::expectations::{Expectations, LOOK_AGAIN};
use crate::key::Key;
use crate::owner;
use crate::run::{Context, Controller, Reconcile, reconciler};

pub const CONTROLLER: Controller = Controller { name: "endpointslicemirroring-controller", workers: 2, start };

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const LAST_CHANGE: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// More addresses of one subset are not mirrored, as upstream.
const MAX_ADDRESSES: usize = 1000;

struct State {
    cx: Context,
    expect: Expectations,
}

fn start(cx: Context) -> Reconcile {
    cx.caches.endpoints.on(cx.enqueue());
    cx.caches.services.on(cx.enqueue());
    cx.caches.endpoint_slices.on(super::enqueue_service(&cx, MANAGER));
    reconciler(State { cx, expect: Expectations::default() }, reconcile)
}

async fn reconcile(state: Arc<State>, key: Key) -> Result<Next> {
    let cx = &state.cx;
    if !state.expect.settled(&key, &cx.caches.endpoint_slices) {
        return Ok(Some(LOOK_AGAIN));
    }
    let existing = super::slices(cx, &key, MANAGER);
    let service = cx.caches.services.get(&key);
    let without_selector =
        service.is_some_and(|s| s.spec.as_ref().is_some_and(|s| s.selector.as_ref().is_none_or(BTreeMap::is_empty)));
    let endpoints = cx.caches.endpoints.get(&key).filter(|e| without_selector && is_mirrored(e));
    let Some(endpoints) = endpoints else {
        let actions = existing.into_iter().map(plan::Action::Delete).collect();
        super::execute(cx, &state.expect, &key, actions).await?;
        return Ok(None);
    };
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.into(), key.name.to_string());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.remove(LAST_CHANGE);
    annotations.remove(LAST_APPLIED);
    let owner = Owner {
        namespace: &key.namespace,
        generate_name: crate::pods::generate_name(&key.name),
        reference: owner::controller_ref(&*endpoints),
        labels,
        annotations: (!annotations.is_empty()).then_some(annotations),
    };
    let actions = plan::plan(&owner, groups(&endpoints), existing);
    match super::execute(cx, &state.expect, &key, actions).await {
        Err(error) if error.is_namespace_terminating() => Ok(None),
        other => other.map(|()| None),
    }
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    let skip = labels.and_then(|l| l.get(SKIP)).is_some_and(|v| v == "true");
    let lock = endpoints.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(LEADER));
    !skip && !lock
}

fn groups(endpoints: &Endpoints) -> Vec<Group> {
    let mut groups = Vec::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports: Vec<EndpointPort> = subset
            .ports
            .iter()
            .flatten()
            .map(|p| EndpointPort {
                name: Some(p.name.clone().unwrap_or_default()),
                port: Some(p.port),
                protocol: Some(p.protocol.clone().unwrap_or_else(|| "TCP".into())),
                app_protocol: p.app_protocol.clone(),
            })
            .collect();
        let ready = subset.addresses.iter().flatten().map(|a| (a, true));
        let not_ready = subset.not_ready_addresses.iter().flatten().map(|a| (a, false));
        let all: Vec<(&EndpointAddress, bool)> = ready.chain(not_ready).take(MAX_ADDRESSES).collect();
        for family in ["IPv4", "IPv6"] {
            let of_family = all.iter().filter(|(a, _)| a.ip.contains(':') == (family == "IPv6"));
            let endpoints: Vec<Endpoint> = of_family.map(|(address, ready)| endpoint(address, *ready)).collect();
            if !endpoints.is_empty() {
                groups.push(Group { family: family.into(), ports: ports.clone(), endpoints });
            }
        }
    }
    groups
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..Default::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::EndpointSubset;

    use super::*;

    #[test]
    fn families_and_readiness() {
        let address = |ip: &str| EndpointAddress { ip: ip.into(), ..Default::default() };
        let subset = EndpointSubset {
            addresses: Some(vec![address("10.0.0.1"), address("fd00::1")]),
            not_ready_addresses: Some(vec![address("10.0.0.2")]),
            ports: None,
        };
        let endpoints = Endpoints { subsets: Some(vec![subset]), ..Default::default() };
        let seen: Vec<(String, Vec<Option<bool>>)> = groups(&endpoints)
            .into_iter()
            .map(|g| (g.family, g.endpoints.iter().map(|e| e.conditions.as_ref().unwrap().ready).collect()))
            .collect();
        assert_eq!(seen, [("IPv4".to_owned(), vec![Some(true), Some(false)]), ("IPv6".to_owned(), vec![Some(true)])]);
    }
}
