//! Certificate signing requests: approves what nodes may have, signs what is approved, forgets what is old.
//!
//! Invariants:
//! - Only requests of signer `kubernetes.io/kube-apiserver-client-kubelet` are approved here, and only when the API
//!   says that their author may have such a certificate; nothing is signed unapproved.
//! - A request is signed once; what cannot be signed gets the condition `Failed` and stays so.
//!
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/>

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest as Csr, CertificateSigningRequestCondition as Condition, CertificateSigningRequestSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Api;
use kube::api::{DeleteParams, PostParams};

use crate::SignRequest;
use crate::error::{Error, Next, Result, ignore_not_found};
use crate::key::Key;
use crate::run::{Context, Controller, Reconcile, reconciler};
use crate::write;

pub const CONTROLLER: Controller = Controller { name: "certificate-controller", workers: 2, start };

const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signers this cluster serves; requests of others are left to whoever does.
const SIGNERS: [&str; 3] = ["kubernetes.io/kube-apiserver-client", KUBELET_CLIENT, "kubernetes.io/kubelet-serving"];
const KUBELET_CLIENT_USAGES: [&[&str]; 2] =
    [&["client auth", "digital signature"], &["client auth", "digital signature", "key encipherment"]];

/// How long requests are kept: decided ones an hour, forgotten ones a day.
const KEEP_DECIDED: Duration = Duration::from_secs(3600);
const KEEP_PENDING: Duration = Duration::from_secs(24 * 3600);

/// The permissions that let an author have a client certificate of a node, and what to tell people.
const RECOGNIZERS: [(&str, &str); 2] = [
    ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview."),
    ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."),
];

fn start(cx: Context) -> Reconcile {
    cx.caches.certificate_signing_requests.on(cx.enqueue());
    reconciler(cx, reconcile)
}

async fn reconcile(cx: Arc<Context>, key: Key) -> Result<Next> {
    let Some(csr) = cx.caches.certificate_signing_requests.get(&key) else { return Ok(None) };
    let now = Timestamp::now();
    let left = keep_for(&csr, now);
    if left.is_zero() {
        let api: Api<Csr> = Api::all(cx.client.clone());
        ignore_not_found(api.delete(&key.name, &DeleteParams::default()).await.map_err(Error::from))?;
        return Ok(None);
    }
    if has(&csr, "Approved") {
        if certificate(&csr).is_none() && !has(&csr, "Denied") && !has(&csr, "Failed") {
            sign(&cx, &csr, now).await?;
        }
    } else if !has(&csr, "Denied") && certificate(&csr).is_none() {
        approve(&cx, &csr, now).await?;
    }
    Ok(Some(left))
}

fn has(csr: &Csr, type_: &str) -> bool {
    csr.status.as_ref().is_some_and(|s| s.conditions.iter().flatten().any(|c| c.type_ == type_ && c.status != "False"))
}

fn certificate(csr: &Csr) -> Option<&ByteString> {
    csr.status.as_ref().and_then(|s| s.certificate.as_ref()).filter(|c| !c.0.is_empty())
}

/// How much longer the request is kept.
fn keep_for(csr: &Csr, now: Timestamp) -> Duration {
    let decided =
        csr.status.iter().flat_map(|s| s.conditions.iter().flatten()).filter_map(|c| c.last_update_time.as_ref()).max();
    let until = match decided {
        Some(at) => at.0 + KEEP_DECIDED,
        None => csr.metadata.creation_timestamp.as_ref().map_or(now, |t| t.0) + KEEP_PENDING,
    };
    Duration::try_from(until.duration_since(now)).unwrap_or_default()
}

fn condition(type_: &str, reason: &str, message: &str, now: Timestamp) -> Condition {
    Condition {
        type_: type_.into(),
        status: "True".into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    }
}

/// Whether the request is for a node's client certificate as far as its fields say. The subject inside is checked by
/// the API on creation and again by the signer.
fn is_kubelet_client(spec: &CertificateSigningRequestSpec) -> bool {
    let mut usages: Vec<&str> = spec.usages.iter().flatten().map(String::as_str).collect();
    usages.sort_unstable();
    usages.dedup();
    spec.signer_name == KUBELET_CLIENT && KUBELET_CLIENT_USAGES.contains(&usages.as_slice())
}

async fn approve(cx: &Context, csr: &Csr, now: Timestamp) -> Result<()> {
    if !is_kubelet_client(&csr.spec) {
        return Ok(());
    }
    for (subresource, message) in RECOGNIZERS {
        // Renewing is for nodes; a bootstrapper is no node yet.
        if subresource == "selfnodeclient"
            && !csr.spec.username.as_deref().is_some_and(|u| u.starts_with("system:node:"))
        {
            continue;
        }
        if !allowed(cx, csr, subresource).await? {
            continue;
        }
        let api: Api<Csr> = Api::all(cx.client.clone());
        let mut new: Csr = api.get(csr.metadata.name.as_deref().unwrap_or_default()).await?;
        if new.metadata.uid != csr.metadata.uid || has(&new, "Approved") || has(&new, "Denied") {
            return Ok(());
        }
        let approved = condition("Approved", "AutoApproved", message, now);
        new.status.get_or_insert_default().conditions.get_or_insert_default().push(approved);
        let name = new.metadata.name.clone().unwrap_or_default();
        let _: Csr = api.replace_subresource("approval", &name, &PostParams::default(), &new).await?;
        return Ok(());
    }
    tracing::debug!(name = ?csr.metadata.name, user = ?csr.spec.username, "a request is left for people to approve");
    Ok(())
}

async fn allowed(cx: &Context, csr: &Csr, subresource: &str) -> Result<bool> {
    let attributes = ResourceAttributes {
        group: Some("certificates.k8s.io".into()),
        resource: Some("certificatesigningrequests".into()),
        subresource: Some(subresource.into()),
        verb: Some("create".into()),
        version: Some("*".into()),
        ..Default::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: csr.spec.username.clone(),
        uid: csr.spec.uid.clone(),
        groups: csr.spec.groups.clone(),
        extra: csr.spec.extra.clone(),
        resource_attributes: Some(attributes),
        ..Default::default()
    };
    let review = SubjectAccessReview { spec, ..Default::default() };
    let api: Api<SubjectAccessReview> = Api::all(cx.client.clone());
    let answer = api.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|s| s.allowed))
}

async fn sign(cx: &Context, csr: &Csr, now: Timestamp) -> Result<()> {
    if !SIGNERS.contains(&csr.spec.signer_name.as_str()) {
        return Ok(());
    }
    let request = SignRequest {
        signer_name: csr.spec.signer_name.clone(),
        csr_pem: String::from_utf8_lossy(&csr.spec.request.0).into_owned(),
        usages: csr.spec.usages.clone().unwrap_or_default(),
        expiration_seconds: csr.spec.expiration_seconds,
    };
    let signer = cx.deps.sign.clone();
    let signed = tokio::task::spawn_blocking(move || signer(request)).await.map_err(|e| Error::stale(e.to_string()))?;
    let mut new = csr.clone();
    let status = new.status.get_or_insert_default();
    match signed {
        Ok(pem) => status.certificate = Some(ByteString(pem.into_bytes())),
        Err(why) => {
            let failed = condition("Failed", "SignerValidationFailure", &why, now);
            status.conditions.get_or_insert_default().push(failed);
        }
    }
    let api: Api<Csr> = Api::all(cx.client.clone());
    write::update_status(&api, csr, &new).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_node_client_requests_are_ours_to_approve() {
        let spec = |signer: &str, usages: &[&str]| CertificateSigningRequestSpec {
            signer_name: signer.into(),
            usages: Some(usages.iter().map(|u| (*u).to_owned()).collect()),
            ..Default::default()
        };
        assert!(is_kubelet_client(&spec(KUBELET_CLIENT, &["digital signature", "client auth"])));
        assert!(is_kubelet_client(&spec(KUBELET_CLIENT, &["key encipherment", "digital signature", "client auth"])));
        assert!(!is_kubelet_client(&spec(KUBELET_CLIENT, &["digital signature", "server auth"])));
        assert!(!is_kubelet_client(&spec("kubernetes.io/kubelet-serving", &["digital signature", "client auth"])));
        assert!(!is_kubelet_client(&spec(KUBELET_CLIENT, &[])));
    }

    #[test]
    fn decided_requests_are_kept_an_hour_others_a_day() {
        let start = Timestamp::UNIX_EPOCH;
        let mut csr = Csr::default();
        csr.metadata.creation_timestamp = Some(Time(start));
        assert_eq!(keep_for(&csr, start + Duration::from_secs(3600)), KEEP_PENDING - KEEP_DECIDED);
        let approved = condition("Approved", "", "", start);
        csr.status.get_or_insert_default().conditions = Some(vec![approved]);
        assert_eq!(keep_for(&csr, start + Duration::from_secs(60)), KEEP_DECIDED - Duration::from_secs(60));
        assert_eq!(keep_for(&csr, start + KEEP_DECIDED), Duration::ZERO);
    }
}
