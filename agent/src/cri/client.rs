//! The runtime behind a unix socket.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use hyper_util::rt::TokioIo;
use pilothouse_cri::v1;
use pilothouse_cri::v1::image_service_client::ImageServiceClient;
use pilothouse_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request};

use super::changes::Changes;
use super::{Error, Result, Runtime, labels};

/// Upstream's `runtimeRequestTimeout`.
const PATIENCE: Duration = Duration::from_secs(120);
/// A pull that takes longer than this has stalled.
const PULL_PATIENCE: Duration = Duration::from_secs(30 * 60);
/// containerd's largest answer is ExecSync's output, 16 MiB on each stream.
const MAX_MESSAGE: usize = 33 * 1024 * 1024;

/// CRI v1 over a unix socket. It connects when first used, and again whenever the runtime has come back.
#[derive(Clone)]
pub struct Client {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    path: PathBuf,
}

/// A channel to the unix socket `path`.
pub(super) fn channel(path: &Path) -> Channel {
    let path = path.to_owned();
    let connect = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    // The connector knows the address; this one is only the request's authority.
    Endpoint::from_static("http://cri.local").connect_with_connector_lazy(connect)
}

fn request<T>(message: T, patience: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(patience);
    request
}

fn by_pod(uid: Option<&str>) -> HashMap<String, String> {
    uid.map(|uid| (labels::POD_UID.to_owned(), uid.to_owned())).into_iter().collect()
}

fn or_gone<T>(answer: Result<T, tonic::Status>) -> Result<()> {
    match answer {
        Err(status) if status.code() != Code::NotFound => Err(status.into()),
        _ => Ok(()),
    }
}

fn absent(what: &str) -> Error {
    Error::new(Code::Internal, format!("the runtime answered without {what}"))
}

impl Client {
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        let channel = channel(socket);
        Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE),
            path: socket.to_owned(),
        }
    }

    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.path
    }
}

#[async_trait]
impl Runtime for Client {
    async fn follow(&self, changes: &Changes) -> Error {
        match super::events::listen(channel(&self.path), changes).await {
            Ok(()) => Error::new(Code::Unavailable, "the stream of events has ended"),
            Err(status) => status.into(),
        }
    }

    async fn version(&self) -> Result<v1::VersionResponse> {
        let message = v1::VersionRequest { version: "v1".into() };
        Ok(self.runtime.clone().version(request(message, PATIENCE)).await?.into_inner())
    }

    async fn status(&self) -> Result<v1::RuntimeStatus> {
        let message = v1::StatusRequest { verbose: false };
        let answer = self.runtime.clone().status(request(message, PATIENCE)).await?.into_inner();
        answer.status.ok_or_else(|| absent("its status"))
    }

    async fn sandbox_image(&self) -> Result<Option<String>> {
        let message = v1::StatusRequest { verbose: true };
        let answer = self.runtime.clone().status(request(message, PATIENCE)).await?.into_inner();
        // containerd and CRI-O tell their configuration as JSON, under names of their own.
        let parsed = answer.info.get("config").and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        let find = |key: &str| parsed.as_ref()?.get(key)?.as_str().map(str::to_owned);
        Ok(find("sandboxImage").or_else(|| find("sandbox_image")).or_else(|| find("pauseImage")))
    }

    async fn run_pod_sandbox(&self, config: v1::PodSandboxConfig, handler: &str) -> Result<String> {
        let message = v1::RunPodSandboxRequest { config: Some(config), runtime_handler: handler.to_owned() };
        // Networking may be slow; upstream doubles its patience here too.
        let answer = self.runtime.clone().run_pod_sandbox(request(message, PATIENCE * 2)).await?;
        Ok(answer.into_inner().pod_sandbox_id)
    }

    async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        let message = v1::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
        or_gone(self.runtime.clone().stop_pod_sandbox(request(message, PATIENCE)).await)
    }

    async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        let message = v1::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
        or_gone(self.runtime.clone().remove_pod_sandbox(request(message, PATIENCE)).await)
    }

    async fn pod_sandbox_status(&self, id: &str) -> Result<v1::PodSandboxStatus> {
        let message = v1::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose: false };
        let answer = self.runtime.clone().pod_sandbox_status(request(message, PATIENCE)).await?.into_inner();
        answer.status.ok_or_else(|| absent("the sandbox's status"))
    }

    async fn list_pod_sandboxes(&self, pod_uid: Option<&str>) -> Result<Vec<v1::PodSandbox>> {
        let filter = v1::PodSandboxFilter { label_selector: by_pod(pod_uid), ..Default::default() };
        let message = v1::ListPodSandboxRequest { filter: Some(filter) };
        Ok(self.runtime.clone().list_pod_sandbox(request(message, PATIENCE)).await?.into_inner().items)
    }

    async fn create_container(
        &self,
        sandbox: &str,
        config: v1::ContainerConfig,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String> {
        let message = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        Ok(self.runtime.clone().create_container(request(message, PATIENCE)).await?.into_inner().container_id)
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let message = v1::StartContainerRequest { container_id: id.to_owned() };
        self.runtime.clone().start_container(request(message, PATIENCE)).await?;
        Ok(())
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<()> {
        let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let message = v1::StopContainerRequest { container_id: id.to_owned(), timeout };
        or_gone(self.runtime.clone().stop_container(request(message, PATIENCE.saturating_add(grace))).await)
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let message = v1::RemoveContainerRequest { container_id: id.to_owned() };
        or_gone(self.runtime.clone().remove_container(request(message, PATIENCE)).await)
    }

    async fn container_status(&self, id: &str) -> Result<v1::ContainerStatus> {
        let message = v1::ContainerStatusRequest { container_id: id.to_owned(), verbose: false };
        let answer = self.runtime.clone().container_status(request(message, PATIENCE)).await?.into_inner();
        answer.status.ok_or_else(|| absent("the container's status"))
    }

    async fn list_containers(&self, pod_uid: Option<&str>) -> Result<Vec<v1::Container>> {
        let filter = v1::ContainerFilter { label_selector: by_pod(pod_uid), ..Default::default() };
        let message = v1::ListContainersRequest { filter: Some(filter) };
        Ok(self.runtime.clone().list_containers(request(message, PATIENCE)).await?.into_inner().containers)
    }

    async fn update_container_resources(&self, id: &str, resources: v1::LinuxContainerResources) -> Result<()> {
        let message = v1::UpdateContainerResourcesRequest {
            container_id: id.to_owned(),
            linux: Some(resources),
            ..Default::default()
        };
        self.runtime.clone().update_container_resources(request(message, PATIENCE)).await?;
        Ok(())
    }

    async fn reopen_container_log(&self, id: &str) -> Result<()> {
        let message = v1::ReopenContainerLogRequest { container_id: id.to_owned() };
        self.runtime.clone().reopen_container_log(request(message, PATIENCE)).await?;
        Ok(())
    }

    async fn exec_sync(&self, id: &str, cmd: Vec<String>, timeout: Duration) -> Result<v1::ExecSyncResponse> {
        let message = v1::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd,
            timeout: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        };
        // The runtime keeps the time; ours is a little longer, so that it is its answer that counts.
        let patience = if timeout.is_zero() { PATIENCE } else { timeout.saturating_add(Duration::from_secs(5)) };
        Ok(self.runtime.clone().exec_sync(request(message, patience)).await?.into_inner())
    }

    async fn exec(&self, message: v1::ExecRequest) -> Result<String> {
        Ok(self.runtime.clone().exec(request(message, PATIENCE)).await?.into_inner().url)
    }

    async fn attach(&self, message: v1::AttachRequest) -> Result<String> {
        Ok(self.runtime.clone().attach(request(message, PATIENCE)).await?.into_inner().url)
    }

    async fn port_forward(&self, message: v1::PortForwardRequest) -> Result<String> {
        Ok(self.runtime.clone().port_forward(request(message, PATIENCE)).await?.into_inner().url)
    }

    async fn list_container_stats(&self) -> Result<Vec<v1::ContainerStats>> {
        let message = v1::ListContainerStatsRequest { filter: None };
        Ok(self.runtime.clone().list_container_stats(request(message, PATIENCE)).await?.into_inner().stats)
    }

    async fn list_images(&self) -> Result<Vec<v1::Image>> {
        let message = v1::ListImagesRequest { filter: None };
        Ok(self.images.clone().list_images(request(message, PATIENCE)).await?.into_inner().images)
    }

    async fn image_status(&self, image: &str) -> Result<Option<v1::Image>> {
        let image = v1::ImageSpec { image: image.to_owned(), ..Default::default() };
        let message = v1::ImageStatusRequest { image: Some(image), verbose: false };
        Ok(self.images.clone().image_status(request(message, PATIENCE)).await?.into_inner().image)
    }

    async fn pull_image(
        &self,
        image: &str,
        auth: Option<v1::AuthConfig>,
        sandbox_config: v1::PodSandboxConfig,
    ) -> Result<String> {
        let image = v1::ImageSpec { image: image.to_owned(), ..Default::default() };
        let message = v1::PullImageRequest { image: Some(image), auth, sandbox_config: Some(sandbox_config) };
        Ok(self.images.clone().pull_image(request(message, PULL_PATIENCE)).await?.into_inner().image_ref)
    }

    async fn remove_image(&self, image: &str) -> Result<()> {
        let image = v1::ImageSpec { image: image.to_owned(), ..Default::default() };
        let message = v1::RemoveImageRequest { image: Some(image) };
        or_gone(self.images.clone().remove_image(request(message, PATIENCE)).await)
    }

    async fn image_fs_info(&self) -> Result<Vec<v1::FilesystemUsage>> {
        let message = v1::ImageFsInfoRequest {};
        Ok(self.images.clone().image_fs_info(request(message, PATIENCE)).await?.into_inner().image_filesystems)
    }
}
