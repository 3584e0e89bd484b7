//! One connection to a server: as cheap as can be, because client and server share the machine.
//!
//! Invariant: nothing here looks into a body. Who wants to know what is in it counts bytes or searches for a marker.

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::target::Target;

/// Windows for lists of megabytes and many watches on one connection.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const AGENT: HeaderValue = HeaderValue::from_static("pilothouse-bench");

/// A connection that takes one request after another.
pub struct Connection {
    sender: Sender,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
    authority: String,
    target: Target,
}

enum Sender {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

impl Sender {
    fn is_closed(&self) -> bool {
        match self {
            Self::H1(sender) => sender.is_closed(),
            Self::H2(sender) => sender.is_closed(),
        }
    }
}

impl Connection {
    /// # Errors
    /// When the server cannot be reached or its certificate is not trusted.
    pub async fn open(target: &Target) -> Result<Self> {
        let tcp = TcpStream::connect((target.host.as_str(), target.port))
            .await
            .with_context(|| format!("connecting to {}:{}", target.host, target.port))?;
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(target.tls.clone());
        let tls = connector.connect(target.server_name.clone(), tcp).await.context("the TLS handshake")?;
        let io = TokioIo::new(tls);
        let sender = if target.is_h2() {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .handshake(io)
                .await?;
            tokio::spawn(connection);
            Sender::H2(sender)
        } else {
            let (sender, connection) = http1::handshake(io).await?;
            tokio::spawn(connection);
            Sender::H1(sender)
        };
        let authority = if target.host.contains(':') {
            format!("[{}]:{}", target.host, target.port)
        } else {
            format!("{}:{}", target.host, target.port)
        };
        let mut authorization = target.authorization.as_deref().map(HeaderValue::from_str).transpose()?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        let host = HeaderValue::from_str(&authority)?;
        Ok(Self { sender, host, authorization, authority, target: target.clone() })
    }

    /// Sends a request; gives the response's head, with the body to be read.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>> {
        self.send_as(method, path, body, JSON).await
    }

    async fn send_as(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
        media: HeaderValue,
    ) -> Result<Response<Incoming>> {
        // Servers close what nobody used for a while.
        if self.sender.is_closed() {
            *self = Box::pin(Self::open(&self.target)).await?;
        }
        let has_body = !body.is_empty();
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = match &self.sender {
            Sender::H1(_) => Uri::try_from(path)?,
            Sender::H2(_) => {
                Uri::builder().scheme("https").authority(self.authority.as_str()).path_and_query(path).build()?
            }
        };
        let headers = request.headers_mut();
        if matches!(self.sender, Sender::H1(_)) {
            headers.insert(HOST, self.host.clone());
        }
        headers.insert(ACCEPT, JSON);
        headers.insert(USER_AGENT, AGENT);
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if has_body {
            headers.insert(CONTENT_TYPE, media);
        }
        match &mut self.sender {
            Sender::H1(sender) => {
                sender.ready().await?;
                Ok(sender.send_request(request).await?)
            }
            Sender::H2(sender) => {
                sender.ready().await?;
                Ok(sender.send_request(request).await?)
            }
        }
    }

    /// Sends a request and drops what comes back; gives its status and length.
    ///
    /// # Errors
    /// When the connection ends before the answer does.
    pub async fn call(&mut self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, u64)> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, |data| data.len() as u64);
        }
        Ok((status, length))
    }

    /// Sends a request and gives the whole answer.
    ///
    /// # Errors
    /// When the connection ends before the answer does.
    pub async fn fetch(&mut self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes)> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            if let Some(data) = frame?.data_ref() {
                all.extend_from_slice(data);
            }
        }
        Ok((status, all.freeze()))
    }

    /// A merge patch that must succeed.
    ///
    /// # Errors
    /// Also for an answer that is not 2xx.
    pub async fn patch(&mut self, path: &str, body: Bytes) -> Result<()> {
        let media = HeaderValue::from_static("application/merge-patch+json");
        let response = self.send_as(Method::PATCH, path, body, media).await?;
        let status = response.status();
        response.into_body().collect().await?;
        if !status.is_success() {
            bail!("PATCH {path}: {status}");
        }
        Ok(())
    }

    /// [`Connection::fetch`] that must succeed.
    ///
    /// # Errors
    /// Also for an answer that is not 2xx, with its text.
    pub async fn expect(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let (status, answer) = self.fetch(method.clone(), path, body).await?;
        if !status.is_success() {
            bail!("{method} {path}: {status}: {}", String::from_utf8_lossy(&answer[..answer.len().min(500)]));
        }
        Ok(answer)
    }
}

/// Splits a body that arrives in pieces into lines, without copying those that lie within one piece.
#[derive(Default)]
pub struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    pub fn feed(&mut self, piece: &[u8], mut each: impl FnMut(&[u8])) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', piece) {
            if self.rest.is_empty() {
                each(&piece[start..end]);
            } else {
                self.rest.extend_from_slice(&piece[start..end]);
                each(&self.rest);
                self.rest.clear();
            }
            start = end + 1;
        }
        self.rest.extend_from_slice(&piece[start..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let text = b"one\ntwo\n\nlonger line\nunfinished";
        for size in 1..text.len() {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for piece in text.chunks(size) {
                lines.feed(piece, |line| seen.push(String::from_utf8_lossy(line).into_owned()));
            }
            assert_eq!(seen, ["one", "two", "", "longer line"], "pieces of {size}");
        }
    }
}
