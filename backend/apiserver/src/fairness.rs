//! How many requests run at once, in all and per user, so that one noisy client cannot starve the others.
//! (Priority and fairness by FlowSchemas takes this place.)

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use pilothouse_access::{UserInfo, groups};
use pilothouse_api::Status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::request::RequestInfo;

/// Requests that run at once (upstream: 400 reading + 200 writing).
const IN_ALL: usize = 600;
/// Requests of one user that run at once.
const PER_USER: usize = 200;
/// How long a request waits for its turn before it is told to come back.
const PATIENCE: Duration = Duration::from_secs(15);
/// Users known at once; beyond that, idle ones are forgotten.
const MAX_USERS: usize = 10_000;

pub struct Fairness {
    all: Arc<Semaphore>,
    users: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// Held while a request runs.
pub struct Turn {
    _permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl Default for Fairness {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(IN_ALL)), users: Mutex::default() }
    }
}

impl Fairness {
    fn of(&self, user: &str) -> Arc<Semaphore> {
        let mut users = self.users.lock();
        if let Some(semaphore) = users.get(user) {
            return Arc::clone(semaphore);
        }
        if users.len() >= MAX_USERS {
            users.retain(|_, semaphore| semaphore.available_permits() < PER_USER);
        }
        Arc::clone(users.entry(user.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(PER_USER))))
    }

    /// Waits for a turn. Long-running requests and administrators pass freely.
    ///
    /// # Errors
    /// 429 when no turn came in time.
    pub async fn turn(&self, user: &UserInfo, info: &RequestInfo) -> Result<Turn, Status> {
        let streams = matches!(info.subresource.as_str(), "log" | "exec" | "attach" | "portforward" | "proxy");
        if info.verb == "watch" || streams || user.groups.iter().any(|group| group == groups::MASTERS) {
            return Ok(Turn { _permits: None });
        }
        let own = self.of(&user.name);
        let permits = async { (own.acquire_owned().await, Arc::clone(&self.all).acquire_owned().await) };
        match timeout(PATIENCE, permits).await {
            Ok((Ok(own), Ok(all))) => Ok(Turn { _permits: Some((own, all)) }),
            _ => Err(Status::too_many_requests("too many requests, please try again later", 1)),
        }
    }
}
