//! `clientConfig` of webhooks and conversions: where to send what, and whom to trust there.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#contacting-the-webhook>

use std::sync::Arc;

use base64::Engine;
use serde_json::Value;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    Host { host: String, port: u16 },
    Service { namespace: String, name: String, port: u16 },
}

/// A parsed `clientConfig`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: Address,
    /// Begins with a slash; a query of its own included.
    pub path: String,
    /// The PEM of those who may sign the server's certificate; the system's when it is absent.
    pub bundle: Option<Arc<[u8]>>,
}

impl Endpoint {
    /// # Errors
    /// A sentence on what is wrong with it.
    pub fn parse(config: &Value) -> Result<Self, String> {
        let bundle = match config["caBundle"].as_str().filter(|text| !text.is_empty()) {
            Some(text) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text);
                Some(bytes.map_err(|_| "unable to load root certificates: caBundle is not base64".to_owned())?.into())
            }
            None => None,
        };
        if let Some(text) = config["url"].as_str() {
            let url = url::Url::parse(text).map_err(|error| format!("parse {text:?}: {error}"))?;
            if url.scheme() != "https" {
                return Err(format!("'https' is the only allowed URL scheme; got {text:?}"));
            }
            let host = url.host_str().ok_or_else(|| format!("host must be specified in {text:?}"))?.to_owned();
            let port = url.port_or_known_default().unwrap_or(443);
            let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
            return Ok(Self { address: Address::Host { host, port }, path, bundle });
        }
        let service = &config["service"];
        let text = |name: &str| service[name].as_str().unwrap_or_default().to_owned();
        if text("name").is_empty() || text("namespace").is_empty() {
            return Err("webhook configuration must have either service or URL".into());
        }
        let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
        let path = text("path");
        let path = if path.starts_with('/') { path } else { format!("/{path}") };
        Ok(Self { address: Address::Service { namespace: text("namespace"), name: text("name"), port }, path, bundle })
    }

    /// What the server's certificate must be for.
    pub fn server_name(&self) -> String {
        match &self.address {
            Address::Host { host, .. } => host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            Address::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
        }
    }

    /// `host:port`, as in the `Host` header.
    pub fn authority(&self) -> String {
        match &self.address {
            Address::Host { host, port } => format!("{host}:{port}"),
            Address::Service { port, .. } => format!("{}:{port}", self.server_name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn client_configs() {
        let shown = |config: Value| match Endpoint::parse(&config) {
            Ok(endpoint) => format!("{} {} {}", endpoint.authority(), endpoint.server_name(), endpoint.path),
            Err(error) => error,
        };
        assert_eq!(
            shown(json!({"service": {"namespace": "a", "name": "b", "path": "convert"}})),
            "b.a.svc:443 b.a.svc /convert"
        );
        assert_eq!(shown(json!({"service": {"namespace": "a", "name": "b", "port": 9443}})), "b.a.svc:9443 b.a.svc /");
        assert_eq!(shown(json!({"url": "https://x.example/y?z=1"})), "x.example:443 x.example /y?z=1");
        assert_eq!(shown(json!({"url": "https://[::1]:8443/y"})), "[::1]:8443 ::1 /y");
        assert_eq!(shown(json!({"url": "http://x"})), "'https' is the only allowed URL scheme; got \"http://x\"");
        assert_eq!(shown(json!({})), "webhook configuration must have either service or URL");
    }
}
