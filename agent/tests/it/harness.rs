//! A node for a test: the pods' part of the agent between an API and a runtime.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pilothouse_agent::cgroups::Cgroups;
use pilothouse_agent::cri::{Runtime, changes};
use pilothouse_agent::network::index::follow_services;
use pilothouse_agent::node::Handle;
use pilothouse_agent::node::machine::Machine;
use pilothouse_agent::objects::Objects;
use pilothouse_agent::pods::context::{Context, Registry};
use pilothouse_agent::pods::manager::Manager;
use pilothouse_agent::volumes::Mounter;
use pilothouse_agent::{Config, events};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::api::Api;

pub struct Node {
    pub api: Api,
    pub context: Arc<Context>,
    running: (CancellationToken, tokio::task::JoinHandle<()>),
}

pub fn config(dir: &Path) -> Config {
    Config {
        node_name: "node-1".into(),
        node_ip: "127.0.0.1".parse().unwrap(),
        server: "https://127.0.0.1:1".parse().unwrap(),
        tunnel: "127.0.0.1:1".into(),
        ca_pem_file: dir.join("ca"),
        bootstrap_token: None,
        data_dir: dir.to_owned(),
        cri_endpoint: dir.join("containerd.sock"),
        cni_conf_dir: dir.join("cni"),
        cni_bin_dir: "/usr/lib/cni".into(),
        cgroup_root: format!("pilothouse-test-{}", std::process::id()),
        cluster_dns: "10.96.0.10".parse().unwrap(),
        cluster_domain: "cluster.local".into(),
        labels: std::collections::BTreeMap::new(),
        taints: Vec::new(),
    }
}

impl Node {
    pub fn start(dir: &Path, api: Api, runtime: Arc<dyn Runtime>, cgroups: bool) -> Self {
        let config = config(dir);
        let client = api.client();
        let (recorder, told) = events::channel();
        let objects = Arc::new(Objects::new(client.clone()));
        let context = Arc::new(Context {
            runtime,
            runtime_name: "containerd".into(),
            mounter: Mounter::new(&config.data_dir, Arc::clone(&objects)),
            objects,
            cgroups: cgroups.then(|| Cgroups::new(&config.cgroup_root)),
            recorder,
            host_ports: Arc::default(),
            registry: Arc::new(Registry::default()),
            changes: Arc::default(),
            services: Arc::default(),
            node: Arc::new(Handle::new(config, Machine::read(dir))),
        });
        let shutdown = CancellationToken::new();
        tokio::spawn(told.run(client.clone(), "node-1".into(), shutdown.clone()));
        let (runtime, changes) = (Arc::clone(&context.runtime), Arc::clone(&context.changes));
        tokio::spawn(changes::follow(runtime, changes, shutdown.clone()));
        tokio::spawn(follow_services(client, Arc::clone(&context.services), shutdown.clone()));
        let task = tokio::spawn(Manager::new(Arc::clone(&context)).run(shutdown.clone()));
        Self { api, context, running: (shutdown, task) }
    }

    /// Ends the agent's work, as a crash would; what runs goes on.
    pub async fn stop(self) -> Api {
        self.running.0.cancel();
        self.running.1.await.unwrap();
        self.api
    }

    pub fn create(&self, name: &str, mut spec: Value) {
        spec["nodeName"] = json!("node-1");
        let uid = format!("uid-of-{name}-{}", self.api.all("pods").len());
        let metadata = json!({"name": name, "namespace": "default", "uid": uid, "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z"});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec,
            "status": {"phase": "Pending"}});
        self.api.put("pods", pod);
    }

    /// Waits until the pod is as wanted; `Value::Null` when it is gone.
    pub async fn until(&self, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let pod = self.api.get("pods", name).unwrap_or_default();
            if is(&pod) {
                return pod;
            }
            let events: Vec<String> = self
                .api
                .all("events")
                .iter()
                .map(|event| format!("{}: {}", event["reason"], event["message"]))
                .collect();
            assert!(begun.elapsed() < Duration::from_secs(40), "{name}: not {what}\n{pod:#}\n{events:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn until_phase(&self, name: &str, phase: &str) -> Value {
        self.until(name, phase, |pod| pod["status"]["phase"] == phase).await
    }

    pub async fn until_gone(&self, name: &str) {
        self.until(name, "gone", Value::is_null).await;
    }

    pub fn told(&self, reason: &str) -> Vec<String> {
        let all = self.api.all("events");
        let these = all.iter().filter(|event| event["reason"] == reason);
        these.map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

pub fn condition(pod: &Value, type_: &str) -> String {
    let all = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = all.iter().find(|condition| condition["type"] == type_);
    found.map_or(String::new(), |condition| condition["status"].as_str().unwrap_or_default().to_owned())
}

pub fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready") == "True"
}
