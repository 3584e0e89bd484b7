//! What comes of what a worker had done.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::{Id, JoinError};
use tracing::warn;

use super::{CONFIG_RETRY, Desired, Done, FIRST_RETRY, LAST_RETRY, RESIZE_RETRY, SHOWN, Task, Worker};
use crate::pods::containers;
use crate::pods::execute::StartFailure;
use crate::pods::memory::{BackOff, Hold, Waiting};
use crate::pods::report::Reported;

impl Worker {
    pub(super) fn finish(&mut self, done: Result<(Id, Done), JoinError>) {
        let done = match done {
            Ok((id, done)) => {
                if let Some(Task::Kill(container)) = self.about.remove(&id)
                    && self.killing.get(&container).is_some_and(|kill| kill.id() == id)
                {
                    self.killing.remove(&container);
                    self.memory.busy.kills.remove(&container);
                }
                done
            }
            Err(error) => {
                let task = self.about.remove(&error.id());
                if error.is_panic() {
                    warn!(pod = self.pod.metadata.name, %error, ?task, "an action broke off");
                }
                match task {
                    Some(Task::Pod) => self.memory.busy.pod = false,
                    Some(Task::Start(_)) => self.memory.busy.start = None,
                    // A second attempt may be under way already.
                    Some(Task::Kill(id)) if self.killing.get(&id).is_some_and(|kill| kill.id() == error.id()) => {
                        self.killing.remove(&id);
                        self.memory.busy.kills.remove(&id);
                    }
                    Some(Task::Report) => self.reporting = false,
                    Some(Task::Refresh) => self.refreshing = false,
                    Some(Task::Resize) => self.resizing = false,
                    Some(Task::Kill(_)) | None => {}
                }
                return;
            }
        };
        match done {
            Done::Prepared(Ok(volumes)) => {
                self.volumes = Arc::new(volumes);
                self.memory.prepared = true;
                self.refreshed = tokio::time::Instant::now();
                self.pod_done(Ok(()));
            }
            Done::Prepared(Err(waiting)) | Done::Sandbox(Err(waiting)) => self.pod_done(Err(waiting)),
            Done::Sandbox(Ok(())) | Done::Stopped => self.pod_done(Ok(())),
            Done::TornDown(Ok(())) => {
                self.memory.torn_down = true;
                self.memory.prepared = false;
                self.pod_done(Ok(()));
            }
            Done::TornDown(Err(message)) => {
                warn!(pod = self.pod.metadata.name, message, "the pod is not torn down yet; trying again");
                self.pod_done(Err(Waiting { reason: "ContainerCreating".to_owned(), message }));
            }
            Done::Started(name, result) => self.started(name, result),
            Done::Killed => {}
            Done::Reported(reported) => {
                self.reporting = false;
                if !matches!(reported, Reported::Failed) {
                    self.report_retry.reset();
                }
                match reported {
                    Reported::Written(pod) => {
                        self.written.clone_from(&pod.metadata.resource_version);
                        self.adopt(Desired::Pod(Arc::new(*pod)));
                    }
                    Reported::Pod(pod) => self.adopt(Desired::Pod(Arc::new(*pod))),
                    Reported::Deleting => self.deleting = true,
                    Reported::Gone => self.gone = true,
                    // The watch, or a look in a second, brings what is needed for the next attempt.
                    Reported::Failed => {}
                }
            }
            Done::Refreshed => self.refreshing = false,
            Done::Resized(done) => {
                self.resizing = false;
                match done {
                    Ok(done) => {
                        self.memory.actual.extend(done);
                        self.memory.failed_resize = None;
                    }
                    Err(message) => {
                        self.memory.failed_resize = Some(message);
                        self.resize_after = tokio::time::Instant::now() + RESIZE_RETRY;
                    }
                }
            }
        }
    }

    fn pod_done(&mut self, result: Result<(), Waiting>) {
        self.memory.busy.pod = false;
        match result {
            Ok(()) => {
                self.memory.pod_hold = None;
                self.retry = FIRST_RETRY;
            }
            Err(waiting) => {
                let until = Timestamp::now() + self.retry;
                self.memory.pod_hold = Some(Hold { waiting, until, later: None });
                self.retry = (self.retry * 2).min(LAST_RETRY);
            }
        }
    }

    fn started(&mut self, name: String, result: Result<(), StartFailure>) {
        self.memory.busy.start = None;
        self.starting = None;
        let now = Timestamp::now();
        let failure = match result {
            Ok(()) => {
                self.memory.holds.remove(&name);
                self.memory.pulls.remove(&name);
                return;
            }
            Err(failure) => failure,
        };
        let hold = if failure.pulled {
            let backoff = BackOff::next(self.memory.pulls.get(&name).copied(), now, now);
            self.memory.pulls.insert(name.clone(), backoff);
            let spec = self.pod.spec.as_ref().and_then(|spec| containers::find(spec, &name));
            let image = spec.and_then(|(_, container)| container.image).unwrap_or_default();
            let message = format!("Back-off pulling image {image:?}: ErrImagePull: {}", failure.waiting.message);
            let later = Waiting { reason: "ImagePullBackOff".to_owned(), message };
            Hold { waiting: failure.waiting, until: now + backoff.delay, later: Some((now + SHOWN, later)) }
        } else if matches!(failure.waiting.reason.as_str(), "RunContainerError" | "PostStartHookError") {
            // The container is there, dead: the restart policy and its back-off decide.
            self.memory.holds.remove(&name);
            return;
        } else {
            Hold { waiting: failure.waiting, until: now + CONFIG_RETRY, later: None }
        };
        self.memory.holds.insert(name, hold);
    }
}
