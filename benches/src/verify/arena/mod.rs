//! A control plane of our own to break: backends, two PostgreSQL servers of which one follows the other, and a wire of
//! ours between each backend and each server.
//!
//! ```text
//! backend 0 ── wire ──┐          ┌── disk of its own
//! backend 1 ── wire ──┴► server 0 (takes writes) ─► server 1 (synchronous replica)
//! ```
//!
//! Invariant: everything lies in one folder, and of it only the logs are left at the end; nothing else is touched.

mod postgres;
mod process;
mod wire;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use tokio::process::Command;
use tokio::time::sleep;

use super::wire::MARK;
use postgres::Server;
use process::{Clock, Process};
pub use wire::{Cut, Pace, Wire};

const PATIENCE: Duration = Duration::from_secs(90);
/// Certificates live by the clock, so they are made this much earlier than the earliest time that any step leads to.
const EARLY: i64 = -3 * 3600;
/// Farthest step of a clock, in seconds.
pub const FARTHEST: i64 = 2 * 3600;
/// Ports after the first: the backends', the servers', the wires'.
const SERVERS: u16 = 10;
const WIRES: u16 = 20;
pub const MOST_BACKENDS: u8 = 5;
/// Compaction that runs all the time, so that it runs during everything else.
const COMPACTION: [&str; 8] = [
    "--compaction-interval",
    "2s",
    "--compaction-keep",
    "5s",
    "--compaction-keep-revisions",
    "4000",
    "--log-partition-revisions",
    "2000",
];

/// How the arena is built.
#[derive(clap::Args, Clone, Debug)]
pub struct Plan {
    /// A folder for a control plane of our own, which is then broken. Needs root, for disks that can be filled.
    #[arg(long)]
    pub arena: Option<PathBuf>,
    /// The program `pilothouse` [default: beside this one].
    #[arg(long)]
    pub pilothouse: Option<PathBuf>,
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_BACKENDS)))]
    pub backends: u8,
    /// The first of thirty ports.
    #[arg(long, default_value_t = 27443)]
    pub port: u16,
    /// The size of each server's disk, in megabytes of memory.
    #[arg(long, default_value_t = 1536)]
    pub disk: u64,
}

pub struct Backend {
    pub process: Arc<Process>,
    pub kubeconfig: PathBuf,
    /// One to each server.
    pub wires: Vec<Arc<Wire>>,
    clock: Option<Clock>,
}

pub struct Arena {
    pub backends: Vec<Backend>,
    servers: [Server; 2],
    /// Which server takes writes.
    primary: AtomicUsize,
}

fn server_program(args: &Plan) -> Result<PathBuf> {
    if let Some(path) = &args.pilothouse {
        return Ok(path.clone());
    }
    let path = std::env::current_exe()?.with_file_name("pilothouse");
    if !path.exists() {
        bail!("{} is not there: build it, or name it with --pilothouse", path.display());
    }
    Ok(path)
}

impl Arena {
    /// Builds everything, and waits until all of it works. `clocks`: everybody's clock can be stepped.
    ///
    /// # Errors
    /// What could not be built.
    pub async fn build(args: &Plan, clocks: bool) -> Result<Self> {
        let dir = std::path::absolute(args.arena.as_ref().context("--arena names no folder")?)?;
        std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        // PostgreSQL runs as another user.
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755))?;
        let clock = |name: &str| clocks.then(|| Clock::new(dir.join(format!("{name}.clock")), EARLY)).transpose();
        let server = |index: u16| {
            let name = format!("postgres-{index}");
            Server::new(&dir, &name, args.port + SERVERS + index, args.disk, clock(&name)?)
        };
        let servers = [server(0)?, server(1)?];
        let [first, second] = &servers;
        first.init().await?;
        first.start()?;
        first.until("SELECT 1", "1").await?;
        second.copy(first).await?;
        second.start()?;
        first.wait_for_replica(true)?;
        first.until(REPLICATES, "1").await.context("the replica does not follow")?;

        let program = server_program(args)?;
        let mut backends = Vec::new();
        for index in 0..u16::from(args.backends) {
            backends.push(backend(args, &dir, &program, index, clock(&format!("backend-{index}"))?).await?);
        }
        let mut arena = Self { backends, servers, primary: AtomicUsize::new(0) };
        let begun = Instant::now();
        for backend in &arena.backends {
            while !backend.kubeconfig.exists() {
                if begun.elapsed() > PATIENCE {
                    bail!("{} does not start; see its log in {}", backend.process.name, dir.display());
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        if clocks {
            for backend in &mut arena.backends {
                backend.kubeconfig = trusting_at_any_time(&backend.kubeconfig)?;
            }
            for at in 0..arena.clocks() {
                arena.step_clock(at, 0)?;
            }
        }
        Ok(arena)
    }

    /// One for each backend.
    pub fn kubeconfigs(&self) -> Vec<&Path> {
        self.backends.iter().map(|backend| &*backend.kubeconfig).collect()
    }

    pub fn primary(&self) -> &Server {
        &self.servers[self.primary.load(Ordering::Relaxed)]
    }

    fn replica(&self) -> &Server {
        &self.servers[1 - self.primary.load(Ordering::Relaxed)]
    }

    /// Clocks that can be stepped: every backend's, every server's.
    pub fn clocks(&self) -> usize {
        self.backends.len() + self.servers.len()
    }

    /// # Errors
    /// When a clock's file cannot be written.
    pub fn step_clock(&self, at: usize, offset: i64) -> Result<()> {
        match self.backends.get(at) {
            Some(backend) => backend.clock.as_ref().map_or(Ok(()), |clock| clock.step(offset)),
            None => self.servers[(at - self.backends.len()) % 2].step_clock(offset),
        }
    }

    /// The server that takes writes dies, its replica takes over, and a new replica takes that one's place.
    ///
    /// # Errors
    /// When there is no replica that has everything, or PostgreSQL does not do as it is told.
    pub async fn fail_over(&self) -> Result<()> {
        let (old, new) = (self.primary(), self.replica());
        if old.ask(REPLICATES).await? != "1" {
            bail!("the replica does not follow yet");
        }
        old.end(Signal::SIGKILL).await;
        // It follows nobody now: who is told to wait for a replica would wait for ever.
        new.wait_for_replica(false)?;
        new.ask("SELECT pg_promote(true, 30)").await.context("promoting the replica")?;
        new.until("SELECT pg_is_in_recovery()", "f").await?;
        self.primary.store(1 - self.primary.load(Ordering::Relaxed), Ordering::Relaxed);
        old.copy(new).await.context("copying the new primary")?;
        old.start()?;
        new.until(REPLICATES_NOW, "1").await.context("the new replica does not follow")?;
        new.wait_for_replica(true)?;
        new.until(REPLICATES, "1").await.context("the new replica does not follow")
    }

    /// Ends everything.
    pub async fn end(self) {
        for backend in &self.backends {
            backend.process.end(Signal::SIGTERM, Duration::from_secs(10)).await;
        }
        for server in [self.replica(), self.primary()] {
            server.end(Signal::SIGINT).await;
        }
    }
}

/// Whether a replica is there that commits wait for.
const REPLICATES: &str = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = 'sync'";
/// Whether a replica is there that has everything.
const REPLICATES_NOW: &str = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND pg_current_wal_lsn() - replay_lsn < 1000000";

async fn backend(args: &Plan, dir: &Path, program: &Path, index: u16, clock: Option<Clock>) -> Result<Backend> {
    let name = format!("backend-{index}");
    let own = dir.join(&name);
    let mut wires = Vec::new();
    for server in 0..2 {
        let port = args.port + WIRES + 2 * index + server;
        wires.push(Wire::lay(port, args.port + SERVERS + server, MARK).await?);
    }
    let hosts = [0, 1].map(|server| format!("127.0.0.1:{}", args.port + WIRES + 2 * index + server)).join(",");
    let url = format!("postgres://postgres@{hosts}/postgres?target_session_attrs=read-write");
    let (program, port, data, timing) = (program.to_path_buf(), args.port + index, own.clone(), clock.clone());
    let process = Process::start(&name, &dir.join(format!("{name}.log")), move || {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).args(timing.iter().flat_map(Clock::prefix)).arg(&program).arg("server");
        command.args(["--listen", &format!("127.0.0.1:{port}")]).args(COMPACTION);
        command.arg("--data-dir").arg(&data).env("PILOTHOUSE_DATABASE_URL", &url);
        command
    })?;
    Ok(Backend { process, kubeconfig: own.join("kubeconfig"), wires, clock })
}

/// A kubeconfig that trusts the server whatever the time: its certificate is as old as its clock says, and who connects
/// goes by another clock.
fn trusting_at_any_time(kubeconfig: &Path) -> Result<PathBuf> {
    let text = std::fs::read_to_string(kubeconfig)?;
    let lines = text.lines().map(|line| match line.find("certificate-authority-data:") {
        Some(at) => format!("{}insecure-skip-tls-verify: true", &line[..at]),
        None => line.to_owned(),
    });
    let path = kubeconfig.with_file_name("kubeconfig-at-any-time");
    std::fs::write(&path, lines.collect::<Vec<_>>().join("\n"))?;
    Ok(path)
}
