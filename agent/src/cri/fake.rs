//! A runtime that lives in memory: sandboxes and containers without processes. It serves the tests and hollow nodes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use parking_lot::Mutex;
use pilothouse_cri::v1;
use tokio::sync::Notify;
use tonic::Code;

use super::changes::Changes;
use super::{Error, Result, Runtime, labels};

/// A node that runs for long keeps no longer memory of it.
const MAX_CALLS: usize = 10_000;

/// What the containers of an image do. The default: run until stopped, and stop at once.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// Exits by itself with this code, as soon as it is started.
    pub exits: Option<i32>,
    /// Does not react to the stop signal: only the end of the grace period ends it.
    pub ignores_stop: bool,
    /// Creating it fails with this message.
    pub create_error: Option<String>,
    /// What every command in it answers.
    pub exec: v1::ExecSyncResponse,
}

#[derive(Clone)]
struct Container {
    config: v1::ContainerConfig,
    sandbox: String,
    state: v1::ContainerState,
    created_at: i64,
    started_at: i64,
    finished_at: i64,
    exit_code: i32,
    reason: String,
}

#[derive(Clone)]
struct Sandbox {
    config: v1::PodSandboxConfig,
    ready: bool,
    created_at: i64,
    ip: Ipv4Addr,
}

#[derive(Default)]
struct State {
    next: u32,
    sandboxes: BTreeMap<String, Sandbox>,
    containers: BTreeMap<String, Container>,
    images: HashMap<String, Behaviour>,
    pullable: HashMap<String, Behaviour>,
    pulls_anything: bool,
    /// The last ones.
    calls: VecDeque<String>,
}

impl State {
    fn call(&mut self, call: String) {
        // Nobody asks a hollow node what it did, and there are thousands.
        if self.pulls_anything {
            return;
        }
        self.calls.push_back(call);
        if self.calls.len() > MAX_CALLS {
            self.calls.pop_front();
        }
    }
}

/// The runtime; cheap to clone.
#[derive(Clone, Default)]
pub struct Fake {
    state: Arc<Mutex<State>>,
    /// Rings when a container has exited.
    pub changed: Arc<Notify>,
}

fn now() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

fn not_found(what: &str, id: &str) -> Error {
    Error::new(Code::NotFound, format!("{what} {id:?} not found"))
}

/// Containers are made from an image's id, which here is its name.
fn image_of(config: &v1::ContainerConfig) -> &str {
    config.image.as_ref().map_or("", |image| image.image.trim_start_matches("sha256:"))
}

fn of_pod(labels: &HashMap<String, String>, uid: Option<&str>) -> bool {
    uid.is_none_or(|uid| labels.get(labels::POD_UID).is_some_and(|own| own == uid))
}

impl Fake {
    /// A runtime that can pull every image: what runs in its pods never ends by itself.
    #[must_use]
    pub fn hollow() -> Self {
        let fake = Self::default();
        fake.state.lock().pulls_anything = true;
        fake
    }

    /// An image that is present.
    pub fn image(&self, name: &str, behaviour: Behaviour) {
        self.state.lock().images.insert(name.to_owned(), behaviour);
    }

    /// An image that can be pulled.
    pub fn pullable(&self, name: &str, behaviour: Behaviour) {
        self.state.lock().pullable.insert(name.to_owned(), behaviour);
    }

    /// The calls that changed something, in order: `verb name`.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.state.lock().calls.iter().cloned().collect()
    }

    /// Ends the newest running container of that name, as if its process had.
    pub fn exit(&self, container: &str, code: i32) {
        let mut state = self.state.lock();
        let newest = state
            .containers
            .values_mut()
            .filter(|c| c.state == v1::ContainerState::ContainerRunning)
            .filter(|c| c.config.metadata.as_ref().is_some_and(|m| m.name == container))
            .max_by_key(|c| c.created_at);
        if let Some(container) = newest {
            container.end(code);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Takes a sandbox's life, with all its containers.
    pub fn crash_sandboxes(&self) {
        let mut state = self.state.lock();
        state.sandboxes.values_mut().for_each(|sandbox| sandbox.ready = false);
        state.containers.values_mut().for_each(|container| container.end(255));
        drop(state);
        self.changed.notify_one();
    }
}

impl Container {
    fn end(&mut self, code: i32) {
        if self.state == v1::ContainerState::ContainerRunning {
            self.state = v1::ContainerState::ContainerExited;
            self.exit_code = code;
            self.finished_at = now();
            self.reason = if code == 0 { "Completed" } else { "Error" }.to_owned();
        }
    }

    fn name(&self) -> &str {
        self.config.metadata.as_ref().map_or("", |metadata| &metadata.name)
    }

    fn image(&self) -> &str {
        image_of(&self.config)
    }
}

#[async_trait]
impl Runtime for Fake {
    async fn follow(&self, changes: &Changes) -> Error {
        changes.tells(true);
        loop {
            self.changed.notified().await;
            changes.ring();
        }
    }

    async fn version(&self) -> Result<v1::VersionResponse> {
        Ok(v1::VersionResponse {
            version: "0.1.0".into(),
            runtime_name: "fake".into(),
            runtime_version: "1.0.0".into(),
            runtime_api_version: "v1".into(),
        })
    }

    async fn status(&self) -> Result<v1::RuntimeStatus> {
        let condition = |name: &str| v1::RuntimeCondition { r#type: name.into(), status: true, ..Default::default() };
        Ok(v1::RuntimeStatus { conditions: vec![condition("RuntimeReady"), condition("NetworkReady")] })
    }

    async fn sandbox_image(&self) -> Result<Option<String>> {
        Ok(None)
    }

    async fn run_pod_sandbox(&self, config: v1::PodSandboxConfig, _handler: &str) -> Result<String> {
        let mut state = self.state.lock();
        state.next += 1;
        let id = format!("sandbox-{:06}", state.next);
        // 10.128.0.0/9: apart from every real pod network of a test machine.
        let ip = Ipv4Addr::from_bits(0x0a80_0000 + state.next);
        state.call(format!("run {}", config.metadata.as_ref().map_or("", |m| &m.name)));
        state.sandboxes.insert(id.clone(), Sandbox { config, ready: true, created_at: now(), ip });
        Ok(id)
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(sandbox) = state.sandboxes.get_mut(id) {
            sandbox.ready = false;
            let name = sandbox.config.metadata.as_ref().map_or(String::new(), |m| m.name.clone());
            state.call(format!("stop sandbox {name}"));
            state.containers.values_mut().filter(|c| c.sandbox == id).for_each(|c| c.end(137));
        }
        Ok(())
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        let mut state = self.state.lock();
        state.sandboxes.remove(id);
        state.containers.retain(|_, container| container.sandbox != id);
        Ok(())
    }

    async fn pod_sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus> {
        let state = self.state.lock();
        let sandbox = state.sandboxes.get(id).ok_or_else(|| not_found("sandbox", id))?;
        let ready =
            if sandbox.ready { v1::PodSandboxState::SandboxReady } else { v1::PodSandboxState::SandboxNotready };
        Ok(v1::PodSandboxStatus {
            id: id.to_owned(),
            metadata: sandbox.config.metadata.clone(),
            state: ready.into(),
            created_at: sandbox.created_at,
            network: Some(v1::PodSandboxNetworkStatus { ip: sandbox.ip.to_string(), additional_ips: vec![] }),
            labels: sandbox.config.labels.clone(),
            annotations: sandbox.config.annotations.clone(),
            ..Default::default()
        })
    }

    async fn list_pod_sandboxes(&self, pod_uid: Option<&str>) -> Result<Vec<v1::PodSandbox>> {
        let state = self.state.lock();
        let all = state.sandboxes.iter().filter(|(_, sandbox)| of_pod(&sandbox.config.labels, pod_uid));
        Ok(all
            .map(|(id, sandbox)| v1::PodSandbox {
                id: id.clone(),
                metadata: sandbox.config.metadata.clone(),
                state: i32::from(!sandbox.ready),
                created_at: sandbox.created_at,
                labels: sandbox.config.labels.clone(),
                annotations: sandbox.config.annotations.clone(),
                runtime_handler: String::new(),
            })
            .collect())
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: v1::ContainerConfig,
        _sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String> {
        let mut state = self.state.lock();
        if !state.sandboxes.get(sandbox).is_some_and(|sandbox| sandbox.ready) {
            return Err(not_found("sandbox", sandbox));
        }
        let image = image_of(&config);
        let Some(behaviour) = state.images.get(image) else { return Err(not_found("image", image)) };
        if let Some(message) = &behaviour.create_error {
            return Err(Error::new(Code::Unknown, message.clone()));
        }
        state.next += 1;
        let id = format!("container-{:06}", state.next);
        let container = Container {
            config,
            sandbox: sandbox.to_owned(),
            state: v1::ContainerState::ContainerCreated,
            created_at: now(),
            started_at: 0,
            finished_at: 0,
            exit_code: 0,
            reason: String::new(),
        };
        let call = format!("create {}", container.name());
        state.call(call);
        state.containers.insert(id.clone(), container);
        Ok(id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let mut state = self.state.lock();
        let container = state.containers.get(id).ok_or_else(|| not_found("container", id))?;
        let (call, image) = (format!("start {}", container.name()), container.image().to_owned());
        let behaviour = state.images.get(&image).cloned().unwrap_or_default();
        state.call(call);
        if let Some(container) = state.containers.get_mut(id) {
            container.state = v1::ContainerState::ContainerRunning;
            container.started_at = now();
            if let Some(code) = behaviour.exits {
                container.end(code);
            }
        }
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let ignores = {
            let mut state = self.state.lock();
            let Some(container) = state.containers.get(id) else { return Ok(()) };
            let (call, image) = (format!("stop {}", container.name()), container.image().to_owned());
            state.call(call);
            state.images.get(&image).is_some_and(|behaviour| behaviour.ignores_stop)
        };
        if ignores {
            tokio::time::sleep(grace).await;
        }
        if let Some(container) = self.state.lock().containers.get_mut(id) {
            container.end(if ignores { 137 } else { 143 });
        }
        self.changed.notify_one();
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        self.state.lock().containers.remove(id);
        Ok(())
    }

    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus> {
        let state = self.state.lock();
        let container = state.containers.get(id).ok_or_else(|| not_found("container", id))?;
        Ok(v1::ContainerStatus {
            id: id.to_owned(),
            metadata: container.config.metadata.clone(),
            state: container.state.into(),
            created_at: container.created_at,
            started_at: container.started_at,
            finished_at: container.finished_at,
            exit_code: container.exit_code,
            image: container.config.image.clone(),
            image_ref: format!("sha256:{}", container.image()),
            reason: container.reason.clone(),
            labels: container.config.labels.clone(),
            annotations: container.config.annotations.clone(),
            mounts: container.config.mounts.clone(),
            log_path: container.config.log_path.clone(),
            ..Default::default()
        })
    }

    async fn list_containers(&self, pod_uid: Option<&str>) -> Result<Vec<v1::Container>> {
        let state = self.state.lock();
        let all = state.containers.iter().filter(|(_, container)| of_pod(&container.config.labels, pod_uid));
        Ok(all
            .map(|(id, container)| v1::Container {
                id: id.clone(),
                pod_sandbox_id: container.sandbox.clone(),
                metadata: container.config.metadata.clone(),
                image: container.config.image.clone(),
                image_ref: format!("sha256:{}", container.image()),
                state: container.state.into(),
                created_at: container.created_at,
                labels: container.config.labels.clone(),
                annotations: container.config.annotations.clone(),
                image_id: String::new(),
            })
            .collect())
    }

    async fn update_container_resources(&self, id: &str, resources: v1::LinuxContainerResources) -> Result<()> {
        let mut state = self.state.lock();
        let container = state.containers.get_mut(id).ok_or_else(|| not_found("container", id))?;
        container.config.linux.get_or_insert_default().resources = Some(resources);
        Ok(())
    }

    async fn reopen_container_log(&self, _id: &str) -> Result<()> {
        Ok(())
    }

    async fn exec_sync(&self, id: &str, command: Vec<String>, _timeout: Duration) -> Result<v1::ExecSyncResponse> {
        let mut state = self.state.lock();
        let container = state.containers.get(id).ok_or_else(|| not_found("container", id))?;
        let image = container.image().to_owned();
        state.call(format!("exec {}", command.join(" ")));
        Ok(state.images.get(&image).map(|behaviour| behaviour.exec.clone()).unwrap_or_default())
    }

    async fn exec(&self, _request: v1::ExecRequest) -> Result<String> {
        Err(Error::new(Code::Unimplemented, "this runtime has no processes to talk to"))
    }

    async fn attach(&self, _request: v1::AttachRequest) -> Result<String> {
        Err(Error::new(Code::Unimplemented, "this runtime has no processes to talk to"))
    }

    async fn port_forward(&self, _request: v1::PortForwardRequest) -> Result<String> {
        Err(Error::new(Code::Unimplemented, "this runtime has no processes to talk to"))
    }

    async fn list_container_stats(&self) -> Result<Vec<v1::ContainerStats>> {
        Ok(Vec::new())
    }

    async fn list_images(&self) -> Result<Vec<v1::Image>> {
        let names: Vec<String> = self.state.lock().images.keys().cloned().collect();
        Ok(names.iter().map(|name| image(name)).collect())
    }

    async fn image_status(&self, name: &str) -> Result<Option<v1::Image>> {
        Ok(self.state.lock().images.contains_key(name).then(|| image(name)))
    }

    async fn pull_image(&self, name: &str, _: Option<v1::AuthConfig>, _: v1::PodSandboxConfig) -> Result<String> {
        let mut state = self.state.lock();
        state.call(format!("pull {name}"));
        let anything = state.pulls_anything.then(Behaviour::default);
        let behaviour = state.pullable.get(name).cloned().or(anything).ok_or_else(|| not_found("image", name))?;
        state.images.insert(name.to_owned(), behaviour);
        Ok(format!("sha256:{name}"))
    }

    async fn remove_image(&self, name: &str) -> Result<()> {
        self.state.lock().images.remove(name);
        Ok(())
    }

    async fn image_fs_info(&self) -> Result<Vec<v1::FilesystemUsage>> {
        Ok(Vec::new())
    }
}

fn image(name: &str) -> v1::Image {
    v1::Image { id: format!("sha256:{name}"), repo_tags: vec![name.to_owned()], size: 1 << 20, ..Default::default() }
}
