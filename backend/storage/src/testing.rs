//! A private PostgreSQL for tests: started once per test process, a database of its own for each test.
//!
//! It lives in a temporary directory, listens on a Unix socket only, and dies with the process that started it, however
//! that ends. Works as root (the server then runs as user `postgres`, because it refuses root) and as anyone else. Needs
//! PostgreSQL's programs in `PATH` or `/usr/lib/postgresql/*/bin`.
//!
//! ```no_run
//! # async fn test() {
//! let url = pilothouse_storage::testing::shared().await.database().await;
//! # }
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::{Store, migrations};

/// A database with the schema in place, which others are copied from.
const TEMPLATE: &str = "pilothouse_template";

/// A running server. Dropping it stops it and removes its files.
pub struct TestPostgres {
    directory: tempfile::TempDir,
    binaries: PathBuf,
    user: Option<(u32, u32)>,
    options: Vec<String>,
    server: Mutex<Option<Child>>,
    /// Ends the server when this process ends.
    guard: Mutex<Child>,
    template: OnceCell<()>,
    databases: AtomicU64,
}

static SHARED: OnceCell<TestPostgres> = OnceCell::const_new();

/// The server that all tests of a process share.
pub async fn shared() -> &'static TestPostgres {
    SHARED.get_or_init(TestPostgres::start).await
}

impl TestPostgres {
    /// Starts a server for tests: it does not wait for the disk (a crash of the machine is not among the tests; a kill of
    /// the server is, and loses nothing).
    pub async fn start() -> Self {
        Self::start_with(&["fsync=off", "full_page_writes=off", "max_connections=300", "shared_buffers=64MB"]).await
    }

    /// Starts a server with settings of one's own, each `name=value`.
    pub async fn start_with(settings: &[&str]) -> Self {
        let options = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let server = tokio::task::spawn_blocking(move || Self::prepare(options)).await.unwrap();
        server.restart().await;
        server
    }

    fn prepare(options: Vec<String>) -> Self {
        let binaries = binaries();
        let user = unprivileged();
        let directory = tempfile::Builder::new().prefix("pilothouse-postgres-").tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let home = directory.path().join("home");
        fs::create_dir(&home).unwrap();
        if let Some((uid, gid)) = user {
            chown(&home, Some(uid), Some(gid)).unwrap();
        }
        let mut initdb = Command::new(binaries.join("initdb"));
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        initdb.arg("--pgdata").arg(home.join("data")).current_dir(&home);
        let done = become_user(&mut initdb, user).output().expect("initdb must run");
        assert!(done.status.success(), "initdb: {}", String::from_utf8_lossy(&done.stderr));

        // The pipe to its standard input closes when this process ends, whatever ends it.
        let script = format!(
            "cat >/dev/null; test -f {0}/data/postmaster.pid && kill -9 $(head -1 {0}/data/postmaster.pid) 2>/dev/null; \
             for pause in 1 2 3 4 5; do sleep 0.2; rm -rf {1} && break; done",
            home.display(),
            directory.path().display()
        );
        let guard = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh must run");
        Self {
            directory,
            binaries,
            user,
            options,
            server: Mutex::new(None),
            guard: Mutex::new(guard),
            template: OnceCell::new(),
            databases: AtomicU64::new(0),
        }
    }

    fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// The address of a database by name.
    pub fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?host={}&user=postgres", self.home().display())
    }

    /// A new database with the schema in place; gives its address.
    pub async fn database(&self) -> String {
        self.template.get_or_init(|| self.make_template()).await;
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.administer(&format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")).await;
        self.url(&name)
    }

    async fn make_template(&self) {
        self.administer(&format!("CREATE DATABASE {TEMPLATE}")).await;
        let pool = sqlx::PgPool::connect(&self.url(TEMPLATE)).await.unwrap();
        migrations::all().run(&pool).await.unwrap();
        pool.close().await;
    }

    /// Runs a statement in the database `postgres`.
    pub async fn administer(&self, statement: &str) {
        self.execute(&self.url("postgres"), statement).await;
    }

    /// Runs statements in any database.
    pub async fn execute(&self, url: &str, statement: &str) {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        drop(client);
        driver.await.unwrap().unwrap();
    }

    /// One number from any database.
    pub async fn number(&self, url: &str, query: &str) -> i64 {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        let number = client.query_one(query, &[]).await.unwrap_or_else(|error| panic!("{query}: {error:?}")).get(0);
        drop(client);
        driver.await.unwrap().unwrap();
        number
    }

    /// Kills the server the hard way: `kill -9`.
    pub async fn kill(&self) {
        let Some(mut server) = self.server.lock().take() else { return };
        tokio::task::spawn_blocking(move || {
            // Its children see that it is gone, and end.
            server.kill().unwrap();
            server.wait().unwrap();
        })
        .await
        .unwrap();
    }

    /// Starts the server again on the same data, and waits until it answers.
    pub async fn restart(&self) {
        self.kill().await;
        let (data, log) = (self.home().join("data"), self.home().join("log"));
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let log_file = fs::File::options().create(true).append(true).open(&log).unwrap();
            let mut command = Command::new(self.binaries.join("postgres"));
            command.arg("-D").arg(&data).arg("-k").arg(self.home());
            for option in ["listen_addresses=", "logging_collector=off", "unix_socket_permissions=0777"] {
                command.args(["-c", option]);
            }
            for option in &self.options {
                command.args(["-c", option]);
            }
            command.current_dir(self.home()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_file);
            let mut child = become_user(&mut command, self.user).spawn().expect("postgres must run");
            loop {
                if tokio_postgres::connect(&self.url("postgres"), tokio_postgres::NoTls).await.is_ok() {
                    *self.server.lock() = Some(child);
                    return;
                }
                assert!(
                    tokio::time::Instant::now() < deadline,
                    "postgres does not start: {}",
                    fs::read_to_string(&log).unwrap_or_default()
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
                // After a kill the dead server's children may hold its memory for a moment; then it has to be tried again.
                if child.try_wait().unwrap().is_some() {
                    break;
                }
            }
        }
    }

    /// Opens a store on a database of its own, with default settings.
    pub async fn store(&self) -> Store {
        Store::open(crate::Config::new(self.database().await), crate::no_fields()).await.unwrap()
    }
}

impl Drop for TestPostgres {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.lock().take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        // Closing its input ends the guard, which removes what is left.
        let mut guard = self.guard.lock();
        drop(guard.stdin.take());
        let _ = guard.wait();
    }
}

/// The directory of PostgreSQL's programs: in `PATH`, else the newest below `/usr/lib/postgresql`.
pub fn binaries() -> PathBuf {
    let has_all = |directory: &Path| ["initdb", "postgres"].iter().all(|program| directory.join(program).is_file());
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) = std::env::split_paths(&path).find(|directory| has_all(directory)) {
        return found;
    }
    let mut installed: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, directory)| has_all(directory))
        .collect();
    installed.sort();
    installed.pop().expect("PostgreSQL must be installed: initdb and postgres in PATH or /usr/lib/postgresql/*/bin").1
}

/// The user to run the server as, when this process is root: user and group id of `postgres`, else of `nobody`.
fn unprivileged() -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    if fs::metadata("/proc/self").ok()?.uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let find = |wanted: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(wanted))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    Some(find("postgres").or_else(|| find("nobody")).expect("a user postgres or nobody"))
}

fn become_user(command: &mut Command, user: Option<(u32, u32)>) -> &mut Command {
    if let Some((uid, gid)) = user {
        command.gid(gid).uid(uid);
    }
    command
}
