//! Reaching PostgreSQL: one URL, two clients.
//!
//! The writer and the listener hold sessions of their own (`tokio-postgres`, which pipelines); everything that may
//! take long (log, history, maintenance, migrations) uses a small `sqlx` pool that is empty when idle.

use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::select_ok;
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{AsyncMessage, Client};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Url;

use crate::address::Address;
use crate::{Config, Error, Result, sql};

/// An attempt to connect is given up after this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Bounds work on the pool's connections: one whose other end vanished without a word says nothing, for ever.
pub(crate) async fn bounded<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    let silent = |_| Error::Unavailable("the database does not answer".to_owned());
    tokio::time::timeout(limit, work).await.map_err(silent)?
}

/// One server.
struct Host {
    sessions: tokio_postgres::Config,
    pool: PgConnectOptions,
}

/// How PostgreSQL is reached.
///
/// Invariant: with several servers, everything goes to the one that took writes when a session was last opened; what
/// the pool had open before that is not used again.
pub(crate) struct Database {
    hosts: Vec<Host>,
    tls: Option<MakeRustlsConnect>,
    pool_size: u32,
    pool: OnceLock<PgPool>,
    at: Arc<Mutex<At>>,
}

/// Which server takes writes, and since when we know.
#[derive(Default)]
struct At {
    host: usize,
    since: Option<Instant>,
}

/// A session with a task that drives it. Dropping it closes the connection at once, also when a statement is running.
pub(crate) struct Session {
    pub client: Client,
    driver: JoinHandle<()>,
    /// The server process, which signs the notifications it causes.
    pub process: i32,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    pub fn is_alive(&self) -> bool {
        !self.client.is_closed() && !self.driver.is_finished()
    }

    /// Waits until the connection has ended.
    pub async fn ended(&mut self) {
        if !self.driver.is_finished() {
            // However it ended, it has.
            let _ = (&mut self.driver).await;
        }
    }
}

impl Database {
    /// Reads the URL. `sslmode` is `disable` (also when absent), `require`, `verify-ca` or `verify-full`; whatever asks
    /// for TLS gets the server's certificate verified in full.
    pub fn new(config: &Config) -> Result<Self> {
        let wrong = |what: &str| Error::Internal(format!("the database URL {what}"));
        let address = Address::parse(&config.url)?;
        let tls = match address.ssl_mode.as_str() {
            "disable" | "allow" | "prefer" => None,
            "require" | "verify-ca" | "verify-full" => Some(verified(address.ssl_root.as_deref())?),
            other => return Err(wrong(&format!("asks for the unknown sslmode {other:?}"))),
        };
        let host = |url: &Url| {
            let mut sessions = tokio_postgres::Config::from_str(url.as_str())
                .map_err(|error| wrong(&format!("cannot be understood: {error}")))?;
            sessions
                .application_name("pilothouse")
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_user_timeout(Duration::from_secs(10))
                .keepalives_idle(Duration::from_secs(10))
                .target_session_attrs(if address.read_write {
                    TargetSessionAttrs::ReadWrite
                } else {
                    TargetSessionAttrs::Any
                })
                .ssl_mode(if tls.is_some() { SslMode::Require } else { SslMode::Disable });
            let mut pool = PgConnectOptions::from_str(url.as_str())
                .map_err(|error| wrong(&format!("cannot be understood: {error}")))?
                .application_name("pilothouse-log")
                .options([("statement_timeout", "60s"), ("idle_in_transaction_session_timeout", "60s")])
                .ssl_mode(if tls.is_some() { PgSslMode::VerifyFull } else { PgSslMode::Disable });
            if let Some(root) = address.ssl_root.as_ref().filter(|_| tls.is_some()) {
                pool = pool.ssl_root_cert(root);
            }
            Ok::<_, Error>(Host { sessions, pool })
        };
        let hosts = address.hosts.iter().map(host).collect::<Result<_>>()?;
        Ok(Self { hosts, tls, pool_size: config.pool.max(1), pool: OnceLock::new(), at: Arc::default() })
    }

    /// The pool. Must be called within a runtime.
    pub fn pool(&self) -> PgPool {
        let make = || {
            let at = Arc::clone(&self.at);
            PgPoolOptions::new()
                .max_connections(self.pool_size)
                .min_connections(0)
                .idle_timeout(Duration::from_secs(30))
                .acquire_timeout(CONNECT_TIMEOUT)
                .before_acquire(move |_, connection| {
                    let since = at.lock().since;
                    Box::pin(async move { Ok(since.is_none_or(|since| connection.age < since.elapsed())) })
                })
                .connect_lazy_with(self.hosts[self.at.lock().host].pool.clone())
        };
        self.pool.get_or_init(make).clone()
    }

    /// Finds out which of several servers takes writes, before anything else is done.
    ///
    /// # Errors
    /// `Unavailable` when none does.
    pub async fn locate(&self) -> Result<()> {
        if self.hosts.len() > 1 {
            self.session(None).await?;
        }
        Ok(())
    }

    /// Opens a session; notifications by other processes go to `wake` (the content does not matter).
    pub async fn session(&self, wake: Option<mpsc::Sender<i32>>) -> Result<Session> {
        // All at once: which one takes writes now, nobody can know beforehand, and a host that is gone says nothing.
        let attempts = self.hosts.iter().enumerate().map(|(index, host)| {
            let wake = wake.clone();
            async move { Ok::<_, Error>((index, self.session_at(host, wake).await?)) }.boxed()
        });
        let outcome: Result<_> = select_ok(attempts).await.map(|(found, _)| found);
        let (index, session) = outcome?;
        self.found(index);
        Ok(session)
    }

    /// The server `index` takes writes.
    fn found(&self, index: usize) {
        let mut at = self.at.lock();
        if at.host != index {
            tracing::info!(host = ?self.hosts[index].sessions.get_hosts(), "another server takes the writes now");
            *at = At { host: index, since: Some(Instant::now()) };
            drop(at);
            self.pool().set_connect_options(self.hosts[index].pool.clone());
        }
    }

    async fn session_at(&self, host: &Host, wake: Option<mpsc::Sender<i32>>) -> Result<Session> {
        let connecting = async {
            match &self.tls {
                Some(tls) => {
                    let (client, connection) = host.sessions.connect(tls.clone()).await?;
                    Ok((client, tokio::spawn(drive(connection, wake))))
                }
                None => {
                    let (client, connection) = host.sessions.connect(tokio_postgres::NoTls).await?;
                    Ok((client, tokio::spawn(drive(connection, wake))))
                }
            }
        };
        let (client, driver) = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| Error::Unavailable("connecting takes too long".to_owned()))?
            .map_err(|error: tokio_postgres::Error| Error::from(error))?;
        let mut session = Session { client, driver, process: 0 };
        let asked = tokio::time::timeout(CONNECT_TIMEOUT, session.client.query_one(sql::PROCESS, &[])).await;
        let row = asked.map_err(|_| Error::Unavailable("connecting takes too long".to_owned()))??;
        session.process = row.try_get(0)?;
        Ok(session)
    }
}

async fn drive<S, T>(mut connection: tokio_postgres::Connection<S, T>, wake: Option<mpsc::Sender<i32>>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    loop {
        match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(notification))) => {
                if let Some(wake) = &wake {
                    // A full channel already holds a call that has not been answered.
                    let _ = wake.try_send(notification.process_id());
                }
            }
            Some(Ok(AsyncMessage::Notice(notice))) => tracing::debug!(notice = notice.message(), "PostgreSQL says"),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::debug!(%error, "a connection to PostgreSQL ended");
                return;
            }
            None => return,
        }
    }
}

fn verified(root: Option<&str>) -> Result<MakeRustlsConnect> {
    let broken = |what: String| Error::Internal(format!("sslrootcert: {what}"));
    let mut roots = rustls::RootCertStore::empty();
    match root {
        Some(path) => {
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| broken(format!("cannot read {path}: {error}")))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| broken(format!("{path}: {error}")))?;
                roots.add(certificate).map_err(|error| broken(format!("{path}: {error}")))?;
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| broken(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, fine) in [
            ("postgres:///db?host=/tmp/socket&user=postgres", true),
            ("postgres://u:p@localhost:5433/db?sslmode=verify-full", true),
            ("postgres://u:p@localhost/db?sslmode=require&sslrootcert=/does/not/exist", false),
            ("postgres://u:p@localhost/db?sslmode=perhaps", false),
            ("postgres://u:p@one:5433,two:5433/db?target_session_attrs=read-write", true),
            ("postgres://u:p@one,two/db?target_session_attrs=prefer-standby", false),
            ("mysql://localhost/db", false),
            ("nonsense", false),
        ] {
            assert_eq!(Database::new(&Config::new(url)).is_ok(), fine, "{url}");
        }
    }
}
