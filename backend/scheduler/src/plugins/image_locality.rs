//! Prefers nodes that have the pod's images already; an image that few nodes have counts less, or all pods of one image
//! would flock to one node.

use super::{MAX_SCORE, Plugin, Prepared};
use crate::cycle::Cycle;
use crate::info::NodeInfo;

const MB: i64 = 1024 * 1024;
/// Smaller is pulled quickly anyway.
const MIN: i64 = 23 * MB;
/// Per container; more does not count.
const MAX: i64 = 1000 * MB;

pub const PLUGIN: Plugin = Plugin {
    prepare: |cycle| match cycle.pod.images.iter().any(|image| cycle.cluster.images.contains_key(image)) {
        true => Prepared::Score,
        false => Prepared::Skip,
    },
    score,
    ..Plugin::NONE
};

fn score(cycle: &Cycle<'_>, node: &NodeInfo) -> i64 {
    let nodes = i64::try_from(cycle.cluster.node_count()).unwrap_or(i64::MAX).max(1);
    let mut sum = 0i64;
    for image in &cycle.pod.images {
        let Ok(at) = node.images.binary_search_by(|(name, _)| name.cmp(image)) else { continue };
        let (size, on) = (node.images[at].1, cycle.cluster.images.get(image).copied().unwrap_or(0));
        let spread = i128::from(size) * i128::try_from(on).unwrap_or(0) / i128::from(nodes);
        sum = sum.saturating_add(i64::try_from(spread).unwrap_or(i64::MAX));
    }
    let max = MAX.saturating_mul(i64::try_from(cycle.pod.containers).unwrap_or(1).max(1));
    MAX_SCORE * (sum.clamp(MIN, max) - MIN) / (max - MIN)
}
