//! The front proxy's identity: how extension servers know that a request comes from us and may be believed when it says
//! who asks.
//!
//! Invariant: the authority is one of its own; what it signs proves nothing to this server.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use pilothouse_access::pki::{self, Ca, Validity};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// The name that extension servers are told to accept.
pub const NAME: &str = "front-proxy-client";
/// A certificate with less left is replaced.
const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Shows a certificate of the front proxy's authority, always a young one.
pub struct FrontProxy {
    ca: Ca,
    current: ArcSwapOption<(Timestamp, Arc<CertifiedKey>)>,
}

impl std::fmt::Debug for FrontProxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrontProxy").finish_non_exhaustive()
    }
}

impl FrontProxy {
    /// # Errors
    /// When the authority cannot be used.
    pub fn new(certificate_pem: &str, key_pem: &str) -> pki::Result<Self> {
        Ok(Self { ca: Ca::load(certificate_pem, key_pem)?, current: ArcSwapOption::empty() })
    }

    pub fn authority_pem(&self) -> &str {
        self.ca.certificate_pem()
    }

    fn certificate(&self, now: Timestamp) -> Option<Arc<CertifiedKey>> {
        if let Some(current) = &*self.current.load()
            && current.0.duration_since(now).unsigned_abs() > RENEW_BEFORE
            && current.0 > now
        {
            return Some(Arc::clone(&current.1));
        }
        let issued = self.ca.issue_client(NAME, &[], Validity::one_year(now)).ok()?;
        let chain = vec![CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).ok()?];
        let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).ok()?;
        let key = Arc::new(CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()).ok()?);
        self.current.store(Some(Arc::new((issued.not_after, Arc::clone(&key)))));
        Some(key)
    }
}

impl ResolvesClientCert for FrontProxy {
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let key = self.certificate(Timestamp::now())?;
        key.key.choose_scheme(schemes).map(|_| key)
    }
    fn has_certs(&self) -> bool {
        true
    }
}
