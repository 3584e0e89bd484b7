//! Connections to an extension server: through the tunnel to one of its Service's endpoints, TLS with the front proxy's
//! certificate, kept while they are used.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::identity::FrontProxy;
use super::services::Remote;
use crate::body::Body;
use crate::webhook::{BoxStream, Dialer, Trust};

/// How long an unused connection is kept, and how many of them.
const IDLE_FOR: Duration = Duration::from_secs(60);
const MAX_IDLE: usize = 16;
/// How long a connection may take to come about.
const PATIENCE: Duration = Duration::from_secs(15);

pub type HttpClient = Client<Connector, Body>;

/// A client of one extension server.
///
/// # Errors
/// When its bundle cannot be used.
pub fn client(
    remote: &Remote,
    dialer: &Dialer,
    trust: &Trust,
    identity: &Arc<FrontProxy>,
) -> Result<HttpClient, String> {
    let mut tls: ClientConfig =
        if remote.insecure { anybody()? } else { (*trust.config(remote.bundle.as_deref())?).clone() };
    tls.client_auth_cert_resolver = Arc::clone(identity) as _;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let connector = Connector {
        tls: TlsConnector::from(Arc::new(tls)),
        host: remote.host(),
        namespace: remote.namespace.clone(),
        service: remote.service.clone(),
        port: remote.port,
        dialer: dialer.clone(),
    };
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_FOR)
        .pool_max_idle_per_host(MAX_IDLE)
        .build(connector))
}

#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    host: String,
    namespace: String,
    service: String,
    port: u16,
    dialer: Dialer,
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = std::io::Error;
    type Future = futures::future::BoxFuture<'static, std::io::Result<Stream>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let own = self.clone();
        Box::pin(async move {
            let name = ServerName::try_from(own.host).map_err(std::io::Error::other)?;
            let connect = async {
                let stream = own.dialer.service(&own.namespace, &own.service, own.port).await;
                own.tls.connect(name, stream.map_err(std::io::Error::other)?).await
            };
            match tokio::time::timeout(PATIENCE, connect).await {
                Ok(stream) => Ok(Stream(TokioIo::new(stream?))),
                Err(_) => Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "i/o timeout")),
            }
        })
    }
}

pub struct Stream(TokioIo<TlsStream<BoxStream>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        hyper::rt::Read::poll_read(Pin::new(&mut self.0), cx, buffer)
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        hyper::rt::Write::poll_write(Pin::new(&mut self.0), cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        hyper::rt::Write::poll_flush(Pin::new(&mut self.0), cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        hyper::rt::Write::poll_shutdown(Pin::new(&mut self.0), cx)
    }
}

/// For `insecureSkipTLSVerify`: encrypted, but to whom is not asked.
pub fn anybody() -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Anybody(provider.signature_verification_algorithms.supported_schemes()));
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

#[derive(Debug)]
struct Anybody(Vec<SignatureScheme>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
