//! Whether, since when, and how quickly a pod has to end.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Worker;
use crate::events::{Subject, Type};
use crate::pods::memory::{End, Failure};
use crate::pods::plan;

impl Worker {
    /// Decides whether the pod has to end, from its deletion, its deadline, and its absence from the API.
    pub(super) fn settle_end(&mut self) {
        let now = Timestamp::now();
        let metadata = &self.pod.metadata;
        let spec_grace = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        let spec_grace = spec_grace.unwrap_or(plan::DEFAULT_GRACE_SECONDS);
        let mut end = self.memory.end.clone();
        if let Some(deleted) = &metadata.deletion_timestamp {
            let grace = metadata.deletion_grace_period_seconds.unwrap_or(spec_grace);
            // The timestamp is when the grace period is over.
            let since = (deleted.0 - SignedDuration::from_secs(grace)).min(now);
            let known = end.get_or_insert(End { since, grace_seconds: grace, failure: None });
            if grace < known.grace_seconds {
                (known.since, known.grace_seconds) = (since, grace);
            }
        } else if self.gone {
            let grace_seconds = if end.is_some() { 1 } else { spec_grace.min(plan::DEFAULT_GRACE_SECONDS) };
            end.get_or_insert(End { since: now, grace_seconds, failure: None });
        }
        if end.is_none() && self.deadline_left().is_some_and(|left| left.is_zero()) {
            let message = "Pod was active on the node longer than the specified deadline";
            self.context.recorder.tell(Subject::pod(&self.pod), Type::Normal, "DeadlineExceeded", message);
            let failure =
                Failure { reason: "DeadlineExceeded".to_owned(), message: message.to_owned(), disruption: None };
            end = Some(End { since: now, grace_seconds: spec_grace, failure: Some(failure) });
        }
        if end.is_none()
            && let Some(failure) = self.context.registry.ended(&self.uid())
        {
            end = Some(End { since: now, grace_seconds: 0, failure: Some(failure) });
        }
        if end.is_some() && self.memory.end.is_none() {
            // Nothing new starts now; what is being pulled is not waited for.
            if let Some(starting) = self.starting.take() {
                starting.abort();
            }
        }
        self.memory.end = end;
    }

    pub(super) fn deadline_left(&self) -> Option<Duration> {
        if self.memory.end.is_some() || self.memory.finished || plan::is_terminal(&self.pod) {
            return None;
        }
        let seconds = self.pod.spec.as_ref()?.active_deadline_seconds?;
        let began = self.pod.status.as_ref()?.start_time.as_ref()?.0;
        let over = began + SignedDuration::from_secs(seconds);
        Some(Duration::try_from(over.duration_since(Timestamp::now())).unwrap_or_default())
    }
}
