//! The embedded PostgreSQL: the installed binaries, a data directory of ours, a socket that only we can open.
//!
//! Invariants: it listens on no network; it never runs as root (PostgreSQL refuses) but as the user `postgres`; its
//! files are seen by it through a bind mount, because that user cannot walk into root's home.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, User, chown};

use super::process::Program;

const UNPRIVILEGED_USER: &str = "postgres";

/// Settings beside PostgreSQL's defaults, each for a reason.
const SETTINGS: &[(&str, &str)] = &[
    // No network: the socket's folder is the access control.
    ("listen_addresses", ""),
    ("max_connections", "64"),
    // The watch cache serves the reads, so PostgreSQL needs little memory.
    ("shared_buffers", "32MB"),
    ("work_mem", "4MB"),
    ("maintenance_work_mem", "32MB"),
    // Fewer checkpoints and smaller log: writes are many and small.
    ("max_wal_size", "1GB"),
    ("checkpoint_timeout", "15min"),
    ("wal_compression", "on"),
    ("wal_level", "replica"),
    // Statements are short; compiling them costs more than it saves.
    ("jit", "off"),
    ("autovacuum_naptime", "30s"),
    ("log_min_messages", "warning"),
];

/// Where the binaries, the data and the socket are.
pub struct Postgres {
    bin: PathBuf,
    data: PathBuf,
    /// Where the server itself sees its data and socket: a short path it can reach.
    seen: PathBuf,
}

/// The newest installed `postgres` with its companions.
fn find_binaries() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, bin)| bin.join("postgres").exists() && bin.join("initdb").exists())
        .collect();
    found.sort();
    if let Some((_, bin)) = found.pop() {
        return Ok(bin);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|dir| dir.join("postgres").exists() && dir.join("initdb").exists())
        .context("PostgreSQL is not installed: run scripts/setup, or name a server with --database-url")
}

/// The address of the server whose run folder this is.
pub fn url(run: &Path) -> String {
    let host = socket_dir(run).display().to_string().replace('/', "%2F");
    format!("postgres://{UNPRIVILEGED_USER}@{host}/postgres")
}

fn socket_dir(run: &Path) -> PathBuf {
    run.join("sock")
}

impl Postgres {
    /// Prepares the folders; `run` is the short, private folder of this instance.
    pub fn prepare(home: &Path, run: &Path) -> Result<Self> {
        let this = Self { bin: find_binaries()?, data: home.join("postgres"), seen: run.join("pg") };
        for dir in [&this.data, &this.seen] {
            fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
            if Uid::effective().is_root() {
                let (user, group) = unprivileged()?;
                chown(dir, Some(user), Some(group))?;
            }
        }
        let socket = this.socket_dir();
        fs::create_dir_all(&socket)?;
        if Uid::effective().is_root() {
            let (user, group) = unprivileged()?;
            chown(&socket, Some(user), Some(group))?;
        }
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o700))?;
        if !this.data.join("PG_VERSION").exists() {
            this.init()?;
        }
        Ok(this)
    }

    fn socket_dir(&self) -> PathBuf {
        socket_dir(self.seen.parent().unwrap_or(&self.seen))
    }

    /// `program` as the unprivileged user, in a mount namespace where the data lies at `seen`.
    fn command(&self, program: &str, arguments: &[String]) -> Command {
        let program = self.bin.join(program);
        if !Uid::effective().is_root() {
            let mut command = Command::new(program);
            command.args(arguments);
            return command;
        }
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c"]);
        command.arg(
            "mount --bind \"$1\" \"$2\" && cd \"$2\" && shift 2 && \
             exec setpriv --reuid postgres --regid postgres --init-groups \"$@\"",
        );
        command.arg("sh").arg(&self.data).arg(&self.seen).arg(program).args(arguments);
        command
    }

    fn seen_data(&self) -> String {
        let dir = if Uid::effective().is_root() { &self.seen } else { &self.data };
        dir.display().to_string()
    }

    fn init(&self) -> Result<()> {
        let arguments = [
            "-D".into(),
            self.seen_data(),
            format!("--username={UNPRIVILEGED_USER}"),
            "--auth=trust".into(),
            "--encoding=UTF8".into(),
            "--locale=C.UTF-8".into(),
            "--data-checksums".into(),
        ];
        let output = self.command("initdb", &arguments).output().context("running initdb")?;
        if !output.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    pub fn program(self) -> Program {
        let mut arguments = vec!["-D".to_owned(), self.seen_data()];
        let socket = self.socket_dir().display().to_string();
        for (name, value) in SETTINGS.iter().copied().chain([("unix_socket_directories", socket.as_str())]) {
            arguments.push("-c".into());
            arguments.push(format!("{name}={value}"));
        }
        Program {
            name: "postgres".into(),
            command: Box::new(move || self.command("postgres", &arguments)),
            // Fast shutdown: connections are cut, everything committed is kept.
            stop_signal: Signal::SIGINT,
            stop_group: false,
            patience: Duration::from_secs(30),
        }
    }
}

fn unprivileged() -> Result<(Uid, Gid)> {
    let user = User::from_name(UNPRIVILEGED_USER)?
        .with_context(|| format!("there is no user {UNPRIVILEGED_USER:?}: PostgreSQL does not run as root"))?;
    Ok((user.uid, user.gid))
}
