//! Who a node is: what its client certificate says, as Kubernetes writes it (CN `system:node:NAME`, O `system:nodes`).

use x509_parser::prelude::{FromDer, X509Certificate};

const GROUP: &str = "system:nodes";
const PREFIX: &str = "system:node:";

/// The node's name in a certificate (DER) that the TLS layer has verified; `None` when it is not a node's.
#[must_use]
pub fn node_name(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    if !subject.iter_organization().any(|group| group.as_str() == Ok(GROUP)) {
        return None;
    }
    let mut names = subject.iter_common_name();
    let name = names.next()?.as_str().ok()?.strip_prefix(PREFIX)?;
    // A second common name would make it ambiguous who is meant.
    (names.next().is_none() && !name.is_empty()).then(|| name.to_owned())
}
