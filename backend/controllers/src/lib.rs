//! The controllers: what keeps the cluster as its objects say it should be.
//!
//! Invariants:
//! - They see only a `kube::Client`; every write goes through the API's door under the controller's own identity.
//! - They hold no state that the API cannot give back: stopping at any point and starting elsewhere is safe.
//! - One watch per kind for the whole process; a reconcile starts from the state in the caches, never from an event.

mod cache;
mod caches;
mod certificates;
mod cluster_role_aggregation;
mod cron_job;
mod daemon_set;
mod deployment;
mod discovery;
mod disruption;
mod endpoint_slice;
mod endpoints;
mod error;
pub mod events;
mod expectations;
pub mod follow;
mod garbage_collector;
mod history;
mod int_or_percent;
mod job;
mod key;
pub mod leader;
pub mod metrics;
mod namespace;
mod node_ipam;
mod node_lifecycle;
mod owner;
mod pod_gc;
mod pods;
mod protection;
mod queue;
mod replica_set;
mod replication;
mod replication_controller;
mod resource_quota;
mod root_ca;
mod run;
mod selector;
mod service_account;
mod service_cidr;
mod stateful_set;
mod template_hash;
#[cfg(test)]
mod testing;
mod ttl_after_finished;
mod volume_binder;
mod write;

use std::sync::Arc;

pub use error::Error;
use run::Controller;
pub use run::run;

/// Every controller, sorted by name.
const ALL: &[Controller] = &[
    certificates::CONTROLLER,
    cluster_role_aggregation::CONTROLLER,
    cron_job::CONTROLLER,
    daemon_set::CONTROLLER,
    deployment::CONTROLLER,
    disruption::CONTROLLER,
    disruption::stale::CONTROLLER,
    endpoint_slice::CONTROLLER,
    endpoint_slice::mirror::CONTROLLER,
    endpoints::CONTROLLER,
    garbage_collector::CONTROLLER,
    job::CONTROLLER,
    namespace::CONTROLLER,
    node_ipam::CONTROLLER,
    node_lifecycle::CONTROLLER,
    pod_gc::CONTROLLER,
    protection::attributes_classes::CONTROLLER,
    protection::claims::CONTROLLER,
    protection::volumes::CONTROLLER,
    replica_set::CONTROLLER,
    replication_controller::CONTROLLER,
    resource_quota::CONTROLLER,
    root_ca::CONTROLLER,
    service_account::CONTROLLER,
    service_cidr::CONTROLLER,
    stateful_set::CONTROLLER,
    ttl_after_finished::CONTROLLER,
    volume_binder::CONTROLLER,
];

/// What a signer is asked to sign, already approved.
/// Source: <https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/>
#[derive(Clone, Debug)]
pub struct SignRequest {
    /// `kubernetes.io/kube-apiserver-client-kubelet`, …
    pub signer_name: String,
    /// The PKCS#10 request, PEM.
    pub csr_pem: String,
    /// `digital signature`, `client auth`, …
    pub usages: Vec<String>,
    pub expiration_seconds: Option<i32>,
}

/// Facts of the cluster that no object holds.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The pods' network, `10.244.0.0/16`; IPv6 after a comma for dual stack.
    pub pod_cidr: String,
    /// The prefix length of a node's part of it.
    pub node_mask: u8,
    pub service_cidr: String,
    pub cluster_domain: String,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            pod_cidr: "10.244.0.0/16".into(),
            node_mask: 24,
            service_cidr: "10.96.0.0/16".into(),
            cluster_domain: "cluster.local".into(),
        }
    }
}

/// Gives the client of a controller by the name of its ServiceAccount: `replicaset-controller` acts as
/// `system:serviceaccount:kube-system:replicaset-controller`.
pub type ClientFor = Arc<dyn Fn(&str) -> kube::Client + Send + Sync>;
/// Signs an approved request and returns the certificate as PEM, or says why not.
pub type Sign = Arc<dyn Fn(SignRequest) -> Result<String, String> + Send + Sync>;

#[derive(Clone)]
pub struct Deps {
    pub client_for: ClientFor,
    pub root_ca_pem: String,
    pub sign: Sign,
    /// Names this process in what controllers record.
    pub identity: String,
    pub cluster: ClusterConfig,
}
