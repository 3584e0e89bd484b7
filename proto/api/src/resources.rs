//! What a pod asks for, summed as the scheduler sums it.
//! Source: <https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/>

use std::collections::BTreeMap;

use serde_json::Value;

use crate::quantity::Quantity;

/// By resource name.
pub type Resources = BTreeMap<String, Quantity>;

/// The quantities of a JSON map; what cannot be read is left out, validation has refused it.
pub fn quantities(map: Option<&Value>) -> Resources {
    let entries = map.and_then(Value::as_object).into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.clone(), quantity(value)?))).collect()
}

pub fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

pub fn add(to: &mut Resources, more: &Resources) {
    for (name, quantity) in more {
        *to.entry(name.clone()).or_default() += *quantity;
    }
}

fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn raise(to: &mut Resources, other: &Resources) {
    for (name, quantity) in other {
        let known = to.entry(name.clone()).or_insert(*quantity);
        *known = (*known).max(*quantity);
    }
}

/// `which` is `requests` or `limits`: the containers together, or the largest moment of starting up (an init
/// container with the sidecars before it) if that is more; then what the pod sets for itself as a whole.
pub fn of_containers(spec: &Value, which: &str) -> Resources {
    let of = |container: &Value| quantities(container.pointer(&format!("/resources/{which}")));
    let mut total = Resources::new();
    for container in items(spec, "/containers") {
        add(&mut total, &of(container));
    }
    let (mut sidecars, mut starting) = (Resources::new(), Resources::new());
    for container in items(spec, "/initContainers") {
        let own = of(container);
        if container.get("restartPolicy").is_some_and(|policy| policy == "Always") {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            raise(&mut starting, &sidecars);
        } else {
            let mut moment = sidecars.clone();
            add(&mut moment, &own);
            raise(&mut starting, &moment);
        }
    }
    raise(&mut total, &starting);
    for (name, quantity) in quantities(spec.pointer(&format!("/resources/{which}"))) {
        total.insert(name, quantity);
    }
    total
}

/// With the overhead of the runtime class; limits only get it where there is a limit.
pub fn of_pod(spec: &Value, which: &str) -> Resources {
    let mut total = of_containers(spec, which);
    for (name, quantity) in quantities(spec.get("overhead")) {
        match total.get_mut(&name) {
            Some(known) => *known += quantity,
            None if which == "requests" => {
                total.insert(name, quantity);
            }
            None => {}
        }
    }
    total
}

/// A resource of Kubernetes itself: without a domain, or in one of Kubernetes' own.
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}
