//! What belongs to what: which kinds an object may own, and what a delete takes along.

use serde_json::Value;

use super::json::{list, name, text, uid};

/// Resources to look through for the dependents of a kind, in the order they are shown.
pub fn dependents(kind: &str) -> &'static [&'static str] {
    match kind {
        "Deployment" => &["replicasets.apps", "pods"],
        "ReplicaSet" | "ReplicationController" | "Job" => &["pods"],
        "StatefulSet" | "DaemonSet" => &["pods", "controllerrevisions.apps"],
        "CronJob" => &["jobs.batch", "pods"],
        "Service" => &["endpointslices.discovery.k8s.io", "endpoints"],
        "Pod" | "ConfigMap" | "Secret" | "Event" | "Node" | "Role" | "ClusterRole" | "RoleBinding"
        | "ClusterRoleBinding" | "Lease" | "EndpointSlice" | "Endpoints" => &[],
        "Namespace" => &[
            "deployments.apps",
            "statefulsets.apps",
            "daemonsets.apps",
            "jobs.batch",
            "cronjobs.batch",
            "pods",
            "services",
            "configmaps",
            "secrets",
            "persistentvolumeclaims",
        ],
        // Owners of custom kinds most often make these.
        _ => &[
            "deployments.apps",
            "statefulsets.apps",
            "daemonsets.apps",
            "replicasets.apps",
            "jobs.batch",
            "pods",
            "services",
            "configmaps",
            "secrets",
        ],
    }
}

/// An object that a delete takes along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependent {
    pub resource: String,
    pub name: String,
    pub depth: usize,
}

/// The dependents of `root` among `found` (resource, object), children after their parents.
pub fn tree(root: &str, found: &[(String, Value)]) -> Vec<Dependent> {
    let mut out = Vec::new();
    visit(root, 0, found, &mut out);
    out
}

fn visit(owner: &str, depth: usize, found: &[(String, Value)], out: &mut Vec<Dependent>) {
    // Owner references cannot form a loop through uids of living objects, but a limit costs nothing.
    if depth > 8 {
        return;
    }
    for (resource, object) in found {
        if list(object, "metadata/ownerReferences").iter().any(|reference| text(reference, "uid") == owner) {
            out.push(Dependent { resource: resource.clone(), name: name(object).to_owned(), depth });
            visit(uid(object), depth + 1, found, out);
        }
    }
}

/// `3 pods, 1 replicaset`: the dependents by kind.
pub fn summary(dependents: &[Dependent]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for dependent in dependents {
        let kind = dependent.resource.split('.').next().unwrap_or_default();
        match counts.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => counts.push((kind, 1)),
        }
    }
    let words = counts.iter().map(|(kind, count)| match count {
        1 => format!("1 {}", kind.strip_suffix('s').unwrap_or(kind)),
        many => format!("{many} {kind}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn finds_children_of_children() {
        let object = |resource: &str, name: &str, owner: &str| {
            (resource.to_owned(), json!({"metadata": {"name": name, "uid": name, "ownerReferences": [{"uid": owner}]}}))
        };
        let found = [
            object("replicasets.apps", "rs", "d"),
            object("pods", "p1", "rs"),
            object("pods", "p2", "rs"),
            object("pods", "alien", "x"),
        ];
        let tree = tree("d", &found);
        assert_eq!(
            tree.iter().map(|d| (d.name.as_str(), d.depth)).collect::<Vec<_>>(),
            [("rs", 0), ("p1", 1), ("p2", 1)]
        );
        assert_eq!(summary(&tree), "1 replicaset, 2 pods");
    }

    #[test]
    fn a_loop_ends() {
        let one = json!({"metadata": {"name": "a", "uid": "a", "ownerReferences": [{"uid": "a"}]}});
        assert_eq!(tree("a", &[("pods".into(), one)]).len(), 9);
    }
}
