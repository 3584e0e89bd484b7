//! Defaults of pods and of the pod templates inside workloads.
//! Source: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/>

use pilothouse_api::quantity::Quantity;
use serde_json::{Map, Value, json};

use crate::{
    checks::canonical_quantities,
    kinds::persistent_volume_claim,
    value::{Look, MapExt, bare, child, dig, items, members},
};

const FILE_MODE: i64 = 0o644;
const TOKEN_SECONDS: i64 = 3600;

/// Defaults of a pod: those of its spec and what only pods get, not templates.
pub(crate) fn pod(object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    let spec = child(map, "spec");
    for list in ["containers", "initContainers"] {
        for container in members(spec, list) {
            if let Some(resources) = container.get_mut("resources") {
                requests_from_limits(resources);
            }
        }
    }
    pod_level_requests(spec);
    spec.or_set("enableServiceLinks", true);
    if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
        for list in ["containers", "initContainers"] {
            for port in members(spec, list).flat_map(|c| members(c, "ports")) {
                if port.get("hostPort").and_then(Value::as_i64).unwrap_or_default() == 0 {
                    let same = port.get("containerPort").cloned().unwrap_or_default();
                    port.insert("hostPort".into(), same);
                }
            }
        }
    }
    pod_spec(spec);
}

/// Defaults of the template at `path` of a workload.
pub(crate) fn template(object: &mut Value, path: &str) {
    let Some(template) = dig(object, path).and_then(Value::as_object_mut) else { return };
    pod_spec(child(template, "spec"));
}

/// A resource with a limit and no request requests its limit.
fn requests_from_limits(resources: &mut Value) {
    let Some(limits) = resources.at("limits").as_object().filter(|limits| !limits.is_empty()).cloned() else { return };
    let requests = crate::value::object(resources, "requests");
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

/// With pod-level limits, what the containers request together and else the limits become pod-level requests.
fn pod_level_requests(spec: &mut Map<String, Value>) {
    let Some(limits) =
        spec.get("resources").and_then(|r| r.at("limits").as_object()).filter(|l| !l.is_empty()).cloned()
    else {
        return;
    };
    let whole = super::resources::container_requests(spec);
    let requests = child(child(spec, "resources"), "requests");
    let supported = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    for (name, quantity) in whole {
        if supported(&name) && !name.starts_with("hugepages-") {
            requests.entry(name).or_insert_with(|| quantity.to_string().into());
        }
    }
    for (name, limit) in limits {
        if supported(&name) {
            requests.entry(name).or_insert(limit);
        }
    }
}

/// Defaults of a pod's spec.
pub(crate) fn pod_spec(spec: &mut Map<String, Value>) {
    spec.or_set("dnsPolicy", "ClusterFirst");
    spec.or_set("restartPolicy", "Always");
    spec.or_set("securityContext", json!({}));
    spec.or_set("terminationGracePeriodSeconds", 30);
    spec.or_set("schedulerName", "default-scheduler");
    service_account(spec);
    for volume in members(spec, "volumes") {
        self::volume(volume);
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in members(spec, list) {
            self::container(container);
        }
    }
    canonical_quantities(spec.get_mut("overhead"));
    if let Some(resources) = spec.get_mut("resources") {
        canonical_resources(resources);
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; both always say the same.
pub(crate) fn service_account(spec: &mut Map<String, Value>) {
    let text = |key: &str| spec.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (new, old) = (text("serviceAccountName"), text("serviceAccount"));
    let name = if new.is_empty() { old } else { new };
    if !name.is_empty() {
        spec.insert("serviceAccountName".into(), name.clone().into());
        spec.insert("serviceAccount".into(), name.into());
    }
}

/// Quantities in their canonical form, rounded up to what the API can hold.
pub(crate) fn canonical_resources(resources: &mut Value) {
    for key in ["limits", "requests"] {
        for value in dig(resources, key).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
            if let Ok(quantity) = Quantity::parse(&bare(value)) {
                let rounded = match i64::try_from(quantity.milli()) {
                    Ok(milli) => Quantity::from_milli(milli, quantity.format()),
                    Err(_) => quantity,
                };
                *value = rounded.to_string().into();
            }
        }
    }
}

fn container(container: &mut Map<String, Value>) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = if image_tag(image) == Some("latest") { "Always" } else { "IfNotPresent" };
    container.or_set("imagePullPolicy", policy);
    container.or_set("terminationMessagePath", "/dev/termination-log");
    container.or_set("terminationMessagePolicy", "File");
    container.or_set("resources", json!({}));
    if let Some(resources) = container.get_mut("resources") {
        canonical_resources(resources);
    }
    for port in members(container, "ports") {
        port.or_set("protocol", "TCP");
    }
    for variable in members(container, "env") {
        let Some(from) = variable.get_mut("valueFrom") else { continue };
        if let Some(field) = dig(from, "fieldRef") {
            field.or_set("apiVersion", "v1");
        }
        if let Some(file) = dig(from, "fileKeyRef") {
            file.or_set("optional", false);
        }
        if let Some(divisor) = dig(from, "resourceFieldRef") {
            self::divisor(divisor);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).filter(|p| p.is_object()) {
            self::probe(probe);
        }
    }
    if let Some(lifecycle) = container.get_mut("lifecycle") {
        for hook in ["postStart.httpGet", "preStop.httpGet"] {
            if let Some(action) = dig(lifecycle, hook) {
                http_get(action);
            }
        }
    }
}

/// The zero divisor is printed as `"0"`.
fn divisor(reference: &mut Value) {
    reference.or_set("divisor", "0");
    if let Some(divisor) = dig(reference, "divisor") {
        crate::checks::canonical_quantity(divisor);
    }
}

fn probe(probe: &mut Value) {
    for (key, value) in [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if probe.int(key).unwrap_or_default() == 0
            && let Some(map) = probe.as_object_mut()
        {
            map.insert(key.into(), value.into());
        }
    }
    if let Some(action) = dig(probe, "httpGet") {
        http_get(action);
    }
    if let Some(grpc) = dig(probe, "grpc")
        && !grpc.has("service")
    {
        grpc.or_set("service", "");
    }
}

fn http_get(action: &mut Value) {
    action.or_set("path", "/");
    action.or_set("scheme", "HTTP");
}

/// The tag of an image reference; `latest` if it has neither tag nor digest.
fn image_tag(image: &str) -> Option<&str> {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.split_once(':') {
        Some((_, tag)) => Some(tag),
        // What is no image reference has no tag either.
        None if !is_image_name(name) => None,
        None => digest.is_none().then_some("latest"),
    }
}

/// `registry.example.com:5000/team/app`: a host if it looks like one, then words of lower case; no bare image ID.
fn is_image_name(name: &str) -> bool {
    const MAX: usize = 255;
    const ID_DIGITS: usize = 64;
    let is_id = name.len() == ID_DIGITS && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let path = match name.split_once('/') {
        Some((host, rest)) if host == "localhost" || host.contains(['.', ':']) && !host.starts_with('.') => rest,
        _ => name,
    };
    let word = |word: &str| {
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = word.as_bytes();
        edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(b))
            && !["..", "___", "._", "_.", "-.", ".-", "-_", "_-"].iter().any(|pair| word.contains(pair))
    };
    name.len() <= MAX && !is_id && path.split('/').all(word)
}

/// Defaults that volumes of pods and PersistentVolumes share: source, field, value.
const SOURCE_DEFAULTS: &[(&str, &str, &str)] = &[
    ("iscsi", "iscsiInterface", "default"),
    ("rbd", "pool", "rbd"),
    ("rbd", "user", "admin"),
    ("rbd", "keyring", "/etc/ceph/keyring"),
    ("azureDisk", "cachingMode", "ReadWrite"),
    ("azureDisk", "fsType", "ext4"),
    ("azureDisk", "kind", "Shared"),
    ("scaleIO", "storageMode", "ThinProvisioned"),
    ("scaleIO", "fsType", "xfs"),
];

pub(crate) fn volume_source(volume: &mut Map<String, Value>) {
    for (source, field, value) in SOURCE_DEFAULTS {
        if let Some(source) = volume.get_mut(*source) {
            source.or_set(field, *value);
        }
    }
    if let Some(disk) = volume.get_mut("azureDisk") {
        disk.or_set("readOnly", false);
    }
    if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        path.or_set("type", "");
    }
}

fn volume(volume: &mut Map<String, Value>) {
    if volume.iter().all(|(key, value)| key == "name" || value.is_null()) {
        volume.insert("emptyDir".into(), json!({}));
    }
    volume_source(volume);
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source) {
            source.or_set("defaultMode", FILE_MODE);
        }
    }
    if let Some(limit) = volume.get_mut("emptyDir").and_then(|v| v.get_mut("sizeLimit")) {
        crate::checks::canonical_quantity(limit);
    }
    if let Some(downward) = volume.get_mut("downwardAPI") {
        downward_items(downward);
    }
    if let Some(projected) = volume.get_mut("projected") {
        for source in items(projected, "sources") {
            if let Some(token) = source.get_mut("serviceAccountToken") {
                token.or_set("expirationSeconds", TOKEN_SECONDS);
            }
            if let Some(downward) = source.get_mut("downwardAPI") {
                downward_items(downward);
            }
        }
    }
    if let Some(image) = volume.get_mut("image") {
        let latest = image_tag(image.text("reference")) == Some("latest");
        image.or_set("pullPolicy", if latest { "Always" } else { "IfNotPresent" });
    }
    if let Some(spec) = volume.get_mut("ephemeral").and_then(|e| dig(e, "volumeClaimTemplate.spec")) {
        persistent_volume_claim::default_spec(spec);
    }
}

fn downward_items(downward: &mut Value) {
    for item in items(downward, "items") {
        if let Some(field) = item.get_mut("fieldRef") {
            field.or_set("apiVersion", "v1");
        }
        if let Some(resource) = item.get_mut("resourceFieldRef") {
            divisor(resource);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        for (image, tag) in [
            ("nginx", Some("latest")),
            ("nginx:1.2", Some("1.2")),
            ("r.io:5000/a/nginx", Some("latest")),
            ("r.io:5000/a/nginx:latest", Some("latest")),
            ("nginx@sha256:abc", None),
            ("nginx:latest@sha256:abc", Some("latest")),
            ("", None),
            ("NGINX", None),
        ] {
            assert_eq!(image_tag(image), tag, "{image}");
        }
    }
}
