//! One file per kind with behaviour, one line per kind in the table.

use crate::strategy::Strategy;

mod admission_policy;
mod api_service;
mod autoscaler_checks;
mod autoscaling_v1;
mod certificate_signing_request;
mod component_status;
mod config_map;
mod controller_revision;
mod cron_job;
mod csi;
mod custom_resource_definition;
mod daemon_set;
mod deployment;
mod dynamic_resource;
mod endpoint_slice;
mod endpoints;
mod event;
mod flow_control;
mod horizontal_pod_autoscaler;
mod ingress;
mod ingress_class;
mod ip_address;
mod job;
mod lease;
mod limit_range;
pub mod namespace;
mod network_policy;
pub mod node;
mod persistent_volume;
mod persistent_volume_claim;
pub mod pod;
mod pod_disruption_budget;
mod pod_template;
mod priority_class;
mod rbac;
mod replica_set;
mod replication_controller;
mod resource_quota;
mod runtime_class;
mod secret;
pub mod service;
mod service_account;
mod service_cidr;
mod stateful_set;
mod storage;
mod user;
mod webhook;
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
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies", &admission_policy::MUTATING),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings", &admission_policy::MUTATING_BINDING),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations", &webhook::MUTATING),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies", &admission_policy::VALIDATING),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings", &admission_policy::VALIDATING_BINDING),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations", &webhook::VALIDATING),
    ("apiextensions.k8s.io", "customresourcedefinitions", &custom_resource_definition::STRATEGY),
    ("apiregistration.k8s.io", "apiservices", &api_service::STRATEGY),
    ("apps", "controllerrevisions", &controller_revision::STRATEGY),
    ("apps", "daemonsets", &daemon_set::STRATEGY),
    ("apps", "deployments", &deployment::STRATEGY),
    ("apps", "replicasets", &replica_set::STRATEGY),
    ("apps", "statefulsets", &stateful_set::STRATEGY),
    ("autoscaling", "horizontalpodautoscalers", &horizontal_pod_autoscaler::STRATEGY),
    ("batch", "cronjobs", &cron_job::STRATEGY),
    ("batch", "jobs", &job::STRATEGY),
    ("certificates.k8s.io", "certificatesigningrequests", &certificate_signing_request::STRATEGY),
    ("coordination.k8s.io", "leases", &lease::STRATEGY),
    ("discovery.k8s.io", "endpointslices", &endpoint_slice::STRATEGY),
    ("flowcontrol.apiserver.k8s.io", "flowschemas", &flow_control::FLOW_SCHEMA),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations", &flow_control::PRIORITY_LEVEL),
    ("networking.k8s.io", "ingressclasses", &ingress_class::STRATEGY),
    ("networking.k8s.io", "ingresses", &ingress::STRATEGY),
    ("networking.k8s.io", "ipaddresses", &ip_address::STRATEGY),
    ("networking.k8s.io", "networkpolicies", &network_policy::STRATEGY),
    ("networking.k8s.io", "servicecidrs", &service_cidr::STRATEGY),
    ("node.k8s.io", "runtimeclasses", &runtime_class::STRATEGY),
    ("pilothouse.io", "users", &user::STRATEGY),
    ("policy", "poddisruptionbudgets", &pod_disruption_budget::STRATEGY),
    ("rbac.authorization.k8s.io", "clusterrolebindings", &rbac::CLUSTER_ROLE_BINDING),
    ("rbac.authorization.k8s.io", "clusterroles", &rbac::CLUSTER_ROLE),
    ("rbac.authorization.k8s.io", "rolebindings", &rbac::ROLE_BINDING),
    ("rbac.authorization.k8s.io", "roles", &rbac::ROLE),
    ("resource.k8s.io", "deviceclasses", &dynamic_resource::DEVICE_CLASS),
    ("resource.k8s.io", "resourceclaims", &dynamic_resource::CLAIM),
    ("resource.k8s.io", "resourceclaimtemplates", &dynamic_resource::CLAIM_TEMPLATE),
    ("resource.k8s.io", "resourceslices", &dynamic_resource::SLICE),
    ("scheduling.k8s.io", "priorityclasses", &priority_class::STRATEGY),
    ("storage.k8s.io", "csidrivers", &csi::CSI_DRIVER),
    ("storage.k8s.io", "csinodes", &csi::CSI_NODE),
    ("storage.k8s.io", "csistoragecapacities", &csi::CSI_STORAGE_CAPACITY),
    ("storage.k8s.io", "storageclasses", &storage::STORAGE_CLASS),
    ("storage.k8s.io", "volumeattachments", &storage::VOLUME_ATTACHMENT),
    ("storage.k8s.io", "volumeattributesclasses", &storage::VOLUME_ATTRIBUTES_CLASS),
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
