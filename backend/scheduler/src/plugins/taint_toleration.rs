//! Taints: `NoSchedule` and `NoExecute` keep pods away that do not tolerate them, `PreferNoSchedule` counts against a
//! node. Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>

use super::{Plugin, Prepared, Reason, proportional};
use crate::api::{Taint, Toleration};
use crate::info::{NodeInfo, PodInfo};
use crate::queue::Happened;

pub const PLUGIN: Plugin = Plugin {
    weight: 3,
    helped_by: Happened::NODE_ADDED.or(Happened::NODE_CHANGED),
    prepare: |cycle| if cycle.cluster.soft_taints > 0 { Prepared::Both } else { Prepared::Filter },
    filter: |cycle, node| match untolerated(cycle.pod, node) {
        Some(_) => Err(vec![Reason::fixed("node(s) had untolerated taint(s)")]),
        None => Ok(()),
    },
    score: |cycle, node| {
        let soft = node.taints.iter().filter(|t| t.effect == "PreferNoSchedule");
        let bad = soft.filter(|taint| !cycle.pod.tolerations.iter().any(|t| tolerates(t, taint))).count();
        i64::try_from(bad).unwrap_or(i64::MAX)
    },
    normalize: |scores| proportional(scores, true),
};

/// The first taint that keeps the pod away.
pub fn untolerated<'a>(pod: &PodInfo, node: &'a NodeInfo) -> Option<&'a Taint> {
    let hard = node.taints.iter().filter(|t| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute"));
    hard.into_iter().find(|taint| !pod.tolerations.iter().any(|t| tolerates(t, taint)))
}

pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    if !toleration.effect.is_empty() && toleration.effect != taint.effect {
        return false;
    }
    // An empty key with Exists tolerates everything.
    if !toleration.key.is_empty() && toleration.key != taint.key {
        return false;
    }
    match toleration.operator.as_str() {
        "" | "Equal" => toleration.value == taint.value,
        "Exists" => true,
        comparison => {
            let (Ok(have), Ok(than)) = (taint.value.parse::<i64>(), toleration.value.parse::<i64>()) else {
                return false;
            };
            (comparison == "Lt" && have < than) || (comparison == "Gt" && have > than)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations() {
        let taint = |effect: &str| Taint { key: "gpu".into(), value: "a100".into(), effect: effect.into() };
        let toleration = |key: &str, operator: &str, value: &str, effect: &str| Toleration {
            key: key.into(),
            operator: operator.into(),
            value: value.into(),
            effect: effect.into(),
        };
        for (key, operator, value, effect, expect) in [
            ("gpu", "", "a100", "NoSchedule", true),
            ("gpu", "Equal", "a100", "", true),
            ("gpu", "Equal", "h100", "NoSchedule", false),
            ("gpu", "Exists", "", "NoSchedule", true),
            ("gpu", "Exists", "", "NoExecute", false),
            ("", "Exists", "", "", true),
            ("cpu", "Exists", "", "", false),
            ("gpu", "Lt", "5", "", false),
        ] {
            let got = tolerates(&toleration(key, operator, value, effect), &taint("NoSchedule"));
            assert_eq!(got, expect, "{key} {operator} {value} {effect}");
        }
    }
}
