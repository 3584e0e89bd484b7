//! The seam to the container runtime: CRI v1's own messages behind a trait, so that a whole node also runs on the
//! in-memory runtime (tests, hollow nodes).
//!
//! Invariant: stopping or removing what is not there is success, on every runtime.

pub mod changes;
mod client;
mod events;
pub mod fake;

use std::time::Duration;

use async_trait::async_trait;
use pilothouse_cri::v1;

pub use client::Client;

/// What the runtime answered instead of what was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub code: tonic::Code,
    pub message: String,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(code: tonic::Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code == tonic::Code::NotFound
    }

    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        self.code == tonic::Code::Unavailable
    }

    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.code == tonic::Code::DeadlineExceeded
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Self { code: status.code(), message: status.message().to_owned() }
    }
}

/// A container runtime. Ids are the runtime's own; times are nanoseconds since the epoch, as in CRI.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Rings whenever something may have changed, for as long as it can; gives why it cannot (any more).
    async fn follow(&self, changes: &changes::Changes) -> Error;
    async fn version(&self) -> Result<v1::VersionResponse>;
    /// The conditions RuntimeReady and NetworkReady.
    async fn status(&self) -> Result<v1::RuntimeStatus>;
    /// The image that sandboxes are made from, if the runtime tells.
    async fn sandbox_image(&self) -> Result<Option<String>>;

    async fn run_pod_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String>;
    async fn stop_pod_sandbox(&self, id: &str) -> Result<()>;
    async fn remove_pod_sandbox(&self, id: &str) -> Result<()>;
    async fn pod_sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus>;
    /// All sandboxes, or those of one pod.
    async fn list_pod_sandboxes(&self, pod_uid: Option<&str>) -> Result<Vec<v1::PodSandbox>>;

    async fn create_container(
        &self,
        sandbox: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String>;
    async fn start_container(&self, id: &str) -> Result<()>;
    /// Sends the stop signal, and kills after `grace`.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()>;
    async fn remove_container(&self, id: &str) -> Result<()>;
    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus>;
    /// All containers, or those of one pod.
    async fn list_containers(&self, pod_uid: Option<&str>) -> Result<Vec<v1::Container>>;
    async fn update_container_resources(&self, id: &str, resources: v1::LinuxContainerResources) -> Result<()>;
    async fn reopen_container_log(&self, id: &str) -> Result<()>;

    async fn exec_sync(&self, id: &str, command: Vec<String>, timeout: Duration) -> Result<v1::ExecSyncResponse>;
    /// The URL of the runtime's streaming server for this one call; so too `attach` and `port_forward`.
    async fn exec(&self, request: v1::ExecRequest) -> Result<String>;
    async fn attach(&self, request: v1::AttachRequest) -> Result<String>;
    async fn port_forward(&self, request: v1::PortForwardRequest) -> Result<String>;

    async fn list_container_stats(&self) -> Result<Vec<v1::ContainerStats>>;

    async fn list_images(&self) -> Result<Vec<v1::Image>>;
    /// `None` when the image is not there.
    async fn image_status(&self, image: &str) -> Result<Option<v1::Image>>;
    /// The reference of what was pulled.
    async fn pull_image(
        &self,
        image: &str,
        auth: Option<v1::AuthConfig>,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String>;
    async fn remove_image(&self, image: &str) -> Result<()>;
    async fn image_fs_info(&self) -> Result<Vec<v1::FilesystemUsage>>;
}

/// The labels and annotations that tie sandboxes and containers to pods, as every CRI tool knows them.
pub mod labels {
    pub const POD_NAME: &str = "io.kubernetes.pod.name";
    pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
    pub const POD_UID: &str = "io.kubernetes.pod.uid";
    pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
    /// Annotations of containers.
    pub const HASH: &str = "io.kubernetes.container.hash";
    pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
    pub const TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
    pub const TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
    pub const TERMINATION_GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
}
