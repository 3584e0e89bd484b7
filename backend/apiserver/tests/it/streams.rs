//! The whole way of a stream: client, TLS socket, tunnel, node, and back. The node is a small server of our own.

use std::convert::Infallible;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use pilothouse_access::pki::{ClientCertificates, Issued, Leaf, Validity, server_config};
use pilothouse_apiserver::door;
use pilothouse_tunnel::{Dialer, TunnelStream, connect};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::support::{TestCluster, config_map, pod};

const PODS: &str = "/api/v1/namespaces/pods/pods";

struct Served {
    cluster: TestCluster,
    port: u16,
    /// What the node was asked.
    asked: Arc<Mutex<Vec<String>>>,
    shutdown: CancellationToken,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn valid() -> Validity {
    Validity::one_year(jiff::Timestamp::now())
}

fn client_tls(cluster: &TestCluster, identity: Option<&Issued>, alpn: &[&str]) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cluster.secrets.ca.certificate_der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some(issued) => {
            let chain = CertificateDer::pem_slice_iter(issued.certificate_pem.as_bytes()).map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
            config.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

async fn served() -> Served {
    let cluster = TestCluster::start().await;
    let (shutdown, asked) = (CancellationToken::new(), Arc::new(Mutex::new(Vec::new())));
    let secrets = &cluster.secrets;
    let issued = secrets.ca.issue_server("kube-apiserver", &["localhost", "127.0.0.1"], valid()).unwrap();
    let leaf = Leaf::new(&issued.certificate_pem, &issued.key_pem).unwrap();
    let ca = secrets.ca.certificate_pem();
    let tls = |clients| Arc::new(server_config(Arc::clone(&leaf), &[ca], clients, &["h2", "http/1.1"]).unwrap());

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let door = door::serve_listeners(
        cluster.api.clone(),
        vec![listener],
        tls(ClientCertificates::Optional),
        1,
        shutdown.clone(),
    );
    tokio::spawn(door);

    let tunnel = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = format!("127.0.0.1:{}", tunnel.local_addr().unwrap().port());
    let (tunnels, required, stop) = (cluster.tunnels.clone(), tls(ClientCertificates::Required), shutdown.clone());
    tokio::spawn(async move { tunnels.serve(tunnel, required, stop).await });
    let node = secrets.ca.issue_client("system:node:n1", &["system:nodes"], valid()).unwrap();
    let config = client_tls(&cluster, Some(&node), &[]);
    let dialer = Dialer {
        address,
        server_name: ServerName::try_from("localhost").unwrap(),
        tls: Arc::new(move || Arc::clone(&config)),
        version: "test".into(),
    };
    let (log, stop) = (Arc::clone(&asked), shutdown.clone());
    tokio::spawn(connect(dialer, move |stream| drop(tokio::spawn(serve_node(stream, Arc::clone(&log)))), stop));
    while !cluster.tunnels.is_connected("n1") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cluster.namespace("pods").await;
    let mut object = pod("a");
    object["spec"]["nodeName"] = json!("n1");
    cluster.admin().create(PODS, &object).await;
    Served { cluster, port, asked, shutdown }
}

/// The node's side: echoes what is upgraded, answers logs with two lines.
async fn serve_node(stream: TunnelStream, asked: Arc<Mutex<Vec<String>>>) {
    let service = service_fn(move |mut request: Request<Incoming>| {
        let asked = Arc::clone(&asked);
        async move {
            asked.lock().push(format!("{} {}", request.method(), request.uri()));
            let path = request.uri().path().to_owned();
            let answer = |status: u16, body: &'static str| {
                let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                response
            };
            let response = if path.starts_with("/containerLogs/pods/a/") {
                answer(200, "one\ntwo\n")
            } else if request.headers().get("upgrade").is_some_and(|to| to == "websocket-v5") {
                answer(403, "unknown protocol")
            } else if let Some(protocol) = request.headers().get("upgrade").cloned() {
                assert!(request.headers().get("authorization").is_none(), "what proves who it is stays at home");
                let upgraded = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    let (mut reader, mut writer) = tokio::io::split(TokioIo::new(upgraded.await.unwrap()));
                    let _ = writer.write_all(b"hello\n").await;
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                    let _ = writer.write_all(b"bye\n").await;
                    let _ = writer.shutdown().await;
                });
                let mut response = answer(101, "");
                response.headers_mut().insert("connection", "Upgrade".parse().unwrap());
                response.headers_mut().insert("upgrade", protocol);
                response.headers_mut().insert("x-stream-protocol-version", "v4.channel.k8s.io".parse().unwrap());
                response
            } else {
                answer(200, "proxied")
            };
            Ok::<_, Infallible>(response)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let _ = connection.with_upgrades().await;
}

impl Served {
    async fn tls(&self, identity: Option<&Issued>, alpn: &[&str]) -> TlsStream<TcpStream> {
        let connector = TlsConnector::from(client_tls(&self.cluster, identity, alpn));
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.unwrap();
        connector.connect(ServerName::try_from("localhost").unwrap(), socket).await.unwrap()
    }

    fn admin(&self) -> Issued {
        self.cluster.secrets.ca.issue_admin(valid()).unwrap()
    }

    /// Sends a head; gives the answer's head and the connection.
    async fn upgrade(&self, method: &str, path: &str, protocol: &str) -> (String, TlsStream<TcpStream>) {
        let mut stream = self.tls(Some(&self.admin()), &["http/1.1"]).await;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\
             Authorization: Bearer nothing\r\n\r\n"
        );
        // The client certificate says who it is; the header must not travel on.
        let head = head.replace("Authorization: Bearer nothing\r\n", "");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        (String::from_utf8(answer).unwrap(), stream)
    }
}

#[tokio::test]
async fn exec_over_spdy_and_websocket() {
    let served = served().await;
    for (method, protocol) in [("POST", "SPDY/3.1"), ("GET", "websocket")] {
        let path = format!("{PODS}/a/exec?command=sh&command=-c&command=a%20b&stdin=true&stdout=true&container=main");
        let (head, mut stream) = served.upgrade(method, &path, protocol).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.to_lowercase().contains(&format!("upgrade: {}", protocol.to_lowercase())), "{head}");
        assert!(head.contains("x-stream-protocol-version: v4.channel.k8s.io"), "{head}");
        let mut hello = [0; 6];
        stream.read_exact(&mut hello).await.unwrap();
        assert_eq!(&hello, b"hello\n");
        // Far more than any buffer on the way.
        let sent: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let copy = sent.clone();
        let writing = tokio::spawn(async move {
            writer.write_all(&copy).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let mut back = Vec::new();
        tokio::time::timeout(Duration::from_secs(20), reader.read_to_end(&mut back)).await.unwrap().unwrap();
        writing.await.unwrap();
        assert_eq!(back.len(), sent.len() + 4);
        assert!(back.starts_with(&sent) && back.ends_with(b"bye\n"));
        let asked = served.asked.lock().pop().unwrap();
        let expected = "/exec/pods/a/main?command=sh&command=-c&command=a+b&input=1&output=1";
        assert_eq!(asked, format!("{method} {expected}"));
    }
    // A refusal comes through as it is: kubectl then tries the other protocol.
    let (head, _) = served.upgrade("GET", &format!("{PODS}/a/exec?command=sh"), "websocket-v5").await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let (head, _) = served.upgrade("POST", &format!("{PODS}/a/portforward?ports=80&ports=81"), "SPDY/3.1").await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(served.asked.lock().pop().unwrap(), "POST /portForward/pods/a?&port=80&port=81");
}

#[tokio::test]
async fn logs_and_proxies() {
    let served = served().await;
    let admin = served.cluster.admin();
    let log = admin.get(&format!("{PODS}/a/log?follow=true&tailLines=5")).await;
    assert_eq!((log.status, log.text().as_str()), (200, "one\ntwo\n"));
    assert_eq!(served.asked.lock().pop().unwrap(), "GET /containerLogs/pods/a/main?follow=true&tailLines=5");
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
    admin.create("/api/v1/nodes", &node).await;
    let proxied = admin.get("/api/v1/nodes/n1/proxy/stats/summary?x=1").await;
    assert_eq!(proxied.text(), "proxied");
    assert_eq!(served.asked.lock().pop().unwrap(), "GET /stats/summary?x=1");
    let mut running = admin.get(&format!("{PODS}/a")).await.json();
    running["status"] = json!({"phase": "Running", "podIP": "10.244.0.5", "podIPs": [{"ip": "10.244.0.5"}]});
    admin.put(&format!("{PODS}/a/status"), &running).await.expect(200);
    let proxied = admin.send("POST", &format!("{PODS}/http:a:8080/proxy/api//x/?q=1"), &[], "body").await;
    assert_eq!(proxied.text(), "proxied");
    assert_eq!(served.asked.lock().pop().unwrap(), "POST /proxy/http/10.244.0.5/8080/api//x/?q=1");
    let moved = admin.get(&format!("{PODS}/a:8080/proxy")).await;
    assert_eq!((moved.status, moved.header("location")), (301, format!("{PODS}/a:8080/proxy/").as_str()));
}

#[tokio::test]
async fn the_socket() {
    let served = served().await;
    served.cluster.admin().create("/api/v1/namespaces/pods/configmaps", &config_map("big", &json!({"x": "y".repeat(400_000)}))).await;
    let admin = served.admin();
    let get = |path: &str| Request::get(format!("https://localhost{path}")).header("host", "localhost");
    for protocol in ["http/1.1", "h2"] {
        let stream = TokioIo::new(served.tls(Some(&admin), &[protocol]).await);
        let mut send: Box<dyn FnMut(Request<Full<Bytes>>) -> _> = if protocol == "h2" {
            let (sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            Box::new(move |request| futures::FutureExt::boxed(sender.clone().send_request(request)))
        } else {
            let (sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            let sender = Arc::new(tokio::sync::Mutex::new(sender));
            Box::new(move |request| {
                let sender = Arc::clone(&sender);
                futures::FutureExt::boxed(async move {
                    let mut sender = sender.lock().await;
                    sender.ready().await?;
                    sender.send_request(request).await
                })
            })
        };
        let who = send(get("/apis/authentication.k8s.io/v1").body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(who.status(), 200, "{protocol}");
        let post = Request::post("https://localhost/apis/authentication.k8s.io/v1/selfsubjectreviews")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::from(json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}).to_string()))
            .unwrap();
        let me: Value = body(send(post).await.unwrap()).await;
        assert_eq!(me["status"]["userInfo"]["username"], "kubernetes-admin", "{protocol}: {me}");
        let list = get("/api/v1/namespaces/pods/configmaps").header("accept-encoding", "gzip").body(Full::default());
        let list = send(list.unwrap()).await.unwrap();
        assert_eq!(list.headers()["content-encoding"], "gzip", "{protocol}");
        let packed = list.into_body().collect().await.unwrap().to_bytes();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed[..]), &mut text).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["kind"], "ConfigMapList");
        let plain = send(get("/api/v1/namespaces/pods/configmaps").body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(plain.headers()["content-length"].to_str().unwrap(), text.len().to_string(), "{protocol}");
        // Longer than the largest body, told and untold.
        let huge = Request::post("https://localhost/api/v1/namespaces/pods/configmaps")
            .header("host", "localhost")
            .body(Full::from(vec![b' '; 3_200_000]))
            .unwrap();
        assert_eq!(send(huge).await.unwrap().status(), 413, "{protocol}");
    }
    let stream = TokioIo::new(served.tls(None, &["http/1.1"]).await);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let nobody = sender.send_request(get("/api/v1/pods").body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    assert_eq!(nobody.status(), 403);
    let nobody: Value = body(nobody).await;
    assert!(nobody["message"].as_str().unwrap().contains("User \"system:anonymous\" cannot list"), "{nobody}");
}

async fn body(response: Response<Incoming>) -> Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}
