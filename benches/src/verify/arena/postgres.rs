//! The arena's PostgreSQL: two servers, each on a disk of its own, one the synchronous replica of the other.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use nix::unistd::User;
use tokio::process::Command;
use tokio::time::sleep;

use super::process::{Clock, Process};

/// PostgreSQL refuses to run as root.
const USER: &str = "postgres";
const PATIENCE: Duration = Duration::from_secs(60);
/// Tries to remove a folder that somebody still writes into.
const TRIES: u32 = 100;
/// What takes the rest of the disk.
const BALLAST: &str = "ballast";
const SETTINGS: &[(&str, &str)] = &[
    ("listen_addresses", "127.0.0.1"),
    ("unix_socket_directories", ""),
    ("max_connections", "100"),
    ("shared_buffers", "64MB"),
    // Little, so that a full disk is felt soon.
    ("min_wal_size", "32MB"),
    ("max_wal_size", "64MB"),
    ("wal_keep_size", "64MB"),
    ("wal_level", "replica"),
    ("max_wal_senders", "4"),
    ("hot_standby", "on"),
    ("wal_receiver_status_interval", "1s"),
    ("wal_retrieve_retry_interval", "200ms"),
    ("jit", "off"),
    ("log_min_messages", "warning"),
];

pub struct Server {
    pub port: u16,
    disk: PathBuf,
    log: PathBuf,
    binaries: PathBuf,
    owner: (u32, u32),
    clock: Option<Clock>,
    process: parking_lot::Mutex<Option<Arc<Process>>>,
}

/// The directory of PostgreSQL's programs, the newest.
fn binaries() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| ["postgres", "initdb", "pg_basebackup", "psql"].iter().all(|name| bin.join(name).exists()))
        .collect();
    found.sort();
    Ok(found.pop().context("PostgreSQL is not installed below /usr/lib/postgresql")?.1)
}

impl Server {
    /// A server without data, on a disk of so many megabytes.
    ///
    /// # Errors
    /// When there is no PostgreSQL, or this user may not mount.
    pub fn new(dir: &Path, name: &str, port: u16, megabytes: u64, clock: Option<Clock>) -> Result<Self> {
        let disk = dir.join(name);
        let user = User::from_name(USER)?.with_context(|| format!("there is no user {USER}"))?;
        std::fs::create_dir_all(&disk)?;
        // Of a run that was ended the hard way.
        let _ = umount2(&disk, MntFlags::MNT_DETACH);
        let options = format!("size={megabytes}m,mode=0755");
        mount(Some("tmpfs"), &disk, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
            .with_context(|| format!("mounting {}: the arena needs root", disk.display()))?;
        Ok(Self {
            port,
            disk,
            log: dir.join(format!("{name}.log")),
            binaries: binaries()?,
            owner: (user.uid.as_raw(), user.gid.as_raw()),
            clock,
            process: parking_lot::Mutex::default(),
        })
    }

    fn data(&self) -> PathBuf {
        self.disk.join("data")
    }

    /// An empty folder for data.
    fn clear(&self) -> Result<()> {
        let data = self.data();
        // The last processes of a server that was killed may still write.
        let mut tries = 0;
        while data.exists() && std::fs::remove_dir_all(&data).is_err() {
            tries += 1;
            if tries > TRIES {
                bail!("{} cannot be removed", data.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        std::fs::create_dir(&data)?;
        chown(&data, Some(self.owner.0), Some(self.owner.1))?;
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700))?;
        Ok(())
    }

    /// `setpriv` stays the same process, and ends it with this one.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--reuid", USER, "--regid", USER, "--init-groups"]);
        command.arg(self.binaries.join(program)).current_dir(&self.disk);
        command
    }

    async fn run(&self, mut command: Command) -> Result<String> {
        let output = command.kill_on_drop(true).output();
        let output = tokio::time::timeout(PATIENCE, output).await.context("takes too long")??;
        if !output.status.success() {
            bail!("{:?}: {}", command.as_std(), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// # Errors
    /// What PostgreSQL says.
    pub async fn init(&self) -> Result<()> {
        self.clear()?;
        let mut command = self.command("initdb");
        command.args(["--username", USER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]);
        command.arg("-D").arg(self.data());
        self.run(command).await?;
        let settings: String = SETTINGS.iter().map(|(name, value)| format!("{name} = '{value}'\n")).collect();
        let path = self.data().join("postgresql.conf");
        let text = std::fs::read_to_string(&path)?;
        std::fs::write(&path, format!("{text}\n{settings}include_if_exists = 'replicas.conf'\n"))?;
        Ok(())
    }

    /// A fresh copy of another server, which follows it.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn copy(&self, from: &Server) -> Result<()> {
        self.clear()?;
        let mut command = self.command("pg_basebackup");
        command.args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-d"]);
        command.arg(format!("host=127.0.0.1 port={} user={USER}", from.port)).arg("-D").arg(self.data());
        self.run(command).await?;
        Ok(())
    }

    /// # Errors
    /// When the log cannot be written.
    pub fn start(&self) -> Result<()> {
        let mut line = vec!["-D".into(), self.data().into_os_string(), "-p".into(), self.port.to_string().into()];
        line.extend(["-c".into(), "logging_collector=off".into()]);
        let (program, disk, clock) = (self.binaries.join("postgres"), self.disk.clone(), self.clock.clone());
        let process = Process::start(&format!("postgres-{}", self.port), &self.log, move || {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--reuid", USER, "--regid", USER, "--init-groups"]);
            command.args(clock.iter().flat_map(Clock::prefix)).arg(&program).args(&line).current_dir(&disk);
            command
        })?;
        *self.process.lock() = Some(process);
        Ok(())
    }

    /// False when it does not run.
    pub fn signal(&self, signal: Signal) -> bool {
        self.process.lock().as_ref().is_some_and(|process| process.signal(signal))
    }

    pub async fn end(&self, signal: Signal) {
        let process = self.process.lock().take();
        if let Some(process) = process {
            process.end(signal, Duration::from_secs(10)).await;
        }
    }

    /// The answer to a statement, as text.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub async fn ask(&self, statement: &str) -> Result<String> {
        let mut command = self.command("psql");
        command.args(["-X", "-A", "-t", "-q", "-d"]);
        command.arg(format!("host=127.0.0.1 port={} user={USER} dbname={USER} connect_timeout=3", self.port));
        command.args(["-c", statement]);
        self.run(command).await
    }

    /// Waits until a statement's answer is as wanted.
    ///
    /// # Errors
    /// The last answer, when it never is.
    pub async fn until(&self, statement: &str, wanted: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            let answer = self.ask(statement).await;
            match answer {
                Ok(answer) if answer == wanted => return Ok(()),
                other if begun.elapsed() > PATIENCE => bail!("{statement}: {other:?} and not {wanted:?}"),
                _ => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Whether commits wait for a replica.
    ///
    /// # Errors
    /// When it cannot be said.
    pub fn wait_for_replica(&self, wait: bool) -> Result<()> {
        let text = format!("synchronous_standby_names = '{}'\n", if wait { "*" } else { "" });
        let path = self.data().join("replicas.conf");
        std::fs::write(&path, text)?;
        chown(&path, Some(self.owner.0), Some(self.owner.1))?;
        self.signal(Signal::SIGHUP);
        Ok(())
    }

    /// Leaves no room on the disk.
    pub async fn fill(&self) {
        let path = self.disk.join(BALLAST);
        let filling = tokio::task::spawn_blocking(move || {
            let Ok(mut file) = std::fs::File::options().create(true).append(true).open(path) else { return };
            // Ends with the error that is wanted: first in large pieces, then to the last byte.
            for size in [1 << 20, 4096, 1] {
                let piece = vec![b'x'; size];
                while file.write_all(&piece).is_ok() {}
            }
        });
        let _ = filling.await;
    }

    pub fn make_room(&self) {
        let _ = std::fs::remove_file(self.disk.join(BALLAST));
    }

    pub fn step_clock(&self, offset: i64) -> Result<()> {
        self.clock.as_ref().map_or(Ok(()), |clock| clock.step(offset))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
        let _ = umount2(&self.disk, MntFlags::MNT_DETACH);
    }
}
