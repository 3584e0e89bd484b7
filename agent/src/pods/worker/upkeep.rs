//! What a running pod needs now and then: fresh contents of volumes, resources that were changed in place.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::{Done, LOOK_AGAIN, REFRESH, Task, Worker};
use crate::node::object;
use crate::pods::memory::Waiting;
use crate::pods::{execute, plan, resize};
use crate::volumes::Mounter;

impl Worker {
    /// Looks after the contents of volumes; says when the next look is due.
    pub(super) fn refresh_due(&mut self) -> Option<Duration> {
        if !self.memory.prepared || self.memory.end.is_some() || !Mounter::is_live(&self.pod) {
            return None;
        }
        let left = REFRESH.saturating_sub(self.refreshed.elapsed());
        if !left.is_zero() || self.refreshing {
            return Some(left.max(LOOK_AGAIN));
        }
        self.refreshing = true;
        // Not all pods at the same moment.
        self.refreshed = tokio::time::Instant::now() - REFRESH.mul_f64(rand::random_range(0.0..0.3));
        let (context, pod, ips) = (Arc::clone(&self.context), Arc::clone(&self.pod), self.ips());
        self.spawn(Task::Refresh, async move {
            context.mounter.refresh(&pod, &context.facts(&ips)).await;
            Done::Refreshed
        });
        None
    }

    /// Notes what containers have that an earlier agent started.
    pub(super) fn recall_resources(&mut self) {
        for seen in &self.observed.containers {
            if !self.memory.actual.contains_key(&seen.name)
                && let Some(known) = resize::told(&self.pod, seen)
            {
                self.memory.actual.insert(seen.name.clone(), known);
            }
        }
        let ids: Vec<&String> = self.observed.containers.iter().map(|seen| &seen.id).collect();
        self.memory.outgrown.retain(|id| ids.contains(&id));
    }

    fn refusal(&self, spec: &PodSpec) -> Option<Waiting> {
        let all = self.context.registry.all();
        let is_other = |pod: &&Arc<Pod>| pod.metadata.uid != self.pod.metadata.uid && !plan::is_terminal(pod);
        let others: Vec<&PodSpec> = all.iter().filter(is_other).filter_map(|pod| pod.spec.as_ref()).collect();
        resize::refuse(spec, &others, &object::allocatable(&self.context.node.machine))
    }

    /// The pod as its containers are started: with the resources they had, if the node has no room for those it asks
    /// for by now.
    pub(super) fn affordable(&self) -> Arc<Pod> {
        let held = resize::held_back(&self.pod, &self.memory.actual);
        let refused = |_: &Pod| self.pod.spec.as_ref().is_some_and(|spec| self.refusal(spec).is_some());
        held.filter(refused).map_or_else(|| Arc::clone(&self.pod), Arc::new)
    }

    /// Brings running containers to resources that were changed in place.
    pub(super) fn resize(&mut self) {
        let early = tokio::time::Instant::now() < self.resize_after;
        if early || self.resizing || !self.memory.prepared || self.memory.end.is_some() {
            return;
        }
        let Some(spec) = &self.pod.spec else { return };
        let machine = &self.context.node.machine;
        let mut due = resize::due(spec, &self.observed, &self.memory.actual, machine.memory_bytes);
        due.retain(|change| !self.memory.outgrown.contains(&change.id));
        if due.is_empty() {
            if resize::held_back(&self.pod, &self.memory.actual).is_none() {
                self.memory.refused_resize = None;
            }
            return;
        }
        self.memory.refused_resize = self.refusal(spec);
        if self.memory.refused_resize.is_some() {
            return;
        }
        for change in due.iter().filter(|change| change.restart) {
            self.memory.outgrown.insert(change.id.clone());
        }
        self.resizing = true;
        let (context, pod) = (Arc::clone(&self.context), Arc::clone(&self.pod));
        self.spawn(Task::Resize, async move { Done::Resized(execute::resize(&context, &pod, due).await) });
    }
}
