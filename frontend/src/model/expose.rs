//! Services in front of a workload: which there are, and the one that exposes it.

use serde_json::{Value, json};

use super::json::{at, list, pairs, scalar, text};

/// Whether a Service selects pods with these labels.
pub fn selects(service: &Value, labels: &[(String, String)]) -> bool {
    let selector = pairs(service, "spec/selector");
    !selector.is_empty() && selector.iter().all(|wanted| labels.contains(wanted))
}

/// The labels of a workload's pods.
pub fn pod_labels(workload: &Value) -> Vec<(String, String)> {
    pairs(workload, "spec/template/metadata/labels")
}

/// Numbers and names of the ports that its containers declare.
pub fn container_ports(workload: &Value) -> Vec<(String, String)> {
    let ports = list(workload, "spec/template/spec/containers").iter().flat_map(|container| list(container, "ports"));
    ports.map(|port| (scalar(at(port, "containerPort")), text(port, "name").to_owned())).collect()
}

/// One port of a Service as it was typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    pub name: String,
    pub port: String,
    pub target: String,
}

/// The Service that exposes a workload, as `kubectl expose` makes it: its selector is the workload's own.
pub fn service(workload: &Value, name: &str, type_: &str, openings: &[Opening]) -> Value {
    let number = |typed: &str| typed.trim().parse::<i64>().map_or_else(|_| json!(typed.trim()), |number| json!(number));
    let several = openings.len() > 1;
    let ports: Vec<Value> = openings
        .iter()
        .map(|opening| {
            let target = if opening.target.trim().is_empty() { &opening.port } else { &opening.target };
            let mut port = json!({ "port": number(&opening.port), "targetPort": number(target) });
            let name = opening.name.trim();
            if !name.is_empty() || several {
                port["name"] =
                    json!(if name.is_empty() { format!("port-{}", opening.port.trim()) } else { name.to_owned() });
            }
            port
        })
        .collect();
    let meta = at(workload, "metadata");
    let mut metadata = json!({ "name": name.trim(), "namespace": text(meta, "namespace") });
    if meta.get("labels").is_some() {
        metadata["labels"] = meta["labels"].clone();
    }
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata,
        "spec": { "type": type_, "selector": at(workload, "spec/selector/matchLabels"), "ports": ports },
    })
}

/// `http 80 → 8080, NodePort 30080` for each port.
pub fn port_words(service: &Value) -> Vec<String> {
    let words = |port: &Value| {
        let (number, target, node) =
            (scalar(at(port, "port")), scalar(at(port, "targetPort")), scalar(at(port, "nodePort")));
        let mut words = if target.is_empty() || target == number { number } else { format!("{number} → {target}") };
        if !node.is_empty() {
            words.push_str(&format!(", node port {node}"));
        }
        words
    };
    list(service, "spec/ports").iter().map(words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn web() -> Value {
        json!({"metadata": {"name": "web", "namespace": "a", "labels": {"team": "x"}}, "spec": {
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web", "tier": "front"}}, "spec": {"containers": [{"ports": [{"containerPort": 8080, "name": "http"}]}]}},
        }})
    }

    #[test]
    fn a_service_belongs_to_a_workload_when_its_selector_is_part_of_the_labels() {
        let labels = pod_labels(&web());
        for (selector, yes) in [
            (json!({"app": "web"}), true),
            (json!({"app": "web", "tier": "front"}), true),
            (json!({"app": "db"}), false),
            (json!({}), false),
            (Value::Null, false),
        ] {
            assert_eq!(selects(&json!({"spec": {"selector": selector}}), &labels), yes);
        }
    }

    #[test]
    fn exposing_keeps_the_selector_and_the_labels() {
        let typed = [
            Opening { name: String::new(), port: "80".into(), target: "http".into() },
            Opening { name: "x".into(), port: "90".into(), target: String::new() },
        ];
        let service = service(&web(), "web", "NodePort", &typed);
        assert_eq!(
            service["spec"],
            json!({"type": "NodePort", "selector": {"app": "web"}, "ports": [{"name": "port-80", "port": 80, "targetPort": "http"}, {"name": "x", "port": 90, "targetPort": 90}]})
        );
        assert_eq!(service["metadata"], json!({"name": "web", "namespace": "a", "labels": {"team": "x"}}));
        assert_eq!(container_ports(&web()), [("8080".to_owned(), "http".to_owned())]);
    }

    #[test]
    fn ports_in_words() {
        let service = json!({"spec": {"ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}, {"port": 9, "targetPort": 9}]}});
        assert_eq!(port_words(&service), ["80 → 8080, node port 30080", "9"]);
    }
}
