//! What the runtime says about one pod, in our own words.

use std::collections::HashMap;

use jiff::Timestamp;
use pilothouse_cri::v1;

use crate::cri::{Result, Runtime, labels};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    pub id: String,
    pub attempt: u32,
    pub ready: bool,
    pub created_at: i64,
    /// The pod's addresses; empty for pods on the host's network.
    pub ips: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Created,
    Running,
    Exited { code: i32, reason: String, message: String, finished_at: Timestamp },
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    pub name: String,
    pub sandbox: String,
    pub restart_count: i32,
    /// The hash of the container's spec that it was made from.
    pub hash: String,
    pub state: State,
    pub created_at: Timestamp,
    pub started_at: Timestamp,
    pub image: String,
    pub image_ref: String,
    pub log_path: String,
}

impl Container {
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }

    #[must_use]
    pub fn has_exited(&self) -> bool {
        matches!(self.state, State::Exited { .. })
    }

    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        match self.state {
            State::Exited { code, .. } => Some(code),
            _ => None,
        }
    }
}

/// One pod's sandboxes and containers, each newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    pub sandboxes: Vec<Sandbox>,
    pub containers: Vec<Container>,
}

impl Observed {
    /// The sandbox that containers are started in.
    #[must_use]
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first().filter(|sandbox| sandbox.ready)
    }

    /// The newest container of that name.
    #[must_use]
    pub fn newest(&self, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name)
    }

    /// The newest container of that name in this sandbox.
    #[must_use]
    pub fn newest_in(&self, sandbox: &str, name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == name && container.sandbox == sandbox)
    }

    pub fn running(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|container| !container.has_exited())
    }
}

fn timestamp(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or_default()
}

/// The details of what the runtime only lists in outline; asked for once per id and state.
#[derive(Debug, Default)]
pub struct Details {
    containers: HashMap<String, (i32, v1::ContainerStatus)>,
    sandboxes: HashMap<String, (i32, Vec<String>)>,
}

impl Details {
    /// Looks at one pod, from the runtime's lists of its sandboxes and containers.
    pub async fn look(
        &mut self,
        runtime: &dyn Runtime,
        sandboxes: Vec<v1::PodSandbox>,
        containers: Vec<v1::Container>,
    ) -> Result<Observed> {
        self.sandboxes.retain(|id, _| sandboxes.iter().any(|sandbox| sandbox.id == *id));
        self.containers.retain(|id, _| containers.iter().any(|container| container.id == *id));
        let mut observed = Observed::default();
        for sandbox in sandboxes {
            if self.sandboxes.get(&sandbox.id).is_none_or(|(state, _)| *state != sandbox.state) {
                let status = match runtime.pod_sandbox_status(&sandbox.id).await {
                    Err(error) if error.is_not_found() => continue,
                    status => status?,
                };
                let network = status.network.unwrap_or_default();
                let all = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
                let ips = all.filter(|ip| !ip.is_empty()).collect();
                self.sandboxes.insert(sandbox.id.clone(), (status.state, ips));
            }
            let Some((state, ips)) = self.sandboxes.get(&sandbox.id) else { continue };
            observed.sandboxes.push(Sandbox {
                attempt: sandbox.metadata.map_or(0, |metadata| metadata.attempt),
                ready: *state == v1::PodSandboxState::SandboxReady as i32,
                created_at: sandbox.created_at,
                ips: ips.clone(),
                id: sandbox.id,
            });
        }
        for container in containers {
            if self.containers.get(&container.id).is_none_or(|(state, _)| *state != container.state) {
                let status = match runtime.container_status(&container.id).await {
                    Err(error) if error.is_not_found() => continue,
                    status => status?,
                };
                self.containers.insert(container.id.clone(), (status.state, status));
            }
            let Some((_, status)) = self.containers.get(&container.id) else { continue };
            observed.containers.push(convert(container, status));
        }
        observed.sandboxes.sort_by_key(|sandbox| std::cmp::Reverse((sandbox.attempt, sandbox.created_at)));
        observed.containers.sort_by_key(|container| std::cmp::Reverse((container.created_at, container.restart_count)));
        Ok(observed)
    }
}

fn convert(container: v1::Container, status: &v1::ContainerStatus) -> Container {
    let note = |key: &str| container.annotations.get(key).cloned().unwrap_or_default();
    let state = match v1::ContainerState::try_from(status.state) {
        Ok(v1::ContainerState::ContainerCreated) => State::Created,
        Ok(v1::ContainerState::ContainerRunning) => State::Running,
        Ok(v1::ContainerState::ContainerExited) => State::Exited {
            code: status.exit_code,
            reason: status.reason.clone(),
            message: status.message.clone(),
            finished_at: timestamp(status.finished_at),
        },
        _ => State::Unknown,
    };
    Container {
        name: container.labels.get(labels::CONTAINER_NAME).cloned().unwrap_or_default(),
        restart_count: note(labels::RESTART_COUNT).parse().unwrap_or_default(),
        hash: note(labels::HASH),
        sandbox: container.pod_sandbox_id,
        state,
        created_at: timestamp(status.created_at),
        started_at: timestamp(status.started_at),
        image: status.image.as_ref().map_or_else(String::new, |image| image.image.clone()),
        image_ref: status.image_ref.clone(),
        log_path: status.log_path.clone(),
        id: container.id,
    }
}

/// A short form of the runtime's lists for one pod: when it changes, the pod is worth a look.
#[must_use]
pub fn fingerprint(sandboxes: &[v1::PodSandbox], containers: &[v1::Container]) -> Vec<(String, i32)> {
    let mut all: Vec<(String, i32)> = sandboxes.iter().map(|sandbox| (sandbox.id.clone(), sandbox.state)).collect();
    all.extend(containers.iter().map(|container| (container.id.clone(), container.state)));
    all.sort_unstable();
    all
}
