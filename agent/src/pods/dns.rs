//! A pod's host name, its resolver settings and its hosts file. Pure.
//! Source: <https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/>

use std::fmt::Write;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use pilothouse_cri::v1::DnsConfig;

/// The kernel's limits on a host name, and on what the label of a name may be.
const MAX_HOSTNAME: usize = 64;
const MAX_LABEL: usize = 63;
/// Upstream's limits on the resolver's settings.
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_BYTES: usize = 2048;

/// The cluster's side of name resolution, and the node's own.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    pub cluster_dns: String,
    pub cluster_domain: String,
    /// The node's own settings.
    pub node: DnsConfig,
}

/// What a resolv.conf says.
#[must_use]
pub fn parse_resolv_conf(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => config.servers.extend(words.next()),
            // The last one counts.
            Some("search" | "domain") => config.searches = words.collect(),
            Some("options") => config.options.extend(words),
            _ => {}
        }
    }
    config
}

fn push_new(list: &mut Vec<String>, items: impl IntoIterator<Item = String>) {
    for item in items {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

#[must_use]
pub fn resolver(pod: &Pod, spec: &PodSpec, resolver: &Resolver) -> DnsConfig {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let on_host = spec.host_network == Some(true);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let mut config = match policy {
        "None" => DnsConfig::default(),
        "ClusterFirstWithHostNet" => cluster(namespace, resolver),
        "ClusterFirst" if !on_host => cluster(namespace, resolver),
        _ => resolver.node.clone(),
    };
    if let Some(own) = &spec.dns_config {
        push_new(&mut config.servers, own.nameservers.iter().flatten().cloned());
        push_new(&mut config.searches, own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            let text = match option.value.as_deref() {
                Some(value) if !value.is_empty() => format!("{name}:{value}"),
                _ => name.clone(),
            };
            config.options.retain(|known| known.split(':').next() != Some(name));
            config.options.push(text);
        }
    }
    config.servers.truncate(MAX_SERVERS);
    config.searches.truncate(MAX_SEARCHES);
    while config.searches.join(" ").len() > MAX_SEARCH_BYTES {
        config.searches.pop();
    }
    config
}

fn cluster(namespace: &str, resolver: &Resolver) -> DnsConfig {
    let domain = &resolver.cluster_domain;
    let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    push_new(&mut searches, resolver.node.searches.iter().cloned());
    DnsConfig { servers: vec![resolver.cluster_dns.clone()], searches, options: vec!["ndots:5".to_owned()] }
}

/// The pod's host name, and its name in the cluster's zone if it has one.
///
/// # Errors
/// When the full name is wanted as host name and is too long for the kernel.
pub fn hostname(pod: &Pod, spec: &PodSpec, cluster_domain: &str) -> Result<(String, Option<String>), String> {
    if let Some(name) = spec.hostname_override.as_ref().filter(|name| !name.is_empty()) {
        return Ok((name.clone(), None));
    }
    let own = spec.hostname.clone().filter(|name| !name.is_empty());
    let mut name = own.unwrap_or_else(|| pod.metadata.name.clone().unwrap_or_default());
    if name.len() > MAX_LABEL {
        name.truncate(MAX_LABEL);
        name.truncate(name.trim_end_matches(['-', '.']).len());
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let subdomain = spec.subdomain.as_ref().filter(|subdomain| !subdomain.is_empty());
    let full = subdomain.map(|subdomain| format!("{name}.{subdomain}.{namespace}.svc.{cluster_domain}"));
    match full {
        Some(full) if spec.set_hostname_as_fqdn == Some(true) => {
            if full.len() > MAX_HOSTNAME {
                return Err(format!(
                    "failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long \
                     ({MAX_HOSTNAME} characters is the max, {} characters requested)",
                    full.len()
                ));
            }
            Ok((full.clone(), Some(full)))
        }
        full => Ok((name, full)),
    }
}

/// The text of /etc/hosts.
#[must_use]
pub fn hosts_file(
    spec: &PodSpec,
    ips: &[String],
    (hostname, full_name): (&str, Option<&str>),
    node_hosts: &str,
) -> String {
    let mut text = String::new();
    if spec.host_network == Some(true) {
        text.push_str("# Kubernetes-managed hosts file (host network).\n");
        text.push_str(node_hosts);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    } else {
        text.push_str(
            "# Kubernetes-managed hosts file.\n\
             127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\n\
             fe00::0\tip6-mcastprefix\n\
             fe00::1\tip6-allnodes\n\
             fe00::2\tip6-allrouters\n",
        );
        for ip in ips {
            let _ = match full_name {
                Some(full) if full != hostname => writeln!(text, "{ip}\t{full}\t{hostname}"),
                _ => writeln!(text, "{ip}\t{hostname}"),
            };
        }
    }
    if let Some(aliases) = spec.host_aliases.as_ref().filter(|aliases| !aliases.is_empty()) {
        text.push_str("\n# Entries added by HostAliases.\n");
        for alias in aliases {
            let _ = writeln!(text, "{}\t{}", alias.ip, alias.hostnames.clone().unwrap_or_default().join("\t"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(mut spec: Value) -> Pod {
        spec["containers"] = json!([]);
        serde_json::from_value(json!({"metadata": {"name": "web-0", "namespace": "shop"}, "spec": spec})).unwrap()
    }

    fn node() -> Resolver {
        let node =
            parse_resolv_conf("# made by dhcp\ndomain x\nsearch corp.example\nnameserver 9.9.9.9\noptions trust-ad\n");
        Resolver { cluster_dns: "10.96.0.10".into(), cluster_domain: "cluster.local".into(), node }
    }

    fn settings(spec: Value) -> (Vec<String>, Vec<String>, Vec<String>) {
        let pod = pod(spec);
        let config = resolver(&pod, pod.spec.as_ref().unwrap(), &node());
        (config.servers, config.searches, config.options)
    }

    #[test]
    fn policies() {
        let (servers, searches, options) = settings(json!({}));
        assert_eq!(servers, ["10.96.0.10"]);
        assert_eq!(searches, ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "corp.example"]);
        assert_eq!(options, ["ndots:5"]);
        let on_host = settings(json!({"hostNetwork": true}));
        assert_eq!(on_host, (vec!["9.9.9.9".into()], vec!["corp.example".into()], vec!["trust-ad".into()]));
        assert_eq!(settings(json!({"dnsPolicy": "Default"})), on_host);
        assert_eq!(settings(json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"})).0, ["10.96.0.10"]);
        let own = settings(json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"],
            "searches": ["a.b"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}));
        assert_eq!(own, (vec!["1.1.1.1".into()], vec!["a.b".into()], vec!["ndots:2".into(), "edns0".into()]));
        let merged = settings(json!({"dnsConfig": {"options": [{"name": "ndots", "value": "1"}]}}));
        assert_eq!(merged.2, ["ndots:1"]);
    }

    #[test]
    fn host_names() {
        let of = |spec: Value| {
            let pod = pod(spec);
            hostname(&pod, pod.spec.as_ref().unwrap(), "cluster.local")
        };
        assert_eq!(of(json!({})), Ok(("web-0".into(), None)));
        let full = "web-0.web.shop.svc.cluster.local";
        assert_eq!(of(json!({"subdomain": "web"})), Ok(("web-0".into(), Some(full.into()))));
        assert_eq!(of(json!({"subdomain": "web", "setHostnameAsFQDN": true})), Ok((full.into(), Some(full.into()))));
        assert!(of(json!({"subdomain": "w".repeat(60), "setHostnameAsFQDN": true})).is_err());
        assert_eq!(of(json!({"hostname": format!("{}-x", "a".repeat(62))})), Ok(("a".repeat(62), None)));
    }

    #[test]
    fn hosts() {
        let pod = pod(json!({"hostAliases": [{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]}));
        let spec = pod.spec.unwrap();
        let text = hosts_file(&spec, &["10.244.0.2".into()], ("web-0", Some("web-0.web.shop.svc.cluster.local")), "");
        assert!(text.contains("\n10.244.0.2\tweb-0.web.shop.svc.cluster.local\tweb-0\n"), "{text}");
        assert!(text.ends_with("\n# Entries added by HostAliases.\n1.2.3.4\ta\tb\n"), "{text}");
    }
}
