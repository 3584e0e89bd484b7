//! HTTP as probes and hooks speak it: one request, a bounded answer, certificates not looked at (as upstream).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::tls;

/// Upstream reads this much of an answer.
const MAX_BODY: usize = 10 * 1024;
const MAX_REDIRECTS: usize = 10;

#[derive(Clone, Debug)]
pub struct Target {
    pub https: bool,
    pub host: String,
    pub port: u16,
    /// Path and query.
    pub path: String,
    pub headers: Vec<(String, String)>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: String,
    /// It led to another host, where it was not followed.
    pub left: bool,
}

/// `host:port`, with brackets around an IPv6 address.
#[must_use]
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

async fn send(
    target: &Target,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<(StatusCode, Option<String>, String), String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // It ends with the sender.
    let connection = tokio::spawn(connection);
    let mut request = Request::builder().method(Method::GET).uri(&target.path);
    let headers = request.headers_mut().ok_or_else(|| format!("bad path {:?}", target.path))?;
    headers.insert(http::header::USER_AGENT, HeaderValue::from_static("kube-probe/1.36"));
    headers.insert(http::header::ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    let host = HeaderValue::from_str(&authority(&target.host, target.port)).map_err(|error| error.to_string())?;
    headers.insert(http::header::HOST, host);
    for (name, value) in &target.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
        headers.insert(name, HeaderValue::from_str(value).map_err(|error| error.to_string())?);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let location =
        answer.headers().get(http::header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    // More than that is not read; what was read is of no further interest.
    let body = Limited::new(answer.into_body(), MAX_BODY).collect().await.map(|body| body.to_bytes());
    let body = body.map_or_else(|_| String::new(), |body| String::from_utf8_lossy(&body).into_owned());
    connection.abort();
    Ok((status, location, body))
}

async fn once(target: &Target) -> Result<(StatusCode, Option<String>, String), String> {
    let address = authority(&target.host, target.port);
    let stream = TcpStream::connect(&address).await.map_err(|error| format!("dial tcp {address}: {error}"))?;
    if !target.https {
        return send(target, stream).await;
    }
    let name = ServerName::try_from(target.host.clone()).map_err(|error| error.to_string())?;
    let stream = tls::trusting()?.connect(name, stream).await.map_err(|error| error.to_string())?;
    send(target, stream).await
}

/// Sends one GET, following redirects on the same host.
///
/// # Errors
/// Why there was no answer, in words for an event.
pub async fn get(mut target: Target, timeout: Duration) -> Result<Answer, String> {
    let shown = |target: &Target| {
        let scheme = if target.https { "https" } else { "http" };
        format!("Get \"{scheme}://{}{}\"", authority(&target.host, target.port), target.path)
    };
    let first = shown(&target);
    let asking = async {
        for _ in 0..=MAX_REDIRECTS {
            let (status, location, body) =
                once(&target).await.map_err(|error| format!("{}: {error}", shown(&target)))?;
            let location = location.filter(|_| status.is_redirection());
            let Some(location) = location.and_then(|location| location.parse::<Uri>().ok()) else {
                return Ok(Answer { status, body, left: false });
            };
            if location.host().is_some_and(|host| host.trim_matches(['[', ']']) != target.host) {
                return Ok(Answer { status, body, left: true });
            }
            if let Some(scheme) = location.scheme_str() {
                target.https = scheme == "https";
                target.port = location.port_u16().unwrap_or(if target.https { 443 } else { 80 });
            }
            let path = location.path_and_query().map_or("/", |path| path.as_str());
            path.clone_into(&mut target.path);
        }
        Err(format!("{first}: stopped after {MAX_REDIRECTS} redirects"))
    };
    let late =
        |_| format!("{}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)", first.clone());
    tokio::time::timeout(timeout, asking).await.map_err(late)?
}
