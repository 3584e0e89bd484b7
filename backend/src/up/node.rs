//! `pilothouse node`: the first process of a node made of namespaces on this machine. It prepares the mounts, then
//! keeps containerd and the agent running, and reaps what they leave behind.
//!
//! Invariants: it runs only as PID 1 of its own PID namespace, so ending it ends everything on the node, and nothing
//! it mounts is seen outside; containers' shims are children of no one but it, so they survive containerd and agent.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::process::{Places, Program};

pub const CONTAINERD_SOCKET: &str = "/run/containerd/containerd.sock";
const CNI_CONF_DIR: &str = "/run/cni";
const CNI_BIN_DIR: &str = "/usr/lib/cni";

#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The node's name.
    #[arg(long)]
    pub name: String,
    /// The node's address on the fabric.
    #[arg(long)]
    pub ip: Ipv4Addr,
    /// The node's folder: containerd's data, the agent's data, logs.
    #[arg(long)]
    pub dir: PathBuf,
    /// The API's address.
    #[arg(long)]
    pub server: String,
    /// The tunnel's address, `host:port`.
    #[arg(long)]
    pub tunnel: String,
    /// The cluster's CA certificate.
    #[arg(long)]
    pub ca: PathBuf,
    /// The file with the bootstrap token.
    #[arg(long)]
    pub bootstrap_token: PathBuf,
    /// The parent of the pods' cgroups.
    #[arg(long)]
    pub cgroup_root: String,
    /// Archives imported before the agent starts.
    #[arg(long = "image")]
    pub images: Vec<PathBuf>,
}

fn mount_fs(source: &str, target: &str, kind: &str, data: &str) -> Result<()> {
    fs::create_dir_all(target)?;
    mount(Some(source), target, Some(kind), MsFlags::empty(), Some(data)).with_context(|| format!("mounting {target}"))
}

fn prepare_mounts() -> Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("making mounts private")?;
    mount_fs("tmpfs", "/run", "tmpfs", "mode=755")?;
    // The hybrid's second tree confuses runtimes; the node sees the v1 controllers alone.
    let unified = Path::new("/sys/fs/cgroup/unified");
    if unified.join("cgroup.controllers").exists() {
        nix::mount::umount(unified).context("hiding the unified cgroup tree")?;
    }
    // CNI keeps results here; per node, or two nodes would share them.
    mount_fs("tmpfs", "/var/lib/cni", "tmpfs", "mode=700")?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_SHARED, none).context("making mounts shared")
}

fn write_sysctls() {
    for (name, value) in [
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/bridge/bridge-nf-call-iptables", "1"),
        ("net/ipv4/conf/all/route_localnet", "0"),
    ] {
        if let Err(error) = fs::write(Path::new("/proc/sys").join(name), value) {
            warn!(name, %error, "sysctl not set");
        }
    }
}

fn containerd_config(dir: &Path) -> String {
    let (root, runc) = (dir.join("containerd"), "/run/containerd/runc");
    format!(
        r#"version = 2
root = "{root}"
state = "/run/containerd/state"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "pilothouse.local/pause:1"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_BIN_DIR}"
    conf_dir = "{CNI_CONF_DIR}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = "runc"
        Root = "{runc}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{certs}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{opt}"
"#,
        root = root.display(),
        certs = dir.join("certs.d").display(),
        opt = dir.join("opt").display(),
    )
}

fn containerd(dir: &Path) -> Result<Program> {
    let config = dir.join("containerd.toml");
    fs::write(&config, containerd_config(dir))?;
    Ok(Program {
        name: "containerd".into(),
        command: Box::new(move || {
            let mut command = std::process::Command::new("containerd");
            command.arg("--config").arg(&config).arg("--log-level").arg("warn");
            command
        }),
        stop_signal: Signal::SIGTERM,
        stop_group: false,
        patience: Duration::from_secs(5),
    })
}

fn agent(args: &Args) -> Result<Program> {
    let (args, exe) = (args.clone(), std::env::current_exe()?);
    Ok(Program {
        name: "agent".into(),
        command: Box::new(move || {
            let mut command = std::process::Command::new(&exe);
            command.arg("agent");
            command.args(["--node-name", &args.name, "--node-ip", &args.ip.to_string()]);
            command.args(["--server", &args.server, "--tunnel", &args.tunnel]);
            command.arg("--ca").arg(&args.ca).arg("--bootstrap-token-file").arg(&args.bootstrap_token);
            command.arg("--data-dir").arg(args.dir.join("agent"));
            command.args(["--cri-endpoint", CONTAINERD_SOCKET, "--cni-conf-dir", CNI_CONF_DIR]);
            command.args(["--cni-bin-dir", CNI_BIN_DIR]);
            command.args(["--cgroup-root", &args.cgroup_root]);
            command
        }),
        stop_signal: Signal::SIGTERM,
        stop_group: false,
        patience: Duration::from_secs(5),
    })
}

/// Imports each archive that has changed since it was last imported.
async fn import_images(dir: &Path, images: &[PathBuf]) -> Result<()> {
    let done = dir.join("imported");
    fs::create_dir_all(&done)?;
    while !Path::new(CONTAINERD_SOCKET).exists() {
        sleep(Duration::from_millis(20)).await;
    }
    for image in images {
        let meta = fs::metadata(image).with_context(|| format!("reading {}", image.display()))?;
        let stamp = format!("{} {:?}", meta.len(), meta.modified()?);
        let marker = done.join(image.file_name().context("an image is a file")?);
        if fs::read_to_string(&marker).is_ok_and(|former| former == stamp) {
            continue;
        }
        let mut patience = 50;
        loop {
            let output = tokio::process::Command::new("ctr")
                .args(["--address", CONTAINERD_SOCKET, "--namespace", "k8s.io", "images", "import"])
                .arg(image)
                .output()
                .await?;
            if output.status.success() {
                break;
            }
            patience -= 1;
            if patience == 0 {
                bail!("importing {}: {}", image.display(), String::from_utf8_lossy(&output.stderr).trim());
            }
            sleep(Duration::from_millis(100)).await;
        }
        fs::write(&marker, stamp)?;
        info!(image = %image.display(), "imported");
    }
    Ok(())
}

/// Reaps orphans (a PID namespace hands them to its first process) and leaves our own children to their owners.
async fn reap_orphans(own: impl Fn() -> Vec<i32>) -> Result<()> {
    let mut ended = signal(SignalKind::child())?;
    loop {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::All, flags) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) if !own().contains(&pid.as_raw()) => {
                let _ = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            }
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => sleep(Duration::from_millis(10)).await,
            _ => {
                tokio::select! { _ = ended.recv() => {}, () = sleep(Duration::from_secs(5)) => {} }
            }
        }
    }
}

pub async fn run(args: Args) -> Result<()> {
    if std::process::id() != 1 {
        bail!("`pilothouse node` is started by `pilothouse up`, as the first process of its own namespaces");
    }
    nix::unistd::sethostname(&args.name).context("setting the host name")?;
    prepare_mounts()?;
    write_sysctls();
    crate::up::fabric::run("ip", &["link", "set", "lo", "up"])?;
    for dir in ["/run/containerd", CNI_CONF_DIR, "/run/lock"] {
        fs::create_dir_all(dir)?;
    }
    let places = Places { run: "/run".into(), logs: args.dir.join("logs") };
    fs::create_dir_all(&places.logs)?;
    let stop_agent = CancellationToken::new();
    let stop_containerd = CancellationToken::new();
    let known = |places: &Places| {
        let places = places.clone();
        move || -> Vec<i32> {
            ["containerd", "agent"].iter().filter_map(|name| places.pid_file(name).raw_pid()).collect()
        }
    };
    let containerd =
        tokio::spawn(containerd(&args.dir)?.supervise(places.clone(), stop_containerd.clone(), async |_| Ok(())));
    import_images(&args.dir, &args.images).await?;
    // Only now: the import's own short commands must be reaped by who started them.
    tokio::spawn(reap_orphans(known(&places)));
    let agent = tokio::spawn(agent(&args)?.supervise(places.clone(), stop_agent.clone(), async |_| Ok(())));
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    info!("stopping");
    stop_agent.cancel();
    let _ = agent.await;
    stop_containerd.cancel();
    let _ = containerd.await;
    Ok(())
}
