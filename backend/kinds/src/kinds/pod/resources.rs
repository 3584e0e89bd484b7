//! What a pod requests: sums over containers, and the quality of service that follows.
//! Source: <https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/>

use std::collections::BTreeMap;

use pilothouse_api::quantity::Quantity;
use serde_json::{Map, Value};

use crate::value::{Look, bare};

type Resources = BTreeMap<String, Quantity>;

fn parse(list: &Value) -> Resources {
    let pairs = list.as_object().into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.clone(), Quantity::parse(&bare(value)).ok()?))).collect()
}

fn add(sum: &mut Resources, more: &Resources) {
    for (name, quantity) in more {
        *sum.entry(name.clone()).or_default() += *quantity;
    }
}

fn at_least(sum: &mut Resources, other: &Resources) {
    for (name, quantity) in other {
        let have = sum.entry(name.clone()).or_default();
        *have = (*have).max(*quantity);
    }
}

/// What the containers of a pod's spec request together: the sum of containers and sidecars, or an init container
/// (beside the sidecars started before it) if that is more.
pub(crate) fn container_requests(spec: &Map<String, Value>) -> Resources {
    let list = |key: &str| spec.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut sum = Resources::new();
    for container in list("containers") {
        add(&mut sum, &parse(container.at("resources.requests")));
    }
    let (mut sidecars, mut most) = (Resources::new(), Resources::new());
    for container in list("initContainers") {
        let mut requests = parse(container.at("resources.requests"));
        if container.text("restartPolicy") == "Always" {
            add(&mut sum, &requests);
            add(&mut sidecars, &requests);
            requests = sidecars.clone();
        } else {
            add(&mut requests, &sidecars);
        }
        at_least(&mut most, &requests);
    }
    at_least(&mut sum, &most);
    sum
}

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos_class(pod: &Value) -> &'static str {
    let spec = pod.at("spec");
    let positive = |list: &Value| -> Resources {
        let counts = |name: &str| matches!(name, "cpu" | "memory");
        parse(list).into_iter().filter(|(name, q)| counts(name) && !q.is_zero() && !q.is_negative()).collect()
    };
    let (mut requests, mut limits, mut guaranteed) = (Resources::new(), Resources::new(), true);
    if spec.has("resources") {
        requests = positive(spec.at("resources.requests"));
        limits = positive(spec.at("resources.limits"));
        guaranteed = spec.entries("resources.limits").next().is_none() || limits.len() == 2;
    } else {
        for container in spec.list("containers").iter().chain(spec.list("initContainers")) {
            add(&mut requests, &positive(container.at("resources.requests")));
            let own = positive(container.at("resources.limits"));
            guaranteed &= own.len() == 2;
            add(&mut limits, &own);
        }
    }
    if requests.is_empty() && limits.is_empty() {
        "BestEffort"
    } else if guaranteed && requests == limits {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn classes() {
        let pod = |containers: Value| json!({"spec": {"containers": containers}});
        let full = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1024Mi"}});
        for (containers, class) in [
            (json!([{}]), "BestEffort"),
            (json!([{"resources": {"requests": {"cpu": "0"}}}]), "BestEffort"),
            (json!([{"resources": {"requests": {"cpu": "1"}}}]), "Burstable"),
            (json!([{"resources": full}]), "Guaranteed"),
            (json!([{"resources": full}, {}]), "Burstable"),
            (json!([{"resources": {"limits": {"nvidia.com/gpu": "1"}}}]), "BestEffort"),
        ] {
            assert_eq!(qos_class(&pod(containers.clone())), class, "{containers}");
        }
    }

    #[test]
    fn init_containers_count_when_they_ask_for_more() {
        let spec = json!({
            "containers": [{"resources": {"requests": {"cpu": "1"}}}, {"resources": {"requests": {"cpu": "500m"}}}],
            "initContainers": [
                {"resources": {"requests": {"cpu": "100m"}}, "restartPolicy": "Always"},
                {"resources": {"requests": {"cpu": "2"}}}]});
        let Value::Object(spec) = spec else { panic!("an object") };
        assert_eq!(container_requests(&spec)["cpu"].to_string(), "2100m");
    }
}
