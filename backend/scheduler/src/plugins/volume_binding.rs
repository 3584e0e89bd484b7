//! A pod's claims must be bound, and their volumes reachable from the node.
//! Source: <https://kubernetes.io/docs/concepts/storage/persistent-volumes/>
//!
//! A claim that waits for its first consumer is left to its provisioner, which is told the node by an annotation on the
//! claim; this cluster has no such provisioner yet, so such claims count as unbound.

use super::node_affinity::NodeTerm;
use super::{Plugin, Prepared, Reason};
use crate::cycle::Cycle;
use crate::queue::Happened;

pub const PLUGIN: Plugin = Plugin {
    helped_by: Happened::NODE_ADDED.or(Happened::NODE_CHANGED).or(Happened::VOLUME_CHANGED),
    prepare,
    filter: |cycle, node| match cycle.volumes.iter().all(|terms| terms.iter().any(|t| t.matches(node))) {
        true => Ok(()),
        false => Err(vec![Reason::fixed("node(s) didn't match PersistentVolume's node affinity")]),
    },
    ..Plugin::NONE
};

fn prepare(cycle: &mut Cycle<'_>) -> Prepared {
    if cycle.pod.claims.is_empty() {
        return Prepared::Skip;
    }
    let mut volumes: Vec<Vec<NodeTerm>> = Vec::new();
    for name in &cycle.pod.claims {
        let key = (Box::from(&*cycle.pod.namespace), name.clone());
        let Some(claim) = cycle.cluster.claims.get(&key) else {
            return Prepared::Reject(format!("persistentvolumeclaim {name:?} not found"));
        };
        if claim.metadata.deletion_timestamp.is_some() {
            return Prepared::Reject(format!("persistentvolumeclaim {name:?} is being deleted"));
        }
        if claim.spec.volume_name.is_empty() || claim.status.phase != "Bound" {
            return Prepared::Reject("pod has unbound immediate PersistentVolumeClaims".into());
        }
        let Some(volume) = cycle.cluster.volumes.get(claim.spec.volume_name.as_str()) else {
            let missing = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
            return Prepared::Reject(missing.into());
        };
        if let Some(required) = &volume.spec.node_affinity.required {
            volumes.push(NodeTerm::list(required));
        }
    }
    let found = !volumes.is_empty();
    cycle.volumes = volumes;
    if found { Prepared::Filter } else { Prepared::Skip }
}
