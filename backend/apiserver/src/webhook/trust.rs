//! Whose certificates a webhook's server may show: those of its `caBundle`, or what this machine trusts.
//!
//! Invariant: what is remembered is bounded; a bundle is known by its digest, so a changed one is another.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

/// Bundles whose configuration is kept; beyond it all are built anew.
const MAX_BUNDLES: usize = 512;

/// TLS configurations by trust bundle.
#[derive(Default)]
pub struct Trust {
    configs: Mutex<HashMap<[u8; 32], Arc<ClientConfig>>>,
}

impl Trust {
    /// # Errors
    /// When the bundle holds no certificate.
    pub fn config(&self, bundle: Option<&[u8]>) -> Result<Arc<ClientConfig>, String> {
        let digest: [u8; 32] = bundle.map(|bundle| Sha256::digest(bundle).into()).unwrap_or_default();
        if let Some(config) = self.configs.lock().get(&digest) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(match bundle {
            Some(bundle) => of_bundle(bundle)?,
            None => of_system()?,
        });
        let mut configs = self.configs.lock();
        if configs.len() >= MAX_BUNDLES {
            configs.clear();
        }
        configs.insert(digest, Arc::clone(&config));
        Ok(config)
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn of_roots(roots: RootCertStore, exact: Vec<CertificateDer<'static>>) -> Result<ClientConfig, String> {
    let provider = provider();
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| format!("unable to load root certificates: {error}"))?;
    let verifier = Arc::new(Verifier { inner, exact });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn of_bundle(bundle: &[u8]) -> Result<ClientConfig, String> {
    let certificates: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(bundle).filter_map(Result::ok).collect();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates.iter().cloned());
    if added == 0 {
        return Err("unable to load root certificates: unable to parse bytes as PEM block".into());
    }
    of_roots(roots, certificates)
}

fn of_system() -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("this machine trusts no certificate authority; set caBundle".into());
    }
    of_roots(roots, Vec::new())
}

/// The usual verification, and one thing that clients of Kubernetes rely on: a certificate that is itself in the bundle
/// is trusted although it is no authority, or is one (self-signed servers).
#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    exact: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(error) if self.exact.iter().any(|known| known == end_entity) => {
                if matches!(error, Error::InvalidCertificate(CertificateError::NotValidForName)) {
                    return Err(error);
                }
                in_time(end_entity, now)?;
                rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn in_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < parsed.validity.not_before.timestamp() {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    if now > parsed.validity.not_after.timestamp() {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    Ok(())
}
