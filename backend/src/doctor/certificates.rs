//! When certificates end: the authority's, the administrator's, the API's, the nodes'.

use std::path::{Path, PathBuf};

use base64::Engine;
use jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig};
use x509_parser::pem::Pem;

use super::Finding;

/// Folders below a home that are searched for the nodes' certificates.
const DEPTH: usize = 4;
const DAY: i64 = 24 * 3600;
/// The server and the agents renew theirs with a month left; less means that they could not.
const SHORT_DAYS: i64 = 14;

/// The end of every certificate in a text, in seconds since 1970.
fn ends(pem: &[u8]) -> Vec<i64> {
    let certificates = Pem::iter_from_buffer(pem).flatten().filter(|pem| pem.label == "CERTIFICATE");
    certificates.filter_map(|pem| Some(pem.parse_x509().ok()?.validity().not_after.timestamp())).collect()
}

fn judge(name: &str, end: i64, now: i64) -> Finding {
    let days = (end - now).div_euclid(DAY);
    let advice = "Restart what uses it: it gets a new one. `pilothouse kubeconfig` prints a fresh kubeconfig.";
    if end <= now {
        Finding::bad(format!("{name} has expired"), advice)
    } else if days < SHORT_DAYS {
        Finding::warning(format!("{name} is good for {days} more days"), advice)
    } else {
        Finding::good(format!("{name} is good for {days} more days"))
    }
}

fn files(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type());
        if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) && depth > 0 {
            files(&path, depth - 1, found);
        } else if path.extension().is_some_and(|extension| extension == "crt" || extension == "pem") {
            found.push(path);
        }
    }
}

pub async fn look(home: &Path, kubeconfig: &Path) -> Vec<Finding> {
    let now = Timestamp::now().as_second();
    let mut findings = Vec::new();
    let mut of = |name: &str, pem: &[u8]| {
        // Of a chain the first that ends ends it all.
        if let Some(end) = ends(pem).into_iter().min() {
            findings.push(judge(name, end, now));
        }
    };
    let mut paths = vec![home.join("ca.crt")];
    files(&home.join("nodes"), DEPTH, &mut paths);
    for path in paths {
        if let Ok(pem) = std::fs::read(&path) {
            of(&path.strip_prefix(home).unwrap_or(&path).display().to_string(), &pem);
        }
    }
    if let Ok(config) = Kubeconfig::read_from(kubeconfig) {
        let decode = |text: String| base64::engine::general_purpose::STANDARD.decode(text).ok();
        let users = config.auth_infos.iter().filter_map(|user| user.auth_info.clone()?.client_certificate_data);
        users.filter_map(decode).for_each(|pem| of("the kubeconfig's client certificate", &pem));
    }
    match served(kubeconfig).await {
        Ok(end) => findings.push(judge("the API's certificate", end, now)),
        Err(error) => findings.push(Finding::bad(
            format!("the API's certificate cannot be seen: {error:#}"),
            "Is the server running, and does the kubeconfig name its address?",
        )),
    }
    findings
}

/// The end of the certificate that the API shows.
async fn served(kubeconfig: &Path) -> anyhow::Result<i64> {
    use anyhow::Context;
    let config = Kubeconfig::read_from(kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    let host = config.cluster_url.host().context("the kubeconfig names no host")?.trim_matches(['[', ']']).to_owned();
    let port = config.cluster_url.port_u16().unwrap_or(443);
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(config.root_cert.iter().flatten().map(|der| der.clone().into()));
    let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let tcp = tokio::net::TcpStream::connect((host.as_str(), port)).await.context("connecting")?;
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(tls));
    let stream = connector.connect(host.try_into()?, tcp).await.context("the TLS handshake")?;
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).context("none was shown")?;
    let (_, certificate) = x509_parser::parse_x509_certificate(shown)?;
    Ok(certificate.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn what_ends_soon_is_told() {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = rcgen::CertificateParams::new(vec!["x".into()]).unwrap().self_signed(&key).unwrap().pem();
        let end = ends(pem.as_bytes())[0];
        assert_eq!(ends(format!("{pem}{pem}").as_bytes()).len(), 2);
        let level = |days: i64| judge("x", end, end - days * DAY - 1).level;
        assert_eq!((level(100), level(13), level(0)), (Level::Good, Level::Warning, Level::Warning));
        assert_eq!(judge("x", end, end).level, Level::Bad);
        assert!(ends(b"nonsense").is_empty());
    }
}
