//! The cluster's own certificates: its authority, what it issues, the TLS configuration made of it.
//! Source: <https://kubernetes.io/docs/setup/best-practices/certificates/>
//!
//! Invariants:
//! - Keys are ECDSA P-256 and leave this module only as PEM that the caller stores with mode 0600.
//! - A client certificate is good when TLS verified it against our authority; its subject is then the identity.
//! - A bad client certificate fails the handshake; none at all is an anonymous connection.

mod authority;
mod csr;
mod der;
mod identity;
mod kubeconfig;
mod tls;

pub use authority::{Ca, Issued, Validity, pem};
pub use csr::{SignRequest, Signer, Subject, request_subject};
pub use identity::{certificate_expiry, identity};
pub use kubeconfig::{Credential, Kubeconfig};
pub use tls::{ClientCertificates, Leaf, server_config};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("certificate or key: {0}")]
    Generate(#[from] rcgen::Error),
    #[error("not a usable certificate: {0}")]
    Certificate(String),
    /// The request does not fit its signer; the text goes into the CSR's `Failed` condition.
    #[error("{0}")]
    Request(String),
    #[error("TLS configuration: {0}")]
    Tls(#[from] rustls::Error),
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests;
