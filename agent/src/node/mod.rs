//! The node itself: registers the Node object, keeps its Lease and its status.
//!
//! Invariants: the Lease is the heartbeat and its renewal waits for nothing else; the status is written when it says
//! something else than the API has, or after five minutes, so what somebody marked meanwhile (a Node thought lost) is put
//! right at the next look; a Node that somebody deleted is registered again.

pub mod lease;
pub mod machine;
pub mod object;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerImage, Node};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use parking_lot::RwLock;
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::machine::{Load, Machine};
use self::object::Readiness;
use crate::client::{is_conflict, is_not_found};
use crate::config::Config;
use crate::cri::Runtime;

/// How often the runtime is asked whether it is ready: quickly until it is, as the first pods wait for it.
const LOOK: Duration = Duration::from_secs(10);
const LOOK_UNREADY: Duration = Duration::from_millis(200);
const REPORT: Duration = Duration::from_secs(5 * 60);
const RETRY: Duration = Duration::from_secs(1);
/// The images are listed only every so often, or when asked to.
const IMAGES: Duration = Duration::from_secs(60);

/// This node, as the other parts of the agent see it.
pub struct Handle {
    pub config: Config,
    pub machine: Machine,
    /// The Node as last seen: its labels, its uid.
    pub node: RwLock<Node>,
    /// Rung when something on the node may have changed what its status says (an image was pulled).
    pub look: Notify,
}

impl Handle {
    #[must_use]
    pub fn new(config: Config, machine: Machine) -> Self {
        let node = object::new_node(&config, &machine);
        Self { config, machine, node: RwLock::new(node), look: Notify::new() }
    }

    fn adopt(&self, mut node: Node) {
        // Two large parts that nobody here reads.
        node.metadata.managed_fields = None;
        if let Some(status) = &mut node.status {
            status.images = None;
        }
        *self.node.write() = node;
    }
}

/// Creates the Node, or finds it and brings its labels up to date. Tries until it has succeeded.
pub async fn register(handle: &Handle, client: &kube::Client) {
    loop {
        match try_register(handle, client).await {
            Ok(()) => return,
            Err(error) => warn!(%error, node = handle.config.node_name, "the node was not registered; trying again"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn try_register(handle: &Handle, client: &kube::Client) -> kube::Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let (config, machine) = (&handle.config, &handle.machine);
    match api.create(&PostParams::default(), &object::new_node(config, machine)).await {
        Ok(node) => {
            info!(node = config.node_name, "the node is registered");
            handle.adopt(node);
            return Ok(());
        }
        Err(error) if is_conflict(&error) => {}
        Err(error) => return Err(error),
    }
    let labels = json!({"metadata": {"labels": object::labels(config, machine)}});
    let node = api.patch(&config.node_name, &PatchParams::default(), &Patch::Merge(labels)).await?;
    handle.adopt(node);
    Ok(())
}

async fn readiness(runtime: &dyn Runtime) -> Readiness {
    let runtime_version = match runtime.version().await {
        Ok(version) => format!("{}://{}", version.runtime_name, version.runtime_version),
        Err(error) => {
            let problems = vec![format!("container runtime is down: {error}")];
            return Readiness { runtime_version: String::new(), problems };
        }
    };
    let problems = match runtime.status().await {
        Ok(status) => status
            .conditions
            .iter()
            .filter(|condition| !condition.status)
            .map(|c| match c.r#type.as_str() {
                "NetworkReady" => format!(
                    "container runtime network not ready: NetworkReady=false reason:{} message:{}",
                    c.reason, c.message
                ),
                _ => {
                    format!("container runtime not ready: {}=false reason:{} message:{}", c.r#type, c.reason, c.message)
                }
            })
            .collect(),
        Err(error) => vec![format!("container runtime is down: {error}")],
    };
    Readiness { runtime_version, problems }
}

/// Keeps the Node's status until `shutdown`.
pub async fn keep_status(
    handle: Arc<Handle>,
    client: kube::Client,
    runtime: Arc<dyn Runtime>,
    shutdown: CancellationToken,
) {
    let mut written: Option<tokio::time::Instant> = None;
    let mut images = Vec::new();
    let mut images_read: Option<tokio::time::Instant> = None;
    let mut known_runtime = String::new();
    loop {
        let mut ready = readiness(&*runtime).await;
        if ready.runtime_version.is_empty() {
            ready.runtime_version.clone_from(&known_runtime);
        } else {
            known_runtime.clone_from(&ready.runtime_version);
        }
        if images_read.is_none_or(|at| at.elapsed() > IMAGES) {
            images = object::images(runtime.list_images().await.unwrap_or_default());
            images_read = Some(tokio::time::Instant::now());
        }
        let load = Load::read(&handle.config.data_dir);
        let mut wait = if ready.problems.is_empty() { LOOK } else { LOOK_UNREADY };
        let overdue = written.is_none_or(|at| at.elapsed() > REPORT);
        match settle(&handle, &client, (&load, &ready, images.clone()), overdue).await {
            Ok(true) => written = Some(tokio::time::Instant::now()),
            Ok(false) => {}
            Err(error) => {
                warn!(%error, "the node's status was not written; trying again");
                wait = RETRY;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = handle.look.notified() => images_read = None,
            () = shutdown.cancelled() => return,
        }
    }
}

/// Brings the Node's status to what is so now, if it says something else or is `overdue`; true when it was written.
async fn settle(
    handle: &Handle,
    client: &kube::Client,
    parts: (&Load, &Readiness, Vec<ContainerImage>),
    overdue: bool,
) -> kube::Result<bool> {
    let api: Api<Node> = Api::all(client.clone());
    let name = &handle.config.node_name;
    let node = match api.get(name).await {
        Err(error) if is_not_found(&error) => {
            try_register(handle, client).await?;
            api.get(name).await?
        }
        node => node?,
    };
    let former = node.status.clone();
    let status = object::status(&handle.config, &handle.machine, parts, former.as_ref(), Timestamp::now());
    if !overdue && former.as_ref().is_some_and(|former| object::same(former, &status)) {
        handle.adopt(node);
        return Ok(false);
    }
    // Conditions and addresses merge by type, so nobody else's are touched.
    let patch = json!({"status": status});
    handle.adopt(api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?);
    Ok(true)
}
