//! From Services and endpoints to the contents of the nftables table: a pure function.
//!
//! The table, in short: a packet to a Service finds its address, protocol and port in one verdict map and jumps to
//! that port's chain, whose rule picks an endpoint at random and rewrites the destination; without endpoints the packet
//! is refused. Packets that would come back past us (from outside the pods' network, or to a node port) carry a mark
//! and leave with the node's address.
//!
//! Invariant: equal input gives equal output, so the difference of two models is the whole change to be made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::network::cni::BRIDGE;
use crate::network::index::{Endpoint, HostPort, Name, Port, Protocol, Service, State};

/// The mark of packets that leave with the node's address (Kubernetes' own bit).
pub const MASQUERADE_MARK: u32 = 0x4000;

/// The changing part of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Chain → its rules.
    pub chains: BTreeMap<String, Vec<String>>,
    /// Set of recent clients per affinity endpoint → its timeout in seconds.
    pub affinity: BTreeMap<String, u32>,
    /// (map or set, key) → value; empty for sets.
    pub elements: BTreeMap<(&'static str, String), String>,
    /// Where UDP flows to a Service or host port may go: others have to be forgotten by the kernel.
    pub udp: BTreeMap<Front, BTreeSet<(Ipv4Addr, u16)>>,
}

/// What a client sends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Front {
    Address(Ipv4Addr, u16),
    /// On any address of the node.
    Port(u16),
}

/// What is known besides the Services.
pub struct Node<'a> {
    pub cluster_dns: Ipv4Addr,
    pub pod_networks: &'a [Ipv4Net],
    pub host_ports: &'a [HostPort],
}

/// FNV-1a, 64 bit: chain names must be short and the same on every run.
fn hash(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}

/// The endpoints a port sends to, as Kubernetes picks them: the ready ones, else those that still serve while they end.
fn chosen<'a>(endpoints: &'a [(Endpoint, u16)], service: &Service, local_only: bool) -> Vec<&'a (Endpoint, u16)> {
    let eligible = || endpoints.iter().filter(|(endpoint, _)| !local_only || endpoint.local);
    let ready: Vec<_> = eligible().filter(|(e, _)| service.publish_not_ready || (e.ready && !e.terminating)).collect();
    if ready.is_empty() { eligible().filter(|(e, _)| e.serving && e.terminating).collect() } else { ready }
}

/// All endpoints of one service port, sorted.
fn endpoints(state: &State, name: &Name, port: &Port) -> Vec<(Endpoint, u16)> {
    let mut all: Vec<(Endpoint, u16)> = Vec::new();
    for slice in state.slices(name) {
        let target = slice.ports.iter().find(|(n, protocol, _)| *n == port.name && *protocol == port.protocol);
        let Some((_, _, number)) = target else { continue };
        let number = number.unwrap_or(port.port);
        all.extend(slice.endpoints.iter().map(|endpoint| (endpoint.clone(), number)));
    }
    all.sort_by_key(|(endpoint, port)| (endpoint.address, *port));
    all.dedup_by_key(|(endpoint, port)| (endpoint.address, *port));
    all
}

impl Model {
    pub fn new(state: &State, node: &Node<'_>) -> Self {
        let mut model = Self::default();
        for network in node.pod_networks {
            model.elements.insert(("pod-networks", network.to_string()), String::new());
        }
        for (name, service) in &state.services {
            let ours = service.cluster_ip != Some(node.cluster_dns) && service.external_name.is_none();
            if ours && !service.foreign_proxy && service.cluster_ip.is_some() {
                for port in &service.ports {
                    model.service_port(state, name, service, port);
                }
            }
        }
        for port in node.host_ports {
            model.host_port(port);
        }
        model
    }

    fn service_port(&mut self, state: &State, name: &Name, service: &Service, port: &Port) {
        let all = endpoints(state, name, port);
        let id = hash(&[&name.0, &name.1, &port.name, port.protocol.as_str(), &port.port.to_string()]);
        let protocol = port.protocol.as_str();
        let cluster = self.target(&format!("svc-{id:016x}"), service, &chosen(&all, service, false));
        let local = if service.internal_local || (service.external_local && service.is_external()) {
            self.target(&format!("loc-{id:016x}"), service, &chosen(&all, service, true))
        } else {
            None
        };
        // Who has no endpoint here, but some elsewhere, is not refused: its packets vanish, as upstream's do.
        let otherwise = if cluster.is_some() { "drop" } else { "goto refused" };
        let mut fronts = Vec::new();
        if let Some(ip) = service.cluster_ip {
            let key = format!("{ip} . {protocol} . {}", port.port);
            self.elements.insert(("cluster-ips", key.clone()), String::new());
            let chain = if service.internal_local { &local } else { &cluster };
            self.expose("service-ips", "no-endpoint-ips", key, chain, otherwise);
            fronts.push(Front::Address(ip, port.port));
        }
        if service.is_external() {
            let outside = if service.external_local {
                self.kept_local(&format!("ext-{id:016x}"), &cluster, &local)
            } else {
                self.masqueraded(&cluster)
            };
            let refused = local.is_none() || !service.external_local;
            let mut expose = |map, nowhere, key: String| {
                if let Some(chain) = &outside {
                    self.elements.insert((map, key.clone()), format!("goto {chain}"));
                }
                if outside.is_none() || (service.external_local && refused) {
                    self.elements.insert((nowhere, key), otherwise.to_owned());
                }
            };
            for ip in &service.external_ips {
                expose("external-ips", "no-endpoint-ips", format!("{ip} . {protocol} . {}", port.port));
                fronts.push(Front::Address(*ip, port.port));
            }
            if let Some(node_port) = port.node_port {
                expose("node-ports", "no-endpoint-node-ports", format!("{protocol} . {node_port}"));
                fronts.push(Front::Port(node_port));
            }
        }
        if port.protocol == Protocol::Udp {
            let serving = all.iter().filter(|(endpoint, _)| endpoint.ready || endpoint.serving);
            let targets: BTreeSet<_> = serving.map(|(endpoint, port)| (endpoint.address, *port)).collect();
            self.udp.extend(fronts.into_iter().map(|front| (front, targets.clone())));
        }
    }

    fn expose(
        &mut self,
        map: &'static str,
        refused: &'static str,
        key: String,
        chain: &Option<String>,
        otherwise: &str,
    ) {
        match chain {
            Some(chain) => self.elements.insert((map, key), format!("goto {chain}")),
            None => self.elements.insert((refused, key), otherwise.to_owned()),
        };
    }

    /// A chain for what comes from outside and must stay on this node: the node itself and its pods are not outside.
    fn kept_local(&mut self, chain: &str, cluster: &Option<String>, local: &Option<String>) -> Option<String> {
        let own = self.masqueraded(cluster)?;
        let cluster = cluster.as_ref()?;
        let mut rules = vec![format!("iifname {BRIDGE} goto {cluster}"), format!("fib saddr type local goto {own}")];
        rules.extend(local.iter().map(|local| format!("goto {local}")));
        self.chains.insert(chain.to_owned(), rules);
        Some(chain.to_owned())
    }

    /// A chain in front of `chain` that marks what must leave with the node's address.
    fn masqueraded(&mut self, chain: &Option<String>) -> Option<String> {
        let chain = chain.as_ref()?;
        let outer = format!("masq-{chain}");
        self.chains.insert(
            outer.clone(),
            vec![format!("meta mark set meta mark or {MASQUERADE_MARK:#x}"), format!("goto {chain}")],
        );
        Some(outer)
    }

    /// The chain that spreads over `endpoints`; none without any.
    fn target(&mut self, chain: &str, service: &Service, endpoints: &[&(Endpoint, u16)]) -> Option<String> {
        if endpoints.is_empty() {
            return None;
        }
        for (endpoint, _) in endpoints.iter().filter(|(endpoint, _)| endpoint.local) {
            let pair = format!("{0} . {0}", endpoint.address);
            self.elements.insert(("hairpin", pair), String::new());
        }
        let rules = match service.affinity_seconds {
            Some(seconds) => self.with_affinity(chain, seconds, endpoints),
            None => vec![spread(endpoints)],
        };
        self.chains.insert(chain.to_owned(), rules);
        Some(chain.to_owned())
    }

    /// One chain and one set of recent clients per endpoint.
    fn with_affinity(&mut self, chain: &str, seconds: u32, endpoints: &[&(Endpoint, u16)]) -> Vec<String> {
        let mut rules = Vec::new();
        let mut spread = format!("numgen random mod {} vmap {{ ", endpoints.len());
        for (index, (endpoint, port)) in endpoints.iter().enumerate() {
            let id = hash(&[chain, &endpoint.address.to_string(), &port.to_string()]);
            let (own, clients) = (format!("ep-{id:016x}"), format!("aff-{id:016x}"));
            self.affinity.insert(clients.clone(), seconds);
            self.chains.insert(
                own.clone(),
                vec![
                    format!("update @{clients} {{ ip saddr timeout {seconds}s }}"),
                    format!("meta l4proto {{ tcp, udp, sctp }} dnat ip to {}:{port}", endpoint.address),
                ],
            );
            rules.push(format!("ip saddr @{clients} goto {own}"));
            let comma = if index == 0 { "" } else { ", " };
            let _ = write!(spread, "{comma}{index} : goto {own}");
        }
        rules.push(spread + " }");
        rules
    }

    fn host_port(&mut self, port: &HostPort) {
        let id = hash(&[&format!("{port:?}")]);
        let chain = format!("host-{id:016x}");
        let hairpin = format!("{0} . {0}", port.pod_ip);
        self.elements.insert(("hairpin", hairpin), String::new());
        self.chains.insert(
            chain.clone(),
            vec![format!("meta l4proto {{ tcp, udp, sctp }} dnat ip to {}:{}", port.pod_ip, port.container_port)],
        );
        let protocol = port.protocol.as_str();
        let host_ip = port.host_ip.filter(|ip| !ip.is_unspecified());
        if port.protocol == Protocol::Udp {
            let front = host_ip.map_or(Front::Port(port.host_port), |ip| Front::Address(ip, port.host_port));
            self.udp.entry(front).or_default().insert((port.pod_ip, port.container_port));
        }
        match host_ip {
            Some(ip) => self
                .elements
                .insert(("service-ips", format!("{ip} . {protocol} . {}", port.host_port)), format!("goto {chain}")),
            None => self
                .elements
                .insert(("host-ports", format!("{protocol} . {}", port.host_port)), format!("goto {chain}")),
        };
    }
}

fn spread(endpoints: &[&(Endpoint, u16)]) -> String {
    let mut rule = String::from("meta l4proto { tcp, udp, sctp } dnat ip to ");
    if let [(endpoint, port)] = endpoints {
        let _ = write!(rule, "{}:{port}", endpoint.address);
        return rule;
    }
    let _ = write!(rule, "numgen random mod {} map {{ ", endpoints.len());
    for (index, (endpoint, port)) in endpoints.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        let _ = write!(rule, "{comma}{index} : {} . {port}", endpoint.address);
    }
    rule + " }"
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::network::index::Slice;

    fn endpoint(address: &str, ready: bool, local: bool) -> Endpoint {
        Endpoint { address: address.parse().unwrap(), hostname: None, local, ready, serving: ready, terminating: false }
    }

    fn state(service: Service, endpoints: Vec<Endpoint>) -> State {
        let name: Name = ("default".into(), "web".into());
        let mut state = State::default();
        state.services.insert(name.clone(), Arc::new(service));
        let slice = Slice { service: name.clone(), ports: vec![(String::new(), Protocol::Tcp, Some(8080))], endpoints };
        state.apply_slice(("default".into(), "web-1".into()), slice);
        state
    }

    fn web() -> Service {
        Service {
            cluster_ip: Some("10.96.0.20".parse().unwrap()),
            ports: vec![Port { name: String::new(), protocol: Protocol::Tcp, port: 80, node_port: Some(30080) }],
            ..Service::default()
        }
    }

    fn model(state: &State) -> Model {
        let node = Node { cluster_dns: "10.96.0.10".parse().unwrap(), pod_networks: &[], host_ports: &[] };
        Model::new(state, &node)
    }

    fn keys(model: &Model, map: &str) -> Vec<String> {
        model.elements.keys().filter(|(name, _)| *name == map).map(|(_, key)| key.clone()).collect()
    }

    #[test]
    fn ready_endpoints_are_spread_over() {
        let model = model(&state(
            web(),
            vec![
                endpoint("10.244.0.2", true, true),
                endpoint("10.244.1.2", true, false),
                endpoint("10.244.1.3", false, false),
            ],
        ));
        assert_eq!(keys(&model, "service-ips"), ["10.96.0.20 . tcp . 80"]);
        assert_eq!(keys(&model, "node-ports"), ["tcp . 30080"]);
        assert_eq!(keys(&model, "hairpin"), ["10.244.0.2 . 10.244.0.2"]);
        let rules: Vec<&String> =
            model.chains.iter().filter(|(n, _)| n.starts_with("svc-")).flat_map(|(_, r)| r).collect();
        assert_eq!(
            rules,
            [
                "meta l4proto { tcp, udp, sctp } dnat ip to numgen random mod 2 map { 0 : 10.244.0.2 . 8080, 1 : 10.244.1.2 . 8080 }"
            ]
        );
    }

    #[test]
    fn without_endpoints_it_is_refused() {
        let model = model(&state(web(), vec![endpoint("10.244.0.2", false, true)]));
        assert!(model.chains.is_empty());
        assert_eq!(keys(&model, "no-endpoint-ips"), ["10.96.0.20 . tcp . 80"]);
        assert_eq!(keys(&model, "no-endpoint-node-ports"), ["tcp . 30080"]);
    }

    #[test]
    fn ending_endpoints_serve_when_nothing_else_does() {
        let mut ending = endpoint("10.244.0.2", false, true);
        (ending.serving, ending.terminating) = (true, true);
        let model = model(&state(web(), vec![ending]));
        assert_eq!(keys(&model, "service-ips").len(), 1);
    }

    #[test]
    fn external_local_keeps_the_source_and_stays_on_the_node() {
        let service = Service { external_local: true, ..web() };
        let both = vec![endpoint("10.244.0.2", true, true), endpoint("10.244.1.2", true, false)];
        let here = model(&state(service.clone(), both));
        let verdict = &here.elements[&("node-ports", "tcp . 30080".to_owned())];
        let rules = &here.chains[verdict.strip_prefix("goto ").unwrap()];
        // The node's own and its pods' packets go anywhere, those of others to the endpoint here, unmarked.
        assert!(rules[0].starts_with("iifname cni0 goto svc-"), "{rules:?}");
        assert!(rules[1].starts_with("fib saddr type local goto masq-svc-"), "{rules:?}");
        let local = &here.chains[rules[2].strip_prefix("goto ").unwrap()];
        assert!(local[0].ends_with("10.244.0.2:8080"), "{local:?}");
        assert!(keys(&here, "no-endpoint-node-ports").is_empty());

        let elsewhere = model(&state(service.clone(), vec![endpoint("10.244.1.2", true, false)]));
        assert_eq!(elsewhere.elements[&("no-endpoint-node-ports", "tcp . 30080".to_owned())], "drop");
        assert_eq!(keys(&elsewhere, "node-ports").len(), 1);
        assert_eq!(keys(&elsewhere, "service-ips").len(), 1);
        let nowhere = model(&state(service, vec![]));
        assert_eq!(nowhere.elements[&("no-endpoint-node-ports", "tcp . 30080".to_owned())], "goto refused");
        assert!(keys(&nowhere, "node-ports").is_empty());
    }

    #[test]
    fn internal_local_uses_only_what_is_here() {
        let service = Service { internal_local: true, ..web() };
        let both = vec![endpoint("10.244.0.2", true, true), endpoint("10.244.1.2", true, false)];
        let here = model(&state(service.clone(), both));
        let verdict = &here.elements[&("service-ips", "10.96.0.20 . tcp . 80".to_owned())];
        assert!(here.chains[verdict.strip_prefix("goto ").unwrap()][0].ends_with("10.244.0.2:8080"));
        // From outside it is reached as always.
        let verdict = &here.elements[&("node-ports", "tcp . 30080".to_owned())];
        assert!(verdict.starts_with("goto masq-svc-"), "{verdict}");
        let elsewhere = model(&state(service, vec![endpoint("10.244.1.2", true, false)]));
        assert_eq!(elsewhere.elements[&("no-endpoint-ips", "10.96.0.20 . tcp . 80".to_owned())], "drop");
    }

    #[test]
    fn where_udp_may_go() {
        let mut service = web();
        service.ports[0].protocol = Protocol::Udp;
        let mut state = state(service, vec![]);
        let name: Name = ("default".into(), "web".into());
        let endpoints = vec![endpoint("10.244.0.2", true, true), endpoint("10.244.1.2", false, false)];
        let slice = Slice { service: name, ports: vec![(String::new(), Protocol::Udp, Some(53))], endpoints };
        state.apply_slice(("default".into(), "web-1".into()), slice);
        let targets = BTreeSet::from([("10.244.0.2".parse().unwrap(), 53)]);
        let fronts = [Front::Address("10.96.0.20".parse().unwrap(), 80), Front::Port(30080)];
        assert_eq!(model(&state).udp, BTreeMap::from(fronts.map(|front| (front, targets.clone()))));
    }

    #[test]
    fn affinity_keeps_clients_per_endpoint() {
        let service = Service { affinity_seconds: Some(10_800), ..web() };
        let model =
            model(&state(service, vec![endpoint("10.244.0.2", true, true), endpoint("10.244.1.2", true, false)]));
        assert_eq!(model.affinity.len(), 2);
        let chain = model.chains.iter().find(|(name, _)| name.starts_with("svc-")).unwrap().1;
        assert_eq!(chain.len(), 3);
        assert!(chain[2].starts_with("numgen random mod 2 vmap"));
    }

    #[test]
    fn foreign_headless_and_dns_services_are_left_alone() {
        let dns = Service { cluster_ip: Some("10.96.0.10".parse().unwrap()), ..web() };
        let foreign = Service { foreign_proxy: true, ..web() };
        let headless = Service { cluster_ip: None, headless: true, ..web() };
        for service in [dns, foreign, headless] {
            let model = model(&state(service, vec![endpoint("10.244.0.2", true, true)]));
            assert_eq!(model, Model::default());
        }
    }
}
