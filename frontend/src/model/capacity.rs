//! Sums of CPU, memory and pods: what nodes offer, what pods ask for, and amounts in words.

use std::collections::BTreeMap;

use pilothouse_api::quantity::Quantity;
use serde_json::Value;

use super::health::Tone;
use super::json::{list, number, text};
use super::{pod, time};

/// CPU in thousandths of a core, memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    pub cpu: i128,
    pub memory: i128,
    pub pods: i128,
}

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.memory += other.memory;
        self.pods += other.pods;
    }
}

fn milli(value: &Value) -> i128 {
    Quantity::parse(&super::json::scalar(value)).map_or(0, |quantity| quantity.milli())
}

fn whole(value: &Value) -> i128 {
    Quantity::parse(&super::json::scalar(value)).map_or(0, |quantity| quantity.value())
}

fn requests(container: &Value) -> Amount {
    let of = |name: &str| container.pointer(&format!("/resources/requests/{name}")).unwrap_or(&Value::Null);
    Amount { cpu: milli(of("cpu")), memory: whole(of("memory")), pods: 0 }
}

/// What the scheduler counts for a pod: its containers and sidecars together, or the largest moment of its start.
pub fn requested(pod: &Value) -> Amount {
    let mut sum = Amount::default();
    for container in list(pod, "spec/containers") {
        sum += requests(container);
    }
    let (mut sidecars, mut start) = (Amount::default(), Amount::default());
    for init in list(pod, "spec/initContainers") {
        let own = requests(init);
        let mut moment = sidecars;
        moment += own;
        if text(init, "restartPolicy") == "Always" {
            sidecars += own;
        }
        start = Amount { cpu: start.cpu.max(moment.cpu), memory: start.memory.max(moment.memory), pods: 0 };
    }
    sum += sidecars;
    let overhead = Amount {
        cpu: milli(pod.pointer("/spec/overhead/cpu").unwrap_or(&Value::Null)),
        memory: whole(pod.pointer("/spec/overhead/memory").unwrap_or(&Value::Null)),
        pods: 1,
    };
    sum = Amount { cpu: sum.cpu.max(start.cpu), memory: sum.memory.max(start.memory), pods: 0 };
    sum += overhead;
    sum
}

pub fn allocatable(node: &Value) -> Amount {
    let of = |name: &str| {
        node.pointer(&format!("/status/allocatable/{name}"))
            .or_else(|| node.pointer(&format!("/status/capacity/{name}")))
            .unwrap_or(&Value::Null)
    };
    Amount { cpu: milli(of("cpu")), memory: whole(of("memory")), pods: whole(of("pods")) }
}

/// What the overview keeps of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodExtract {
    pub node: String,
    pub namespace: String,
    pub name: String,
    pub tone: Tone,
    pub word: String,
    pub why: String,
    pub restarts: i64,
    pub since: i64,
    pub over: bool,
    pub requested: Amount,
}

pub fn extract(object: Value) -> PodExtract {
    let health = pod::health(&object);
    let phase = text(&object, "status/phase");
    PodExtract {
        node: text(&object, "spec/nodeName").to_owned(),
        namespace: super::json::namespace(&object).to_owned(),
        name: super::json::name(&object).to_owned(),
        tone: health.tone,
        word: health.word,
        why: health.why,
        restarts: pod::containers(&object).iter().map(|container| container.restarts).sum(),
        since: time::parse(text(&object, "metadata/creationTimestamp")).unwrap_or_default(),
        over: phase == "Succeeded" || phase == "Failed",
        requested: requested(&object),
    }
}

/// Requests of the pods that hold resources, by node.
pub fn by_node<'a>(pods: impl Iterator<Item = &'a PodExtract>) -> BTreeMap<String, Amount> {
    let mut sums: BTreeMap<String, Amount> = BTreeMap::new();
    for pod in pods.filter(|pod| !pod.over && !pod.node.is_empty()) {
        *sums.entry(pod.node.clone()).or_default() += pod.requested;
    }
    sums
}

/// Live usage from a kubelet's `/stats/summary`.
pub fn usage(summary: &Value) -> Amount {
    Amount {
        cpu: i128::from(number(summary, "node/cpu/usageNanoCores")) / 1_000_000,
        memory: i128::from(number(summary, "node/memory/workingSetBytes")),
        pods: list(summary, "pods").len() as i128,
    }
}

pub fn share(part: i128, whole: i128) -> f64 {
    if whole <= 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// `250m`, `1.5`, `12` cores.
pub fn cores(milli: i128) -> String {
    match milli {
        0 => "0".into(),
        1..1000 => format!("{milli}m"),
        _ if milli % 1000 == 0 => (milli / 1000).to_string(),
        _ => format!("{:.1}", milli as f64 / 1000.0),
    }
}

/// `512 MiB`, `1.5 GiB`.
pub fn bytes(bytes: i128) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < units.len() {
        amount /= 1024.0;
        unit += 1;
    }
    if amount >= 100.0 || amount.fract() < 0.05 || unit == 0 {
        format!("{amount:.0} {}", units[unit])
    } else {
        format!("{amount:.1} {}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_asks_for_its_containers_or_its_largest_start() {
        let ask = |cpu: &str, memory: &str| json!({"resources": {"requests": {"cpu": cpu, "memory": memory}}});
        let mut sidecar = ask("50m", "10Mi");
        sidecar["restartPolicy"] = json!("Always");
        let pod = json!({"spec": {"containers": [ask("100m", "64Mi"), ask("0.2", "64Mi"), {}], "initContainers": [sidecar, ask("1", "1Mi")]}});
        assert_eq!(requested(&pod), Amount { cpu: 1050, memory: 138 << 20, pods: 1 });
    }

    #[test]
    fn sums_leave_out_what_has_ended() {
        let pod = |node: &str, over: bool| PodExtract {
            node: node.into(),
            namespace: String::new(),
            name: String::new(),
            tone: Tone::Good,
            word: String::new(),
            why: String::new(),
            restarts: 0,
            since: 0,
            over,
            requested: Amount { cpu: 5, memory: 7, pods: 1 },
        };
        let pods = [pod("a", false), pod("a", false), pod("a", true), pod("", false)];
        assert_eq!(by_node(pods.iter())["a"], Amount { cpu: 10, memory: 14, pods: 2 });
    }

    #[test]
    fn amounts_in_words() {
        assert_eq!([cores(0), cores(250), cores(2000), cores(1500)], ["0", "250m", "2", "1.5"]);
        assert_eq!(
            [bytes(512), bytes(512 << 20), bytes(3 << 29), bytes(24_000_000_000)],
            ["512 B", "512 MiB", "1.5 GiB", "22.4 GiB"]
        );
    }
}
