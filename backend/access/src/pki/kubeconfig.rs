//! A kubeconfig file with everything embedded.
//! Source: <https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub enum Credential<'a> {
    ClientCertificate { certificate_pem: &'a str, key_pem: &'a str },
    Token(&'a str),
}

pub struct Kubeconfig<'a> {
    /// Also the context's cluster: `pilothouse`.
    pub cluster: &'a str,
    /// `https://127.0.0.1:6443`
    pub server: &'a str,
    pub ca_pem: &'a str,
    pub user: &'a str,
    pub credential: Credential<'a>,
}

/// A YAML scalar that holds any text: JSON strings are YAML.
fn scalar(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl Kubeconfig<'_> {
    /// The file's text. It holds a secret: write it with mode 0600.
    pub fn render(&self) -> String {
        let context = scalar(&format!("{}@{}", self.user, self.cluster));
        let (cluster, user) = (scalar(self.cluster), scalar(self.user));
        let credential = match &self.credential {
            Credential::ClientCertificate { certificate_pem, key_pem } => format!(
                "    client-certificate-data: {}\n    client-key-data: {}\n",
                STANDARD.encode(certificate_pem),
                STANDARD.encode(key_pem)
            ),
            Credential::Token(token) => format!("    token: {}\n", scalar(token)),
        };
        format!(
            "apiVersion: v1\nkind: Config\n\
             clusters:\n- name: {cluster}\n  cluster:\n    certificate-authority-data: {}\n    server: {}\n\
             users:\n- name: {user}\n  user:\n{credential}\
             contexts:\n- name: {context}\n  context:\n    cluster: {cluster}\n    user: {user}\n\
             current-context: {context}\n",
            STANDARD.encode(self.ca_pem),
            scalar(self.server),
        )
    }
}
