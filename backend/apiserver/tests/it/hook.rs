//! A webhook's server for tests: HTTPS with a certificate of its own, answering what the test says.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

pub struct Hook {
    pub address: SocketAddr,
    certificate: String,
    seen: Arc<Mutex<Vec<Value>>>,
    _stop: DropGuard,
}

impl Hook {
    /// Answers each request's body with what `answer` makes of it; its certificate is for `names`.
    pub async fn start(names: &[&str], answer: impl Fn(Value) -> Value + Send + Sync + 'static) -> Self {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (stop, seen) = (CancellationToken::new(), Arc::default());
        let hook = Self {
            address: listener.local_addr().unwrap(),
            certificate: certificate.pem(),
            seen: Arc::clone(&seen),
            _stop: stop.clone().drop_guard(),
        };
        let (answer, acceptor) = (Arc::new(answer), TlsAcceptor::from(Arc::new(tls)));
        tokio::spawn(async move {
            loop {
                let (socket, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    () = stop.cancelled() => return,
                };
                let (acceptor, answer, seen) = (acceptor.clone(), Arc::clone(&answer), Arc::clone(&seen));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                        let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                        async move {
                            let body = request.into_body().collect().await.unwrap().to_bytes();
                            let sent: Value = serde_json::from_slice(&body).unwrap();
                            seen.lock().unwrap().push(sent.clone());
                            let answer = Bytes::from(answer(sent).to_string());
                            Ok::<_, Infallible>(Response::new(Full::new(answer)))
                        }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        hook
    }

    fn bundle(&self) -> String {
        base64::engine::general_purpose::STANDARD.encode(&self.certificate)
    }

    /// The `clientConfig` that leads here by URL.
    pub fn by_url(&self, path: &str) -> Value {
        json!({"url": format!("https://{}{path}", self.address), "caBundle": self.bundle()})
    }

    /// The `clientConfig` that leads here by a Service.
    pub fn by_service(&self, namespace: &str, name: &str, path: &str) -> Value {
        let service = json!({"namespace": namespace, "name": name, "path": path, "port": self.address.port()});
        json!({"service": service, "caBundle": self.bundle()})
    }

    /// What came in so far.
    pub fn seen(&self) -> Vec<Value> {
        self.seen.lock().unwrap().clone()
    }
}
