//! One file per kind with behaviour, one line per kind in the table.

use crate::strategy::Strategy;

mod component_status;
mod config_map;
mod controller_revision;
mod cron_job;
mod daemon_set;
mod deployment;
mod endpoints;
mod event;
mod job;
mod limit_range;
pub mod namespace;
pub mod node;
mod persistent_volume;
mod persistent_volume_claim;
pub mod pod;
mod pod_template;
mod rbac;
mod replica_set;
mod replication_controller;
mod resource_quota;
mod secret;
pub mod service;
mod service_account;
mod stateful_set;
mod workload;

/// Group, resource and behaviour; sorted.
const ALL: &[(&str, &str, &Strategy)] = &[
    ("", "componentstatuses", &component_status::STRATEGY),
    ("", "configmaps", &config_map::STRATEGY),
    ("", "endpoints", &endpoints::STRATEGY),
    ("", "events", &event::STRATEGY),
    ("", "limitranges", &limit_range::STRATEGY),
    ("", "namespaces", &namespace::STRATEGY),
    ("", "nodes", &node::STRATEGY),
    ("", "persistentvolumeclaims", &persistent_volume_claim::STRATEGY),
    ("", "persistentvolumes", &persistent_volume::STRATEGY),
    ("", "pods", &pod::STRATEGY),
    ("", "podtemplates", &pod_template::STRATEGY),
    ("", "replicationcontrollers", &replication_controller::STRATEGY),
    ("", "resourcequotas", &resource_quota::STRATEGY),
    ("", "secrets", &secret::STRATEGY),
    ("", "serviceaccounts", &service_account::STRATEGY),
    ("", "services", &service::STRATEGY),
    ("apps", "controllerrevisions", &controller_revision::STRATEGY),
    ("apps", "daemonsets", &daemon_set::STRATEGY),
    ("apps", "deployments", &deployment::STRATEGY),
    ("apps", "replicasets", &replica_set::STRATEGY),
    ("apps", "statefulsets", &stateful_set::STRATEGY),
    ("batch", "cronjobs", &cron_job::STRATEGY),
    ("batch", "jobs", &job::STRATEGY),
    ("rbac.authorization.k8s.io", "clusterrolebindings", &rbac::STRATEGY),
    ("rbac.authorization.k8s.io", "clusterroles", &rbac::STRATEGY),
    ("rbac.authorization.k8s.io", "rolebindings", &rbac::STRATEGY),
    ("rbac.authorization.k8s.io", "roles", &rbac::STRATEGY),
];

pub(crate) fn find(group: &str, resource: &str) -> Option<&'static Strategy> {
    let index = ALL.binary_search_by(|(g, r, _)| (*g, *r).cmp(&(group, resource))).ok()?;
    Some(ALL[index].2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_line_is_a_resource() {
        assert!(ALL.windows(2).all(|w| (w[0].0, w[0].1) < (w[1].0, w[1].1)));
        for (group, resource, _) in ALL {
            let known = crate::builtin().iter().any(|k| k.group == *group && k.plural == *resource);
            assert!(known, "{resource}.{group} is not in the facts");
        }
    }
}
