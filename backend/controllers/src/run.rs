//! The one loop all controllers run in: take a key, reconcile it, look again when asked to or after a failure.
//!
//! Invariants:
//! - No controller starts before every cache is filled once.
//! - A panic in a reconcile is one key's failure, never the process's.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cache::{Cached, Change};
use crate::caches::Caches;
use crate::error::{Error, Next, Result};
use crate::events::{Broadcaster, Recorder};
use crate::key::Key;
use crate::queue::Queue;
use crate::{ALL, Deps, owner};

/// The reads for the shared caches are done under the one built-in identity that may list and watch everything and
/// write nothing.
const CACHE_IDENTITY: &str = "resourcequota-controller";

/// One row of the table of controllers.
pub struct Controller {
    /// Also the name of its ServiceAccount and the component in its events.
    pub name: &'static str,
    pub workers: usize,
    /// Subscribes to the caches and gives the function that reconciles one key.
    pub start: fn(Context) -> Reconcile,
}

pub type Reconcile = Box<dyn Fn(Key) -> BoxFuture<'static, Result<Next>> + Send + Sync>;

/// What a controller is given.
#[derive(Clone)]
pub struct Context {
    pub client: Client,
    pub caches: Arc<Caches>,
    pub queue: Arc<Queue>,
    pub events: Recorder,
    pub deps: Arc<Deps>,
    pub shutdown: CancellationToken,
}

impl Context {
    /// A handler that enqueues the changed object itself.
    pub fn enqueue<K: Cached>(&self) -> impl Fn(&Change<'_, K>) + Send + Sync + 'static {
        let queue = self.queue.clone();
        move |change| queue.add(change.key.clone())
    }

    /// A handler that enqueues the controllers of this kind of the changed object, before and after the change.
    pub fn enqueue_controller<K: Cached>(&self, kind: &'static str) -> impl Fn(&Change<'_, K>) + Send + Sync + 'static {
        let queue = self.queue.clone();
        move |change| {
            for object in [change.old, change.new].into_iter().flatten() {
                if let Some(owner) = owner::controller_of(object.meta()).filter(|o| o.kind == kind) {
                    queue.add(Key { namespace: change.key.namespace.clone(), name: owner.name.as_str().into() });
                }
            }
        }
    }
}

/// Binds a controller's state to its reconcile function.
pub fn reconciler<S, F, Fut>(state: impl Into<Arc<S>>, reconcile: F) -> Reconcile
where
    S: Send + Sync + 'static,
    F: Fn(Arc<S>, Key) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Next>> + Send + 'static,
{
    let state: Arc<S> = state.into();
    Box::new(move |key| reconcile(state.clone(), key).boxed())
}

/// Runs every controller until `shutdown`. The caller holds the leader's lease.
/// Boxed: an `async fn` is compiled where it is first polled, and that should be this crate.
pub fn run(deps: Deps, shutdown: CancellationToken) -> BoxFuture<'static, ()> {
    run_all(deps, shutdown).boxed()
}

async fn run_all(deps: Deps, shutdown: CancellationToken) {
    let stop = shutdown.child_token();
    let _stop_on_return = stop.clone().drop_guard();
    let caches = Arc::new(Caches::default());
    let broadcaster = Broadcaster::start(stop.clone());
    let deps = Arc::new(deps);
    let mut started = Vec::new();
    for controller in ALL {
        let client = (deps.client_for)(controller.name);
        let context = Context {
            events: broadcaster.recorder(controller.name, client.clone()),
            client,
            caches: caches.clone(),
            queue: Arc::new(Queue::new(controller.name)),
            deps: deps.clone(),
            shutdown: stop.clone(),
        };
        let queue = context.queue.clone();
        started.push((controller, queue, Arc::new((controller.start)(context))));
    }
    caches.start(&(deps.client_for)(CACHE_IDENTITY), &stop);
    tokio::select! {
        () = shutdown.cancelled() => return,
        () = caches.wait_synced() => {}
    }
    tracing::info!(controllers = started.len(), "the caches are filled; the controllers start");
    let mut workers = JoinSet::new();
    for (controller, queue, reconcile) in started {
        for _ in 0..controller.workers {
            workers.spawn(work(controller.name, queue.clone(), reconcile.clone(), stop.clone()));
        }
    }
    shutdown.cancelled().await;
    stop.cancel();
    while workers.join_next().await.is_some() {}
}

async fn work(name: &'static str, queue: Arc<Queue>, reconcile: Arc<Reconcile>, stop: CancellationToken) {
    loop {
        let key = tokio::select! { () = stop.cancelled() => return, key = queue.next() => key };
        let result = tokio::select! {
            // Every reconcile may stop between two writes: the next leader starts from what is written.
            () = stop.cancelled() => return,
            result = AssertUnwindSafe(reconcile(key.clone())).catch_unwind() => result.unwrap_or_else(|panic| Err(panicked(&*panic))),
        };
        match result {
            Ok(next) => {
                queue.forget_failures(&key);
                if let Some(delay) = next {
                    queue.add_after(key.clone(), delay);
                }
            }
            Err(error @ Error::Invalid(_)) => {
                tracing::debug!(controller = name, %key, %error, "cannot be done as it is");
                queue.forget_failures(&key);
            }
            Err(error) => {
                let delay = queue.retry(&key);
                if error.is_conflict() || error.is_namespace_terminating() {
                    tracing::debug!(controller = name, %key, %error, ?delay, "will be tried again");
                } else {
                    tracing::warn!(controller = name, %key, %error, ?delay, "a reconcile failed and will be tried again");
                }
            }
        }
        queue.done(&key);
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text =
        panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    Error::Panic(text.unwrap_or_else(|| "no message".into()))
}
