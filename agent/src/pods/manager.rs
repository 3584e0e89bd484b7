//! All pods of this node: the watch of the API on one side, the looks at the runtime on the other, a worker for each.
//!
//! Invariants: a worker exists for every pod that the API has here, and until nothing is left of it; what runs without
//! a pod in the API is ended, but never before the API has answered once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_pods};
use pilothouse_cri::v1;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::admit;
use super::context::Context;
use super::memory::End;
use super::observed::fingerprint;
use super::worker::{Desired, Worker};
use crate::cri::labels;
use crate::events::{Subject, Type};
use crate::node::object;

/// After a ring, others often follow: they are taken together.
const GATHER: Duration = Duration::from_millis(10);
const ORPHAN_GRACE: Duration = Duration::from_secs(30);

struct Entry {
    desired: watch::Sender<Desired>,
    look: Arc<Notify>,
}

pub struct Manager {
    context: Arc<Context>,
    workers: HashMap<String, Entry>,
    tasks: JoinSet<String>,
    orphans: HashSet<String>,
    seen: HashMap<String, Vec<(String, i32)>>,
    /// The uids of a list under way.
    listing: HashSet<String>,
    listed: bool,
}

fn uid_of(labels: &HashMap<String, String>) -> String {
    labels.get(labels::POD_UID).cloned().unwrap_or_default()
}

impl Manager {
    #[must_use]
    pub fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            workers: HashMap::new(),
            tasks: JoinSet::new(),
            orphans: HashSet::new(),
            seen: HashMap::new(),
            listing: HashSet::new(),
            listed: false,
        }
    }

    /// Runs until `shutdown`. Containers go on without us.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let api: Api<Pod> = Api::all(self.context.client());
        let fields = format!("spec.nodeName={}", self.context.config().node_name);
        let config = watcher::Config::default().fields(&fields);
        let pods = watch_pods(api, config).default_backoff().modify(|pod: &mut Pod| pod.metadata.managed_fields = None);
        let mut pods = std::pin::pin!(pods);
        let changes = Arc::clone(&self.context.changes);
        // A moment, not a span: a busy watch must not keep putting the next look off.
        let mut next = Instant::now();
        loop {
            tokio::select! {
                Some(event) = pods.next() => match event {
                    Ok(event) => self.apply(event),
                    Err(error) => warn!(%error, "the watch of pods was interrupted"),
                },
                () = tokio::time::sleep_until(next) => {
                    self.relist().await;
                    next = Instant::now() + changes.patience();
                }
                () = changes.rung() => {
                    tokio::time::sleep(GATHER).await;
                    self.relist().await;
                    next = Instant::now() + changes.patience();
                }
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(uid) => self.ended(&uid),
                    Err(error) => warn!(%error, "a pod's worker broke off"),
                },
                () = shutdown.cancelled() => return,
            }
        }
    }

    fn ended(&mut self, uid: &str) {
        self.orphans.remove(uid);
        if self.workers.get(uid).is_some_and(|entry| entry.desired.is_closed()) {
            self.workers.remove(uid);
        }
        self.seen.remove(uid);
    }

    fn apply(&mut self, event: Event<Pod>) {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(pod) => {
                self.listing.extend(pod.metadata.uid.clone());
                self.wanted(pod);
            }
            Event::InitDone => {
                self.listed = true;
                let listing = std::mem::take(&mut self.listing);
                for (_, entry) in self.workers.iter().filter(|(uid, _)| !listing.contains(*uid)) {
                    entry.desired.send_replace(Desired::Gone(None));
                }
            }
            Event::Apply(pod) => self.wanted(pod),
            Event::Delete(pod) => {
                if let Some(entry) = pod.metadata.uid.as_ref().and_then(|uid| self.workers.get(uid)) {
                    // Its last state says how long it may take.
                    entry.desired.send_replace(Desired::Gone(Some(Arc::new(pod))));
                }
            }
        }
    }

    fn wanted(&mut self, pod: Pod) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        let pod = Arc::new(pod);
        if let Some(entry) = self.workers.get(&uid) {
            entry.desired.send_replace(Desired::Pod(pod));
            return;
        }
        let end = self.refusal(&pod);
        self.context.registry.set(&pod);
        let (desired, receiver) = watch::channel(Desired::Pod(Arc::clone(&pod)));
        let look = Arc::new(Notify::new());
        self.context.registry.watch(&uid, &look);
        let worker = Worker::new(Arc::clone(&self.context), pod, end).run(receiver, Arc::clone(&look));
        let id = uid.clone();
        self.tasks.spawn(async move {
            worker.await;
            id
        });
        self.workers.insert(uid, Entry { desired, look });
    }

    /// A pod that has never begun here may be refused; one that runs already is never refused.
    fn refusal(&self, pod: &Pod) -> Option<End> {
        let begun = pod.status.as_ref().is_some_and(|status| status.start_time.is_some());
        if begun || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let others = self.context.registry.all();
        let others: Vec<&Pod> = others.iter().map(|pod| &**pod).collect();
        let allocatable = object::allocatable(&self.context.node.machine);
        let node = self.context.node.node.read().clone();
        let failure = admit::refuse(pod, &others, &node, &allocatable)?;
        self.context.recorder.tell(Subject::pod(pod), Type::Warning, &failure.reason, failure.message.clone());
        let failure = super::memory::Failure { message: format!("Pod was rejected: {}", failure.message), ..failure };
        Some(End { since: Timestamp::now(), grace_seconds: 1, failure: Some(failure) })
    }

    /// Looks at the whole runtime; workers whose pod looks different are told, pods without a worker are ended.
    async fn relist(&mut self) {
        let runtime = &self.context.runtime;
        let (sandboxes, containers) =
            match tokio::try_join!(runtime.list_pod_sandboxes(None), runtime.list_containers(None)) {
                Ok(lists) => lists,
                Err(error) => {
                    tracing::debug!(%error, "the runtime cannot be listed");
                    return;
                }
            };
        let mut by_pod: BTreeMap<String, (Vec<v1::PodSandbox>, Vec<v1::Container>)> = BTreeMap::new();
        for sandbox in sandboxes {
            by_pod.entry(uid_of(&sandbox.labels)).or_default().0.push(sandbox);
        }
        for container in containers {
            by_pod.entry(uid_of(&container.labels)).or_default().1.push(container);
        }
        // What is not a pod's is not ours.
        by_pod.remove("");
        for (uid, entry) in &self.workers {
            let print =
                by_pod.get(uid).map(|(sandboxes, containers)| fingerprint(sandboxes, containers)).unwrap_or_default();
            if self.seen.get(uid) != Some(&print) {
                entry.look.notify_one();
                self.seen.insert(uid.clone(), print);
            }
        }
        if !self.listed {
            return;
        }
        for (uid, (sandboxes, containers)) in by_pod {
            if self.workers.contains_key(&uid) || !self.orphans.insert(uid.clone()) {
                continue;
            }
            info!(uid, "ending what runs without a pod in the API");
            let context = Arc::clone(&self.context);
            self.tasks.spawn(async move {
                end_orphan(&context, &uid, sandboxes, containers).await;
                uid
            });
        }
    }
}

async fn end_orphan(context: &Context, uid: &str, sandboxes: Vec<v1::PodSandbox>, containers: Vec<v1::Container>) {
    let running = |container: &&v1::Container| container.state == i32::from(v1::ContainerState::ContainerRunning);
    let stops = containers.iter().filter(running).map(|container| async {
        let own = container.annotations.get(labels::TERMINATION_GRACE_PERIOD).and_then(|text| text.parse().ok());
        let grace = own.map_or(ORPHAN_GRACE, Duration::from_secs).min(ORPHAN_GRACE);
        context.runtime.stop_container(&container.id, grace).await
    });
    for stopped in futures::future::join_all(stops).await {
        if let Err(error) = stopped {
            warn!(uid, %error, "an orphan was not stopped");
        }
    }
    let label = |key: &str| {
        let first = sandboxes.first().map(|sandbox| &sandbox.labels).or(containers.first().map(|c| &c.labels));
        first.and_then(|labels| labels.get(key)).cloned().unwrap_or_default()
    };
    let name = format!("{}_{}_{uid}", label(labels::POD_NAMESPACE), label(labels::POD_NAME));
    let logs: PathBuf = context.config().logs_dir().join(name);
    if let Err(message) = super::execute::forget(context, uid, &logs).await {
        warn!(uid, message, "an orphan was not removed");
    }
    if let Err(message) = super::execute::tear_down(context, uid).await {
        warn!(uid, message, "an orphan's remains were not removed");
    }
}
