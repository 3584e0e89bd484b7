//! `CertificateApproval`, `CertificateSigning`, `CertificateSubjectRestriction`: who may say yes to a certificate, who
//! may issue it, and what nobody may ask for.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pilothouse_api::Status;
use serde_json::Value;

use super::{Context, Notes, Operation, Plugin, Request};
use crate::authz::Attributes;
use crate::{groups, pki, text};

pub(super) const APPROVAL: Plugin = Plugin { name: "CertificateApproval", admit: None, validate: Some(approval) };
pub(super) const SIGNING: Plugin = Plugin { name: "CertificateSigning", admit: None, validate: Some(signing) };
pub(super) const SUBJECT_RESTRICTION: Plugin =
    Plugin { name: "CertificateSubjectRestriction", admit: None, validate: Some(subject_restriction) };

const GROUP: &str = "certificates.k8s.io";
const API_SERVER_CLIENT: &str = "kubernetes.io/kube-apiserver-client";

fn about(request: &Request, subresource: &str, operation: Operation) -> bool {
    request.group == GROUP
        && request.resource == "certificatesigningrequests"
        && request.subresource == subresource
        && request.operation == operation
}

/// Allowed on the signer itself or on all of its domain: `example.com/*`.
fn may(context: &Context<'_>, request: &Request, verb: &str, signer: &str) -> bool {
    let domain = format!("{}/*", signer.split('/').next().unwrap_or(signer));
    [signer, &domain].into_iter().any(|name| {
        let asked = Attributes::resource(&request.user, verb, GROUP, "*", "signers").name(name);
        context.authorizer.authorize(&asked).allowed
    })
}

fn signer(request: &Request) -> &str {
    request.old.as_ref().map_or("", |old| text(old, "/spec/signerName"))
}

fn approval(context: &Context<'_>, request: &Request, _: &mut Notes) -> Result<(), Status> {
    if !about(request, "approval", Operation::Update) || may(context, request, "approve", signer(request)) {
        return Ok(());
    }
    let why = format!("user not permitted to approve requests with signerName {:?}", signer(request));
    Err(request.forbidden(&why))
}

fn signing(context: &Context<'_>, request: &Request, _: &mut Notes) -> Result<(), Status> {
    if !about(request, "status", Operation::Update) {
        return Ok(());
    }
    let part = |object: Option<&Value>, pointer: &str| object.and_then(|o| o.pointer(pointer)).cloned();
    let (new, old) = (request.object.as_ref(), request.old.as_deref());
    let same = |pointer: &str| part(new, pointer) == part(old, pointer);
    if same("/status/certificate") && same("/status/conditions") || may(context, request, "sign", signer(request)) {
        return Ok(());
    }
    let why = format!("user not permitted to sign requests with signerName {:?}", signer(request));
    Err(request.forbidden(&why))
}

fn subject_restriction(_: &Context<'_>, request: &Request, _: &mut Notes) -> Result<(), Status> {
    let Some(csr) = request.object.as_ref().filter(|_| about(request, "", Operation::Create)) else { return Ok(()) };
    if text(csr, "/spec/signerName") != API_SERVER_CLIENT {
        return Ok(());
    }
    let subject = subject(csr).map_err(|e| request.forbidden(&format!("failed to parse CSR: {e}")))?;
    if subject.organizations.iter().any(|o| o == groups::MASTERS) {
        return Err(
            request.forbidden(&format!("use of {API_SERVER_CLIENT} signer with system:masters group is not allowed"))
        );
    }
    Ok(())
}

/// Whom a CertificateSigningRequest names.
pub(super) fn subject(csr: &Value) -> Result<pki::Subject, String> {
    let bytes = STANDARD.decode(text(csr, "/spec/request")).map_err(|e| e.to_string())?;
    let pem = String::from_utf8(bytes).map_err(|e| e.to_string())?;
    pki::request_subject(&pem).map_err(|e| e.to_string())
}
