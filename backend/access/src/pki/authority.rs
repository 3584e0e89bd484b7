//! The certificate authority: created once, loaded ever after.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::{Error, Result, certificate_expiry, der};
use crate::{groups, names};

/// Certificates start this much in the past, because clocks differ.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
const DAY: u64 = 24 * 60 * 60;
/// Upstream's (kubeadm's) life of an authority.
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * DAY);

/// From when, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    pub now: Timestamp,
    pub life: Duration,
}

impl Validity {
    /// kubeadm's life of a certificate.
    pub fn one_year(now: Timestamp) -> Self {
        Self { now, life: Duration::from_secs(365 * DAY) }
    }
}

/// A certificate with its new key, both PEM.
#[derive(Clone)]
pub struct Issued {
    pub certificate_pem: String,
    pub key_pem: String,
    pub not_after: Timestamp,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

pub struct Ca {
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
    not_after: Timestamp,
}

/// What goes into a certificate besides its subject.
pub(super) struct Contents {
    pub names: Vec<SanType>,
    pub usages: Vec<KeyUsagePurpose>,
    pub extended: Vec<ExtendedKeyUsagePurpose>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

impl Ca {
    /// A new self-signed authority. Upstream's names: `kubernetes`, and `front-proxy-ca` for the aggregation layer.
    pub fn create(common_name: &str, now: Timestamp) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common(common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = instant(now - BACKDATE);
        params.not_after = instant(now + CA_LIFE);
        params.serial_number = Some(serial());
        let certificate = params.self_signed(&key)?;
        Self::load(&certificate.pem(), &key.serialize_pem())
    }

    pub fn load(certificate_pem: &str, key_pem: &str) -> Result<Self> {
        let key = KeyPair::from_pem(key_pem)?;
        let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|e| Error::Certificate(e.to_string()))?;
        let not_after = certificate_expiry(&certificate)?;
        let (_, parsed) =
            x509_parser::parse_x509_certificate(&certificate).map_err(|e| Error::Certificate(e.to_string()))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(Error::Certificate("the key does not belong to the certificate".into()));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self {
            certificate_pem: certificate_pem.to_owned(),
            certificate,
            key_pem: key_pem.to_owned(),
            issuer,
            not_after,
        })
    }

    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }
    pub fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.certificate
    }
    /// The private key as PEM, for the caller to store.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// A serving certificate. `names` are DNS names and IP addresses.
    pub fn issue_server(&self, common_name: &str, names: &[&str], validity: Validity) -> Result<Issued> {
        let names: Result<Vec<SanType>> = names.iter().map(|name| alternative_name(name)).collect();
        self.issue(&der::subject(common_name, &[]), names?, ExtendedKeyUsagePurpose::ServerAuth, validity)
    }

    /// A client certificate: the user as common name, its groups as organizations.
    pub fn issue_client(&self, user: &str, groups: &[&str], validity: Validity) -> Result<Issued> {
        self.issue(&der::subject(user, groups), Vec::new(), ExtendedKeyUsagePurpose::ClientAuth, validity)
    }

    /// The first administrator: `kubernetes-admin` of `system:masters`.
    pub fn issue_admin(&self, validity: Validity) -> Result<Issued> {
        self.issue_client(names::ADMIN, &[groups::MASTERS], validity)
    }

    fn issue(
        &self,
        subject: &[u8],
        names: Vec<SanType>,
        purpose: ExtendedKeyUsagePurpose,
        validity: Validity,
    ) -> Result<Issued> {
        let key = KeyPair::generate()?;
        let contents = Contents {
            names,
            usages: vec![KeyUsagePurpose::DigitalSignature],
            extended: vec![purpose],
            not_before: validity.now - BACKDATE,
            not_after: validity.now + validity.life,
        };
        let (certificate_pem, not_after) = self.sign(subject, &key, contents)?;
        Ok(Issued { certificate_pem, key_pem: key.serialize_pem(), not_after })
    }

    /// Signs a leaf; it never outlives the authority.
    pub(super) fn sign(
        &self,
        subject: &[u8],
        key: &impl PublicKeyData,
        contents: Contents,
    ) -> Result<(String, Timestamp)> {
        let not_after = contents.not_after.min(self.not_after);
        if contents.not_before >= not_after {
            return Err(Error::Certificate("the authority has expired".into()));
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = common("replaced below");
        params.subject_alt_names = contents.names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = contents.usages;
        params.extended_key_usages = contents.extended;
        params.not_before = instant(contents.not_before);
        params.not_after = instant(not_after);
        params.serial_number = Some(serial());
        params.use_authority_key_identifier_extension = true;
        let draft = params.signed_by(key, &self.issuer)?;
        let signed = der::with_subject(draft.der(), subject, self.issuer.key())?;
        Ok((pem("CERTIFICATE", &signed), not_after))
    }
}

fn common(name: &str) -> DistinguishedName {
    let mut all = DistinguishedName::new();
    all.push(DnType::CommonName, name);
    all
}

fn instant(at: Timestamp) -> time::OffsetDateTime {
    let seconds = u64::try_from(at.as_second()).unwrap_or(0);
    rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
}

/// Random and positive, as RFC 5280 wants serial numbers: 20 bytes at most.
fn serial() -> SerialNumber {
    let mut bytes: [u8; 16] = rand::random();
    bytes[0] &= 0x7f;
    bytes[0] |= 0x40;
    SerialNumber::from_slice(&bytes)
}

fn alternative_name(name: &str) -> Result<SanType> {
    match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => Ok(SanType::DnsName(name.try_into()?)),
    }
}

pub fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}
