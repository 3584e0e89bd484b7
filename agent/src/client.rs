//! The agent's client of the Kubernetes API, over TLS with the node's certificate.

use std::time::Duration;

use anyhow::{Context, Result};
use http::Request;
use http::header::{HeaderValue, USER_AGENT};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt};
use tower::{BoxError, ServiceBuilder};

use crate::config::Config;

const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// A backend that vanished without a word is noticed by the kernel: 3 probes, 5 s apart, after 10 s of silence.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;
/// And by HTTP/2, while something is under way: what was sent into a connection that is dead is not waited for long.
const PING: Duration = Duration::from_secs(10);
/// A connection that nobody uses costs memory on both sides.
const IDLE: Duration = Duration::from_secs(30);
/// Its first part is what the fields that the agent writes are owned by: the name everybody knows.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("kubelet/pilothouse-", env!("CARGO_PKG_VERSION")));

fn build(config: &Config, tls: rustls::ClientConfig, token: Option<&str>) -> Result<kube::Client> {
    let uri = config.server.as_str().parse().context("the server's address")?;
    let mut kube_config = kube::Config::new(uri);
    kube_config.auth_info.token = token.map(|token| token.to_owned().into());
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(CONNECT_PATIENCE));
    http.set_keepalive(Some(KEEPALIVE));
    http.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    http.set_keepalive_retries(Some(KEEPALIVE_PROBES));
    let https = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http2().wrap_connector(http);
    // Everything through one connection: a node costs a backend one, whatever it watches and however much it does at once.
    let client = HttpClient::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .http2_only(true)
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PING)
        .build::<_, Body>(https);
    let service = ServiceBuilder::new()
        .map_request(|mut request: Request<Body>| {
            request.headers_mut().insert(USER_AGENT, AGENT);
            request
        })
        .layer(kube_config.base_uri_layer())
        .option_layer(kube_config.auth_layer()?)
        .map_err(BoxError::from)
        .service(client);
    Ok(ClientBuilder::new(service, "default").build())
}

/// A client that shows the node's certificate (it is part of `tls`).
pub fn with_certificate(config: &Config, tls: rustls::ClientConfig) -> Result<kube::Client> {
    build(config, tls, None)
}

/// A client that shows a bearer token.
pub fn with_token(config: &Config, tls: rustls::ClientConfig, token: &str) -> Result<kube::Client> {
    build(config, tls, Some(token))
}

/// Whether the API answered that there is no such object.
#[must_use]
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the API answered that the object has changed, or exists.
#[must_use]
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}
