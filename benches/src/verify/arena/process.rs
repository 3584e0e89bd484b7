//! A process of the arena: kept running, killed, held up, given another time.
//!
//! Invariants: only a child of ours that has not been waited for is ever signalled; every child ends with this process,
//! however that ends.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;
use tokio::process::Command;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const RESTART: Duration = Duration::from_millis(200);
const LOOK: Duration = Duration::from_millis(10);

pub struct Process {
    pub name: String,
    /// There while the child runs, or has ended and was not waited for.
    pid: Mutex<Option<Pid>>,
    stop: CancellationToken,
    running: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl Process {
    /// Starts what `command` makes, again whenever it ends; its output goes to `log`.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn start(name: &str, log: &Path, command: impl Fn() -> Command + Send + Sync + 'static) -> Result<Arc<Self>> {
        let log = std::fs::File::options().create(true).append(true).open(log).context("opening a log")?;
        let process = Arc::new(Self {
            name: name.to_owned(),
            pid: Mutex::default(),
            stop: CancellationToken::new(),
            running: Mutex::default(),
        });
        let own = Arc::clone(&process);
        let task = tokio::spawn(async move {
            while !own.stop.is_cancelled() {
                if let Err(error) = own.once(&log, command()).await {
                    tracing::warn!(name = own.name, "does not run: {error:#}");
                }
                tokio::select! { () = sleep(RESTART) => {}, () = own.stop.cancelled() => {} }
            }
        });
        *process.running.lock() = Some(task);
        Ok(process)
    }

    async fn once(&self, log: &std::fs::File, mut command: Command) -> Result<()> {
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?).process_group(0);
        let mut child = command.spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        *self.pid.lock() = pid;
        if self.stop.is_cancelled() {
            self.signal(Signal::SIGKILL);
        }
        // Waited for under the lock, so that nobody signals a pid that may be another's by then.
        let ended = loop {
            let ended = {
                let mut pid = self.pid.lock();
                let ended = child.try_wait();
                if !matches!(ended, Ok(None)) {
                    *pid = None;
                }
                ended
            };
            match ended {
                Ok(None) => sleep(LOOK).await,
                ended => break ended,
            }
        };
        tracing::info!(name = self.name, ?ended, "ended");
        Ok(())
    }

    /// False when it does not run.
    pub fn signal(&self, signal: Signal) -> bool {
        let pid = self.pid.lock();
        pid.is_some_and(|pid| kill(pid, signal).is_ok())
    }

    /// Ends it for good.
    pub async fn end(&self, signal: Signal, patience: Duration) {
        self.stop.cancel();
        self.signal(signal);
        let running = self.running.lock().take();
        if let Some(mut running) = running
            && tokio::time::timeout(patience, &mut running).await.is_err()
        {
            self.signal(Signal::SIGKILL);
            let _ = running.await;
        }
    }
}

/// What a process thinks the time is: a file that libfaketime reads.
#[derive(Clone, Debug)]
pub struct Clock {
    file: std::path::PathBuf,
    library: std::path::PathBuf,
}

impl Clock {
    /// # Errors
    /// When libfaketime is not installed.
    pub fn new(file: std::path::PathBuf, offset: i64) -> Result<Self> {
        let name = "faketime/libfaketimeMT.so.1";
        let places = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/local/lib"];
        let found = places.iter().map(|place| Path::new(place).join(name)).find(|path| path.exists());
        let clock = Self { file, library: found.context("clock steps need libfaketime: apt-get install libfaketime")? };
        clock.step(offset)?;
        Ok(clock)
    }

    /// So many seconds before or behind the machine's clock from now on.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn step(&self, offset: i64) -> Result<()> {
        let partial = self.file.with_extension("partial");
        std::fs::write(&partial, format!("{offset:+}\n"))?;
        std::fs::rename(&partial, &self.file).with_context(|| format!("writing {}", self.file.display()))
    }

    /// What comes before a program that is to have this clock: `env`, so that what starts it keeps its own.
    pub fn prefix(&self) -> Vec<std::ffi::OsString> {
        let set = |name: &str, value: &Path| {
            let mut text = std::ffi::OsString::from(format!("{name}="));
            text.push(value);
            text
        };
        vec![
            "env".into(),
            set("LD_PRELOAD", &self.library),
            set("FAKETIME_TIMESTAMP_FILE", &self.file),
            // Only the clock on the wall is wrong; time passes as ever.
            "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
            "DONT_FAKE_MONOTONIC=1".into(),
            "FAKETIME_CACHE_DURATION=1".into(),
        ]
    }
}
