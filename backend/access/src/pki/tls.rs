//! The TLS side: which certificate we show, which client certificates we take.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{Error, Result, certificate_expiry};

/// The server's own certificate; it can be exchanged while connections are open, new handshakes get the new one.
#[derive(Debug)]
pub struct Leaf(ArcSwap<CertifiedKey>);

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let all = all.map_err(|e| Error::Certificate(e.to_string()))?;
    if all.is_empty() { Err(Error::Certificate("no certificate in the PEM text".into())) } else { Ok(all) }
}

fn certified(certificate_pem: &str, key_pem: &str) -> Result<Arc<CertifiedKey>> {
    let chain = certificates(certificate_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|e| Error::Certificate(e.to_string()))?;
    Ok(Arc::new(CertifiedKey::from_der(chain, key, &ring::default_provider())?))
}

impl Leaf {
    /// `certificate_pem` may hold a chain, the leaf first.
    pub fn new(certificate_pem: &str, key_pem: &str) -> Result<Arc<Self>> {
        Ok(Arc::new(Self(ArcSwap::new(certified(certificate_pem, key_pem)?))))
    }

    /// Takes over a new certificate; when it is unusable the old one stays.
    pub fn replace(&self, certificate_pem: &str, key_pem: &str) -> Result<()> {
        self.0.store(certified(certificate_pem, key_pem)?);
        Ok(())
    }

    pub fn not_after(&self) -> Result<Timestamp> {
        match self.0.load().cert.first() {
            Some(leaf) => certificate_expiry(leaf),
            None => Err(Error::Certificate("no certificate".into())),
        }
    }
}

impl ResolvesServerCert for Leaf {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// Whether a connection may come without a client certificate. One that is shown is always verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    Optional,
    Required,
}

/// TLS 1.2 and 1.3 with `leaf`, client certificates verified against `authorities` (PEM, several allowed in each),
/// expiry included. `alpn` for HTTP is `["h2", "http/1.1"]`.
pub fn server_config(
    leaf: Arc<Leaf>,
    authorities: &[&str],
    clients: ClientCertificates,
    alpn: &[&str],
) -> Result<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    for pem in authorities {
        for certificate in certificates(pem)? {
            roots.add(certificate)?;
        }
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = match clients {
        ClientCertificates::Optional => verifier.allow_unauthenticated(),
        ClientCertificates::Required => verifier,
    };
    let verifier = verifier.build().map_err(|e| Error::Certificate(e.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(leaf);
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Ok(config)
}
