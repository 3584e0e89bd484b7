//! Where a kind stands in the navigation. Discovery says which kinds exist; this says in which group and order.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    Workloads,
    Network,
    Config,
    Storage,
    Access,
    Cluster,
    Custom,
}

impl Section {
    pub const ALL: [Self; 7] =
        [Self::Workloads, Self::Network, Self::Config, Self::Storage, Self::Access, Self::Cluster, Self::Custom];

    pub fn title(self) -> &'static str {
        match self {
            Self::Workloads => "Workloads",
            Self::Network => "Network",
            Self::Config => "Config",
            Self::Storage => "Storage",
            Self::Access => "Access",
            Self::Cluster => "Cluster",
            Self::Custom => "Custom",
        }
    }
}

/// Known resources in display order; the flag marks those that are folded away until asked for.
const TABLE: &[(Section, &str, bool)] = &[
    (Section::Workloads, "deployments.apps", false),
    (Section::Workloads, "pods", false),
    (Section::Workloads, "statefulsets.apps", false),
    (Section::Workloads, "daemonsets.apps", false),
    (Section::Workloads, "jobs.batch", false),
    (Section::Workloads, "cronjobs.batch", false),
    (Section::Workloads, "replicasets.apps", true),
    (Section::Workloads, "horizontalpodautoscalers.autoscaling", true),
    (Section::Workloads, "poddisruptionbudgets.policy", true),
    (Section::Workloads, "replicationcontrollers", true),
    (Section::Workloads, "controllerrevisions.apps", true),
    (Section::Workloads, "podtemplates", true),
    (Section::Network, "services", false),
    (Section::Network, "ingresses.networking.k8s.io", false),
    (Section::Network, "networkpolicies.networking.k8s.io", false),
    (Section::Network, "endpointslices.discovery.k8s.io", true),
    (Section::Network, "endpoints", true),
    (Section::Network, "ingressclasses.networking.k8s.io", true),
    (Section::Network, "ipaddresses.networking.k8s.io", true),
    (Section::Network, "servicecidrs.networking.k8s.io", true),
    (Section::Config, "configmaps", false),
    (Section::Config, "secrets", false),
    (Section::Config, "resourcequotas", true),
    (Section::Config, "limitranges", true),
    (Section::Storage, "persistentvolumeclaims", false),
    (Section::Storage, "persistentvolumes", false),
    (Section::Storage, "storageclasses.storage.k8s.io", false),
    (Section::Storage, "volumeattachments.storage.k8s.io", true),
    (Section::Storage, "csidrivers.storage.k8s.io", true),
    (Section::Storage, "csinodes.storage.k8s.io", true),
    (Section::Storage, "csistoragecapacities.storage.k8s.io", true),
    (Section::Access, "users.pilothouse.io", false),
    (Section::Access, "serviceaccounts", false),
    (Section::Access, "roles.rbac.authorization.k8s.io", false),
    (Section::Access, "rolebindings.rbac.authorization.k8s.io", false),
    (Section::Access, "clusterroles.rbac.authorization.k8s.io", false),
    (Section::Access, "clusterrolebindings.rbac.authorization.k8s.io", false),
    (Section::Access, "certificatesigningrequests.certificates.k8s.io", true),
    (Section::Cluster, "nodes", false),
    (Section::Cluster, "namespaces", false),
    (Section::Cluster, "events", false),
    (Section::Cluster, "addons.pilothouse.io", false),
    (Section::Cluster, "priorityclasses.scheduling.k8s.io", true),
    (Section::Cluster, "runtimeclasses.node.k8s.io", true),
    (Section::Cluster, "leases.coordination.k8s.io", true),
    (Section::Cluster, "apiservices.apiregistration.k8s.io", true),
    (Section::Cluster, "customresourcedefinitions.apiextensions.k8s.io", true),
];

/// The same objects as the core group's `events`; one entry is enough.
const HIDDEN: &[&str] = &["events.events.k8s.io", "componentstatuses"];

/// Section, place and whether it is folded away; `None` where the kind is not shown.
pub fn place(resource: &str) -> Option<(Section, usize, bool)> {
    if HIDDEN.contains(&resource) {
        return None;
    }
    if let Some(index) = TABLE.iter().position(|(_, known, _)| *known == resource) {
        return Some((TABLE[index].0, index, TABLE[index].2));
    }
    let group = resource.split_once('.').map_or("", |(_, group)| group);
    // Groups of Kubernetes itself that the table does not name hold cluster machinery.
    let built_in = group.is_empty() || !group.contains('.') || group.ends_with(".k8s.io");
    Some(if built_in { (Section::Cluster, TABLE.len(), true) } else { (Section::Custom, TABLE.len(), false) })
}

/// The title of a list: kinds keep their own spelling, only the plural is made.
pub fn plural_title(kind: &str) -> String {
    match kind {
        _ if kind.ends_with("ss") || kind.ends_with("ch") || kind.ends_with('x') => format!("{kind}es"),
        _ if kind.ends_with('s') => kind.to_owned(),
        _ if kind.ends_with('y') && !kind.ends_with("ey") && !kind.ends_with("ay") => {
            format!("{}ies", &kind[..kind.len() - 1])
        }
        _ => format!("{kind}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_place() {
        assert_eq!(place("deployments.apps").map(|p| (p.0, p.2)), Some((Section::Workloads, false)));
        assert_eq!(place("widgets.example.com").map(|p| p.0), Some(Section::Custom));
        assert_eq!(
            place("flowschemas.flowcontrol.apiserver.k8s.io").map(|p| (p.0, p.2)),
            Some((Section::Cluster, true))
        );
        assert_eq!(place("events.events.k8s.io"), None);
    }

    #[test]
    fn plurals() {
        for (kind, plural) in [
            ("Pod", "Pods"),
            ("Ingress", "Ingresses"),
            ("NetworkPolicy", "NetworkPolicies"),
            ("StorageClass", "StorageClasses"),
            ("Endpoints", "Endpoints"),
            ("Gateway", "Gateways"),
        ] {
            assert_eq!(plural_title(kind), plural);
        }
    }
}
