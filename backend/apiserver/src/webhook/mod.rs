//! The client of webhooks: admission, conversion, and whatever else asks an HTTPS server that its users run, inside the
//! cluster or outside.
//!
//! Invariants: a call ends within its timeout, whatever the other side does; an answer is bounded; connections are kept
//! for a while and never shared by two calls at once.

mod config;
mod dial;
mod trust;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use pilothouse_storage::Store;
use pilothouse_tunnel::Tunnels;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio_rustls::TlsConnector;

use crate::traces;

pub use config::{Address, Endpoint};
pub use dial::{BoxStream, Dialer};
pub use trust::Trust;

/// Longest answer that is read: a list of objects comes back converted, so it is more than one object's limit.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
/// Connections to one server that are kept while nobody uses them, and for how long.
const MAX_IDLE: usize = 8;
const IDLE_FOR: Duration = Duration::from_secs(30);
/// Servers to which connections are kept.
const MAX_SERVERS: usize = 256;
/// Longest piece of a refusal's body that goes into an error.
const MAX_SHOWN: usize = 1024;

/// How a call failed; the texts are what clients see behind `failed calling webhook "…": `.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("{0}")]
    Config(String),
    #[error("Post {0:?}: context deadline exceeded")]
    TimedOut(String),
    #[error("Post {url:?}: {why}")]
    Unreachable { url: String, why: String },
    #[error("{}", refusal(*code, text))]
    Refused { code: StatusCode, text: String },
    #[error("the webhook's answer cannot be read: {0}")]
    Answer(String),
}

fn refusal(code: StatusCode, text: &str) -> String {
    match code {
        StatusCode::NOT_FOUND => "the server could not find the requested resource".into(),
        code if code.is_server_error() => {
            format!("an error on the server ({text:?}) has prevented the request from succeeding")
        }
        code => format!("the server rejected our request for an unknown reason ({}): {text}", code.as_u16()),
    }
}

type Sender = SendRequest<Full<Bytes>>;
/// What a connection is good for: whom it reaches and whom it trusted.
type Server = (Address, Option<Arc<[u8]>>);

/// Calls webhooks.
pub struct Client {
    dialer: Dialer,
    trust: Trust,
    idle: Mutex<HashMap<Server, Vec<(Instant, Sender)>>>,
}

impl Client {
    pub fn new(store: Store, tunnels: Tunnels) -> Self {
        Self { dialer: Dialer::new(store, tunnels), trust: Trust::default(), idle: Mutex::default() }
    }

    /// Opens streams to Services without TLS, for those who have their own protocol to speak.
    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// Sends a review, gives the answer.
    ///
    /// # Errors
    /// How it failed, within `timeout`.
    pub async fn call(&self, config: &Value, review: &Value, timeout: Duration) -> Result<Value, CallError> {
        let endpoint = Endpoint::parse(config).map_err(CallError::Config)?;
        let bytes = self.post(&endpoint, review.to_string().into(), timeout).await?;
        serde_json::from_slice(&bytes).map_err(|error| CallError::Answer(error.to_string()))
    }

    /// Posts JSON, gives the body of a 2xx answer.
    ///
    /// # Errors
    /// How it failed, within `timeout`.
    pub async fn post(&self, endpoint: &Endpoint, body: Bytes, timeout: Duration) -> Result<Bytes, CallError> {
        let join = if endpoint.path.contains('?') { '&' } else { '?' };
        let path = format!("{}{join}timeout={}", endpoint.path, go_seconds(timeout));
        let url = format!("https://{}{path}", endpoint.authority());
        let exchange = self.exchange(endpoint, &path, &url, body);
        match tokio::time::timeout(timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::TimedOut(url)),
        }
    }

    async fn exchange(&self, endpoint: &Endpoint, path: &str, url: &str, body: Bytes) -> Result<Bytes, CallError> {
        let server: Server = (endpoint.address.clone(), endpoint.bundle.clone());
        let unreachable = |why: String| CallError::Unreachable { url: url.to_owned(), why };
        let request = || {
            let mut request = Request::post(path)
                .header(HOST, endpoint.authority())
                .header(CONTENT_TYPE, "application/json")
                .header(ACCEPT, "application/json")
                .header(USER_AGENT, concat!("pilothouse/", env!("CARGO_PKG_VERSION")))
                .body(Full::new(body.clone()))
                .map_err(|error| CallError::Config(error.to_string()))?;
            traces::inject(request.headers_mut());
            Ok::<_, CallError>(request)
        };
        // A kept connection may have been closed just now: then a new one gets the same request.
        while let Some(mut sender) = self.take(&server) {
            if sender.ready().await.is_ok()
                && let Ok(answer) = sender.send_request(request()?).await
            {
                return self.finish(server, sender, answer, &unreachable).await;
            }
        }
        let mut sender = self.connect(endpoint).await.map_err(&unreachable)?;
        let answer = sender.send_request(request()?).await.map_err(|error| unreachable(causes(&error)))?;
        self.finish(server, sender, answer, &unreachable).await
    }

    async fn finish(
        &self,
        server: Server,
        sender: Sender,
        answer: http::Response<hyper::body::Incoming>,
        unreachable: &impl Fn(String) -> CallError,
    ) -> Result<Bytes, CallError> {
        let code = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
        let body = match body {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Err(CallError::Answer(format!("it is longer than {MAX_ANSWER_BYTES} bytes")));
            }
            Err(error) => return Err(unreachable(error.to_string())),
        };
        self.keep(server, sender);
        if code.is_success() {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(&body[..body.len().min(MAX_SHOWN)]).trim().to_owned();
        Err(CallError::Refused { code, text })
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Sender, String> {
        let tls = self.trust.config(endpoint.bundle.as_deref())?;
        let name = ServerName::try_from(endpoint.server_name()).map_err(|error| error.to_string())?;
        let stream = match &endpoint.address {
            Address::Host { host, port } => self.dialer.address(host, *port).await,
            Address::Service { namespace, name, port } => self.dialer.service(namespace, name, *port).await,
        };
        let stream = stream.map_err(|error| error.to_string())?;
        let stream =
            TlsConnector::from(tls).connect(name, stream).await.map_err(|error| format!("tls: {}", causes(&error)))?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| causes(&error))?;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }

    fn take(&self, server: &Server) -> Option<Sender> {
        let mut idle = self.idle.lock();
        let kept = idle.get_mut(server)?;
        while let Some((since, sender)) = kept.pop() {
            if since.elapsed() < IDLE_FOR && !sender.is_closed() {
                return Some(sender);
            }
        }
        idle.remove(server);
        None
    }

    fn keep(&self, server: Server, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock();
        if idle.len() >= MAX_SERVERS && !idle.contains_key(&server) {
            idle.clear();
        }
        let kept = idle.entry(server).or_default();
        kept.retain(|(since, sender)| since.elapsed() < IDLE_FOR && !sender.is_closed());
        if kept.len() < MAX_IDLE {
            kept.push((Instant::now(), sender));
        }
    }
}

/// A duration as Go writes it, to the millisecond.
fn go_seconds(duration: Duration) -> String {
    if duration.subsec_millis() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}

/// An error with what caused it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    text
}
