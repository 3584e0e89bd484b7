//! What this node knows of Services and their endpoints: two watches, one small index, read by `proxy`, `dns` and the
//! environment of containers.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::Context;

const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";

/// A Service or slice is known by namespace and name.
pub type Name = (Arc<str>, Arc<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            Some("UDP") => Self::Udp,
            Some("SCTP") => Self::Sctp,
            _ => Self::Tcp,
        }
    }
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
    pub node_port: Option<u16>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// None for headless and ExternalName services.
    pub cluster_ip: Option<Ipv4Addr>,
    pub headless: bool,
    pub external_name: Option<String>,
    pub external_ips: Vec<Ipv4Addr>,
    pub ports: Vec<Port>,
    /// ClientIP affinity, in seconds.
    pub affinity_seconds: Option<u32>,
    pub internal_local: bool,
    pub external_local: bool,
    pub publish_not_ready: bool,
    /// Programmed by somebody else (label `service.kubernetes.io/service-proxy-name`).
    pub foreign_proxy: bool,
}

impl Service {
    /// Whether it is reached from outside the cluster: by node ports or external addresses.
    #[must_use]
    pub fn is_external(&self) -> bool {
        !self.external_ips.is_empty() || self.ports.iter().any(|port| port.node_port.is_some())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: Ipv4Addr,
    pub hostname: Option<String>,
    pub local: bool,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    pub service: Name,
    /// Port name, protocol, port (None: any).
    pub ports: Vec<(String, Protocol, Option<u16>)>,
    pub endpoints: Vec<Endpoint>,
}

#[derive(Default)]
pub struct State {
    pub services: BTreeMap<Name, Arc<Service>>,
    slices: HashMap<Name, Arc<Slice>>,
    by_service: HashMap<Name, Vec<Name>>,
    synced: (bool, bool),
}

impl State {
    /// The slices of one service.
    pub fn slices<'a>(&'a self, service: &Name) -> impl Iterator<Item = &'a Arc<Slice>> {
        self.by_service.get(service).into_iter().flatten().filter_map(|name| self.slices.get(name))
    }
    /// Whether both lists have arrived: before that nothing is taken away.
    pub fn is_synced(&self) -> bool {
        self.synced.0 && self.synced.1
    }
    /// The service with this address, for reverse look-ups.
    pub fn by_cluster_ip(&self, ip: Ipv4Addr) -> Option<&Name> {
        self.services.iter().find(|(_, service)| service.cluster_ip == Some(ip)).map(|(name, _)| name)
    }
    fn remove_slice(&mut self, name: &Name) {
        if let Some(former) = self.slices.remove(name)
            && let Some(names) = self.by_service.get_mut(&former.service)
        {
            names.retain(|other| other != name);
            if names.is_empty() {
                self.by_service.remove(&former.service);
            }
        }
    }
    pub fn apply_slice(&mut self, name: Name, slice: Slice) {
        self.remove_slice(&name);
        self.by_service.entry(slice.service.clone()).or_default().push(name.clone());
        self.slices.insert(name, Arc::new(slice));
    }
    fn retain(&mut self, services: Option<&[Name]>, slices: Option<&[Name]>) {
        if let Some(keep) = services {
            let keep: std::collections::HashSet<&Name> = keep.iter().collect();
            self.services.retain(|name, _| keep.contains(name));
        }
        if let Some(keep) = slices {
            let keep: std::collections::HashSet<&Name> = keep.iter().collect();
            let gone: Vec<Name> = self.slices.keys().filter(|name| !keep.contains(name)).cloned().collect();
            for name in gone {
                self.remove_slice(&name);
            }
        }
    }
}

/// The index, and a counter that moves with every change.
pub struct Services {
    pub state: RwLock<State>,
    pub version: watch::Sender<u64>,
}

impl Default for Services {
    fn default() -> Self {
        Self { state: RwLock::default(), version: watch::Sender::new(0) }
    }
}

impl Services {
    /// The Services of one namespace, by name, once they are known.
    pub async fn within(&self, namespace: &str) -> Vec<(Arc<str>, Arc<Service>)> {
        // The index outlives whoever waits for it, so this does not fail.
        let _ = self.version.subscribe().wait_for(|_| self.state.read().synced.0).await;
        let state = self.state.read();
        let from: Name = (namespace.into(), "".into());
        let own = state.services.range(from..).take_while(|((of, _), _)| **of == *namespace);
        own.map(|((_, name), service)| (Arc::clone(name), Arc::clone(service))).collect()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.write());
        self.version.send_modify(|version| *version += 1);
    }
}

/// One host port of a pod on this node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    pub protocol: Protocol,
    pub host_ip: Option<Ipv4Addr>,
    pub host_port: u16,
    pub pod_ip: Ipv4Addr,
    pub container_port: u16,
}

/// The host ports of this node's running pods, by pod uid.
pub struct HostPorts {
    by_pod: Mutex<BTreeMap<String, Vec<HostPort>>>,
    pub version: watch::Sender<u64>,
}

impl Default for HostPorts {
    fn default() -> Self {
        Self { by_pod: Mutex::default(), version: watch::Sender::new(0) }
    }
}

impl HostPorts {
    pub fn set(&self, pod_uid: &str, ports: Vec<HostPort>) {
        let mut by_pod = self.by_pod.lock();
        if by_pod.get(pod_uid).map_or(ports.is_empty(), |former| *former == ports) {
            return;
        }
        if ports.is_empty() {
            by_pod.remove(pod_uid);
        } else {
            by_pod.insert(pod_uid.to_owned(), ports);
        }
        self.version.send_modify(|version| *version += 1);
    }
    pub fn all(&self) -> Vec<HostPort> {
        self.by_pod.lock().values().flatten().cloned().collect()
    }
}

fn name_of(object: &impl ResourceExt) -> Name {
    (object.namespace().unwrap_or_default().into(), object.name_any().into())
}

fn port(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port > 0)
}

fn service(object: &core::Service) -> Service {
    let Some(spec) = &object.spec else { return Service::default() };
    let cluster_ip = spec.cluster_ip.as_deref().unwrap_or_default();
    let is_local = |policy: &Option<String>| policy.as_deref() == Some("Local");
    let balancer = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    let external = spec.external_ips.iter().flatten().map(String::as_str);
    Service {
        cluster_ip: cluster_ip.parse().ok(),
        headless: cluster_ip == "None",
        external_name: spec.external_name.clone().filter(|_| spec.type_.as_deref() == Some("ExternalName")),
        external_ips: external
            .chain(ingress.filter_map(|i| i.ip.as_deref()))
            .filter_map(|ip| ip.parse().ok())
            .collect(),
        ports: spec
            .ports
            .iter()
            .flatten()
            .filter_map(|p| {
                Some(Port {
                    name: p.name.clone().unwrap_or_default(),
                    protocol: Protocol::parse(p.protocol.as_deref()),
                    port: port(p.port)?,
                    node_port: p.node_port.and_then(port),
                })
            })
            .collect(),
        affinity_seconds: (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
            let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
            config.and_then(|config| config.timeout_seconds).and_then(|s| u32::try_from(s).ok()).unwrap_or(10_800)
        }),
        internal_local: is_local(&spec.internal_traffic_policy),
        external_local: is_local(&spec.external_traffic_policy),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        foreign_proxy: object.labels().contains_key(PROXY_NAME_LABEL),
    }
}

fn slice(object: &EndpointSlice, node_name: &str) -> Option<Slice> {
    if object.address_type != "IPv4" {
        return None;
    }
    let service = object.labels().get(SERVICE_NAME_LABEL)?.as_str().into();
    let endpoints = object.endpoints.iter().flatten().flat_map(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
        let build = move |address: &String| {
            Some(Endpoint {
                address: address.parse().ok()?,
                hostname: endpoint.hostname.clone(),
                local: endpoint.node_name.as_deref() == Some(node_name),
                ready,
                serving: conditions.and_then(|c| c.serving).unwrap_or(ready),
                terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
            })
        };
        endpoint.addresses.iter().filter_map(build)
    });
    Some(Slice {
        service: (object.namespace().unwrap_or_default().into(), service),
        ports: object
            .ports
            .iter()
            .flatten()
            .map(|p| {
                (p.name.clone().unwrap_or_default(), Protocol::parse(p.protocol.as_deref()), p.port.and_then(port))
            })
            .collect(),
        endpoints: endpoints.collect(),
    })
}

/// Whether a container's port is one number; named targets are resolved by the EndpointSlice controller.
pub fn numeric(target: &IntOrString) -> Option<u16> {
    match target {
        IntOrString::Int(number) => port(*number),
        IntOrString::String(_) => None,
    }
}

async fn follow<K>(
    api: Api<K>,
    shutdown: CancellationToken,
    what: &str,
    mut apply: impl FnMut(&K),
    mut delete: impl FnMut(Name),
    mut listed: impl FnMut(Vec<Name>),
) where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let events = watcher(api, watcher::Config::default()).default_backoff();
    pin_mut!(events);
    let mut seen = Vec::new();
    loop {
        let event = tokio::select! { event = events.next() => event, () = shutdown.cancelled() => return };
        match event {
            Some(Ok(watcher::Event::Init)) => seen.clear(),
            Some(Ok(watcher::Event::InitApply(object))) => {
                seen.push(name_of(&object));
                apply(&object);
            }
            Some(Ok(watcher::Event::InitDone)) => listed(std::mem::take(&mut seen)),
            Some(Ok(watcher::Event::Apply(object))) => apply(&object),
            Some(Ok(watcher::Event::Delete(object))) => delete(name_of(&object)),
            Some(Err(error)) => warn!(%error, "watching {what}"),
            None => return,
        }
    }
}

/// Follows Services until `shutdown`.
pub async fn follow_services(client: kube::Client, services: Arc<Services>, shutdown: CancellationToken) {
    let index = &services;
    follow(
        Api::<core::Service>::all(client),
        shutdown,
        "services",
        |object| {
            let (name, new) = (name_of(object), Arc::new(service(object)));
            if index.state.read().services.get(&name) != Some(&new) {
                index.change(|state| drop(state.services.insert(name, new)));
            }
        },
        |name| index.change(|state| drop(state.services.remove(&name))),
        |names| {
            index.change(|state| {
                state.retain(Some(&names), None);
                state.synced.0 = true;
            });
        },
    )
    .await;
}

/// Follows EndpointSlices until `shutdown`.
pub async fn follow_slices(context: &Context, services: Arc<Services>, shutdown: CancellationToken) {
    let index = &services;
    follow(
        Api::<EndpointSlice>::all(context.client.clone()),
        shutdown,
        "endpointslices",
        |object| {
            let name = name_of(object);
            match slice(object, &context.node_name) {
                Some(new) if index.state.read().slices.get(&name).is_some_and(|former| **former == new) => {}
                Some(new) => index.change(|state| state.apply_slice(name, new)),
                None => index.change(|state| state.remove_slice(&name)),
            }
        },
        |name| index.change(|state| state.remove_slice(&name)),
        |names| {
            index.change(|state| {
                state.retain(None, Some(&names));
                state.synced.1 = true;
            });
        },
    )
    .await;
}
