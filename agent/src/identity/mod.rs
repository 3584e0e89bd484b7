//! Who this node is to the cluster: a client certificate, asked for by CSR with a bootstrap token once, renewed with
//! itself ever after.
//!
//! Invariants: key and certificate are one file of mode 0600, written whole or not at all; with a valid certificate
//! the token is neither needed nor used; a renewed certificate is used by every new connection, without a restart.

mod store;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::RootCertStore;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::client;
use crate::config::Config;
use crate::retry::Retry;

use self::store::{Pair, Store};

const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// How long the controller may take to sign before the request is made anew.
const SIGN_PATIENCE: Duration = Duration::from_secs(15 * 60);
const POLL_FIRST: Duration = Duration::from_millis(100);
const POLL_LAST: Duration = Duration::from_secs(5);
const JOIN_LAST: Duration = Duration::from_secs(15);
const RETRY: Duration = Duration::from_secs(60);

/// The node's certificate of the moment, offered in every TLS handshake.
#[derive(Debug, Default)]
pub struct Identity {
    current: ArcSwapOption<CertifiedKey>,
}

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.current.load_full()
    }

    fn has_certs(&self) -> bool {
        self.current.load().is_some()
    }
}

/// The cluster's CA certificates.
pub fn roots(config: &Config) -> Result<Arc<RootCertStore>> {
    let file = &config.ca_pem_file;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).with_context(|| format!("reading {}", file.display()))? {
        roots.add(certificate?).with_context(|| format!("{} holds a bad certificate", file.display()))?;
    }
    if roots.is_empty() {
        bail!("{} holds no certificate", file.display());
    }
    Ok(Arc::new(roots))
}

/// TLS that trusts the cluster's CA and shows `identity`, if given.
pub fn tls(roots: &Arc<RootCertStore>, identity: Option<&Arc<Identity>>) -> Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(Arc::clone(roots));
    Ok(match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::clone(identity) as _),
        None => builder.with_no_client_auth(),
    })
}

/// Finds the stored certificate, or joins with the bootstrap token and waits until it is signed.
pub async fn join(config: &Config, roots: &Arc<RootCertStore>) -> Result<Arc<Identity>> {
    let store = Store::new(&config.data_dir);
    let identity = Arc::new(Identity::default());
    match store.load() {
        Ok(Some(pair)) if pair.belongs_to(&subject(&config.node_name)) && pair.not_after > Timestamp::now() => {
            identity.current.store(Some(pair.certified));
            return Ok(identity);
        }
        Ok(Some(_)) => warn!("the stored certificate has expired or is another node's; joining anew"),
        Ok(None) => {}
        Err(error) if config.bootstrap_token.is_none() => return Err(error),
        Err(error) => warn!(error = format!("{error:#}"), "the stored certificate cannot be used; joining anew"),
    }
    let Some(token) = &config.bootstrap_token else {
        bail!(
            "{} holds no valid certificate of node {:?}, and there is no bootstrap token to join with",
            store.file().display(),
            config.node_name
        );
    };
    info!(node = config.node_name, "joining the cluster");
    let client = client::with_token(config, tls(roots, None)?, token)?;
    let mut retry = Retry::new(POLL_FIRST, JOIN_LAST);
    loop {
        match request(config, &store, &client).await {
            Ok(pair) => {
                identity.current.store(Some(pair.certified));
                info!(node = config.node_name, "joined");
                return Ok(identity);
            }
            Err(error) => warn!(error = format!("{error:#}"), "joining failed; trying again"),
        }
        tokio::time::sleep(retry.wait()).await;
    }
}

/// Renews the certificate when 70 to 90 percent of its life have passed, until `shutdown`.
pub async fn keep_fresh(config: &Config, identity: &Identity, client: kube::Client, shutdown: CancellationToken) {
    let store = Store::new(&config.data_dir);
    let share: f64 = rand::random_range(0.7..0.9);
    loop {
        let due = match store.load() {
            Ok(Some(pair)) => pair.at(share),
            Ok(None) => Timestamp::now(),
            Err(error) => {
                warn!(%error, "the stored certificate cannot be read");
                Timestamp::now()
            }
        };
        let wait = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default();
        tokio::select! { () = tokio::time::sleep(wait) => {}, () = shutdown.cancelled() => return }
        let renewed = tokio::select! {
            renewed = request(config, &store, &client) => renewed,
            () = shutdown.cancelled() => return,
        };
        match renewed {
            Ok(pair) => {
                info!(until = %pair.not_after, "the node's certificate is renewed");
                identity.current.store(Some(pair.certified));
            }
            Err(error) => {
                warn!(error = format!("{error:#}"), "the node's certificate was not renewed; trying again");
                tokio::select! { () = tokio::time::sleep(RETRY) => {}, () = shutdown.cancelled() => return }
            }
        }
    }
}

fn subject(node_name: &str) -> String {
    format!("system:node:{node_name}")
}

fn signing_request(node_name: &str, key: &KeyPair) -> Result<CertificateSigningRequest> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, subject(node_name));
    let pem = params.serialize_request(key)?.pem()?;
    // The key names the request, so a restart while waiting finds its own request again.
    let digest = Sha256::digest(key.public_key_raw());
    let name: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Ok(CertificateSigningRequest {
        metadata: ObjectMeta { name: Some(format!("node-csr-{name}")), ..Default::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: SIGNER.to_owned(),
            usages: Some(vec!["digital signature".to_owned(), "client auth".to_owned()]),
            ..Default::default()
        },
        status: None,
    })
}

async fn request(config: &Config, store: &Store, client: &kube::Client) -> Result<Pair> {
    let key = store.pending_key()?;
    let request = signing_request(&config.node_name, &key)?;
    let name = request.metadata.name.clone().unwrap_or_default();
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    match api.create(&PostParams::default(), &request).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => return Err(error).context("creating the CertificateSigningRequest"),
    }
    let begun = tokio::time::Instant::now();
    let mut retry = Retry::new(POLL_FIRST, POLL_LAST);
    while begun.elapsed() < SIGN_PATIENCE {
        let status = api.get(&name).await.context("reading the CertificateSigningRequest")?.status.unwrap_or_default();
        if let Some(certificate) = status.certificate.filter(|pem| !pem.0.is_empty()) {
            let pem = String::from_utf8(certificate.0).context("the signed certificate is not PEM")?;
            return store.save(&pem, &key);
        }
        let refused = status.conditions.iter().flatten().find(|c| c.type_ == "Denied" || c.type_ == "Failed");
        if let Some(refused) = refused {
            // The next attempt shall be a new request.
            store.forget_pending_key();
            bail!("{name} is {}: {}", refused.type_, refused.message.as_deref().unwrap_or_default());
        }
        tokio::time::sleep(retry.wait()).await;
    }
    store.forget_pending_key();
    bail!("{name} was not signed within {SIGN_PATIENCE:?}")
}
