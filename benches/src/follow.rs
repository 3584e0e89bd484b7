//! Clients as they are written: kube's watchers, reflectors and controllers follow a churn for as long as one likes, and
//! are asked at the end whether they missed anything.
//!
//! Invariant: every acknowledged write is looked for at every follower; what a follower was told anew from the beginning
//! (it had to list again) is counted apart, for between two lists a follower may see less.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::runtime::controller::{Action, Config as ControllerConfig, Controller};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use rand::Rng;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::report::line;

/// How long followers may take to see the last write.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the names of the churn's objects begin with.
const NAME: &str = "follow-";
const GROUP: &str = "bench.example.com";

#[derive(clap::Args)]
pub struct Args {
    /// The kubeconfig of the server.
    #[arg(long)]
    target: PathBuf,
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Writes a second to each resource.
    #[arg(long, default_value_t = 20)]
    rate: u64,
    /// Names that are in use per resource.
    #[arg(long, default_value_t = 200)]
    names: usize,
}

/// What was acknowledged, by object.
#[derive(Default)]
struct Ledger {
    revisions: HashSet<u64>,
    deleted: HashSet<String>,
    live: BTreeMap<String, (String, u64)>,
}

/// What a follower saw.
#[derive(Default)]
struct Seen {
    revisions: HashSet<u64>,
    deleted: HashSet<String>,
    last: u64,
    /// Lists after the first.
    listed_again: u64,
    doubled: u64,
    disordered: u64,
    errors: u64,
    ready: bool,
}

impl Seen {
    fn take(&mut self, event: Event<DynamicObject>) {
        match event {
            Event::Init => {
                self.listed_again += u64::from(self.ready);
            }
            Event::InitApply(object) => {
                let revision = revision(&object);
                self.last = self.last.max(revision);
                self.revisions.insert(revision);
            }
            Event::InitDone => self.ready = true,
            Event::Apply(object) => self.in_order(&object),
            Event::Delete(object) => {
                self.in_order(&object);
                let uid = object.uid().unwrap_or_default();
                self.doubled += u64::from(!self.deleted.insert(uid));
            }
        }
    }

    fn in_order(&mut self, object: &DynamicObject) {
        let revision = revision(object);
        self.disordered += u64::from(revision < self.last);
        self.last = self.last.max(revision);
        self.doubled += u64::from(!self.revisions.insert(revision));
    }
}

fn revision(object: &DynamicObject) -> u64 {
    object.resource_version().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// One resource with its writer, its followers and what they know.
struct Followed {
    name: String,
    api: Api<DynamicObject>,
    resource: ApiResource,
    ledger: Mutex<Ledger>,
    followers: [(&'static str, Mutex<Seen>); 2],
    /// The revision at which the controller last reconciled each object.
    reconciled: Mutex<HashMap<String, u64>>,
}

impl Followed {
    fn object(&self, name: &str, step: u64) -> Result<DynamicObject> {
        let mut object: Value = json!({"apiVersion": self.resource.api_version, "kind": self.resource.kind,
                                       "metadata": {"name": name, "labels": {"step": step.to_string()}}});
        if self.resource.kind == "Secret" {
            object["stringData"] = json!({"step": step.to_string()});
        } else {
            object["data"] = json!({"step": step.to_string()});
        }
        Ok(serde_json::from_value(object)?)
    }

    /// One write of somebody who knows what is there.
    async fn write(&self, name: String, step: u64) -> Result<()> {
        let known = self.ledger.lock().live.get(&name).cloned();
        let Some((uid, at)) = known else {
            let made = self.api.create(&PostParams::default(), &self.object(&name, step)?).await?;
            let mut ledger = self.ledger.lock();
            ledger.revisions.insert(revision(&made));
            ledger.live.insert(name, (made.uid().unwrap_or_default(), revision(&made)));
            return Ok(());
        };
        if rand::rng().random_ratio(1, 3) {
            self.api.delete(&name, &DeleteParams::default()).await?;
            let mut ledger = self.ledger.lock();
            ledger.live.remove(&name);
            ledger.deleted.insert(uid);
            return Ok(());
        }
        let mut changed = self.object(&name, step)?;
        changed.metadata.resource_version = Some(at.to_string());
        let changed = self.api.replace(&name, &PostParams::default(), &changed).await?;
        let mut ledger = self.ledger.lock();
        ledger.revisions.insert(revision(&changed));
        ledger.live.insert(name, (uid, revision(&changed)));
        Ok(())
    }

    async fn churn(self: Arc<Self>, end: Instant, rate: u64, names: usize) -> Result<()> {
        let pause = Duration::from_micros(1_000_000 / rate.max(1));
        let mut due = Instant::now();
        for step in 0.. {
            due += pause;
            sleep_until(due).await;
            if due >= end {
                break;
            }
            let name = format!("{NAME}{}", rand::rng().random_range(0..names.max(1)));
            self.write(name, step).await.with_context(|| format!("writing {}", self.name))?;
        }
        Ok(())
    }

    async fn follow(self: Arc<Self>, which: usize) {
        let config = match which {
            0 => watcher::Config::default(),
            _ => watcher::Config::default().streaming_lists(),
        };
        let mut events = std::pin::pin!(watcher::watcher(self.api.clone(), config));
        while let Some(event) = events.next().await {
            let mut seen = self.followers[which].1.lock();
            match event {
                Ok(event) => seen.take(event),
                Err(error) => {
                    tracing::warn!(%error, resource = self.name, "a watcher");
                    seen.errors += 1;
                }
            }
        }
    }

    /// A controller; gives its store, once it is stopped, for comparison.
    async fn control(self: Arc<Self>, stop: tokio_util::sync::CancellationToken) -> Vec<Arc<DynamicObject>> {
        let resource = self.resource.clone();
        let controller = Controller::new_with(self.api.clone(), watcher::Config::default(), resource)
            .with_config(ControllerConfig::default().concurrency(4));
        let store = controller.store();
        let reconcile = |object: Arc<DynamicObject>, followed: Arc<Self>| async move {
            followed.reconciled.lock().insert(object.name_any(), revision(&object));
            Ok::<_, std::convert::Infallible>(Action::await_change())
        };
        let shutdown = stop.cancelled_owned();
        let run = controller.graceful_shutdown_on(shutdown).run(
            reconcile,
            |_, _, _| Action::requeue(Duration::from_secs(1)),
            Arc::clone(&self),
        );
        run.for_each(|_| std::future::ready(())).await;
        store.state()
    }

    /// Whether everything acknowledged has arrived everywhere.
    fn settled(&self) -> bool {
        let ledger = self.ledger.lock();
        let followed = self.followers.iter().all(|(_, seen)| {
            let seen = seen.lock();
            ledger.revisions.is_subset(&seen.revisions) && ledger.deleted.is_subset(&seen.deleted)
        });
        let reconciled = self.reconciled.lock();
        followed && ledger.live.iter().all(|(name, (_, at))| reconciled.get(name) == Some(at))
    }

    /// What is wrong, in lines; the first is what happened.
    async fn verdict(&self, store: &[Arc<DynamicObject>]) -> Result<u64> {
        let ledger = std::mem::take(&mut *self.ledger.lock());
        line(&format!(
            "{:<28} {} writes, {} deletions, {} live",
            self.name,
            ledger.revisions.len(),
            ledger.deleted.len(),
            ledger.live.len()
        ));
        let mut wrong = 0;
        for (name, seen) in &self.followers {
            let seen = seen.lock();
            let missed =
                ledger.revisions.difference(&seen.revisions).count() + ledger.deleted.difference(&seen.deleted).count();
            line(&format!(
                "  {name:<26} {} events, {missed} missed, {} doubled, {} out of order, {} errors, listed again {} times",
                seen.revisions.len() + seen.deleted.len(),
                seen.doubled,
                seen.disordered,
                seen.errors,
                seen.listed_again
            ));
            wrong += missed as u64 + seen.doubled + seen.disordered;
        }
        let listed = self.api.list(&ListParams::default()).await?;
        // Others (the authority's certificate, say) have objects there too.
        let of = |object: &DynamicObject| {
            Some((object.name_any(), revision(object))).filter(|(name, _)| name.starts_with(NAME))
        };
        let truth: BTreeMap<String, u64> = listed.items.iter().filter_map(of).collect();
        let known: BTreeMap<String, u64> =
            ledger.live.iter().map(|(name, (_, revision))| (name.clone(), *revision)).collect();
        let stored: BTreeMap<String, u64> = store.iter().filter_map(|object| of(object)).collect();
        let reconciled = self.reconciled.lock();
        let late = truth.iter().filter(|(name, at)| reconciled.get(*name) != Some(at)).count();
        line(&format!(
            "  {:<26} store {}, list {}, {late} objects not reconciled at their last revision",
            "controller",
            if stored == truth { "is the server's" } else { "DIFFERS" },
            if known == truth { "is the writer's" } else { "DIFFERS" },
        ));
        Ok(wrong + late as u64 + u64::from(stored != truth) + u64::from(known != truth))
    }
}

/// A kind of our own, to follow custom resources too.
async fn define(client: &Client) -> Result<()> {
    let crds = ApiResource::from_gvk(&GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition"));
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &crds);
    let schema = json!({"type": "object", "properties": {
        "data": {"type": "object", "additionalProperties": {"type": "string"}}}});
    let definition: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("gauges.{GROUP}")},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": {"plural": "gauges", "kind": "Gauge"},
                 "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}}))?;
    match api.create(&PostParams::default(), &definition).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        other => drop(other?),
    }
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let found = api.get(&format!("gauges.{GROUP}")).await?;
        let conditions = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if conditions.iter().any(|one| one["type"] == "Established" && one["status"] == "True") {
            return Ok(());
        }
        sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("the custom resource is not established")
}

pub async fn run(args: Args) -> Result<()> {
    let kubeconfig = Kubeconfig::read_from(&args.target)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let client = Client::try_from(config)?;
    define(&client).await?;
    let spaces = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Namespace"));
    let spaces: Api<DynamicObject> = Api::all_with(client.clone(), &spaces);
    let space: DynamicObject = serde_json::from_value(
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "follow-"}}),
    )?;
    let space = spaces.create(&PostParams::default(), &space).await?.name_any();
    let gvks = [("", "v1", "ConfigMap"), ("", "v1", "Secret"), (GROUP, "v1", "Gauge")];
    let all = gvks.map(|(group, version, kind)| {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Arc::new(Followed {
            name: resource.plural.clone(),
            api: Api::namespaced_with(client.clone(), &space, &resource),
            resource,
            ledger: Mutex::default(),
            followers: [("list and watch", Mutex::default()), ("streaming list", Mutex::default())],
            reconciled: Mutex::default(),
        })
    });

    let stop = tokio_util::sync::CancellationToken::new();
    let (mut following, mut writing) = (JoinSet::new(), JoinSet::new());
    let mut controllers = Vec::new();
    for followed in &all {
        following.spawn(Arc::clone(followed).follow(0));
        following.spawn(Arc::clone(followed).follow(1));
        controllers.push(tokio::spawn(Arc::clone(followed).control(stop.clone())));
    }
    let begun = Instant::now();
    let ready = || all.iter().all(|one| one.followers.iter().all(|(_, seen)| seen.lock().ready));
    while !ready() && begun.elapsed() < PATIENCE {
        sleep(Duration::from_millis(20)).await;
    }
    ensure!(ready(), "the followers did not begin");
    let end = Instant::now() + Duration::from_secs(args.seconds);
    for followed in &all {
        writing.spawn(Arc::clone(followed).churn(end, args.rate, args.names));
    }
    while let Some(written) = writing.join_next().await {
        written??;
    }
    let patience = Instant::now() + PATIENCE;
    while !all.iter().all(|one| one.settled()) && Instant::now() < patience {
        sleep(Duration::from_millis(50)).await;
    }
    stop.cancel();
    let mut wrong = 0;
    for (followed, controller) in all.iter().zip(controllers) {
        wrong += followed.verdict(&controller.await?).await?;
    }
    following.shutdown().await;
    spaces.delete(&space, &DeleteParams::default()).await?;
    ensure!(wrong == 0, "{wrong} things that should not be");
    line("nothing missed");
    Ok(())
}
