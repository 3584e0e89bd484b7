//! A server to measure, as a kubeconfig describes it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use serde::Deserialize;
use url::Url;

/// Where requests go, and as whom.
#[derive(Clone)]
pub struct Target {
    pub name: String,
    pub host: String,
    pub port: u16,
    pub server_name: ServerName<'static>,
    /// Offers `h2` only, or `http/1.1` only: see [`Target::with_protocol`].
    pub tls: Arc<rustls::ClientConfig>,
    /// `Bearer …`
    pub authorization: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    H1,
    H2,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Kubeconfig {
    current_context: String,
    clusters: Vec<Named>,
    users: Vec<Named>,
    contexts: Vec<Named>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named {
    name: String,
    cluster: Cluster,
    user: User,
    context: Names,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct User {
    #[serde(rename = "client-certificate")]
    certificate: Option<PathBuf>,
    #[serde(rename = "client-certificate-data")]
    certificate_data: Option<String>,
    #[serde(rename = "client-key")]
    key: Option<PathBuf>,
    #[serde(rename = "client-key-data")]
    key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Names {
    cluster: String,
    user: String,
}

/// Data given inline, or in a file beside the kubeconfig.
fn bytes(dir: &Path, data: Option<&String>, file: Option<&PathBuf>) -> Result<Option<Vec<u8>>> {
    if let Some(data) = data {
        return Ok(Some(STANDARD.decode(data.trim()).context("base64 in the kubeconfig")?));
    }
    let Some(file) = file else { return Ok(None) };
    let file = dir.join(file);
    Ok(Some(std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?))
}

impl Target {
    /// Reads the current context of a kubeconfig.
    ///
    /// # Errors
    /// When the file cannot be read, or describes no server.
    pub fn load(name: &str, path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let dir = path.parent().unwrap_or(Path::new("."));
        Self::parse(name, &text, dir).with_context(|| format!("the kubeconfig {}", path.display()))
    }

    fn parse(name: &str, text: &str, dir: &Path) -> Result<Self> {
        let mut config: Kubeconfig = serde_norway::from_str(text)?;
        let take = |all: &mut Vec<Named>, name: &str, what: &str| {
            let at = all.iter().position(|one| one.name == name).with_context(|| format!("no {what} {name:?}"))?;
            anyhow::Ok(all.swap_remove(at))
        };
        let current = config.current_context.clone();
        let context = take(&mut config.contexts, &current, "context")?.context;
        let cluster = take(&mut config.clusters, &context.cluster, "cluster")?.cluster;
        let user = take(&mut config.users, &context.user, "user")?.user;

        let url = Url::parse(&cluster.server).with_context(|| format!("the server's address {:?}", cluster.server))?;
        if url.scheme() != "https" {
            bail!("{url}: only https is measured");
        }
        let host = url.host_str().context("the server's address has no host")?.trim_matches(['[', ']']).to_owned();
        let server_name = cluster.tls_server_name.clone().unwrap_or_else(|| host.clone());
        let authority =
            bytes(dir, cluster.certificate_authority_data.as_ref(), cluster.certificate_authority.as_ref())?;
        let certificate = bytes(dir, user.certificate_data.as_ref(), user.certificate.as_ref())?;
        let key = bytes(dir, user.key_data.as_ref(), user.key.as_ref())?;
        let token = match (&user.token, &user.token_file) {
            (Some(token), _) => Some(token.trim().to_owned()),
            (None, Some(file)) => Some(std::fs::read_to_string(dir.join(file))?.trim().to_owned()),
            (None, None) => None,
        };
        let tls = tls(authority.as_deref(), cluster.insecure_skip_tls_verify, certificate.as_deref(), key.as_deref())?;
        Ok(Self {
            name: name.to_owned(),
            port: url.port_or_known_default().unwrap_or(443),
            server_name: ServerName::try_from(server_name).context("the server's name")?,
            host,
            tls: Arc::new(tls),
            authorization: token.map(|token| format!("Bearer {token}")),
        })
    }

    #[must_use]
    pub fn with_protocol(mut self, protocol: Protocol) -> Self {
        let mut tls = (*self.tls).clone();
        tls.alpn_protocols = match protocol {
            Protocol::H1 => vec![b"http/1.1".to_vec()],
            Protocol::H2 => vec![b"h2".to_vec()],
        };
        self.tls = Arc::new(tls);
        self
    }

    pub fn is_h2(&self) -> bool {
        self.tls.alpn_protocols.first().is_some_and(|protocol| protocol == b"h2")
    }
}

fn tls(
    authority: Option<&[u8]>,
    insecure: bool,
    certificate: Option<&[u8]>,
    key: Option<&[u8]>,
) -> Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = if insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
    } else {
        let mut roots = RootCertStore::empty();
        let pem = authority.context("the cluster has neither certificate-authority nor insecure-skip-tls-verify")?;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.context("certificate-authority")?)?;
        }
        builder.with_root_certificates(roots)
    };
    let (Some(certificate), Some(key)) = (certificate, key) else { return Ok(builder.with_no_client_auth()) };
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().context("client-certificate")?;
    Ok(builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key).context("client-key")?)?)
}

/// `insecure-skip-tls-verify`, as the kubeconfig asks for.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
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
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
apiVersion: v1
kind: Config
current-context: b
contexts:
- {name: a, context: {cluster: a, user: a}}
- {name: b, context: {cluster: b, user: b}}
clusters:
- {name: a, cluster: {server: "https://one:1"}}
- {name: b, cluster: {server: "https://[::1]:7443", insecure-skip-tls-verify: true}}
users:
- {name: a, user: {}}
- {name: b, user: {token: secret}}
"#;

    #[test]
    fn reads_the_current_context() {
        let target = Target::parse("x", TEXT, Path::new(".")).unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 7443));
        assert_eq!(target.authorization.as_deref(), Some("Bearer secret"));
        assert!(!target.is_h2() && target.with_protocol(Protocol::H2).is_h2());
    }

    #[test]
    fn says_what_is_missing() {
        let wrong = TEXT.replace("current-context: b", "current-context: c");
        assert!(
            format!("{:#}", Target::parse("x", &wrong, Path::new(".")).err().unwrap()).contains("no context \"c\"")
        );
        let plain = TEXT.replace("insecure-skip-tls-verify: true", "insecure-skip-tls-verify: false");
        assert!(Target::parse("x", &plain, Path::new(".")).is_err(), "an unverified server is never measured silently");
    }
}
