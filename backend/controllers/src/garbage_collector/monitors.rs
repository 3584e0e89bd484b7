//! Watches the metadata of every resource that can be listed, watched and deleted, custom ones as they come and go.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::State;
use super::graph::{Object, Uid};
use crate::discovery::{self, Resource};
use crate::follow::{Source, Update, follow};

/// How often new kinds are looked for.
const DISCOVER: Duration = Duration::from_secs(30);
const DISCOVER_FAILED: Duration = Duration::from_secs(2);
const BUFFER: usize = 64;

struct Monitor {
    stop: CancellationToken,
}

/// Runs until the process stops leading.
pub async fn run(state: Arc<State>) {
    let mut monitors: BTreeMap<Resource, Monitor> = BTreeMap::new();
    loop {
        let pause = match discovery::discover(&state.cx.client).await {
            Ok(found) => {
                let failed = !found.failures.is_empty();
                let wanted: Vec<Resource> = found.resources.into_iter().filter(is_collected).collect();
                // What could not be discovered is not taken for gone.
                if !failed {
                    forget_gone(&state, &mut monitors, &wanted);
                }
                state.set_resources(&wanted);
                for resource in wanted {
                    if let Entry::Vacant(place) = monitors.entry(resource) {
                        let monitor = start(&state, place.key());
                        place.insert(monitor);
                    }
                }
                state.discovered.store(true, Ordering::Release);
                if failed { DISCOVER_FAILED } else { DISCOVER }
            }
            Err(error) => {
                tracing::warn!(%error, "the API's resources could not be discovered");
                DISCOVER_FAILED
            }
        };
        tokio::select! { () = tokio::time::sleep(pause) => {}, () = state.cx.shutdown.cancelled() => return }
    }
}

fn is_collected(resource: &Resource) -> bool {
    // Events have no dependents, and there are many of them.
    let event = resource.plural == "events" && matches!(resource.group.as_str(), "" | "events.k8s.io");
    !event && ["list", "watch", "delete"].iter().all(|verb| resource.can(verb))
}

fn forget_gone(state: &State, monitors: &mut BTreeMap<Resource, Monitor>, wanted: &[Resource]) {
    let gone: Vec<Resource> = monitors.keys().filter(|r| !wanted.contains(r)).cloned().collect();
    for resource in gone {
        if let Some(monitor) = monitors.remove(&resource) {
            monitor.stop.cancel();
        }
        let mut graph = state.graph.lock();
        let look: Vec<Uid> = graph.of(&resource).into_iter().flat_map(|uid| graph.remove(uid)).collect();
        drop(graph);
        state.look(look);
    }
}

fn start(state: &Arc<State>, resource: &Resource) -> Monitor {
    let stop = state.cx.shutdown.child_token();
    let (send, receive) = mpsc::channel(BUFFER);
    let root = if resource.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", resource.group) };
    let path = format!("{root}/{}/{}", resource.version, resource.plural);
    let source = Source { path, fields: "", metadata_only: true };
    let following = follow(state.cx.client.clone(), source, send, |update: Update<Object>| update);
    state.waiting_for.fetch_add(1, Ordering::AcqRel);
    let applying = apply(state.clone(), Arc::new(resource.clone()), receive);
    let token = stop.clone();
    tokio::spawn(async move {
        tokio::select! { () = token.cancelled() => {}, ((), ()) = async { tokio::join!(following, applying) } => {} }
    });
    Monitor { stop }
}

async fn apply(state: Arc<State>, resource: Arc<Resource>, mut updates: mpsc::Receiver<Update<Object>>) {
    let mut listed = false;
    while let Some(update) = updates.recv().await {
        let mut graph = state.graph.lock();
        let look = match update {
            Update::Put(object) => graph.put(&resource, &object.metadata),
            Update::Gone(object) => graph.remove(Uid::new(&object.metadata.uid)),
            Update::Reset(objects) => {
                let there: std::collections::HashSet<Uid> = objects.iter().map(|o| Uid::new(&o.metadata.uid)).collect();
                let gone: Vec<Uid> = graph.of(&resource).into_iter().filter(|uid| !there.contains(uid)).collect();
                let mut look: Vec<Uid> = gone.into_iter().flat_map(|uid| graph.remove(uid)).collect();
                look.extend(objects.iter().flat_map(|o| graph.put(&resource, &o.metadata)).collect::<Vec<_>>());
                if !listed {
                    listed = true;
                    state.waiting_for.fetch_sub(1, Ordering::AcqRel);
                }
                look
            }
        };
        drop(graph);
        state.look(look);
    }
}
