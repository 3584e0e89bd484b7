//! What goes wrong meanwhile: processes of a `pilothouse up` home are killed or held up; its supervisor restarts them.
//!
//! Invariant: only a process whose pid and start time stand in the home's pid file is ever signalled.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::Rng;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

/// How long a process is held up.
const PAUSE: Duration = Duration::from_millis(2500);

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// kill -9 of the backend.
    KillServer,
    /// kill -9 of PostgreSQL's first process.
    KillPostgres,
    /// Both at once.
    KillBoth,
    /// The backend stands still for a moment.
    PauseServer,
    /// PostgreSQL's first process stands still for a moment: no new connections.
    PausePostgres,
}

/// Where a home's pid files are.
pub fn run_dir(home: &Path) -> Result<PathBuf> {
    let home = std::path::absolute(home)?;
    let digest = Sha256::digest(home.as_os_str().as_encoded_bytes());
    let tag: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let dir = PathBuf::from("/run/pilothouse").join(tag);
    if !dir.is_dir() {
        bail!("{} is not the home of a running cluster", home.display());
    }
    Ok(dir)
}

/// The process that a pid file names, if it is still that one.
fn process(run: &Path, name: &str) -> Result<Pid> {
    let path = run.join(format!("{name}.pid"));
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let (pid, start) = text.trim().split_once(' ').context("a pid file of another kind")?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let found = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(19));
    if found != Some(start) {
        bail!("{name} has ended");
    }
    Ok(Pid::from_raw(pid.parse()?))
}

async fn inject(run: &Path, fault: Fault) -> Result<()> {
    let (names, pauses): (&[&str], bool) = match fault {
        Fault::KillServer => (&["server"], false),
        Fault::KillPostgres => (&["postgres"], false),
        Fault::KillBoth => (&["server", "postgres"], false),
        Fault::PauseServer => (&["server"], true),
        Fault::PausePostgres => (&["postgres"], true),
    };
    for name in names {
        kill(process(run, name)?, if pauses { Signal::SIGSTOP } else { Signal::SIGKILL })?;
    }
    if pauses {
        tokio::time::sleep(PAUSE).await;
        for name in names {
            kill(process(run, name)?, Signal::SIGCONT)?;
        }
    }
    Ok(())
}

/// Injects one fault after another until told to stop; gives how many there were.
pub async fn run(home: PathBuf, faults: Vec<Fault>, every: Duration, stop: CancellationToken) -> Result<u64> {
    let run = run_dir(&home)?;
    let mut count = 0;
    loop {
        let wait = every.mul_f64(rand::rng().random_range(0.5..1.5));
        tokio::select! { () = tokio::time::sleep(wait) => {}, () = stop.cancelled() => return Ok(count) }
        let fault = faults[rand::rng().random_range(0..faults.len())];
        match inject(&run, fault).await {
            Ok(()) => count += 1,
            // It has not come back from the last one yet.
            Err(error) => tracing::info!(?fault, "not now: {error:#}"),
        }
    }
}
