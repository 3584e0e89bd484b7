//! The downward API: what a pod may be told about itself, as text. Pure.
//! Source: <https://kubernetes.io/docs/concepts/workloads/pods/downward-api/>

use std::collections::BTreeMap;
use std::fmt::Write;

use k8s_openapi::api::core::v1::{Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{containers, resources};

/// What only the node knows.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub host_ip: String,
    pub pod_ips: Vec<String>,
    /// What stands for a limit that is not set.
    pub allocatable: BTreeMap<String, Quantity>,
}

/// `key="value"` lines, sorted, with Go's quoting.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let mut text = String::new();
    for (index, (key, value)) in map.into_iter().flatten().enumerate() {
        let separator = if index == 0 { "" } else { "\n" };
        let _ = write!(text, "{separator}{key}=\"");
        for character in value.chars() {
            match character {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                c if c.is_control() => {
                    let _ = write!(text, "\\x{:02x}", c as u32);
                }
                c => text.push(c),
            }
        }
        text.push('"');
    }
    text
}

/// The text of a `fieldRef`; an error names the path.
pub fn field(pod: &Pod, facts: &Facts, path: &str) -> Result<String, String> {
    let (metadata, spec) = (&pod.metadata, pod.spec.as_ref());
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    if let Some((list, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match list {
            "metadata.labels" => metadata.labels.as_ref(),
            "metadata.annotations" => metadata.annotations.as_ref(),
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return Ok(map.and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => text(&metadata.name),
        "metadata.namespace" => text(&metadata.namespace),
        "metadata.uid" => text(&metadata.uid),
        "metadata.labels" => lines(metadata.labels.as_ref()),
        "metadata.annotations" => lines(metadata.annotations.as_ref()),
        "spec.nodeName" => spec.map(|spec| text(&spec.node_name)).unwrap_or_default(),
        "spec.serviceAccountName" => spec.map(|spec| text(&spec.service_account_name)).unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => facts.host_ip.clone(),
        "status.podIP" => facts.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.pod_ips.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// The text of a `resourceFieldRef`, in units of its divisor, rounded up.
pub fn resource(
    pod: &Pod,
    facts: &Facts,
    selector: &ResourceFieldSelector,
    own_container: Option<&str>,
) -> Result<String, String> {
    let name = selector.container_name.as_deref().filter(|name| !name.is_empty()).or(own_container);
    let name = name.ok_or("resourceFieldRef without containerName")?;
    let spec = pod.spec.as_ref().ok_or("the pod has no spec")?;
    let (_, container) = containers::find(spec, name).ok_or_else(|| format!("container {name} not found"))?;
    let (list, resource) = selector.resource.split_once('.').unwrap_or_default();
    let own = match list {
        "limits" => resources::limits(&container),
        "requests" => resources::requests(&container),
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    let milli = resources::milli(own, resource).filter(|value| *value > 0);
    // A limit that is not set is what the node has; a request that is not set is the limit, or nothing.
    let milli = match (milli, list) {
        (Some(milli), _) => milli,
        (None, "limits") => resources::milli(Some(&facts.allocatable), resource).unwrap_or(0),
        (None, _) => 0,
    };
    let divisor = selector.divisor.as_ref().map(|divisor| ("d".to_owned(), divisor.clone()));
    let divisor: BTreeMap<String, Quantity> = divisor.into_iter().collect();
    let divisor = resources::milli(Some(&divisor), "d").filter(|value| *value > 0).unwrap_or(1000);
    Ok((i128::from(milli) + i128::from(divisor) - 1).div_euclid(i128::from(divisor)).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u1",
                "labels": {"b": "2", "a": "say \"hi\"\n"}, "annotations": {"x/y": "z"}},
            "spec": {"nodeName": "n1", "serviceAccountName": "default", "containers": [
                {"name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}},
                {"name": "d"}]},
        }))
        .unwrap()
    }

    fn facts() -> Facts {
        Facts {
            host_ip: "10.89.0.11".into(),
            pod_ips: vec!["10.244.0.2".into(), "fd00::2".into()],
            allocatable: BTreeMap::from([("cpu".into(), Quantity("2".into()))]),
        }
    }

    #[test]
    fn fields() {
        for (path, text) in [
            ("metadata.name", "web"),
            ("metadata.uid", "u1"),
            ("metadata.labels['b']", "2"),
            ("metadata.labels['none']", ""),
            ("metadata.annotations['x/y']", "z"),
            ("metadata.labels", "a=\"say \\\"hi\\\"\\n\"\nb=\"2\""),
            ("spec.nodeName", "n1"),
            ("status.hostIP", "10.89.0.11"),
            ("status.podIP", "10.244.0.2"),
            ("status.podIPs", "10.244.0.2,fd00::2"),
        ] {
            assert_eq!(field(&pod(), &facts(), path).as_deref(), Ok(text), "{path}");
        }
        assert!(field(&pod(), &facts(), "status.phase").is_err());
    }

    #[test]
    fn resource_fields_round_up() {
        for (resource_, container, divisor, text) in [
            ("limits.cpu", "c", None, "2"),
            ("limits.cpu", "c", Some("1m"), "1500"),
            ("requests.cpu", "c", Some("1m"), "250"),
            ("limits.memory", "c", Some("1Mi"), "64"),
            ("limits.memory", "c", None, "67108864"),
            ("limits.cpu", "d", None, "2"),
            ("requests.memory", "d", None, "0"),
        ] {
            let selector = ResourceFieldSelector {
                container_name: Some(container.into()),
                divisor: divisor.map(|divisor: &str| Quantity(divisor.into())),
                resource: resource_.into(),
            };
            let got = resource(&pod(), &facts(), &selector, None);
            assert_eq!(got.as_deref(), Ok(text), "{resource_} of {container} by {divisor:?}");
        }
    }
}
