//! A supervised process: started, found again after the supervisor itself was replaced, restarted with back-off.
//!
//! Invariants: a process is known by (pid, start time), so a reused pid is never taken for ours, nor killed.
//! A supervised process outlives its supervisor: `up` after a kill -9 of `up` adopts what still runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// A log above this size is moved aside (one old one is kept) when its process starts.
const MAX_LOG_BYTES: u64 = 64 * 1024 * 1024;
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
const LAST_BACK_OFF: Duration = Duration::from_secs(10);
/// Having run this long, a process counts as healthy and its next restart is immediate.
const HEALTHY_AFTER: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A running process, told from a later one with the same pid by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub pid: i32,
    start: u64,
}

/// The start time (clock ticks since boot) of a live process; zombies are not alive.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command's name may hold spaces and brackets; what follows its last `)` does not.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    (state != "Z" && state != "X").then(|| fields.nth(18)?.parse().ok()).flatten()
}

impl Identity {
    fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, start: start_time(pid)? })
    }
    pub fn alive(self) -> bool {
        start_time(self.pid) == Some(self.start)
    }
    pub fn signal(self, signal: Signal) {
        if self.alive() {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
    /// Signals the process and all of its group: for one that only holds another.
    fn signal_group(self, signal: Signal) {
        if self.alive() {
            let _ = kill(Pid::from_raw(-self.pid), signal);
        }
    }
    /// Asks with `signal`, insists with SIGKILL after `patience`.
    pub async fn stop(self, signal: Signal, patience: Duration) {
        self.signal(signal);
        self.gone(patience).await;
    }
    async fn gone(self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while self.alive() {
            if Instant::now() > deadline {
                self.signal(Signal::SIGKILL);
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Where a process's identity is kept: `<run>/<name>.pid`.
#[derive(Clone, Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    pub fn new(run: &Path, name: &str) -> Self {
        Self(run.join(format!("{name}.pid")))
    }
    pub fn read(&self) -> Option<Identity> {
        let text = fs::read_to_string(&self.0).ok()?;
        let (pid, start) = text.trim().split_once(' ')?;
        let identity = Identity { pid: pid.parse().ok()?, start: start.parse().ok()? };
        identity.alive().then_some(identity)
    }
    /// The pid as written, also of a process that has ended but was not yet waited for.
    pub fn raw_pid(&self) -> Option<i32> {
        fs::read_to_string(&self.0).ok()?.split(' ').next()?.parse().ok()
    }
    pub fn write(&self, identity: Identity) -> Result<()> {
        fs::write(&self.0, format!("{} {}\n", identity.pid, identity.start))
            .with_context(|| format!("writing {}", self.0.display()))
    }
    pub fn write_self(&self) -> Result<()> {
        let pid = i32::try_from(std::process::id())?;
        self.write(Identity::of(pid).context("this process has no entry in /proc")?)
    }
    pub fn remove(&self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// How one process is started and stopped.
pub struct Program {
    pub name: String,
    pub command: Box<dyn Fn() -> std::process::Command + Send + Sync>,
    pub stop_signal: Signal,
    /// Whether `stop_signal` goes to the whole process group.
    pub stop_group: bool,
    pub patience: Duration,
}

/// Where the supervised processes' pid files and logs are.
#[derive(Clone, Debug)]
pub struct Places {
    pub run: PathBuf,
    pub logs: PathBuf,
}

impl Places {
    pub fn pid_file(&self, name: &str) -> PidFile {
        PidFile::new(&self.run, name)
    }
    fn log(&self, name: &str) -> Result<fs::File> {
        let path = self.logs.join(format!("{name}.log"));
        if fs::metadata(&path).is_ok_and(|meta| meta.len() > MAX_LOG_BYTES) {
            fs::rename(&path, self.logs.join(format!("{name}.log.1")))?;
        }
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))
    }
}

enum Running {
    Child(tokio::process::Child),
    Adopted(Identity),
}

impl Running {
    async fn ended(&mut self) -> String {
        match self {
            Self::Child(child) => match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            },
            Self::Adopted(identity) => {
                while identity.alive() {
                    sleep(LOOK_EVERY).await;
                }
                "gone".into()
            }
        }
    }
}

impl Program {
    async fn stop(&self, identity: Identity) {
        if self.stop_group {
            identity.signal_group(self.stop_signal);
            identity.gone(self.patience).await;
        } else {
            identity.stop(self.stop_signal, self.patience).await;
        }
    }

    fn start(&self, places: &Places) -> Result<(Running, Identity)> {
        let log = places.log(&self.name)?;
        let mut command = Command::from((self.command)());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = command.spawn().with_context(|| format!("starting {}", self.name))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Identity::of);
        let identity = pid.with_context(|| format!("{} ended at once; see its log", self.name))?;
        places.pid_file(&self.name).write(identity)?;
        Ok((Running::Child(child), identity))
    }

    /// Keeps the program running until `shutdown`, then stops it. `started` runs after each start (not after adoption
    /// unless the supervisor is new), with the pid.
    pub async fn supervise(
        self,
        places: Places,
        shutdown: CancellationToken,
        started: impl AsyncFn(i32) -> Result<()>,
    ) {
        let mut back_off = FIRST_BACK_OFF;
        let mut adopted = places.pid_file(&self.name).read();
        while !shutdown.is_cancelled() {
            let begun = Instant::now();
            let launched = match adopted.take() {
                Some(identity) => {
                    info!(name = self.name, pid = identity.pid, "adopted");
                    Ok((Running::Adopted(identity), identity))
                }
                None => self.start(&places),
            };
            match launched {
                Ok((mut running, identity)) => {
                    if let Err(error) = started(identity.pid).await {
                        warn!(name = self.name, error = format!("{error:#}"), "could not be set up");
                        self.stop(identity).await;
                    }
                    tokio::select! {
                        end = running.ended() => warn!(name = self.name, end, "ended"),
                        () = shutdown.cancelled() => {
                            // A child has to be waited for, or it stays a zombie that never looks dead.
                            let stop = self.stop(identity);
                            let (_, end) = tokio::join!(stop, running.ended());
                            info!(name = self.name, end, "stopped");
                            places.pid_file(&self.name).remove();
                            return;
                        }
                    }
                }
                Err(error) => warn!(name = self.name, error = format!("{error:#}"), "does not start"),
            }
            back_off = if begun.elapsed() > HEALTHY_AFTER { FIRST_BACK_OFF } else { (back_off * 2).min(LAST_BACK_OFF) };
            tokio::select! { () = sleep(back_off) => {}, () = shutdown.cancelled() => {} }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(dir: &Path) -> Places {
        Places { run: dir.to_path_buf(), logs: dir.to_path_buf() }
    }

    fn sleeper() -> Program {
        let command = || {
            let mut command = std::process::Command::new("sleep");
            command.arg("1000");
            command
        };
        Program {
            name: "sleeper".into(),
            command: Box::new(command),
            stop_signal: Signal::SIGTERM,
            stop_group: false,
            patience: Duration::from_secs(5),
        }
    }

    async fn identity(file: &PidFile, not: Option<Identity>) -> Identity {
        loop {
            match file.read() {
                Some(found) if Some(found) != not => return found,
                _ => sleep(Duration::from_millis(5)).await,
            }
        }
    }

    #[tokio::test]
    async fn restarts_what_is_killed_and_stops_on_shutdown() {
        let dir = tempfile::tempdir().unwrap();
        let (places, shutdown) = (places(dir.path()), CancellationToken::new());
        let file = places.pid_file("sleeper");
        let task = tokio::spawn(sleeper().supervise(places, shutdown.clone(), async |_| Ok(())));
        let first = identity(&file, None).await;
        first.signal(Signal::SIGKILL);
        let second = identity(&file, Some(first)).await;
        assert!(second.alive() && !first.alive());
        shutdown.cancel();
        task.await.unwrap();
        assert!(!second.alive());
        assert!(file.read().is_none());
    }

    #[tokio::test]
    async fn adopts_what_still_runs() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let file = places.pid_file("sleeper");
        let orphan = sleeper().start(&places).unwrap().1;
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(sleeper().supervise(places, shutdown.clone(), async |_| Ok(())));
        sleep(Duration::from_millis(50)).await;
        assert_eq!(file.read(), Some(orphan));
        shutdown.cancel();
        task.await.unwrap();
        assert!(!orphan.alive());
    }

    #[test]
    fn a_reused_pid_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let file = PidFile::new(dir.path(), "x");
        let me = Identity::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        file.write(Identity { start: me.start + 1, ..me }).unwrap();
        assert_eq!(file.read(), None);
    }
}
