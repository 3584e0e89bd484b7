//! What goes wrong meanwhile: to the processes of a `pilothouse up` home, whose supervisor restarts them, or to an
//! arena of our own, where everything can.
//!
//! Invariant: only a process whose pid and start time stand in the home's pid file, or a child of ours, is ever
//! signalled.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Message;
use super::arena::{Arena, Cut, FARTHEST, Pace};
use super::fullness;
use crate::target::Target;

/// How long a process is held up.
const PAUSE: Duration = Duration::from_millis(2500);
/// How long a wire is slow, and by how much at most.
const SLOW: Duration = Duration::from_secs(4);
const JITTER: Duration = Duration::from_millis(60);
/// How long a wire stands still: some of it longer than the store waits for an answer.
const STILL: std::ops::Range<f64> = 1.0..7.0;
/// A batch to cut at comes within this time.
const ARMED: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Fault {
    /// kill -9 of a backend.
    KillServer,
    /// kill -9 of PostgreSQL's first process.
    KillPostgres,
    /// Both at once.
    KillBoth,
    /// A backend stands still for a moment.
    PauseServer,
    /// PostgreSQL's first process stands still for a moment: no new connections.
    PausePostgres,
    /// Arena: a backend's connections to PostgreSQL are reset.
    Cut,
    /// Arena: a backend's connection is lost in the middle of a commit, the batch before, after or much later.
    CutCommit,
    /// Arena: everything between a backend and PostgreSQL is late, by another time each time.
    Delay,
    /// Arena: nothing moves between a backend and PostgreSQL for some seconds, then it goes on.
    Stall,
    /// Arena: a backend's connections die, and neither end is told.
    HalfOpen,
    /// Arena: PostgreSQL's disk is full for some seconds.
    DiskFull,
    /// Arena: a backend's or PostgreSQL's clock steps by up to two hours, forth or back.
    Clock,
    /// Arena: PostgreSQL dies for good, its replica takes over, and gets a new replica.
    Failover,
}

impl Fault {
    const HOME: [Self; 5] =
        [Self::KillServer, Self::KillPostgres, Self::KillBoth, Self::PauseServer, Self::PausePostgres];

    pub fn needs_arena(self) -> bool {
        !Self::HOME.contains(&self)
    }
}

/// What is broken.
pub enum Ground {
    /// The run folder of a home.
    Home(PathBuf),
    Arena(Arc<Arena>),
}

/// A fault that was injected: what, from when, to when.
pub type Injected = (Fault, Instant, Instant);

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

fn pick<T>(all: &[T]) -> Result<&T> {
    all.choose(&mut rand::rng()).context("nothing to choose from")
}

/// Injects faults one after the other.
pub struct Breaker {
    pub ground: Ground,
    pub faults: Vec<Fault>,
    /// On average.
    pub every: Duration,
    pub targets: Vec<Target>,
    pub judge: mpsc::Sender<Message>,
    pub stop: CancellationToken,
}

impl Breaker {
    fn signal(&self, is_server: bool, backend: usize, signal: Signal) -> Result<()> {
        match &self.ground {
            Ground::Home(run) => kill(process(run, if is_server { "server" } else { "postgres" })?, signal)?,
            Ground::Arena(arena) => {
                let done = if is_server {
                    arena.backends.get(backend).is_some_and(|backend| backend.process.signal(signal))
                } else {
                    arena.primary().signal(signal)
                };
                if !done {
                    bail!("it does not run");
                }
            }
        }
        Ok(())
    }

    fn arena(&self) -> Result<&Arc<Arena>> {
        match &self.ground {
            Ground::Arena(arena) => Ok(arena),
            Ground::Home(_) => bail!("only an arena can be broken like that"),
        }
    }

    async fn inject(&self, fault: Fault) -> Result<()> {
        let backend = match &self.ground {
            Ground::Home(_) => 0,
            Ground::Arena(arena) => rand::rng().random_range(0..arena.backends.len()),
        };
        match fault {
            Fault::KillServer => self.signal(true, backend, Signal::SIGKILL),
            Fault::KillPostgres => self.signal(false, backend, Signal::SIGKILL),
            Fault::KillBoth => {
                self.signal(true, backend, Signal::SIGKILL)?;
                self.signal(false, backend, Signal::SIGKILL)
            }
            Fault::PauseServer | Fault::PausePostgres => {
                self.signal(fault == Fault::PauseServer, backend, Signal::SIGSTOP)?;
                sleep(PAUSE).await;
                self.signal(fault == Fault::PauseServer, backend, Signal::SIGCONT)
            }
            Fault::Cut | Fault::CutCommit | Fault::Delay | Fault::Stall | Fault::HalfOpen => {
                self.break_wires(fault, backend).await
            }
            Fault::DiskFull => fullness::fill(self.arena()?, &self.targets, &self.judge).await,
            Fault::Clock => {
                let arena = self.arena()?;
                let (clock, offset) = {
                    let mut rng = rand::rng();
                    (rng.random_range(0..arena.clocks()), rng.random_range(-FARTHEST..=FARTHEST))
                };
                arena.step_clock(clock, offset)
            }
            Fault::Failover => self.arena()?.fail_over().await,
        }
    }

    async fn break_wires(&self, fault: Fault, backend: usize) -> Result<()> {
        let wires = &self.arena()?.backends.get(backend).context("no such backend")?.wires;
        match fault {
            Fault::Cut => wires.iter().for_each(|wire| wire.reset()),
            Fault::HalfOpen => wires.iter().for_each(|wire| wire.die_silently()),
            Fault::CutCommit => {
                let cut = *pick(&[Cut::Before, Cut::After, Cut::Late])?;
                wires.iter().for_each(|wire| wire.arm(cut));
                sleep(ARMED).await;
                if wires.iter().all(|wire| wire.disarm()) {
                    bail!("no batch came by");
                }
            }
            _ => {
                let (pace, time) = match fault {
                    Fault::Delay => (Pace::Jittery(JITTER), SLOW),
                    _ => (Pace::Still, Duration::from_secs_f64(rand::rng().random_range(STILL))),
                };
                wires.iter().for_each(|wire| wire.pace(pace));
                sleep(time).await;
                wires.iter().for_each(|wire| wire.pace(Pace::AtOnce));
            }
        }
        Ok(())
    }

    /// Injects one fault after another until told to stop; gives what there was.
    pub async fn run(self) -> Result<Vec<Injected>> {
        let (mut injected, mut deck) = (Vec::new(), Vec::new());
        loop {
            let wait = self.every.mul_f64(rand::rng().random_range(0.5..1.5));
            tokio::select! { () = sleep(wait) => {}, () = self.stop.cancelled() => return Ok(injected) }
            // Drawn like cards: as many of each kind.
            if deck.is_empty() {
                deck.clone_from(&self.faults);
                deck.shuffle(&mut rand::rng());
            }
            let Some(fault) = deck.pop() else { bail!("no faults to choose from") };
            let begun = Instant::now();
            match self.inject(fault).await {
                Ok(()) => {
                    tracing::info!(?fault, took = ?begun.elapsed(), "injected");
                    injected.push((fault, begun, Instant::now()));
                }
                // It has not come back from the last one yet.
                Err(error) => tracing::info!(?fault, took = ?begun.elapsed(), "not now: {error:#}"),
            }
        }
    }
}
