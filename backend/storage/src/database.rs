//! Reaching PostgreSQL: one URL, two clients.
//!
//! The writer and the listener hold sessions of their own (`tokio-postgres`, which pipelines); everything that may
//! take long (log, history, maintenance, migrations) uses a small `sqlx` pool that is empty when idle.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgSslMode};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Url;

use crate::{Config, Error, Result, sql};

/// An attempt to connect is given up after this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How PostgreSQL is reached.
#[derive(Clone)]
pub(crate) struct Database {
    sessions: tokio_postgres::Config,
    tls: Option<MakeRustlsConnect>,
    pool: PgConnectOptions,
    pool_size: u32,
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
        let mut url = Url::parse(&config.url).map_err(|error| wrong(&format!("cannot be parsed: {error}")))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(wrong("must start with postgres://"));
        }
        let (mut mode, mut root) = ("disable".to_owned(), None);
        let mut rest = Vec::new();
        for (name, value) in url.query_pairs() {
            match &*name {
                "sslmode" => mode = value.into_owned(),
                "sslrootcert" => root = Some(value.into_owned()),
                _ => rest.push((name.into_owned(), value.into_owned())),
            }
        }
        url.set_query(None);
        if !rest.is_empty() {
            url.query_pairs_mut().extend_pairs(&rest);
        }
        let tls = match mode.as_str() {
            "disable" | "allow" | "prefer" => None,
            "require" | "verify-ca" | "verify-full" => Some(verified(root.as_deref())?),
            other => return Err(wrong(&format!("asks for the unknown sslmode {other:?}"))),
        };

        let mut sessions = tokio_postgres::Config::from_str(url.as_str())
            .map_err(|error| wrong(&format!("cannot be understood: {error}")))?;
        sessions
            .application_name("pilothouse")
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(Duration::from_secs(10))
            .keepalives_idle(Duration::from_secs(10))
            .ssl_mode(if tls.is_some() {
                tokio_postgres::config::SslMode::Require
            } else {
                tokio_postgres::config::SslMode::Disable
            });
        let mut pool = PgConnectOptions::from_str(url.as_str())
            .map_err(|error| wrong(&format!("cannot be understood: {error}")))?
            .application_name("pilothouse-log")
            .options([("statement_timeout", "60s"), ("idle_in_transaction_session_timeout", "60s")])
            .ssl_mode(if tls.is_some() { PgSslMode::VerifyFull } else { PgSslMode::Disable });
        if let Some(root) = root.filter(|_| tls.is_some()) {
            pool = pool.ssl_root_cert(root);
        }
        Ok(Self { sessions, tls, pool, pool_size: config.pool.max(1) })
    }

    pub fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(self.pool_size)
            .min_connections(0)
            .idle_timeout(Duration::from_secs(30))
            .acquire_timeout(CONNECT_TIMEOUT)
            .connect_lazy_with(self.pool.clone())
    }

    /// Opens a session; notifications by other processes go to `wake` (the content does not matter).
    pub async fn session(&self, wake: Option<mpsc::Sender<i32>>) -> Result<Session> {
        let connecting = async {
            match &self.tls {
                Some(tls) => {
                    let (client, connection) = self.sessions.connect(tls.clone()).await?;
                    Ok((client, tokio::spawn(drive(connection, wake))))
                }
                None => {
                    let (client, connection) = self.sessions.connect(tokio_postgres::NoTls).await?;
                    Ok((client, tokio::spawn(drive(connection, wake))))
                }
            }
        };
        let (client, driver) = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| Error::Unavailable("connecting takes too long".to_owned()))?
            .map_err(|error: tokio_postgres::Error| Error::from(error))?;
        let mut session = Session { client, driver, process: 0 };
        let row = session.client.query_one(sql::PROCESS, &[]).await?;
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
            ("mysql://localhost/db", false),
            ("nonsense", false),
        ] {
            assert_eq!(Database::new(&Config::new(url)).is_ok(), fine, "{url}");
        }
    }
}
