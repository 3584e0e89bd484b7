//! Who a verified client certificate names.

use std::fmt::Write as _;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;

use super::{Error, Result};
use crate::UserInfo;

fn parse(der: &[u8]) -> Result<X509Certificate<'_>> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|e| Error::Certificate(e.to_string()))?;
    Ok(certificate)
}

/// The user of a certificate that TLS has verified: the common name, the organizations as groups, and the
/// certificate's fingerprint as the credential's id. Errors: a certificate without a common name names nobody.
pub fn identity(der: &[u8]) -> Result<UserInfo> {
    let certificate = parse(der)?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().last().and_then(|name| name.as_str().ok()).unwrap_or("");
    if name.is_empty() {
        return Err(Error::Certificate("the subject has no common name".into()));
    }
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned).collect();
    let mut fingerprint = "X509SHA256=".to_owned();
    for byte in Sha256::digest(der) {
        let _ = write!(fingerprint, "{byte:02x}");
    }
    let extra = [("authentication.kubernetes.io/credential-id".to_owned(), vec![fingerprint])];
    Ok(UserInfo { name: name.to_owned(), uid: String::new(), groups, extra: extra.into() })
}

/// When a certificate ends.
pub fn certificate_expiry(der: &[u8]) -> Result<Timestamp> {
    let seconds = parse(der)?.validity().not_after.timestamp();
    Timestamp::from_second(seconds).map_err(|e| Error::Certificate(e.to_string()))
}
