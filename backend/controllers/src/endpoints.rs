//! The Endpoints object of each Service with a selector: the older form of EndpointSlices, which tools still read.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service};
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};

use crate::endpoint_slice::{self, HEADLESS, answers, port_of, selected_pods};
use crate::error::{Error, Next, Result, ignore_not_found};
use crate::key::Key;
use crate::run::{Context, Controller, Reconcile, reconciler};
use crate::{pods, write};

pub const CONTROLLER: Controller = Controller { name: "endpoint-controller", workers: 3, start };

const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
const OVER_CAPACITY: (&str, &str) = ("endpoints.kubernetes.io/over-capacity", "truncated");
/// More addresses do not go into one object; EndpointSlices have them all.
const MAX_ADDRESSES: usize = 1000;

fn start(cx: Context) -> Reconcile {
    cx.caches.services.on(cx.enqueue());
    cx.caches.endpoints.on(cx.enqueue());
    cx.caches.pods.on(endpoint_slice::services_of_pods(&cx));
    reconciler(cx, reconcile)
}

async fn reconcile(cx: Arc<Context>, key: Key) -> Result<Next> {
    let api: Api<Endpoints> = Api::namespaced(cx.client.clone(), &key.namespace);
    let existing = cx.caches.endpoints.get(&key);
    let Some(service) = cx.caches.services.get(&key) else {
        let ours = |e: &Arc<Endpoints>| e.metadata.labels.as_ref().is_some_and(|l| l.contains_key(MANAGED_BY.0));
        if let Some(left) = existing.filter(ours) {
            let preconditions = Preconditions { uid: left.metadata.uid.clone(), resource_version: None };
            let params = DeleteParams { preconditions: Some(preconditions), ..Default::default() };
            ignore_not_found(api.delete(&key.name, &params).await.map_err(Error::from))?;
        }
        return Ok(None);
    };
    let Some(pods) = selected_pods(&cx, &service, &key.namespace)? else { return Ok(None) };
    let mut wanted = endpoints(&service, &pods);
    match existing {
        Some(old) => {
            let mut new = (*old).clone();
            new.subsets = wanted.subsets;
            new.metadata.labels = wanted.metadata.labels;
            let annotations = new.metadata.annotations.get_or_insert_default();
            annotations.remove(OVER_CAPACITY.0);
            annotations.extend(wanted.metadata.annotations.take().unwrap_or_default());
            if annotations.is_empty() {
                new.metadata.annotations = old.metadata.annotations.clone().filter(BTreeMap::is_empty);
            }
            if new != *old {
                write::update(&api, &*old, &new).await?;
            }
        }
        None => match api.create(&PostParams::default(), &wanted).await.map_err(Error::from) {
            Err(error) if error.is_namespace_terminating() => {}
            Err(error) if error.is_already_exists() => {
                return Err(Error::stale("the cache has not seen the Endpoints"));
            }
            other => drop(other?),
        },
    }
    Ok(None)
}

fn endpoints(service: &Service, pods: &[Arc<Pod>]) -> Endpoints {
    let publish = endpoint_slice::publishes_not_ready(service);
    let headless = service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None");
    let family = endpoint_slice::families(service).swap_remove(0);
    let mut subsets: BTreeMap<String, EndpointSubset> = BTreeMap::new();
    let mut room = MAX_ADDRESSES;
    let mut truncated = false;
    for pod in pods.iter().filter(|p| answers(p, publish)) {
        let Some(ip) = endpoint_slice::address(pod, &family) else { continue };
        let ports = ports(service, pod);
        if ports.is_empty() && !headless {
            continue;
        }
        if room == 0 {
            truncated = true;
            break;
        }
        room -= 1;
        let node = pods::node_name(pod);
        let address = EndpointAddress {
            ip: ip.to_owned(),
            hostname: endpoint_slice::hostname(service, pod),
            node_name: (!node.is_empty()).then(|| node.to_owned()),
            target_ref: Some(endpoint_slice::target(pod)),
        };
        let subset = subsets
            .entry(format!("{ports:?}"))
            .or_insert_with(|| EndpointSubset { ports: (!ports.is_empty()).then_some(ports), ..Default::default() });
        let list = if publish || pods::is_ready(pod) { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.get_or_insert_default().push(address);
    }
    let mut subsets: Vec<EndpointSubset> = subsets.into_values().collect();
    for addresses in subsets.iter_mut().flat_map(|s| [&mut s.addresses, &mut s.not_ready_addresses]).flatten() {
        addresses.sort_by(|a, b| a.ip.cmp(&b.ip));
    }
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.0.into(), MANAGED_BY.1.into());
    if headless {
        labels.insert(HEADLESS.into(), String::new());
    } else {
        labels.remove(HEADLESS);
    }
    Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: truncated.then(|| [(OVER_CAPACITY.0.to_owned(), OVER_CAPACITY.1.to_owned())].into()),
            ..Default::default()
        },
        subsets: (!subsets.is_empty()).then_some(subsets),
    }
}

fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let all = service.spec.iter().flat_map(|s| s.ports.iter().flatten());
    let port = |port: &k8s_openapi::api::core::v1::ServicePort| {
        Some(EndpointPort {
            name: port.name.clone().filter(|n| !n.is_empty()),
            port: port_of(pod, port)?,
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
            app_protocol: port.app_protocol.clone(),
        })
    };
    all.filter_map(port).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{PodIP, ServicePort, ServiceSpec};

    use super::*;
    use crate::pods::make;

    fn pod(i: usize, ready: bool) -> Arc<Pod> {
        let mut pod = make::pod(&format!("p{i}"), "Running", ready.then_some(jiff::Timestamp::UNIX_EPOCH));
        let ip = format!("10.0.{}.{}", i / 250, i % 250);
        pod.status.as_mut().unwrap().pod_ips = Some(vec![PodIP { ip }]);
        Arc::new(pod)
    }

    fn service() -> Service {
        let ports = Some(vec![ServicePort { port: 80, ..Default::default() }]);
        Service { spec: Some(ServiceSpec { ports, ..Default::default() }), ..Default::default() }
    }

    #[test]
    fn ready_and_not_ready_addresses() {
        let subsets = endpoints(&service(), &[pod(1, true), pod(2, false)]).subsets.unwrap();
        let count = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
        assert_eq!((count(&subsets[0].addresses), count(&subsets[0].not_ready_addresses)), (1, 1));
        assert_eq!(subsets[0].ports.as_ref().unwrap()[0].port, 80);
        assert_eq!(endpoints(&service(), &[]).subsets, None);
    }

    #[test]
    fn too_many_are_cut_and_said_so() {
        let pods: Vec<Arc<Pod>> = (0..MAX_ADDRESSES + 5).map(|i| pod(i, true)).collect();
        let object = endpoints(&service(), &pods);
        assert_eq!(object.subsets.unwrap()[0].addresses.as_ref().unwrap().len(), MAX_ADDRESSES);
        assert_eq!(object.metadata.annotations.unwrap()[OVER_CAPACITY.0], OVER_CAPACITY.1);
        assert_eq!(object.metadata.labels.unwrap()[MANAGED_BY.0], MANAGED_BY.1);
    }
}
