//! Carries out the plan's actions: each one a plain sequence of calls, with its events.
//!
//! Invariant: whatever is interrupted here is found again by looking; nothing is remembered that matters.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::Api;
use pilothouse_cri::v1;

use super::containers::{self, Kind, field_path};
use super::context::Context;
use super::cri_config::{self, ContainerParts, SandboxParts};
use super::memory::Waiting;
use super::plan::Why;
use super::resize::Change;
use super::{dns, env, images, resources};
use crate::events::{Subject, Type};
use crate::probes::check::{self, Outcome};
use crate::volumes::Volumes;

/// Upstream's least time for the stop signal after a long preStop hook.
const MIN_GRACE: Duration = Duration::from_secs(2);
/// After a failed call to the runtime, before it is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long a postStart hook's command may take; there is no field for it.
const HOOK_PATIENCE: Duration = Duration::from_secs(3600);
const HTTP_HOOK_PATIENCE: Duration = Duration::from_secs(30);

/// Why a container did not start.
#[derive(Clone, Debug)]
pub struct StartFailure {
    pub waiting: Waiting,
    /// A pull failed: the next one has a back-off of its own.
    pub pulled: bool,
}

fn waiting(reason: &str, message: impl Into<String>) -> Waiting {
    Waiting { reason: reason.to_owned(), message: message.into() }
}

fn failed(reason: &str, message: impl Into<String>) -> StartFailure {
    StartFailure { waiting: waiting(reason, message), pulled: false }
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// Everything that the pod needs on the node before its sandbox.
///
/// # Errors
/// What could not be made; it was told as an event, too.
pub async fn prepare(context: &Context, pod: &Pod) -> Result<Volumes, Waiting> {
    let Some(spec) = &pod.spec else { return Err(waiting("ContainerCreating", "the pod has no spec")) };
    let tell = |reason: &str, message: String| {
        context.recorder.tell(Subject::pod(pod), Type::Warning, reason, message.clone());
        waiting("ContainerCreating", message)
    };
    let dir = context.config().pods_dir().join(uid(pod));
    let made = std::fs::create_dir_all(&dir).and_then(|()| std::fs::create_dir_all(context.log_dir(pod)));
    made.map_err(|error| tell("FailedCreatePodDir", format!("making the pod's folders: {error}")))?;
    if let Some(cgroups) = &context.cgroups {
        let limits = resources::of_pod(spec);
        cgroups.create(uid(pod), resources::qos(spec), &limits).map_err(|error| {
            tell("FailedCreatePodContainer", format!("unable to ensure pod container exists: {error}"))
        })?;
    }
    let failed_mount = |error: crate::volumes::Error| tell("FailedMount", error.to_string());
    for volume in spec.volumes.iter().flatten() {
        let Some(source) = &volume.image else { continue };
        let config = sandbox_config(context, pod, spec, 0).map_err(|message| waiting("ContainerCreating", message))?;
        let wanted = (source.reference.as_deref().unwrap_or_default(), source.pull_policy.as_deref());
        let image = images::ensure(context, pod, spec, wanted, &Subject::pod(pod), &config).await;
        let image = image.map_err(|failure| failure.waiting)?;
        let socket = &context.config().cri_endpoint;
        context.mounter.mount_image(socket, uid(pod), &volume.name, &image.id).await.map_err(failed_mount)?;
    }
    context.mounter.prepare(pod, &context.facts(&[])).await.map_err(failed_mount)
}

fn sandbox_config(context: &Context, pod: &Pod, spec: &PodSpec, attempt: u32) -> Result<v1::PodSandboxConfig, String> {
    let (hostname, _) = dns::hostname(pod, spec, &context.config().cluster_domain)?;
    let limits = resources::of_pod(spec);
    let parts = SandboxParts {
        attempt,
        hostname,
        dns: dns::resolver(pod, spec, &context.resolver()),
        log_directory: context.log_dir(pod).to_string_lossy().into_owned(),
        cgroup_parent: context
            .cgroups
            .as_ref()
            .map(|cgroups| cgroups.parent(uid(pod), resources::qos(spec)))
            .unwrap_or_default(),
        resources: v1::LinuxContainerResources {
            cpu_shares: limits.cpu_shares,
            cpu_period: limits.cpu_period_micros,
            cpu_quota: limits.cpu_quota_micros.unwrap_or(0),
            memory_limit_in_bytes: limits.memory_bytes.unwrap_or(0),
            ..Default::default()
        },
    };
    Ok(cri_config::sandbox(pod, spec, parts))
}

/// Makes the pod's sandbox: its namespaces and its network.
///
/// # Errors
/// What the runtime said.
pub async fn create_sandbox(context: &Context, pod: &Pod, attempt: u32) -> Result<(), Waiting> {
    let Some(spec) = &pod.spec else { return Err(waiting("ContainerCreating", "the pod has no spec")) };
    let tell = |message: String| {
        let text = format!("Failed to create pod sandbox: {message}");
        context.recorder.tell(Subject::pod(pod), Type::Warning, "FailedCreatePodSandBox", text.clone());
        waiting("ContainerCreating", text)
    };
    let config = sandbox_config(context, pod, spec, attempt).map_err(tell)?;
    let handler = match spec.runtime_class_name.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => {
            let api: Api<RuntimeClass> = Api::all(context.client());
            let class = api.get(name).await;
            class.map_err(|error| tell(format!("RuntimeClass {name:?}: {}", crate::objects::message(&error))))?.handler
        }
        // The runtime's own default.
        None => String::new(),
    };
    let run = context.runtime.run_pod_sandbox(config, &handler).await;
    run.map(drop).map_err(|error| tell(error.to_string()))
}

async fn sources(context: &Context, pod: &Pod, spec: &PodSpec, container: &Container) -> Result<env::Sources, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let (config_maps, secrets) = env::references(container);
    let mut sources = env::Sources::default();
    for name in config_maps {
        let found = context.objects.config_map(namespace, &name, crate::objects::FRESH).await?;
        sources.config_maps.insert(name, (*found).clone());
    }
    for name in secrets {
        let found = context.objects.secret(namespace, &name, crate::objects::FRESH).await?;
        sources.secrets.insert(name, (*found).clone());
    }
    // The API's own Service is always told, as a program in the cluster finds the API by it.
    if spec.enable_service_links != Some(false) {
        sources.services = context.services.within(namespace).await;
    }
    if namespace != "default" || sources.services.is_empty() {
        let all = context.services.within("default").await;
        sources.services.extend(all.into_iter().filter(|(name, _)| &**name == "kubernetes"));
    }
    Ok(sources)
}

/// The container's mounts: its volumes, the hosts file, the termination message.
async fn mounts(
    context: &Context,
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    (volumes, environment, ips, restart_count): (&Volumes, &[(String, String)], &[String], i32),
) -> Result<Vec<v1::Mount>, String> {
    let known: BTreeMap<&str, &str> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut mounts = Vec::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let volume = volumes.get(&mount.name).ok_or_else(|| format!("volume {:?} not found", mount.name))?;
        let expanded = mount.sub_path_expr.as_ref().filter(|text| !text.is_empty());
        let sub = match expanded {
            Some(text) => {
                let sub = env::expand(text, |name| known.get(name).map(|value| (*value).to_owned()));
                if sub.contains("$(") {
                    return Err(format!("subPathExpr {text:?} refers to a variable that is not set"));
                }
                sub
            }
            None => mount.sub_path.clone().unwrap_or_default(),
        };
        let host_path = if sub.is_empty() {
            volume.path.clone()
        } else {
            context.mounter.sub_path(uid(pod), volume, &sub, (&container.name, index)).await?
        };
        let propagation = match mount.mount_propagation.as_deref() {
            Some("HostToContainer") => v1::MountPropagation::PropagationHostToContainer,
            Some("Bidirectional") => v1::MountPropagation::PropagationBidirectional,
            _ => v1::MountPropagation::PropagationPrivate,
        };
        mounts.push(v1::Mount {
            container_path: mount.mount_path.clone(),
            host_path: host_path.to_string_lossy().into_owned(),
            readonly: mount.read_only == Some(true) || volume.read_only,
            propagation: propagation.into(),
            ..Default::default()
        });
    }
    let mounted = |mounts: &[v1::Mount], path: &str| mounts.iter().any(|mount| mount.container_path == path);
    if !mounted(&mounts, "/etc/hosts") {
        let file = context.config().pods_dir().join(uid(pod)).join("etc-hosts");
        let (hostname, full) = dns::hostname(pod, spec, &context.config().cluster_domain)?;
        let own = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        let text = dns::hosts_file(spec, ips, (&hostname, full.as_deref()), &own);
        std::fs::write(&file, text).map_err(|error| format!("writing the hosts file: {error}"))?;
        let read_only = container.security_context.as_ref().and_then(|c| c.read_only_root_filesystem) == Some(true);
        mounts.push(v1::Mount {
            container_path: "/etc/hosts".to_owned(),
            host_path: file.to_string_lossy().into_owned(),
            readonly: read_only,
            ..Default::default()
        });
    }
    let message_path = container.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
    if !message_path.is_empty() && !mounted(&mounts, message_path) {
        let file = context.message_file(uid(pod), &container.name, restart_count);
        make_message_file(&file).map_err(|error| format!("making the termination message's file: {error}"))?;
        mounts.push(v1::Mount {
            container_path: message_path.to_owned(),
            host_path: file.to_string_lossy().into_owned(),
            ..Default::default()
        });
    }
    Ok(mounts)
}

fn make_message_file(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(parent) = file.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::File::create(file)?;
    // The container's user, whoever it is, writes it.
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o666))
}

/// What a container is started with.
#[derive(Clone, Debug)]
pub struct Start {
    pub name: String,
    pub sandbox: String,
    pub restart_count: i32,
    pub attempt: u32,
    pub ips: Vec<String>,
    pub volumes: Arc<Volumes>,
    /// The id of the container whose processes an ephemeral container joins.
    pub target: Option<String>,
}

/// Pulls, makes and starts a container, and runs its postStart hook.
///
/// # Errors
/// The state it waits in; it was told as an event, too.
pub async fn start(context: &Context, pod: &Pod, start: Start) -> Result<(), StartFailure> {
    let gone = || failed("CreateContainerConfigError", "the container is not in the pod's spec any more");
    let spec = pod.spec.as_ref().ok_or_else(gone)?;
    let (kind, container) = containers::find(spec, &start.name).ok_or_else(gone)?;
    let subject = Subject::pod(pod).at(field_path(kind, &start.name));
    let warn = |reason: &str, message: String| {
        context.recorder.tell(subject.clone(), Type::Warning, "Failed", format!("Error: {message}"));
        failed(reason, message)
    };
    let config = sandbox_config(context, pod, spec, start.attempt)
        .map_err(|message| warn("CreateContainerConfigError", message))?;
    let wanted = (container.image.as_deref().unwrap_or_default(), container.image_pull_policy.as_deref());
    let image = images::ensure(context, pod, spec, wanted, &subject, &config)
        .await
        .map_err(|failure| StartFailure { waiting: failure.waiting, pulled: failure.pulled })?;

    let configured = configure(context, pod, spec, &container, &start, image).await;
    let own = configured.map_err(|message| warn("CreateContainerConfigError", message))?;
    let message_file = context.message_file(uid(pod), &start.name, start.restart_count);
    let created = context.runtime.create_container(&start.sandbox, own, config).await;
    let id = created.map_err(|error| {
        let _ = std::fs::remove_file(&message_file);
        warn("CreateContainerError", error.to_string())
    })?;
    let tell = |reason: &str, message: String| context.recorder.tell(subject.clone(), Type::Normal, reason, message);
    tell("Created", "Container created".to_owned());
    context.runtime.start_container(&id).await.map_err(|error| warn("RunContainerError", error.to_string()))?;
    tell("Started", "Container started".to_owned());
    context.changes.ring();

    let Some(hook) = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.post_start.as_ref()) else {
        return Ok(());
    };
    if let Err(message) = run_hook(context, &container, hook, &id, &start.ips, HOOK_PATIENCE).await {
        let text = format!("PostStartHook failed: {message}");
        context.recorder.tell(subject.clone(), Type::Warning, "FailedPostStartHook", text.clone());
        let grace = spec.termination_grace_period_seconds.unwrap_or(super::plan::DEFAULT_GRACE_SECONDS);
        let why = Why::Replaced("FailedPostStartHook".to_owned());
        kill(context, pod, &id, &start.name, grace, &why, &start.ips).await;
        return Err(failed("PostStartHookError", text));
    }
    Ok(())
}

async fn configure(
    context: &Context,
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    start: &Start,
    image: v1::Image,
) -> Result<v1::ContainerConfig, String> {
    if cri_config::must_not_be_root(spec, container) {
        let name = super::plan::full_name(pod);
        match cri_config::run_as_user(spec, container) {
            Some(0) => {
                let name = &container.name;
                return Err(format!(
                    "container's runAsUser breaks non-root policy (pod: {:?}, container: {name})",
                    super::plan::full_name(pod)
                ));
            }
            Some(_) => {}
            None => images::check_not_root(&image, &name, &container.name)?,
        }
    }
    let sources = sources(context, pod, spec, container).await?;
    let environment = env::environment(pod, container, &sources, &context.facts(&start.ips))?;
    let mounted = (&*start.volumes, environment.as_slice(), start.ips.as_slice(), start.restart_count);
    let mounts = mounts(context, pod, spec, container, mounted).await?;
    let parts = ContainerParts {
        restart_count: start.restart_count,
        image: image.id,
        command: env::expand_all(container.command.as_ref(), &environment),
        args: env::expand_all(container.args.as_ref(), &environment),
        env: environment,
        mounts,
        resources: resources::of_container(spec, container, context.node.machine.memory_bytes),
        seccomp_folder: context.config().data_dir.join("seccomp"),
        target: start.target.clone(),
    };
    Ok(cri_config::container(pod, spec, container, parts))
}

async fn run_hook(
    context: &Context,
    container: &Container,
    hook: &LifecycleHandler,
    id: &str,
    ips: &[String],
    patience: Duration,
) -> Result<(), String> {
    let outcome = if let Some(action) = &hook.exec {
        check::exec(&*context.runtime, id, action, patience).await
    } else if let Some(action) = &hook.http_get {
        let ip = ips.first().cloned().unwrap_or_else(|| context.host_ip());
        check::http(container, action, &ip, patience.min(HTTP_HOOK_PATIENCE)).await
    } else if let Some(action) = &hook.sleep {
        let seconds = Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0));
        tokio::time::sleep(seconds.min(patience)).await;
        Outcome::Success
    } else {
        Outcome::Success
    };
    match outcome {
        Outcome::Failure(message) => Err(message),
        Outcome::Success | Outcome::Warning(_) => Ok(()),
    }
}

/// Ends a container: preStop hook, stop signal, and the kill after the grace period.
pub async fn kill(context: &Context, pod: &Pod, id: &str, name: &str, grace_seconds: i64, why: &Why, ips: &[String]) {
    let found = pod.spec.as_ref().and_then(|spec| containers::find(spec, name));
    let kind = found.as_ref().map_or(Kind::Main, |(kind, _)| *kind);
    let subject = Subject::pod(pod).at(field_path(kind, name));
    let message = match why {
        Why::PodEnds => format!("Stopping container {name}"),
        Why::Replaced(message) => message.clone(),
    };
    context.recorder.tell(subject.clone(), Type::Normal, "Killing", message);
    let grace = Duration::from_secs(u64::try_from(grace_seconds).unwrap_or(0));
    let mut left = grace;
    let hook = found.as_ref().and_then(|(_, container)| container.lifecycle.as_ref()?.pre_stop.as_ref());
    if let (Some(hook), Some((_, container))) = (hook, &found)
        && !grace.is_zero()
    {
        let begun = Instant::now();
        let run = run_hook(context, container, hook, id, ips, grace);
        let outcome = match tokio::time::timeout(grace, run).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("it did not end within the grace period of {grace_seconds}s")),
        };
        if let Err(message) = outcome {
            let text = format!("PreStopHook failed: {message}");
            context.recorder.tell(subject, Type::Warning, "FailedPreStopHook", text);
        }
        left = grace.saturating_sub(begun.elapsed()).max(MIN_GRACE.min(grace));
    }
    // Seconds are the runtime's unit; a part of one is rounded up.
    let left = Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0));
    if let Err(error) = context.runtime.stop_container(id, left).await {
        tracing::warn!(container = name, %error, "a container was not stopped; trying again");
        tokio::time::sleep(PAUSE).await;
    }
    context.changes.ring();
}

/// Sets the pod's and the containers' cgroups to changed resources; says what the containers have now.
///
/// # Errors
/// What could not be set; it was told as an event, too.
pub async fn resize(
    context: &Context,
    pod: &Pod,
    due: Vec<Change>,
) -> Result<Vec<(String, ResourceRequirements)>, String> {
    let Some(spec) = &pod.spec else { return Ok(Vec::new()) };
    let set_pod = || match &context.cgroups {
        Some(cgroups) => cgroups.create(uid(pod), resources::qos(spec), &resources::of_pod(spec)),
        None => Ok(()),
    };
    // A pod that grows must grow first, one that shrinks last: the attempt that is too early fails, and is made again.
    let early = set_pod();
    let (mut done, mut failed) = (Vec::new(), None);
    // One that is restarted gets its resources then.
    for change in due.into_iter().filter(|change| !change.restart) {
        match context.runtime.update_container_resources(&change.id, change.wanted).await {
            Ok(()) => done.push((change.name, change.requirements)),
            Err(error) => failed = Some(format!("resizing container {}: {error}", change.name)),
        }
    }
    if early.is_err()
        && let Err(error) = set_pod()
    {
        failed = failed.or(Some(format!("resizing the pod: {error}")));
    }
    let Some(message) = failed else { return Ok(done) };
    context.recorder.tell(Subject::pod(pod), Type::Warning, "ResizeError", message.clone());
    Err(message)
}

pub async fn stop_sandbox(context: &Context, id: &str) {
    if let Err(error) = context.runtime.stop_pod_sandbox(id).await {
        tracing::warn!(sandbox = id, %error, "a sandbox was not stopped; trying again");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Undoes [`prepare`].
///
/// # Errors
/// What is still in use.
pub async fn tear_down(context: &Context, uid: &str) -> Result<(), String> {
    context.host_ports.set(uid, Vec::new());
    context.mounter.tear_down(&context.config().cri_endpoint, uid).await?;
    match &context.cgroups {
        Some(cgroups) => cgroups.remove(uid).map_err(|error| format!("removing the pod's cgroup: {error}")),
        None => Ok(()),
    }
}

/// Removes what is left of a pod that the API no longer has: containers, sandboxes, logs.
///
/// # Errors
/// What the runtime said.
pub async fn forget(context: &Context, uid: &str, log_dir: &Path) -> Result<(), String> {
    let text = |error: crate::cri::Error| error.to_string();
    for container in context.runtime.list_containers(Some(uid)).await.map_err(text)? {
        context.runtime.remove_container(&container.id).await.map_err(text)?;
    }
    for sandbox in context.runtime.list_pod_sandboxes(Some(uid)).await.map_err(text)? {
        context.runtime.stop_pod_sandbox(&sandbox.id).await.map_err(text)?;
        context.runtime.remove_pod_sandbox(&sandbox.id).await.map_err(text)?;
    }
    match std::fs::remove_dir_all(log_dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("removing the logs: {error}")),
        _ => Ok(()),
    }
}
