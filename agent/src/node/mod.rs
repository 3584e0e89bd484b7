//! The node itself: registers the Node object, keeps its Lease and its status.
//!
//! Invariants: the Lease is the heartbeat and its renewal waits for nothing else; the status is written when it says
//! something else than the API has, or after five minutes, so what somebody marked meanwhile (a Node thought lost) is put
//! right as soon as the watch of it says so; a Node that somebody deleted is registered again.

pub mod lease;
pub mod machine;
pub mod object;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerImage, Node, NodeStatus};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use parking_lot::RwLock;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::machine::{Load, Machine};
use self::object::Readiness;
use crate::client::is_conflict;
use crate::config::Config;
use crate::cri::Runtime;
use crate::retry::Retry;

/// How often the runtime is asked whether it is ready: quickly until it is, as the first pods wait for it.
const LOOK: Duration = Duration::from_secs(10);
const LOOK_UNREADY: Duration = Duration::from_millis(200);
/// Upstream's, and as there more or less by half, lest nodes that came together report together.
const REPORT: Duration = Duration::from_secs(5 * 60);
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
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
        // Two large parts that nobody reads here.
        node.metadata.managed_fields = None;
        if let Some(status) = &mut node.status {
            status.images = None;
        }
        *self.node.write() = node;
    }
}

/// Creates the Node, or finds it and brings its labels up to date. Tries until it has succeeded.
pub async fn register(handle: &Handle, client: &kube::Client) {
    let mut retry = Retry::new(RETRY.0, RETRY.1);
    loop {
        match try_register(handle, client).await {
            Ok(()) => return,
            Err(error) => warn!(%error, node = handle.config.node_name, "the node was not registered; trying again"),
        }
        tokio::time::sleep(retry.wait()).await;
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

/// What the API is known to have.
enum Known {
    /// The watch has not said yet.
    Nothing,
    Absent,
    Node(Box<Node>),
}

/// Keeps the Node's status until `shutdown`.
pub async fn keep_status(
    handle: Arc<Handle>,
    client: kube::Client,
    runtime: Arc<dyn Runtime>,
    shutdown: CancellationToken,
) {
    let api: Api<Node> = Api::all(client.clone());
    let mut nodes = std::pin::pin!(watch_object(api, &handle.config.node_name).default_backoff());
    let mut known = Known::Nothing;
    let mut due = Instant::now();
    let mut images = Vec::new();
    let mut images_read: Option<Instant> = None;
    let mut known_runtime = String::new();
    let mut retry = Retry::new(RETRY.0, RETRY.1);
    loop {
        let mut ready = readiness(&*runtime).await;
        if ready.runtime_version.is_empty() {
            ready.runtime_version.clone_from(&known_runtime);
        } else {
            known_runtime.clone_from(&ready.runtime_version);
        }
        if images_read.is_none_or(|at| at.elapsed() > IMAGES) {
            images = object::images(runtime.list_images().await.unwrap_or_default());
            images_read = Some(Instant::now());
        }
        let load = Load::read(&handle.config.data_dir);
        let mut wait = if ready.problems.is_empty() { LOOK } else { LOOK_UNREADY };
        let overdue = due <= Instant::now();
        let settled = settle(&handle, &client, &mut known, (&load, &ready, images.clone()), overdue).await;
        match &settled {
            Ok(wrote) => {
                if *wrote {
                    due = Instant::now() + REPORT.mul_f64(rand::random_range(0.5..1.5));
                }
                retry.reset();
            }
            Err(error) => {
                warn!(%error, "the node's status was not written; trying again");
                wait = retry.wait();
            }
        }
        let next = Instant::now() + wait;
        // News of the Node are looked at at once, but not while the API is left time to recover.
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next) => break,
                () = handle.look.notified() => {
                    images_read = None;
                    break;
                }
                Some(node) = nodes.next() => match node {
                    Ok(node) => {
                        if known.learn(node) && settled.is_ok() {
                            break;
                        }
                    }
                    Err(error) => warn!(%error, "the watch of the node was interrupted"),
                },
                () = shutdown.cancelled() => return,
            }
        }
    }
}

fn version(node: &Node) -> u64 {
    node.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

impl Known {
    /// Takes over what the watch says; false when that is not news (an answer to us came before it).
    fn learn(&mut self, node: Option<Node>) -> bool {
        let new = match (node, &*self) {
            (Some(node), Self::Node(known)) if version(&node) <= version(known) => return false,
            (Some(node), _) => Self::Node(Box::new(node)),
            (None, Self::Absent) => return false,
            (None, _) => Self::Absent,
        };
        *self = new;
        true
    }
}

/// The parts of the status that are not as they were; its conditions always say when they were looked at.
fn news(former: Option<&NodeStatus>, status: &NodeStatus) -> Value {
    let (former, mut news) = (json!(former), json!(status));
    if let Some(news) = news.as_object_mut() {
        news.retain(|key, value| former[key] != *value);
    }
    news
}

/// Brings the Node's status to what is so now, if it says something else or is `overdue`; true when it was written.
async fn settle(
    handle: &Handle,
    client: &kube::Client,
    known: &mut Known,
    parts: (&Load, &Readiness, Vec<ContainerImage>),
    overdue: bool,
) -> kube::Result<bool> {
    let api: Api<Node> = Api::all(client.clone());
    let name = &handle.config.node_name;
    let node = match known {
        Known::Nothing => return Ok(false),
        Known::Absent => {
            try_register(handle, client).await?;
            api.get(name).await?
        }
        Known::Node(node) => (**node).clone(),
    };
    let former = node.status.clone();
    let status = object::status(&handle.config, &handle.machine, parts, former.as_ref(), Timestamp::now());
    let write = overdue || !former.as_ref().is_some_and(|former| object::same(former, &status));
    let node = if write {
        // Conditions and addresses merge by type, so nobody else's are touched.
        let patch = json!({"status": news(former.as_ref(), &status)});
        api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await?
    } else {
        node
    };
    handle.adopt(node.clone());
    *known = Known::Node(Box::new(node));
    Ok(write)
}
