//! What every pod's worker shares with the others on its node.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::dns::{Resolver, parse_resolv_conf};
use super::downward::Facts;
use super::memory::Failure;
use crate::cgroups::Cgroups;
use crate::config::Config;
use crate::cri::Runtime;
use crate::cri::changes::Changes;
use crate::events::Recorder;
use crate::network::index::{HostPorts, Services};
use crate::node::{Handle, object};
use crate::objects::Objects;
use crate::volumes::Mounter;

/// The pods of this node as they were last seen, by uid: the kubelet API and garbage collection read it.
#[derive(Default)]
pub struct Registry {
    pods: Mutex<BTreeMap<String, Arc<Pod>>>,
    /// What has its worker look at a pod now.
    looks: Mutex<BTreeMap<String, Arc<Notify>>>,
    /// Pods that the node itself ends, and why.
    ends: Mutex<BTreeMap<String, Failure>>,
}

impl Registry {
    pub fn set(&self, pod: &Arc<Pod>) {
        if let Some(uid) = &pod.metadata.uid {
            self.pods.lock().insert(uid.clone(), Arc::clone(pod));
        }
    }

    pub fn remove(&self, uid: &str) {
        self.pods.lock().remove(uid);
        self.looks.lock().remove(uid);
        self.ends.lock().remove(uid);
    }

    pub fn watch(&self, uid: &str, look: &Arc<Notify>) {
        self.looks.lock().insert(uid.to_owned(), Arc::clone(look));
    }

    /// Has a pod ended; false when that was said before.
    pub fn end(&self, uid: &str, failure: Failure) -> bool {
        let news = self.ends.lock().insert(uid.to_owned(), failure).is_none();
        if let Some(look) = self.looks.lock().get(uid) {
            look.notify_one();
        }
        news
    }

    #[must_use]
    pub fn ended(&self, uid: &str) -> Option<Failure> {
        self.ends.lock().get(uid).cloned()
    }

    #[must_use]
    pub fn all(&self) -> Vec<Arc<Pod>> {
        self.pods.lock().values().cloned().collect()
    }

    #[must_use]
    pub fn by_uid(&self, uid: &str) -> Option<Arc<Pod>> {
        self.pods.lock().get(uid).cloned()
    }

    #[must_use]
    pub fn by_name(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let is_it = |pod: &&Arc<Pod>| {
            pod.metadata.namespace.as_deref() == Some(namespace) && pod.metadata.name.as_deref() == Some(name)
        };
        let pods = self.pods.lock();
        // A pod that is going may share its name with the one that follows it.
        let newest =
            pods.values().filter(is_it).max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|t| t.0));
        newest.cloned()
    }
}

pub struct Context {
    pub runtime: Arc<dyn Runtime>,
    /// Its name, as container ids begin with it.
    pub runtime_name: String,
    pub node: Arc<Handle>,
    pub objects: Arc<Objects>,
    pub services: Arc<Services>,
    pub mounter: Mounter,
    /// `None` where there are no real containers.
    pub cgroups: Option<Cgroups>,
    pub recorder: Recorder,
    pub host_ports: Arc<HostPorts>,
    pub registry: Arc<Registry>,
    /// Rung to have the runtime looked at now.
    pub changes: Arc<Changes>,
}

impl Context {
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.node.config
    }

    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.objects.client().clone()
    }

    #[must_use]
    pub fn host_ip(&self) -> String {
        self.config().node_ip.to_string()
    }

    /// Read anew for each pod, since the node's own settings may change.
    #[must_use]
    pub fn resolver(&self) -> Resolver {
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        Resolver {
            cluster_dns: self.config().cluster_dns.to_string(),
            cluster_domain: self.config().cluster_domain.clone(),
            node: parse_resolv_conf(&text),
        }
    }

    #[must_use]
    pub fn facts(&self, pod_ips: &[String]) -> Facts {
        Facts {
            host_ip: self.host_ip(),
            pod_ips: pod_ips.to_vec(),
            allocatable: object::allocatable(&self.node.machine),
        }
    }

    #[must_use]
    pub fn log_dir(&self, pod: &Pod) -> PathBuf {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let metadata = &pod.metadata;
        let name = format!("{}_{}_{}", text(&metadata.namespace), text(&metadata.name), text(&metadata.uid));
        self.config().logs_dir().join(name)
    }

    /// Where a container's termination message is written, on the node.
    #[must_use]
    pub fn message_file(&self, uid: &str, container: &str, restart_count: i32) -> PathBuf {
        self.config().pods_dir().join(uid).join("containers").join(container).join(restart_count.to_string())
    }
}
