//! What a backend does before it is ready: the cluster's keys, the objects every cluster has, its own address.
//!
//! Invariants: everything here may run on any number of backends, any number of times; what users changed stays
//! changed (roles and bindings are completed, as upstream's are); all objects go the way of every request.

mod extensions;
mod flow;
mod kubernetes;
mod objects;
mod secrets;

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(crate) use objects::{absent_is_fine, accept_race, apply};
pub use objects::{apiserver, send};
pub use secrets::{Error, INTERNAL, Secrets, secrets};

use crate::server::ApiServer;
use crate::{admission, aggregation};

/// How often the own address is confirmed.
const RENEW: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(500);

impl ApiServer {
    /// Writes what a cluster must have and then keeps this backend's address in the `kubernetes` Service until
    /// `shutdown`. The server is ready as soon as the first round is through.
    /// Boxed: an `async fn` is compiled where it is first polled, and that should be this crate.
    pub fn bootstrap(&self, shutdown: CancellationToken) -> BoxFuture<'static, ()> {
        let api = self.clone();
        Box::pin(async move { api.keep_bootstrapped(shutdown).await })
    }

    async fn keep_bootstrapped(&self, shutdown: CancellationToken) {
        loop {
            match self.first_round().await {
                Ok(()) => break,
                Err(status) => warn!(%status, "the cluster's first objects could not be written; trying again"),
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = shutdown.cancelled() => return,
            }
        }
        self.0.ready.store(true, Ordering::Release);
        info!("the API is ready");
        tokio::spawn(flow::keep(self.clone(), shutdown.clone()));
        tokio::spawn(aggregation::run(self.clone(), shutdown.clone()));
        tokio::spawn(admission::keep_types(self.clone(), shutdown.clone()));
        loop {
            tokio::select! {
                () = tokio::time::sleep(RENEW) => {}
                () = shutdown.cancelled() => break,
            }
            if let Err(status) = kubernetes::reconcile(self).await {
                warn!(%status, "this backend's address could not be confirmed");
            }
        }
        if let Err(status) = kubernetes::withdraw(self).await {
            warn!(%status, "this backend's address could not be withdrawn");
        }
    }

    async fn first_round(&self) -> Result<(), pilothouse_api::Status> {
        objects::write(self).await?;
        extensions::write(self).await?;
        kubernetes::reconcile(self).await
    }
}
