//! `pilothouse up`: a whole cluster on this machine, as supervised processes: PostgreSQL, the backend, and each node
//! in namespaces of its own.
//!
//! Invariants: everything lies under one home folder and one run folder derived from it; `down` ends exactly the
//! processes named by that run folder's pid files and removes exactly what `up` made.

pub mod fabric;
pub mod node;
pub mod postgres;
pub mod process;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::Uid;
use sha2::{Digest, Sha256};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::fabric::Fabric;
use self::postgres::Postgres;
use self::process::{PidFile, Places, Program};

pub const SERVICE_CIDR: &str = "10.96.0.0/16";
const SUPERVISOR: &str = "up";

#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(flatten)]
    pub home: Home,
    /// Nodes on this machine.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=i64::from(fabric::MAX_NODES)))]
    pub nodes: u8,
    /// The port of the API and the dashboard; the tunnel takes the next one.
    #[arg(long, default_value_t = 6443)]
    pub port: u16,
    /// The /24 network that joins this machine and its nodes.
    #[arg(long, default_value = "10.89.0.0")]
    pub fabric: std::net::Ipv4Addr,
    /// The pods' network; each node gets a /24 of it, so a /16 is enough for 256.
    #[arg(long, default_value = "10.244.0.0/16")]
    pub pod_cidr: String,
    /// A PostgreSQL server to use instead of the embedded one.
    #[arg(long, env = "PILOTHOUSE_DATABASE_URL")]
    pub database_url: Option<String>,
    /// The dashboard's built files (default: beside the binary, `dashboard/`).
    #[arg(long)]
    pub dashboard: Option<PathBuf>,
    /// The folder with image archives that every node imports (default: beside the binary, `images/`).
    #[arg(long)]
    pub images: Option<PathBuf>,
}

impl Args {
    fn fabric(&self) -> Result<Fabric> {
        Ok(Fabric::new(&self.home.tag()?, self.fabric))
    }
}

/// Where a cluster of this machine keeps everything.
#[derive(clap::Args, Clone, Debug)]
pub struct Home {
    /// The data directory [default: ~/.pilothouse].
    #[arg(long = "home", env = "PILOTHOUSE_HOME")]
    path: Option<PathBuf>,
}

impl Home {
    pub fn path(&self) -> Result<PathBuf> {
        let path = match &self.path {
            Some(path) => path.clone(),
            None => {
                PathBuf::from(std::env::var_os("HOME").context("neither --home nor $HOME is set")?).join(".pilothouse")
            }
        };
        std::path::absolute(path).context("the data directory's path")
    }
    pub fn kubeconfig(&self) -> Result<PathBuf> {
        Ok(self.path()?.join("kubeconfig"))
    }
    /// Where the embedded PostgreSQL is reached; none when there is none.
    pub fn database_url(&self) -> Result<Option<String>> {
        let (home, run) = (self.path()?, self.run_dir()?);
        Ok(home.join("postgres/PG_VERSION").exists().then(|| postgres::url(&run)))
    }
    /// Eight characters that tell clusters of different data directories apart.
    fn tag(&self) -> Result<String> {
        let digest = Sha256::digest(self.path()?.as_os_str().as_encoded_bytes());
        Ok(digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect())
    }
    /// Sockets and pid files: short paths that other users may traverse.
    pub fn run_dir(&self) -> Result<PathBuf> {
        Ok(PathBuf::from("/run/pilothouse").join(self.tag()?))
    }
    pub fn is_supervised(&self) -> Result<bool> {
        Ok(PidFile::new(&self.run_dir()?, SUPERVISOR).read().is_some())
    }
    fn places(&self) -> Result<Places> {
        let places = Places { run: self.run_dir()?, logs: self.path()?.join("logs") };
        fs::create_dir_all(&places.run).with_context(|| format!("creating {}", places.run.display()))?;
        fs::set_permissions(&places.run, fs::Permissions::from_mode(0o755))?;
        fs::create_dir_all(&places.logs).with_context(|| format!("creating {}", places.logs.display()))?;
        Ok(places)
    }
}

fn beside_binary(given: Option<&PathBuf>, name: &str) -> Result<PathBuf> {
    match given {
        Some(path) => Ok(path.clone()),
        None => Ok(std::env::current_exe()?.parent().context("the binary is in no folder")?.join(name)),
    }
}

fn server(args: &Args, home: &Path, database_url: String) -> Result<Program> {
    let (exe, dashboard) = (std::env::current_exe()?, beside_binary(args.dashboard.as_ref(), "dashboard")?);
    let (port, home, nodes, pod_cidr) = (args.port, home.to_path_buf(), args.nodes, args.pod_cidr.clone());
    let gateway = args.fabric()?.gateway();
    Ok(Program {
        name: "server".into(),
        command: Box::new(move || {
            let mut command = Command::new(&exe);
            command.arg("server").args(["--listen", &format!("127.0.0.1:{port}")]);
            if nodes > 0 {
                command.args(["--listen", &format!("{gateway}:{port}")]);
                command.args(["--listen-tunnel", &format!("{gateway}:{}", port + 1)]);
                command.args(["--advertise-address", &gateway.to_string()]);
            } else {
                // For nodes that are made by other means.
                command.args(["--listen-tunnel", &format!("127.0.0.1:{}", port + 1)]);
            }
            command.args(["--pod-cidr", &pod_cidr, "--service-cidr", SERVICE_CIDR]);
            command.arg("--data-dir").arg(&home).arg("--dashboard").arg(&dashboard);
            // Not an argument: the address may hold a password, and arguments are seen by every user.
            command.env("PILOTHOUSE_DATABASE_URL", &database_url);
            command
        }),
        stop_signal: Signal::SIGTERM,
        stop_group: false,
        patience: Duration::from_secs(10),
    })
}

fn node_name(index: u8) -> String {
    format!("node-{index}")
}

fn node(args: &Args, home: &Path, index: u8) -> Result<Program> {
    let (exe, home, port) = (std::env::current_exe()?, home.to_path_buf(), args.port);
    let fabric = args.fabric()?;
    let cgroup_root = format!("pilothouse-{}/{}", args.home.tag()?, node_name(index));
    let dir = home.join("nodes").join(node_name(index));
    fs::create_dir_all(&dir)?;
    let images_dir = beside_binary(args.images.as_ref(), "images")?;
    let mut images: Vec<PathBuf> = fs::read_dir(&images_dir)
        .with_context(|| format!("reading the images in {}", images_dir.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "tar"))
        .collect();
    images.sort();
    Ok(Program {
        name: node_name(index),
        command: Box::new(move || {
            let mut command = Command::new("unshare");
            command.args(["--mount", "--net", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--mount-proc"]);
            command.arg("--kill-child").arg(&exe).arg("node");
            command.args(["--name", &node_name(index), "--ip", &fabric.node_address(index).to_string()]);
            command.args(["--cgroup-root", &cgroup_root]);
            command.arg("--dir").arg(&dir);
            command.args(["--server", &format!("https://{}:{port}", fabric.gateway())]);
            command.args(["--tunnel", &format!("{}:{}", fabric.gateway(), port + 1)]);
            command.arg("--ca").arg(home.join("ca.crt")).arg("--bootstrap-token").arg(home.join("bootstrap-token"));
            for image in &images {
                command.arg("--image").arg(image);
            }
            command
        }),
        // `unshare` itself does not listen while its child runs; the child, in the same group, does.
        stop_signal: Signal::SIGTERM,
        stop_group: true,
        patience: Duration::from_secs(15),
    })
}

/// The pid, in this machine's namespace, of the first process of the node that `unshare` holds.
async fn first_process(unshare: i32) -> Result<i32> {
    for _ in 0..200 {
        let children = fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children"))?;
        if let Some(pid) = children.split_whitespace().next() {
            return Ok(pid.parse()?);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("the node's namespaces were not made")
}

pub async fn run(args: Args) -> Result<()> {
    if args.nodes > 0 && !Uid::effective().is_root() {
        bail!("nodes are made of namespaces, which needs root: run as root, or with --nodes 0");
    }
    let home = args.home.path()?;
    fs::create_dir_all(&home).with_context(|| format!("creating {}", home.display()))?;
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700))?;
    let places = args.home.places()?;
    let own = places.pid_file(SUPERVISOR);
    if let Some(running) = own.read() {
        bail!("a cluster of {} is already supervised by process {}", home.display(), running.pid);
    }
    own.write_self()?;
    fs::write(home.join("nodes.count"), args.nodes.to_string())?;
    let fabric = args.fabric()?;
    // What can fail does so before anything runs that would then be left behind.
    let nodes: Vec<Program> = (1..=args.nodes).map(|index| node(&args, &home, index)).collect::<Result<_>>()?;
    let (postgres, database_url) = match &args.database_url {
        Some(url) => (None, url.clone()),
        None => {
            let postgres = Postgres::prepare(&home, &places.run)?;
            let url = postgres::url(&places.run);
            (Some(postgres.program()), url)
        }
    };
    let server = server(&args, &home, database_url)?;
    if args.nodes > 0 {
        fabric.ensure(&places.run, &args.pod_cidr, SERVICE_CIDR)?;
    }
    // In the order of starting; stopped in the reverse, each when those after it have stopped.
    let mut stages: Vec<Vec<(CancellationToken, tokio::task::JoinHandle<()>)>> = Vec::new();
    let launch = |program: Program, index: Option<u8>| {
        let (token, places, fabric) = (CancellationToken::new(), places.clone(), fabric.clone());
        let stop = token.clone();
        let task = tokio::spawn(program.supervise(places, stop, async move |pid| match index {
            Some(index) => fabric.attach(index, first_process(pid).await?),
            None => Ok(()),
        }));
        (token, task)
    };
    stages.extend(postgres.map(|program| vec![launch(program, None)]));
    stages.push(vec![launch(server, None)]);
    stages.push((1..=args.nodes).zip(nodes).map(|(index, program)| launch(program, Some(index))).collect());
    info!(home = %home.display(), nodes = args.nodes, "supervising");

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    for stage in stages.into_iter().rev() {
        for (token, _) in &stage {
            token.cancel();
        }
        for (_, task) in stage {
            let _ = task.await;
        }
    }
    if args.nodes > 0 {
        fabric.remove(&places.run)?;
        remove_cgroups(&args.home.tag()?);
    }
    own.remove();
    info!("stopped");
    Ok(())
}

/// Pod cgroups of ended nodes: the kernel keeps the empty folders until somebody removes them.
fn remove_cgroups(tag: &str) {
    fn remove(dir: &Path) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&entry.path());
            }
        }
        let _ = fs::remove_dir(dir);
    }
    let root = format!("pilothouse-{tag}");
    remove(&Path::new("/sys/fs/cgroup").join(&root));
    for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        remove(&controller.path().join(&root));
    }
}

#[derive(clap::Args, Clone, Debug)]
pub struct DownArgs {
    #[command(flatten)]
    pub home: Home,
    /// Removes the data as well: the database, the nodes' containers, the certificates.
    #[arg(long)]
    pub purge: bool,
}

/// Ends what `up` started, whether its supervisor still lives or not.
pub async fn down(args: DownArgs) -> Result<()> {
    let (home, run) = (args.home.path()?, args.home.run_dir()?);
    if let Some(supervisor) = PidFile::new(&run, SUPERVISOR).read() {
        supervisor.stop(Signal::SIGTERM, Duration::from_secs(60)).await;
    }
    // What a killed supervisor left running: nodes first, PostgreSQL last.
    let mut left: Vec<String> = fs::read_dir(&run)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".pid").map(str::to_owned))
        .collect();
    left.sort_by_key(|name| (["server", "postgres"].iter().position(|last| last == name), name.clone()));
    for name in left {
        if let Some(process) = PidFile::new(&run, &name).read() {
            let signal = match name.as_str() {
                "postgres" => Signal::SIGINT,
                "server" => Signal::SIGTERM,
                _ => Signal::SIGKILL,
            };
            process.stop(signal, Duration::from_secs(30)).await;
        }
    }
    if Uid::effective().is_root() && run.exists() {
        let tag = args.home.tag()?;
        // Only names matter for taking away.
        Fabric::new(&tag, std::net::Ipv4Addr::UNSPECIFIED).remove(&run)?;
        remove_cgroups(&tag);
    }
    if run.exists() {
        fs::remove_dir_all(&run).with_context(|| format!("removing {}", run.display()))?;
        let _ = fs::remove_dir("/run/pilothouse");
    }
    if args.purge && home.exists() {
        // Only a folder that is ours: a mistyped --home must not cost anybody their files.
        if !home.join("ca.crt").exists() && !home.join("postgres").exists() {
            bail!("{} does not look like a Pilothouse data directory; not removing it", home.display());
        }
        fs::remove_dir_all(&home).with_context(|| format!("removing {}", home.display()))?;
    }
    Ok(())
}
