//! The certificate and its key on disk.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use jiff::Timestamp;
use rcgen::KeyPair;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

pub(super) struct Store {
    dir: PathBuf,
}

/// A certificate with its key, and from when to when it is valid.
pub(super) struct Pair {
    pub certified: Arc<CertifiedKey>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    common_name: String,
}

impl Pair {
    fn parse(pem: &str) -> Result<Self> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().context("bad certificate")?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).context("bad key")?;
        let first = chain.first().context("no certificate")?;
        let (_, parsed) = X509Certificate::from_der(first).context("bad certificate")?;
        let (not_before, not_after) =
            (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        let common_name = name.unwrap_or_default().to_owned();
        let certified = CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())
            .context("the certificate does not fit its key")?;
        Ok(Self {
            certified: Arc::new(certified),
            not_before: Timestamp::from_second(not_before)?,
            not_after: Timestamp::from_second(not_after)?,
            common_name,
        })
    }

    pub fn belongs_to(&self, common_name: &str) -> bool {
        self.common_name == common_name
    }

    /// The moment at which this share of the certificate's life has passed.
    pub fn at(&self, share: f64) -> Timestamp {
        let life = self.not_after.duration_since(self.not_before);
        self.not_before + life.mul_f64(share)
    }
}

/// Writes a file of mode 0600, whole or not at all.
fn write_private(path: &Path, text: &str) -> Result<()> {
    let partial = path.with_extension("partial");
    let write = || -> std::io::Result<()> {
        let _ = fs::remove_file(&partial);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

impl Store {
    pub fn new(data_dir: &Path) -> Self {
        Self { dir: data_dir.join("pki") }
    }

    pub fn file(&self) -> PathBuf {
        self.dir.join("node.pem")
    }

    fn pending_file(&self) -> PathBuf {
        self.dir.join("node.key.pending")
    }

    pub fn load(&self) -> Result<Option<Pair>> {
        let file = self.file();
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
        };
        Pair::parse(&text).with_context(|| format!("{} is damaged", file.display())).map(Some)
    }

    /// The key of the request that is under way, or a new one.
    pub fn pending_key(&self) -> Result<KeyPair> {
        if let Ok(text) = fs::read_to_string(self.pending_file())
            && let Ok(key) = KeyPair::from_pem(&text)
        {
            return Ok(key);
        }
        let mut builder = fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&self.dir)
            .with_context(|| format!("creating {}", self.dir.display()))?;
        let key = KeyPair::generate()?;
        write_private(&self.pending_file(), &key.serialize_pem())?;
        Ok(key)
    }

    pub fn forget_pending_key(&self) {
        let _ = fs::remove_file(self.pending_file());
    }

    pub fn save(&self, certificate: &str, key: &KeyPair) -> Result<Pair> {
        let text = format!("{}\n{}", certificate.trim_end(), key.serialize_pem());
        let pair = Pair::parse(&text)?;
        write_private(&self.file(), &text)?;
        self.forget_pending_key();
        Ok(pair)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use rcgen::{CertificateParams, DnType};

    use super::*;

    fn certificate(key: &KeyPair) -> String {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "system:node:a");
        params.self_signed(key).unwrap().pem()
    }

    #[test]
    fn a_pair_survives_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        assert!(store.load().unwrap().is_none());
        let key = store.pending_key().unwrap();
        assert_eq!(key.serialize_pem(), store.pending_key().unwrap().serialize_pem(), "a restart keeps the key");
        store.save(&certificate(&key), &key).unwrap();
        let pair = store.load().unwrap().unwrap();
        assert!(pair.belongs_to("system:node:a") && !pair.belongs_to("system:node:b"));
        assert!(pair.not_before < pair.at(0.5) && pair.at(0.5) < pair.not_after);
        assert_eq!(fs::metadata(store.file()).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!store.pending_file().exists());
    }

    #[test]
    fn a_certificate_for_another_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let key = store.pending_key().unwrap();
        let other = KeyPair::generate().unwrap();
        assert!(store.save(&certificate(&other), &key).is_err());
        assert!(store.load().unwrap().is_none());
    }
}
