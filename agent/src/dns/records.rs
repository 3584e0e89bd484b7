//! What the cluster's zone says: names of Services and pods to records, a pure function over the index.
//! Source: <https://github.com/kubernetes/dns/blob/master/docs/specification.md> (schema version 1.1.0)

use std::net::Ipv4Addr;

use crate::network::index::{Endpoint, Name, Protocol, Service, State};

/// What a name holds, before it is put into DNS's own shapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    A(Ipv4Addr),
    Srv { port: u16, target: String },
    Ptr(String),
    Cname(String),
    Txt(&'static str),
}

#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The name is not ours: ask upstream.
    Foreign,
    /// There is no such name.
    NoName,
    /// The name exists and holds these (possibly none of the type asked for).
    Found(Vec<Data>),
}

/// The zone's schema version, a record that clients of the specification look for.
const SCHEMA_VERSION: &str = "1.1.0";

fn dashed(ip: Ipv4Addr) -> String {
    ip.to_string().replace('.', "-")
}

fn host(endpoint: &Endpoint) -> String {
    endpoint.hostname.clone().unwrap_or_else(|| dashed(endpoint.address))
}

/// The endpoints that a headless service publishes, each with its target port by port name.
fn published(state: &State, name: &Name, service: &Service) -> Vec<(Endpoint, Vec<(String, Protocol, u16)>)> {
    let mut all: Vec<_> = state
        .slices(name)
        .flat_map(|slice| {
            let ports: Vec<_> =
                slice.ports.iter().filter_map(|(n, protocol, port)| Some((n.clone(), *protocol, (*port)?))).collect();
            let endpoints = slice.endpoints.iter().filter(|e| e.ready || service.publish_not_ready);
            endpoints.map(move |endpoint| (endpoint.clone(), ports.clone())).collect::<Vec<_>>()
        })
        .collect();
    all.sort_by_key(|(endpoint, _)| endpoint.address);
    all.dedup_by_key(|(endpoint, _)| endpoint.address);
    all
}

/// Answers `name` (lower case, no final dot) in zone `domain`.
pub fn answer(state: &State, domain: &str, name: &str) -> Answer {
    if let Some(address) = name.strip_suffix(".in-addr.arpa") {
        return reverse(state, domain, address);
    }
    let labels: Vec<&str> = match name.strip_suffix(domain) {
        Some("") => return Answer::Found(Vec::new()),
        Some(rest) if rest.ends_with('.') => rest.trim_end_matches('.').split('.').collect(),
        _ => return Answer::Foreign,
    };
    match labels.as_slice() {
        ["dns-version"] => Answer::Found(vec![Data::Txt(SCHEMA_VERSION)]),
        ["svc" | "pod"] => Answer::Found(Vec::new()),
        [namespace, "svc"] => found_if(state.services.keys().any(|(ns, _)| **ns == **namespace)),
        [rest @ .., service, namespace, "svc"] => in_service(state, domain, rest, service, namespace),
        [ip, namespace, "pod"] => match ip.replace('-', ".").parse() {
            Ok(address) if !namespace.is_empty() => Answer::Found(vec![Data::A(address)]),
            _ => Answer::NoName,
        },
        _ => Answer::NoName,
    }
}

fn found_if(exists: bool) -> Answer {
    if exists { Answer::Found(Vec::new()) } else { Answer::NoName }
}

fn in_service(state: &State, domain: &str, rest: &[&str], service_name: &str, namespace: &str) -> Answer {
    let name: Name = (namespace.into(), service_name.into());
    let Some(service) = state.services.get(&name) else { return Answer::NoName };
    let base = format!("{service_name}.{namespace}.svc.{domain}");
    if let Some(external) = &service.external_name {
        return if rest.is_empty() { Answer::Found(vec![Data::Cname(external.clone())]) } else { Answer::NoName };
    }
    match rest {
        [] if service.headless => {
            let all = published(state, &name, service);
            Answer::Found(all.iter().map(|(endpoint, _)| Data::A(endpoint.address)).collect())
        }
        [] => Answer::Found(service.cluster_ip.map(Data::A).into_iter().collect()),
        [host_name] if service.headless => {
            let all = published(state, &name, service);
            let records: Vec<Data> =
                all.iter().filter(|(e, _)| host(e) == *host_name).map(|(e, _)| Data::A(e.address)).collect();
            if records.is_empty() { Answer::NoName } else { Answer::Found(records) }
        }
        [port, protocol] => ports(state, &name, service, port, protocol, &base),
        _ => Answer::NoName,
    }
}

fn ports(state: &State, name: &Name, service: &Service, port: &str, protocol: &str, base: &str) -> Answer {
    let (Some(port), Some(protocol)) = (port.strip_prefix('_'), protocol.strip_prefix('_')) else {
        return Answer::NoName;
    };
    let wanted = |n: &str, p: Protocol| n == port && p.as_str() == protocol;
    let records: Vec<Data> = if service.headless {
        published(state, name, service)
            .iter()
            .flat_map(|(endpoint, ports)| {
                let target = format!("{}.{base}", host(endpoint));
                let own = ports.iter().filter(|(n, p, _)| wanted(n, *p));
                own.map(move |(_, _, port)| Data::Srv { port: *port, target: target.clone() }).collect::<Vec<_>>()
            })
            .collect()
    } else {
        let own = service.ports.iter().filter(|p| wanted(&p.name, p.protocol));
        own.map(|p| Data::Srv { port: p.port, target: base.to_owned() }).collect()
    };
    if records.is_empty() { Answer::NoName } else { Answer::Found(records) }
}

fn reverse(state: &State, domain: &str, labels: &str) -> Answer {
    let octets: Vec<&str> = labels.split('.').rev().collect();
    let Ok(address) = octets.join(".").parse::<Ipv4Addr>() else { return Answer::Foreign };
    if let Some((namespace, service)) = state.by_cluster_ip(address) {
        return Answer::Found(vec![Data::Ptr(format!("{service}.{namespace}.svc.{domain}"))]);
    }
    let headless = state.services.iter().filter(|(_, service)| service.headless);
    for (name, service) in headless {
        if let Some((endpoint, _)) = published(state, name, service).iter().find(|(e, _)| e.address == address) {
            return Answer::Found(vec![Data::Ptr(format!("{}.{}.{}.svc.{domain}", host(endpoint), name.1, name.0))]);
        }
    }
    Answer::Foreign
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::network::index::{Port, Slice};

    fn state() -> State {
        let mut state = State::default();
        let port = |name: &str| Port { name: name.into(), protocol: Protocol::Tcp, port: 80, node_port: None };
        let web = Service {
            cluster_ip: Some("10.96.0.20".parse().unwrap()),
            ports: vec![port("http")],
            ..Service::default()
        };
        let db = Service { headless: true, ports: vec![port("sql")], ..Service::default() };
        let out = Service { external_name: Some("example.com".into()), ..Service::default() };
        for (name, service) in [("web", web), ("db", db), ("out", out)] {
            state.services.insert(("shop".into(), name.into()), Arc::new(service));
        }
        let endpoint = |address: &str, hostname: Option<&str>, ready| Endpoint {
            address: address.parse().unwrap(),
            hostname: hostname.map(str::to_owned),
            local: false,
            ready,
            serving: ready,
            terminating: false,
        };
        state.apply_slice(
            ("shop".into(), "db-1".into()),
            Slice {
                service: ("shop".into(), "db".into()),
                ports: vec![("sql".into(), Protocol::Tcp, Some(5432))],
                endpoints: vec![
                    endpoint("10.244.0.5", Some("db-0"), true),
                    endpoint("10.244.1.6", None, true),
                    endpoint("10.244.1.7", None, false),
                ],
            },
        );
        state
    }

    fn check(name: &str, expected: &str) {
        let text = match answer(&state(), "cluster.local", name) {
            Answer::Foreign => "foreign".to_owned(),
            Answer::NoName => "none".to_owned(),
            Answer::Found(data) => format!("{data:?}"),
        };
        assert_eq!(text, expected, "{name}");
    }

    #[test]
    fn the_zone() {
        check("example.com", "foreign");
        check("cluster.local.example.com", "foreign");
        check("notcluster.local", "foreign");
        check("cluster.local", "[]");
        check("web.shop.svc.cluster.local", "[A(10.96.0.20)]");
        check("web.other.svc.cluster.local", "none");
        check("shop.svc.cluster.local", "[]");
        check("db.shop.svc.cluster.local", "[A(10.244.0.5), A(10.244.1.6)]");
        check("db-0.db.shop.svc.cluster.local", "[A(10.244.0.5)]");
        check("10-244-1-6.db.shop.svc.cluster.local", "[A(10.244.1.6)]");
        check("db-9.db.shop.svc.cluster.local", "none");
        check("out.shop.svc.cluster.local", "[Cname(\"example.com\")]");
        check("10-244-0-9.shop.pod.cluster.local", "[A(10.244.0.9)]");
        check("nonsense.shop.pod.cluster.local", "none");
        check("_http._tcp.web.shop.svc.cluster.local", "[Srv { port: 80, target: \"web.shop.svc.cluster.local\" }]");
        check("_http._udp.web.shop.svc.cluster.local", "none");
        check(
            "_sql._tcp.db.shop.svc.cluster.local",
            "[Srv { port: 5432, target: \"db-0.db.shop.svc.cluster.local\" }, \
             Srv { port: 5432, target: \"10-244-1-6.db.shop.svc.cluster.local\" }]",
        );
        check("20.0.96.10.in-addr.arpa", "[Ptr(\"web.shop.svc.cluster.local\")]");
        check("5.0.244.10.in-addr.arpa", "[Ptr(\"db-0.db.shop.svc.cluster.local\")]");
        check("1.1.1.1.in-addr.arpa", "foreign");
        check("dns-version.cluster.local", "[Txt(\"1.1.0\")]");
    }
}
