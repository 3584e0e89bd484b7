//! Which pods a tainted node drives away, and when.
//! Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-based-evictions>

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};

use crate::pods;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Stays,
    Goes,
    GoesIn(Duration),
}

fn no_execute(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.iter().flat_map(|s| s.taints.iter().flatten()).filter(|t| t.effect == "NoExecute")
}

pub fn has_no_execute(node: &Node) -> bool {
    no_execute(node).next().is_some()
}

pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |s: &Option<String>| s.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    (effect.is_empty() || effect == taint.effect)
        && (key.is_empty() || key == taint.key)
        && match toleration.operator.as_deref() {
            Some("Exists") => true,
            Some("Equal" | "") | None => text(&toleration.value) == text(&taint.value),
            Some(_) => false,
        }
}

/// A pod stays as long as each taint is tolerated, and no longer than the shortest of the tolerations' times.
pub fn fate(node: &Node, pod: &Pod, now: Timestamp) -> Fate {
    if pods::is_deleting(pod) || pods::is_finished(pod) {
        return Fate::Stays;
    }
    let tolerations: Vec<&Toleration> = pod.spec.iter().flat_map(|s| s.tolerations.iter().flatten()).collect();
    let mut soonest: Option<Timestamp> = None;
    for taint in no_execute(node) {
        let matching: Vec<_> = tolerations.iter().filter(|t| tolerates(t, taint)).collect();
        if matching.is_empty() {
            return Fate::Goes;
        }
        // Without a time a taint is tolerated for ever.
        if let Some(seconds) =
            matching.iter().map(|t| t.toleration_seconds).min_by_key(|s| s.unwrap_or(i64::MAX)).flatten()
        {
            let since = taint.time_added.as_ref().map_or(now, |t| t.0);
            let until = since + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            soonest = Some(soonest.map_or(until, |s| s.min(until)));
        }
    }
    match soonest {
        None => Fate::Stays,
        Some(until) if until <= now => Fate::Goes,
        Some(until) => Fate::GoesIn(Duration::try_from(until.duration_since(now)).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::NodeSpec;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::pods::make;

    #[test]
    fn fates() {
        let start = Timestamp::UNIX_EPOCH;
        let taint = |key: &str, effect: &str| Taint {
            key: key.into(),
            effect: effect.into(),
            time_added: Some(Time(start)),
            value: None,
        };
        let toleration = |key: &str, seconds: Option<i64>| Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            toleration_seconds: seconds,
            ..Default::default()
        };
        let after = start + Duration::from_secs(100);
        for (taints, tolerations, expect) in [
            (vec![], vec![], Fate::Stays),
            (vec![taint("a", "NoSchedule")], vec![], Fate::Stays),
            (vec![taint("a", "NoExecute")], vec![], Fate::Goes),
            (vec![taint("a", "NoExecute")], vec![toleration("a", None)], Fate::Stays),
            (vec![taint("a", "NoExecute")], vec![toleration("a", Some(300))], Fate::GoesIn(Duration::from_secs(200))),
            (vec![taint("a", "NoExecute")], vec![toleration("a", Some(100))], Fate::Goes),
            (vec![taint("a", "NoExecute")], vec![toleration("a", Some(-1))], Fate::Goes),
            (
                vec![taint("a", "NoExecute")],
                vec![toleration("a", Some(300)), toleration("a", None)],
                Fate::GoesIn(Duration::from_secs(200)),
            ),
            (vec![taint("a", "NoExecute"), taint("b", "NoExecute")], vec![toleration("a", None)], Fate::Goes),
        ] {
            let node = Node {
                spec: Some(NodeSpec { taints: Some(taints.clone()), ..Default::default() }),
                ..Default::default()
            };
            let mut pod = make::pod("p", "Running", None);
            pod.spec.as_mut().unwrap().tolerations = Some(tolerations.clone());
            assert_eq!(fate(&node, &pod, after), expect, "{taints:?} {tolerations:?}");
        }
    }
}
