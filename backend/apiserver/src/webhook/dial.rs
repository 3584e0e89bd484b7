//! Byte streams to what serves a Service: through the tunnel of the node an endpoint is on, or straight to one that is
//! on none of our nodes. The backend has no route to pods, the agents have.

use std::net::IpAddr;
use std::time::Duration;

use http::header::{CONNECTION, HOST, UPGRADE};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use pilothouse_storage::{Key, Store};
use pilothouse_tunnel::Tunnels;
use rand::seq::SliceRandom;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// Endpoints that are tried before a Service counts as unreachable.
const MAX_TRIES: usize = 3;
/// Longest text of an agent's refusal that is passed on.
const MAX_REFUSAL_BYTES: usize = 4096;

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub type BoxStream = Box<dyn Stream>;

#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("service {0:?} not found")]
    NoService(String),
    #[error("no service port {1} found for service {0:?}")]
    NoPort(String, u16),
    #[error("no endpoints available for service {0:?}")]
    NoEndpoints(String),
    #[error("dial tcp {0}: {1}")]
    Failed(String, String),
}

/// Where one endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    /// The node whose agent reaches it; none for addresses outside of the cluster.
    node: Option<String>,
    host: String,
    port: u16,
}

/// Opens streams to Services and addresses. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    store: Store,
    tunnels: Tunnels,
}

impl Dialer {
    pub fn new(store: Store, tunnels: Tunnels) -> Self {
        Self { store, tunnels }
    }

    /// A stream to one of the ready endpoints of a Service's port, chosen at random; another one when it does not
    /// answer.
    ///
    /// # Errors
    /// Which of the Service, its port, its endpoints is missing, or how the last endpoint failed.
    pub async fn service(&self, namespace: &str, name: &str, port: u16) -> Result<BoxStream, DialError> {
        let service = self.store.get(&Key::new("services", namespace, name));
        let service = service.ok_or_else(|| DialError::NoService(name.to_owned()))?.value();
        let slices: Vec<Value> = self
            .store
            .list("endpointslices.discovery.k8s.io", Some(namespace))
            .items
            .iter()
            .filter(|slice| slice.label("kubernetes.io/service-name") == Some(name))
            .map(|slice| slice.value())
            .collect();
        let mut targets = targets(name, &service, &slices, port)?;
        targets.shuffle(&mut rand::rng());
        let mut failure = DialError::NoEndpoints(name.to_owned());
        for target in targets.iter().take(MAX_TRIES) {
            match self.target(target).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// A stream to an address outside of the cluster, from this machine.
    ///
    /// # Errors
    /// How it failed.
    pub async fn address(&self, host: &str, port: u16) -> Result<BoxStream, DialError> {
        let shown = || format!("{host}:{port}");
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match timeout(CONNECT_PATIENCE, TcpStream::connect((host, port))).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                Ok(Box::new(stream))
            }
            Ok(Err(error)) => Err(DialError::Failed(shown(), error.to_string())),
            Err(_) => Err(DialError::Failed(shown(), "i/o timeout".into())),
        }
    }

    async fn target(&self, target: &Target) -> Result<BoxStream, DialError> {
        let Some(node) = &target.node else { return self.address(&target.host, target.port).await };
        let failed = |why: String| DialError::Failed(format!("{}:{}", target.host, target.port), why);
        let stream = self.tunnels.dial(node).await.map_err(|error| failed(error.to_string()))?;
        let failed_http = |error: hyper::Error| failed(format!("through node {node}: {error}"));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed_http)?;
        tokio::spawn(connection.with_upgrades());
        let request = Request::get(format!("/dial/{}/{}", target.host, target.port))
            .header(HOST, "node")
            .header(CONNECTION, "upgrade")
            .header(UPGRADE, "tcp")
            .body(Empty::<bytes::Bytes>::new())
            .map_err(|error| failed(error.to_string()))?;
        let answer = timeout(CONNECT_PATIENCE, sender.send_request(request)).await;
        let mut answer = answer.map_err(|_| failed("i/o timeout".into()))?.map_err(failed_http)?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            let text = http_body_util::Limited::new(answer.into_body(), MAX_REFUSAL_BYTES).collect().await;
            let text = text.map(|text| String::from_utf8_lossy(&text.to_bytes()).trim().to_owned());
            return Err(failed(text.unwrap_or_else(|_| "refused".into())));
        }
        let upgraded = hyper::upgrade::on(&mut answer).await.map_err(failed_http)?;
        Ok(Box::new(TokioIo::new(upgraded)))
    }
}

fn targets(name: &str, service: &Value, slices: &[Value], port: u16) -> Result<Vec<Target>, DialError> {
    let spec = &service["spec"];
    if spec["type"] == "ExternalName" {
        let host = spec["externalName"].as_str().unwrap_or_default().to_owned();
        return Ok(vec![Target { node: None, host, port }]);
    }
    let ports = spec["ports"].as_array().into_iter().flatten();
    let chosen = ports.into_iter().find(|p| p["port"] == port && p["protocol"].as_str().unwrap_or("TCP") == "TCP");
    let chosen = chosen.ok_or_else(|| DialError::NoPort(name.to_owned(), port))?;
    let port_name = chosen["name"].as_str().unwrap_or_default();
    let mut targets = Vec::new();
    for slice in slices {
        let mut ports = slice["ports"].as_array().into_iter().flatten();
        let number = ports.find(|p| p["name"].as_str().unwrap_or_default() == port_name);
        let Some(number) = number.and_then(|p| p["port"].as_u64()).and_then(|p| u16::try_from(p).ok()) else {
            continue;
        };
        let ready = |endpoint: &&Value| endpoint["conditions"]["ready"] != false;
        for endpoint in slice["endpoints"].as_array().into_iter().flatten().filter(ready) {
            // The address goes into a path: nothing but an address may.
            let address = endpoint["addresses"][0].as_str().and_then(|ip| ip.parse::<IpAddr>().ok());
            let Some(address) = address else { continue };
            let node = endpoint["nodeName"].as_str().map(str::to_owned);
            targets.push(Target { node, host: address.to_string(), port: number });
        }
    }
    if targets.is_empty() { Err(DialError::NoEndpoints(name.to_owned())) } else { Ok(targets) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn endpoints_of_a_port() {
        let service = json!({"spec": {"ports": [{"name": "web", "port": 80}, {"name": "hooks", "port": 443, "protocol": "TCP"}]}});
        let slices = [json!({
            "ports": [{"name": "hooks", "port": 9443}, {"name": "web", "port": 8080}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "nodeName": "n1", "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "nodeName": "n2", "conditions": {"ready": false}},
                {"addresses": ["../x"], "nodeName": "n3"},
                {"addresses": ["192.0.2.7"]}]})];
        let at = |node: Option<&str>, host: &str| Target {
            node: node.map(str::to_owned),
            host: host.to_owned(),
            port: 9443,
        };
        let found = targets("s", &service, &slices, 443).unwrap();
        assert_eq!(found, [at(Some("n1"), "10.0.0.1"), at(None, "192.0.2.7")]);
        let error =
            |service: &Value, slices: &[Value], port| targets("s", service, slices, port).unwrap_err().to_string();
        assert_eq!(error(&service, &slices, 1), "no service port 1 found for service \"s\"");
        assert_eq!(error(&service, &[], 443), "no endpoints available for service \"s\"");
        let external = json!({"spec": {"type": "ExternalName", "externalName": "hooks.example.com"}});
        assert_eq!(targets("s", &external, &[], 443).unwrap()[0].host, "hooks.example.com");
    }
}
