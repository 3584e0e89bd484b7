//! The kinds the controllers watch: one field, one watch each.

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController,
    ResourceQuota, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttributesClass};
use kube::Client;
use kube::runtime::watcher::Config;
use tokio_util::sync::CancellationToken;

use crate::cache::Store;

/// Names and starts each cache; `[…]` narrows the watch.
macro_rules! caches {
    ($($field:ident: $kind:ty $([ $namespace:expr, $config:expr ])?,)*) => {
        pub struct Caches { $(pub $field: Store<$kind>,)* }
        impl Caches {
            /// Begins the watches. Handlers registered before see every object.
            pub fn start(&self, client: &Client, stop: &CancellationToken) {
                $({
                    let (namespace, config): (Option<&str>, Config) = (None, Config::default());
                    $(let (namespace, config): (Option<&str>, Config) = { let _ = (namespace, config); ($namespace, $config) };)?
                    self.$field.start(client.clone(), namespace, config, stop.clone());
                })*
            }

            pub async fn wait_synced(&self) {
                $(self.$field.wait_synced().await;)*
            }
        }
    };
}

/// Kubernetes' own name for the ConfigMap with the cluster's CA in every namespace.
pub const ROOT_CA: &str = "kube-root-ca.crt";
pub const NODE_LEASES: &str = "kube-node-lease";

caches! {
    bootstrap_tokens: Secret [Some("kube-system"), Config::default().fields("type=bootstrap.kubernetes.io/token")],
    certificate_signing_requests: CertificateSigningRequest,
    cluster_roles: ClusterRole,
    controller_revisions: ControllerRevision,
    cron_jobs: CronJob,
    daemon_sets: DaemonSet,
    deployments: Deployment,
    endpoint_slices: EndpointSlice,
    endpoints: Endpoints,
    ip_addresses: IPAddress,
    jobs: Job,
    namespaces: Namespace,
    node_leases: Lease [Some(NODE_LEASES), Config::default()],
    nodes: Node,
    persistent_volume_claims: PersistentVolumeClaim,
    persistent_volumes: PersistentVolume,
    pod_disruption_budgets: PodDisruptionBudget,
    pods: Pod,
    replica_sets: ReplicaSet,
    replication_controllers: ReplicationController,
    resource_quotas: ResourceQuota,
    root_ca_config_maps: ConfigMap [None, Config::default().fields("metadata.name=kube-root-ca.crt")],
    service_accounts: ServiceAccount,
    service_cidrs: ServiceCIDR,
    services: Service,
    stateful_sets: StatefulSet,
    storage_classes: StorageClass,
    volume_attributes_classes: VolumeAttributesClass,
}

impl Default for Caches {
    fn default() -> Self {
        Self {
            bootstrap_tokens: Store::default(),
            certificate_signing_requests: Store::default(),
            cluster_roles: Store::default(),
            controller_revisions: Store::default(),
            cron_jobs: Store::default(),
            daemon_sets: Store::default(),
            deployments: Store::default(),
            endpoint_slices: Store::indexed(Some(|s| {
                s.metadata.labels.as_ref()?.get("kubernetes.io/service-name").map(String::as_str)
            })),
            endpoints: Store::default(),
            ip_addresses: Store::default(),
            jobs: Store::default(),
            namespaces: Store::default(),
            node_leases: Store::default(),
            nodes: Store::default(),
            persistent_volume_claims: Store::default(),
            persistent_volumes: Store::default(),
            pod_disruption_budgets: Store::default(),
            pods: Store::indexed(Some(|p| p.spec.as_ref()?.node_name.as_deref())),
            replica_sets: Store::default(),
            replication_controllers: Store::default(),
            resource_quotas: Store::default(),
            root_ca_config_maps: Store::default(),
            service_accounts: Store::default(),
            service_cidrs: Store::default(),
            services: Store::default(),
            stateful_sets: Store::default(),
            storage_classes: Store::default(),
            volume_attributes_classes: Store::default(),
        }
    }
}
