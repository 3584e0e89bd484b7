//! An HTTPS server that plays webhooks and extension servers for tests.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use base64::Engine;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use pilothouse_access::pki::{Ca, ClientCertificates, Leaf, Validity, server_config};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What came in: path with query, headers, body.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub headers: http::HeaderMap,
    pub body: Value,
}

pub struct HookServer {
    pub address: SocketAddr,
    /// What signs its certificate, in base64.
    pub bundle: String,
    pub seen: Arc<Mutex<Vec<Seen>>>,
}

/// Answers with a body, or not at all.
pub type Answer = Option<(u16, Value)>;

type Handler = Arc<dyn Fn(&Seen) -> Answer + Send + Sync>;

pub fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

impl HookServer {
    pub async fn start(handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::for_names(&["127.0.0.1", "localhost"], None, handler).await
    }

    /// With a certificate for these names; `clients` may demand a client certificate of that authority.
    pub async fn for_names(
        names: &[&str],
        clients: Option<&str>,
        handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let handler: Handler = Arc::new(handler);
        let now = jiff::Timestamp::now();
        let ca = Ca::create("hooks", now).unwrap();
        let issued = ca.issue_server("hooks", names, Validity::one_year(now)).unwrap();
        let leaf = Leaf::new(&issued.certificate_pem, &issued.key_pem).unwrap();
        let (authority, demand) = match clients {
            Some(authority) => (authority.to_owned(), ClientCertificates::Required),
            None => (ca.certificate_pem().to_owned(), ClientCertificates::Optional),
        };
        let tls = server_config(leaf, &[&authority], demand, &["http/1.1"]).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, log, handler) = (acceptor.clone(), Arc::clone(&log), Arc::clone(&handler));
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let service = service_fn(move |request| answer(request, Arc::clone(&log), Arc::clone(&handler)));
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(tls), service)
                        .with_upgrades()
                        .await;
                });
            }
        });
        Self { address, bundle: base64(ca.certificate_pem()), seen }
    }

    pub fn client_config(&self, path: &str) -> Value {
        json!({"url": format!("https://{}{path}", self.address), "caBundle": self.bundle})
    }

    /// The `clientConfig` that leads here by a Service.
    pub fn by_service(&self, namespace: &str, name: &str, path: &str) -> Value {
        let service = json!({"namespace": namespace, "name": name, "path": path, "port": self.address.port()});
        json!({"service": service, "caBundle": self.bundle})
    }

    pub fn count(&self, path: &str) -> usize {
        self.seen.lock().iter().filter(|seen| seen.path.starts_with(path)).count()
    }

    /// The last review that came to a path.
    pub fn last(&self, path: &str) -> Value {
        let seen = self.seen.lock();
        seen.iter().rev().find(|seen| seen.path.starts_with(path)).map(|seen| seen.body.clone()).unwrap_or_default()
    }
}

async fn answer(
    request: Request<Incoming>,
    log: Arc<Mutex<Vec<Seen>>>,
    handler: Handler,
) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    let path = request.uri().path_and_query().map_or(String::new(), |path| path.as_str().to_owned());
    let headers = request.headers().clone();
    let bytes = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let seen = Seen { path, headers, body: serde_json::from_slice(&bytes).unwrap_or_default() };
    let reply = handler(&seen);
    log.lock().push(seen);
    let Some((code, value)) = reply else { return std::future::pending().await };
    let response = Response::builder().status(code).header("content-type", "application/json");
    Ok(response.body(Full::new(value.to_string().into())).unwrap())
}

/// An answer to a review.
pub fn review(seen: &Seen, response: Value) -> Answer {
    let mut response = response;
    response["uid"] = seen.body["request"]["uid"].clone();
    Some((200, json!({"apiVersion": seen.body["apiVersion"], "kind": "AdmissionReview", "response": response})))
}

pub fn patch(operations: &Value) -> Value {
    json!({"allowed": true, "patchType": "JSONPatch", "patch": base64(&operations.to_string())})
}
