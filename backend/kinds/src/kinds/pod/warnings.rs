//! What is allowed in a pod or a pod template and yet probably not meant, in upstream's words.

use pilothouse_api::{field::Path, names, quantity::Quantity};
use serde_json::Value;

use crate::{
    value::{Look, bare},
    warnings::{ip, node_label, node_selector_term},
};

const ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
const VOLUMES: &[(&str, &str)] = &[
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const NULL_SELECTOR: &str = "a null labelSelector results in matching no pod";

/// A new pod.
pub(crate) fn pod(pod: &Value, warnings: &mut Vec<String>) {
    let wrong = names::is_dns1123_label(pod.text("metadata.name"));
    if !wrong.is_empty() {
        warnings.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        ));
    }
    spec_and_meta(pod, &Path::root(), warnings);
}

/// The template of a workload.
pub(crate) fn template(template: &Value, path: &Path, warnings: &mut Vec<String>) {
    spec_and_meta(template, path, warnings);
    for (_, container) in containers(template.at("spec"), path) {
        let key = format!("{APP_ARMOR}{}", container.text("name"));
        let by_field = container.has("securityContext.appArmorProfile");
        let annotation = &template.at("metadata.annotations")[key.as_str()];
        if !by_field && !annotation.is_null() {
            let path = path.child("metadata").child("annotations").key(&key);
            warnings.push(format!("{path}: deprecated since v1.30; use the \"appArmorProfile\" field instead"));
        }
    }
}

fn spec_and_meta(object: &Value, path: &Path, warnings: &mut Vec<String>) {
    let spec = object.at("spec");
    placement(spec, &path.child("spec"), warnings);
    annotations(object, path, warnings);
    volumes(spec, &path.child("spec").child("volumes"), warnings);
    lists(spec, &path.child("spec"), warnings);
    for (path, container) in containers(spec, path) {
        resources(container, &path, warnings);
        environment(container, &path, warnings);
    }
    ports(spec, path, warnings);
    let spec_path = path.child("spec");
    if spec.int("terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        let path = spec_path.child("terminationGracePeriodSeconds");
        warnings.push(format!("{path}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    pod_affinity(spec, &spec_path.child("affinity"), warnings);
    for (index, server) in spec.texts("dnsConfig.nameservers").enumerate() {
        ip(server, &spec_path.child("dnsConfig").child("nameservers").index(index), warnings);
    }
    for (index, alias) in spec.list("hostAliases").iter().enumerate() {
        ip(alias.text("ip"), &spec_path.child("hostAliases").index(index).child("ip"), warnings);
    }
}

/// Every container with its path, in upstream's order.
fn containers<'a>(spec: &'a Value, path: &Path) -> Vec<(Path, &'a Value)> {
    let path = path.child("spec");
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| {
            let path = path.child(list);
            spec.list(list).iter().enumerate().map(move |(index, container)| (path.index(index), container))
        })
        .collect()
}

fn placement(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    for (label, _) in spec.entries("nodeSelector") {
        if let Some(why) = node_label(label) {
            warnings.push(format!("{}: {why}", path.child("nodeSelector").key(label)));
        }
    }
    let affinity = path.child("affinity").child("nodeAffinity");
    let required = affinity.child("requiredDuringSchedulingIgnoredDuringExecution").child("nodeSelectorTerms");
    let terms = spec.list("affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
    for (index, term) in terms.iter().enumerate() {
        node_selector_term(term, &required.index(index), warnings);
    }
    let preferred = affinity.child("preferredDuringSchedulingIgnoredDuringExecution");
    let terms = spec.list("affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution");
    for (index, term) in terms.iter().enumerate() {
        node_selector_term(term.at("preference"), &preferred.index(index).child("preference"), warnings);
    }
    for (index, spread) in spec.list("topologySpreadConstraints").iter().enumerate() {
        let path = path.child("topologySpreadConstraints").index(index);
        let key = spread.text("topologyKey");
        if let Some(why) = node_label(key) {
            warnings.push(format!("{}: {key} is {why}", path.child("topologyKey")));
        }
        if !spread.has("labelSelector") {
            warnings.push(format!("{}: {NULL_SELECTOR}", path.child("labelSelector")));
        }
    }
}

fn annotations(object: &Value, path: &Path, warnings: &mut Vec<String>) {
    let all = object.at("metadata.annotations");
    let path = path.child("metadata").child("annotations");
    for (key, why) in ANNOTATIONS {
        if !all[*key].is_null() {
            warnings.push(format!("{}: {why}", path.key(key)));
        }
    }
    let mut seccomp = |key: &str| {
        if !all[key].is_null() {
            let path = path.key(key);
            warnings.push(format!("{path}: non-functional in v1.27+; use the \"seccompProfile\" field instead"));
        }
    };
    if !object.has("spec.securityContext.seccompProfile") {
        seccomp(SECCOMP_POD);
    }
    for (_, container) in containers(object.at("spec"), &Path::root()) {
        if !container.has("securityContext.seccompProfile") {
            seccomp(&format!("{SECCOMP_CONTAINER}{}", container.text("name")));
        }
    }
}

fn volumes(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    for (index, volume) in spec.list("volumes").iter().enumerate() {
        let path = path.index(index);
        for (source, why) in VOLUMES {
            if volume.has(source) {
                // Upstream's path has another spelling than the field.
                let shown = if *source == "storageos" { "storageOS" } else { source };
                warnings.push(format!("{}: {why}", path.child(shown)));
            }
        }
        let claim = volume.at("ephemeral.volumeClaimTemplate.spec");
        let claim_path = path.child("ephemeral").child("volumeClaimTemplate").child("spec");
        crate::warnings::claim(claim, &claim_path, warnings);
    }
    for volume in spec.list("volumes") {
        overlaps(volume, warnings);
    }
}

/// A file of a volume and, in a projected one, where it comes from.
#[derive(PartialEq)]
struct File {
    path: String,
    source: String,
}

impl File {
    fn new(path: &str, source: &str) -> Self {
        Self { path: path.trim_end_matches('/').to_owned(), source: source.to_owned() }
    }
    fn shown(&self) -> String {
        if self.source.is_empty() { format!("{:?}", self.path) } else { format!("{:?} ({})", self.path, self.source) }
    }
    fn overlaps(&self, other: &Self) -> bool {
        let (a, b) = (format!("{}/", self.path), format!("{}/", other.path));
        !self.path.is_empty() && !other.path.is_empty() && (a.starts_with(&b) || b.starts_with(&a))
    }
}

/// Files of one volume of which one lies where another must be.
fn overlaps(volume: &Value, warnings: &mut Vec<String>) {
    let name = volume.text("name");
    let items = |source: &Value, shown: &str| -> Vec<File> {
        source.list("items").iter().map(|item| File::new(item.text("path"), shown)).collect()
    };
    let mut report = |what: &str, files: Vec<File>| {
        for (index, file) in files.iter().enumerate() {
            for other in files[..index].iter().filter(|other| file.overlaps(other)) {
                warnings.push(format!(
                    "volume {name:?} ({what}): overlapping paths: {} with {}",
                    file.shown(),
                    other.shown()
                ));
            }
        }
    };
    report(&format!("ConfigMap {:?}", volume.text("configMap.name")), items(volume.at("configMap"), ""));
    report(&format!("Secret {:?}", volume.text("secret.secretName")), items(volume.at("secret"), ""));
    report("DownwardAPI", items(volume.at("downwardAPI"), ""));
    let mut files = Vec::new();
    for source in volume.list("projected.sources") {
        for (kind, shown) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
            let source = source.at(kind);
            files.extend(items(source, &format!("{shown} {:?}", source.text("name"))));
        }
        files.extend(items(source.at("downwardAPI"), "DownwardAPI"));
        if source.has("serviceAccountToken") {
            files.push(File::new(source.text("serviceAccountToken.path"), "ServiceAccountToken"));
        }
    }
    report("Projected", files);
    let sourceless = volume.list("projected.sources").iter().filter(|s| s.as_object().is_some_and(|s| s.is_empty()));
    warnings.extend(sourceless.map(|_| format!("volume {name:?} (Projected) has no sources provided")));
}

fn lists(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    let mut twice = |list: &str, key: &str| {
        let mut seen: Vec<&str> = Vec::new();
        for (index, item) in spec.list(list).iter().enumerate() {
            let text = item.text(key);
            if seen.contains(&text) {
                warnings.push(format!("{}: duplicate {key} {text:?}", path.child(list).index(index).child(key)));
            }
            seen.push(text);
        }
    };
    twice("hostAliases", "ip");
    twice("imagePullSecrets", "name");
    for (index, secret) in spec.list("imagePullSecrets").iter().enumerate() {
        if secret.text("name").is_empty() {
            let path = path.child("imagePullSecrets").index(index).child("name");
            warnings.push(format!("{path}: invalid empty name \"\""));
        }
    }
    for resource in ["memory", "ephemeral-storage"] {
        fractional(&spec.at("overhead")[resource], &path.child("overhead").key(resource), warnings);
    }
}

/// An amount of bytes that is no whole number.
pub(crate) fn fractional(value: &Value, path: &Path, warnings: &mut Vec<String>) {
    if value.is_null() {
        return;
    }
    if let Ok(quantity) = Quantity::parse(&bare(value))
        && quantity.milli() % 1000 != 0
    {
        let shown = quantity.to_string();
        warnings.push(format!("{path}: fractional byte value {shown:?} is invalid, must be an integer"));
    }
}

fn resources(container: &Value, path: &Path, warnings: &mut Vec<String>) {
    let path = path.child("resources");
    for resource in ["memory", "ephemeral-storage"] {
        for list in ["limits", "requests"] {
            let value = &container.at("resources")[list][resource];
            fractional(value, &path.child(list).key(resource), warnings);
        }
    }
}

fn environment(container: &Value, path: &Path, warnings: &mut Vec<String>) {
    let mut seen: Vec<&str> = Vec::new();
    for (index, variable) in container.list("env").iter().enumerate() {
        let (name, value) = (variable.text("name"), variable.text("value"));
        let reference = format!("$({name})");
        // Building on the earlier value is fine.
        let builds = !variable.has("valueFrom") && value != reference && value.contains(&reference);
        if seen.contains(&name) && !builds {
            let path = path.child("env").index(index);
            warnings
                .push(format!("{path}: hides previous definition of {name:?}, which may be dropped when using apply"));
        }
        seen.push(name);
    }
}

fn ports(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    let all: Vec<(Path, &Value)> = containers(spec, path)
        .into_iter()
        .flat_map(|(path, container)| {
            let ports = container.list("ports").iter().enumerate();
            ports.map(move |(index, port)| (path.child("ports").index(index), port)).collect::<Vec<_>>()
        })
        .collect();
    let host = |port: &Value| (port.text("hostIP").to_owned(), port.int("hostPort").unwrap_or_default());
    for (at, (path, port)) in all.iter().enumerate() {
        let same = |other: &Value| {
            other.int("containerPort") == port.int("containerPort") && other.text("protocol") == port.text("protocol")
        };
        let (host_ip, host_port) = host(port);
        if !host_ip.is_empty() && host_port == 0 {
            let (name, number, protocol) =
                (port.text("name"), port.int("containerPort").unwrap_or_default(), port.text("protocol"));
            warnings.push(format!(
                "{path}: hostIP set without hostPort: {{Name:{name} HostPort:0 ContainerPort:{number} Protocol:{protocol} HostIP:{host_ip}}}"
            ));
        }
        for (other_path, other) in all[..at].iter().filter(|(_, other)| same(other)) {
            let (other_ip, other_port) = host(other);
            let how = if host_ip == other_ip && host_port == other_port {
                "duplicate"
            } else if host_port == 0 || other_port == 0 {
                "overlapping"
            } else if host_port == other_port && host_ip.is_empty() != other_ip.is_empty() {
                "dangerously ambiguous"
            } else {
                continue;
            };
            warnings.push(format!("{path}: {how} port definition with {other_path}"));
        }
    }
    let mut named: Vec<(&str, &Path)> = Vec::new();
    for (path, port) in &all {
        let name = port.text("name");
        match named.iter().find(|(known, _)| *known == name) {
            _ if name.is_empty() => {}
            Some((_, first)) => warnings.push(format!(
                "{path}: duplicate port name {name:?} with {first}, services and probes that select ports by name will use {first}"
            )),
            None => named.push((name, path)),
        }
    }
}

fn pod_affinity(spec: &Value, path: &Path, warnings: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let affinity = spec.at("affinity").at(kind);
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        for (index, term) in affinity.list(required).iter().enumerate() {
            if !term.has("labelSelector") {
                let path = path.child(kind).child(required).index(index).child("labelSelector");
                warnings.push(format!("{path}: {NULL_SELECTOR}"));
            }
        }
        let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
        for (index, term) in affinity.list(preferred).iter().enumerate() {
            if !term.has("podAffinityTerm.labelSelector") {
                let path = path.child(kind).child(preferred).index(index).child("podAffinityTerm");
                warnings.push(format!("{}: {NULL_SELECTOR}", path.child("labelSelector")));
            }
        }
    }
}
