//! Signing what others ask for: `certificates.k8s.io` requests, by the rules of their signer.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers>
//!
//! Invariant: a request is checked again here, whoever approved it, and gets only the extensions its signer allows: the
//! subject and the alternative names come from the request, everything else from us.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{ExtendedKeyUsagePurpose as Extended, KeyUsagePurpose as Usage, SanType, SubjectPublicKeyInfo};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use super::authority::{Ca, Contents};
use super::{Error, Result};
use crate::{groups, names};

/// The signers whose certificates this cluster issues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    ApiServerClient,
    ApiServerClientKubelet,
    KubeletServing,
}

impl Signer {
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "kubernetes.io/kube-apiserver-client" => Some(Self::ApiServerClient),
            "kubernetes.io/kube-apiserver-client-kubelet" => Some(Self::ApiServerClientKubelet),
            "kubernetes.io/kubelet-serving" => Some(Self::KubeletServing),
            _ => None,
        }
    }
}

/// One approved request, in the fields of `CertificateSigningRequest.spec`.
#[derive(Clone, Debug)]
pub struct SignRequest {
    pub signer_name: String,
    pub csr_pem: String,
    pub usages: Vec<String>,
    pub expiration_seconds: Option<i64>,
}

/// Longest life, and the one without a wish: a year, upstream's `--cluster-signing-duration`.
const MAX_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Shortest life: twice the back-dating, as upstream.
const MIN_LIFE: Duration = Duration::from_secs(10 * 60);
/// Certificates that live less are not shortened by the back-dating.
const SHORT_LIFE: Duration = Duration::from_secs(8 * 60 * 60);
const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// No request is larger; upstream's API allows what fits an object.
const MAX_CSR_BYTES: usize = 64 * 1024;

impl Ca {
    /// The certificate for a request, as PEM. Errors: [`Error::Request`] when it does not fit the signer.
    pub fn sign_request(&self, request: &SignRequest, now: Timestamp) -> Result<String> {
        let signer = Signer::from_name(&request.signer_name)
            .ok_or_else(|| Error::Request(format!("unrecognized signerName: {:?}", request.signer_name)))?;
        let der = decode(&request.csr_pem)?;
        let (_, csr) = X509CertificationRequest::from_der(&der)
            .map_err(|e| Error::Request(format!("unable to parse csr: {e}")))?;
        csr.verify_signature().map_err(|_| Error::Request("unable to parse csr: bad signature".into()))?;
        let info = &csr.certification_request_info;
        let alternative = alternative_names(&csr)?;
        check(signer, &info.subject, &alternative, &request.usages)?;

        let life = match request.expiration_seconds {
            None => MAX_LIFE,
            Some(wish) => Duration::from_secs(u64::try_from(wish).unwrap_or(0)).clamp(MIN_LIFE, MAX_LIFE),
        };
        let not_after = if life < SHORT_LIFE { now + life } else { now + life - BACKDATE };
        let (usages, extended) = usages_of(&request.usages)?;
        let key = SubjectPublicKeyInfo::from_der(info.subject_pki.raw)
            .map_err(|e| Error::Request(format!("unable to parse csr: {e}")))?;
        let contents = Contents { names: alternative, usages, extended, not_before: now - BACKDATE, not_after };
        Ok(self.sign(info.subject.as_raw(), &key, contents)?.0)
    }
}

/// The DER of a `CERTIFICATE REQUEST` PEM block.
fn decode(pem: &str) -> Result<Vec<u8>> {
    if pem.len() > MAX_CSR_BYTES {
        return Err(Error::Request(format!("the request is larger than {MAX_CSR_BYTES} bytes")));
    }
    match x509_parser::pem::parse_x509_pem(pem.as_bytes()) {
        Ok((_, block)) if block.label == "CERTIFICATE REQUEST" => Ok(block.contents),
        _ => Err(Error::Request("PEM block type must be CERTIFICATE REQUEST".into())),
    }
}

fn alternative_names(csr: &X509CertificationRequest<'_>) -> Result<Vec<SanType>> {
    let unsupported = |what: &str| Error::Request(format!("unsupported subjectAltName: {what}"));
    let mut all = Vec::new();
    for extension in csr.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
        for name in &names.general_names {
            all.push(match name {
                GeneralName::DNSName(name) => SanType::DnsName((*name).try_into()?),
                GeneralName::RFC822Name(name) => SanType::Rfc822Name((*name).try_into()?),
                GeneralName::URI(name) => SanType::URI((*name).try_into()?),
                GeneralName::IPAddress(bytes) => SanType::IpAddress(match **bytes {
                    [a, b, c, d] => [a, b, c, d].into(),
                    _ => <[u8; 16]>::try_from(*bytes).map_err(|_| unsupported("bad address"))?.into(),
                }),
                other => return Err(unsupported(&other.to_string())),
            });
        }
    }
    Ok(all)
}

/// The rules of the signers, with upstream's texts.
fn check(signer: Signer, subject: &X509Name<'_>, alternative: &[SanType], usages: &[String]) -> Result<()> {
    let fail = |text: &str| Err(Error::Request(text.to_owned()));
    let has = |usage: &str| usages.iter().any(|u| u == usage);
    if signer == Signer::ApiServerClient {
        if let Some(other) =
            usages.iter().find(|u| !matches!(u.as_str(), "digital signature" | "key encipherment" | "client auth"))
        {
            return fail(&format!("invalid usage for client certificate: {other}"));
        }
        if !has("client auth") {
            return fail("missing required usage for client certificate: client auth");
        }
        // The subject may not claim what only the cluster hands out; admission refuses it already at creation.
        if organizations(subject).any(|o| o == groups::MASTERS) {
            return fail("use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed");
        }
        return Ok(());
    }

    if organizations(subject).collect::<Vec<_>>() != [groups::NODES] {
        return fail("subject organization is not system:nodes");
    }
    let purpose = if signer == Signer::KubeletServing {
        let addressed = |name: &SanType| matches!(name, SanType::DnsName(_) | SanType::IpAddress(_));
        if !alternative.iter().any(addressed) {
            return fail("DNS or IP subjectAltName is required");
        }
        "server auth"
    } else {
        if alternative.iter().any(|name| matches!(name, SanType::DnsName(_))) {
            return fail("DNS subjectAltNames are not allowed");
        }
        if alternative.iter().any(|name| matches!(name, SanType::IpAddress(_))) {
            return fail("IP subjectAltNames are not allowed");
        }
        "client auth"
    };
    if alternative.iter().any(|name| matches!(name, SanType::Rfc822Name(_))) {
        return fail("Email subjectAltNames are not allowed");
    }
    if alternative.iter().any(|name| matches!(name, SanType::URI(_))) {
        return fail("URI subjectAltNames are not allowed");
    }
    if !common_name(subject).is_some_and(|name| name.starts_with(names::NODE_PREFIX)) {
        return fail("subject common name does not begin with system:node:");
    }
    let known = usages.iter().all(|u| matches!(u.as_str(), "digital signature" | "key encipherment") || u == purpose);
    if !known || !has("digital signature") || !has(purpose) {
        return fail(&format!("usages did not match [digital signature key encipherment {purpose}]"));
    }
    Ok(())
}

fn organizations<'a>(subject: &'a X509Name<'_>) -> impl Iterator<Item = &'a str> {
    subject.iter_organization().filter_map(|o| o.as_str().ok())
}

fn common_name<'a>(subject: &'a X509Name<'_>) -> Option<&'a str> {
    subject.iter_common_name().last().and_then(|name| name.as_str().ok())
}

/// The usages of the API as those of X.509.
fn usages_of(texts: &[String]) -> Result<(Vec<Usage>, Vec<Extended>)> {
    let (mut usages, mut extended) = (Vec::new(), Vec::new());
    for text in texts {
        match text.as_str() {
            "signing" | "digital signature" => usages.push(Usage::DigitalSignature),
            "key encipherment" => usages.push(Usage::KeyEncipherment),
            "key agreement" => usages.push(Usage::KeyAgreement),
            "server auth" => extended.push(Extended::ServerAuth),
            "client auth" => extended.push(Extended::ClientAuth),
            other => return Err(Error::Request(format!("unrecognized usage values: [{other:?}]"))),
        }
    }
    usages.dedup();
    extended.dedup();
    Ok((usages, extended))
}

/// Whom a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub common_name: String,
    pub organizations: Vec<String>,
}

/// The subject of a PEM certificate request, its signature checked. Errors: [`Error::Request`].
pub fn request_subject(csr_pem: &str) -> Result<Subject> {
    let der = decode(csr_pem)?;
    let (_, csr) = X509CertificationRequest::from_der(&der).map_err(|e| Error::Request(e.to_string()))?;
    csr.verify_signature().map_err(|_| Error::Request("bad signature".into()))?;
    let subject = &csr.certification_request_info.subject;
    Ok(Subject {
        common_name: common_name(subject).unwrap_or("").to_owned(),
        organizations: organizations(subject).map(str::to_owned).collect(),
    })
}
