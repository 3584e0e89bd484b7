//! What has changed in the runtime is told by it where it can, and looked for where it cannot.
//!
//! Invariant: being told is a hint to look, never a fact; who is not told looks once a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Runtime;

const RETRY: Duration = Duration::from_secs(2);
/// The runtime does not tell (another one than containerd): ask again seldom.
const UNABLE_RETRY: Duration = Duration::from_secs(300);
/// Upstream's relisting period, and how often to look at a runtime that tells.
const ALONE: Duration = Duration::from_secs(1);
const TOLD: Duration = Duration::from_secs(10);

/// Rung to have the runtime looked at.
#[derive(Default)]
pub struct Changes {
    bell: Notify,
    told: AtomicBool,
}

impl Changes {
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    /// Waits for the next ring.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Whether the runtime tells by itself from now on.
    pub fn tells(&self, told: bool) {
        self.told.store(told, Ordering::Relaxed);
        // What happened before is looked for.
        self.ring();
    }

    /// How long the runtime need not be looked at unless somebody rings.
    #[must_use]
    pub fn patience(&self) -> Duration {
        if self.told.load(Ordering::Relaxed) { TOLD } else { ALONE }
    }
}

/// Has the runtime ring when something has changed, until `shutdown`.
pub async fn follow(runtime: Arc<dyn Runtime>, changes: Arc<Changes>, shutdown: CancellationToken) {
    loop {
        let error = tokio::select! {
            error = runtime.follow(&changes) => error,
            () = shutdown.cancelled() => return,
        };
        changes.tells(false);
        debug!(%error, "the runtime does not tell what changes");
        let retry = if error.code == tonic::Code::Unimplemented { UNABLE_RETRY } else { RETRY };
        tokio::select! { () = tokio::time::sleep(retry) => {}, () = shutdown.cancelled() => return }
    }
}
