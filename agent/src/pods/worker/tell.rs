//! What the API and its users are told of a pod: its status, and events of back-offs.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;
use tokio::time::Instant;

use super::{Done, SETTLE, Task, Worker};
use crate::events::{Subject, Type};
use crate::pods::containers::{self, Kind};
use crate::pods::plan::{self, Plan};
use crate::pods::report;
use crate::pods::status::{self, Surroundings};

impl Worker {
    /// Tells how the pod is, if that is news; says how long it can wait for what follows.
    pub(super) fn report(&mut self, plan: &Plan, now: Timestamp) -> Option<Duration> {
        for (name, waiting) in &plan.waiting {
            let count = self.observed.newest(name).map_or(-1, |seen| seen.restart_count);
            if waiting.reason == "CrashLoopBackOff" && self.told_backoffs.get(name) != Some(&count) {
                self.told_backoffs.insert(name.clone(), count);
                let full = plan::full_name(&self.pod);
                let message = format!("Back-off restarting failed container {name} in pod {full}");
                self.context.recorder.tell(self.subject(name), Type::Warning, "BackOff", message);
            }
        }
        if self.reporting || self.gone {
            return None;
        }
        let status = self.status(plan, now);
        let delete = self.memory.torn_down && self.pod.metadata.deletion_timestamp.is_some() && !self.deleting;
        let difference = report::status_difference(self.pod.status.as_ref(), &status);
        // What the API did not keep of the last report, it will not keep of the next.
        let is_answer = self.written.is_some() && self.written == self.pod.metadata.resource_version;
        let difference = difference.filter(|difference| !(is_answer && self.sent.as_ref() == Some(difference)));
        if difference.is_none() && !delete {
            self.untold = None;
            return None;
        }
        if !delete && !self.is_urgent(&status) {
            let left = SETTLE.saturating_sub(self.untold.get_or_insert_with(Instant::now).elapsed());
            if !left.is_zero() {
                return Some(left);
            }
        }
        self.untold = None;
        self.reporting = true;
        if difference.is_some() {
            self.sent.clone_from(&difference);
        }
        let (context, pod, pause) = (Arc::clone(&self.context), Arc::clone(&self.pod), self.report_retry.wait());
        self.spawn(Task::Report, async move {
            Done::Reported(report::report(&context, &pod, difference, delete, pause).await)
        });
        None
    }

    /// Whether somebody waits for this: a pod that became ready, or no longer is, or has ended. Of one that is being
    /// deleted the last report follows soon.
    fn is_urgent(&self, status: &PodStatus) -> bool {
        let is_ready = |status: &PodStatus| {
            status.conditions.iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
        };
        let former = self.pod.status.as_ref();
        self.pod.metadata.deletion_timestamp.is_none()
            && (former.is_some_and(is_ready) != is_ready(status)
                || former.and_then(|former| former.phase.as_ref()) != status.phase.as_ref())
    }

    /// A container that runs again has no back-off to tell of.
    pub(super) fn forget_backoffs(&mut self) {
        for seen in &self.observed.containers {
            if seen.is_running() {
                self.told_backoffs.remove(&seen.name);
            }
        }
    }

    fn status(&self, plan: &Plan, now: Timestamp) -> PodStatus {
        let host_ip = self.context.host_ip();
        let around = Surroundings { host_ip: &host_ip, runtime_name: &self.context.runtime_name };
        status::status(&self.pod, &self.observed, &self.memory, plan, around, now)
    }

    pub(super) fn subject(&self, container: &str) -> Subject {
        let kind = self.pod.spec.as_ref().and_then(|spec| containers::find(spec, container));
        let kind = kind.map_or(Kind::Main, |(kind, _)| kind);
        Subject::pod(&self.pod).at(containers::field_path(kind, container))
    }

    /// A failure is first shown as what it is, then as what it waits for; true while one is still fresh.
    pub(super) fn age_holds(&mut self, now: Timestamp) -> bool {
        let mut fresh = false;
        let mut told = Vec::new();
        for (name, hold) in &mut self.memory.holds {
            let Some((after, later)) = &hold.later else { continue };
            if *after <= now {
                told.push((name.clone(), later.message.clone()));
                hold.waiting = later.clone();
                hold.later = None;
            }
            fresh = true;
        }
        for (name, message) in told {
            let text = message.split(": ErrImagePull").next().unwrap_or_default().to_owned();
            self.context.recorder.tell(self.subject(&name), Type::Normal, "BackOff", text);
            self.context.recorder.tell(self.subject(&name), Type::Warning, "Failed", "Error: ImagePullBackOff");
        }
        fresh
    }
}
