//! Both ends of the tunnel in one process, over real TLS on a loopback port.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use pilothouse_tunnel::{Dialer, Error, TunnelStream, Tunnels, connect};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Arc::new(roots)
    }

    fn issue(&self, name: &str, group: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, group);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    fn server(&self) -> Arc<rustls::ServerConfig> {
        let (chain, key) = self.issue("pilothouse", "backend");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots(), Arc::clone(&provider)).build().unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Arc::new(config.unwrap().with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap())
    }

    fn client(&self, name: &str, group: &str) -> Arc<rustls::ClientConfig> {
        let (chain, key) = self.issue(name, group);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        Arc::new(config.unwrap().with_root_certificates(self.roots()).with_client_auth_cert(chain, key).unwrap())
    }
}

struct Backend {
    tunnels: Tunnels,
    address: String,
    shutdown: CancellationToken,
    served: tokio::task::JoinHandle<Result<(), Error>>,
}

async fn backend(authority: &Authority, address: &str) -> Backend {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = format!("localhost:{}", listener.local_addr().unwrap().port());
    let (tunnels, shutdown) = (Tunnels::new(), CancellationToken::new());
    let serving = (tunnels.clone(), authority.server(), shutdown.clone());
    let served = tokio::spawn(async move { serving.0.serve(listener, serving.1, serving.2).await });
    Backend { tunnels, address, shutdown, served }
}

fn agent(
    address: &str,
    tls: Arc<rustls::ClientConfig>,
    serve: impl Fn(TunnelStream) + Send + Sync + 'static,
) -> CancellationToken {
    let shutdown = CancellationToken::new();
    let dialer = Dialer {
        address: address.to_owned(),
        server_name: ServerName::try_from("localhost").unwrap(),
        tls: Arc::new(move || Arc::clone(&tls)),
        version: "test".to_owned(),
    };
    tokio::spawn(connect(dialer, serve, shutdown.clone()));
    shutdown
}

/// Answers every stream with the bytes it got, and ends when the other side has ended.
fn echo(stream: TunnelStream) {
    tokio::spawn(async move {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
        let _ = writer.shutdown().await;
    });
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within ten seconds");
}

#[tokio::test]
async fn many_streams_at_once_with_half_close() {
    let authority = Authority::new();
    let backend = backend(&authority, "127.0.0.1:0").await;
    let _agent = agent(&backend.address, authority.client("system:node:a", "system:nodes"), echo);
    eventually("attached", || backend.tunnels.is_connected("a")).await;
    assert_eq!(backend.tunnels.nodes(), ["a"]);

    let mut streams = tokio::task::JoinSet::new();
    for index in 0..64_u8 {
        let tunnels = backend.tunnels.clone();
        streams.spawn(async move {
            let sent: Vec<u8> = (0..300_000_u32).map(|n| (n as u8).wrapping_mul(index)).collect();
            let (mut reader, mut writer) = tokio::io::split(tunnels.dial("a").await.unwrap());
            let expected = sent.clone();
            let write = async move {
                writer.write_all(&sent).await.unwrap();
                // The echo ends only because it sees this end.
                writer.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            let (_, read) = tokio::join!(write, reader.read_to_end(&mut got));
            read.unwrap();
            assert!(got == expected, "stream {index}");
        });
    }
    while let Some(end) = streams.join_next().await {
        end.unwrap();
    }
}

#[tokio::test]
async fn a_stream_that_nobody_reads_stops_its_sender_and_no_other() {
    let authority = Authority::new();
    let backend = backend(&authority, "127.0.0.1:0").await;
    let flood = |mut stream: TunnelStream| {
        tokio::spawn(async move {
            let mut request = [0; 1];
            stream.read_exact(&mut request).await.unwrap();
            let mut sent = 0_u64;
            while request[0] == b'f' && stream.write_all(&[7; 1024]).await.is_ok() {
                sent += 1024;
                assert!(sent < 4 << 20, "the flood was not stopped");
            }
            let _ = stream.write_all(b"quick").await;
            let _ = stream.shutdown().await;
        });
    };
    let _agent = agent(&backend.address, authority.client("system:node:a", "system:nodes"), flood);
    eventually("attached", || backend.tunnels.is_connected("a")).await;

    let mut stuck = Vec::new();
    for _ in 0..32 {
        let mut stream = backend.tunnels.dial("a").await.unwrap();
        stream.write_all(b"f").await.unwrap();
        stuck.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut quick = backend.tunnels.dial("a").await.unwrap();
    quick.write_all(b"q").await.unwrap();
    let mut got = String::new();
    tokio::time::timeout(Duration::from_secs(5), quick.read_to_string(&mut got)).await.unwrap().unwrap();
    assert_eq!(got, "quick");
}

#[tokio::test]
async fn dropping_one_end_ends_the_other() {
    let authority = Authority::new();
    let backend = backend(&authority, "127.0.0.1:0").await;
    let (ended, mut end) = tokio::sync::mpsc::channel(1);
    let watch = move |mut stream: TunnelStream| {
        let ended = ended.clone();
        tokio::spawn(async move {
            let mut got = Vec::new();
            let read = stream.read_to_end(&mut got).await.map(|_| got);
            // Writing to an abandoned stream fails in the end.
            while stream.write_all(&[0; 4096]).await.is_ok() {
                tokio::task::yield_now().await;
            }
            ended.send(read).await.unwrap();
        });
    };
    let _agent = agent(&backend.address, authority.client("system:node:a", "system:nodes"), watch);
    eventually("attached", || backend.tunnels.is_connected("a")).await;
    let mut stream = backend.tunnels.dial("a").await.unwrap();
    stream.write_all(b"last words").await.unwrap();
    drop(stream);
    let read = tokio::time::timeout(Duration::from_secs(5), end.recv()).await.unwrap().unwrap();
    assert_eq!(read.unwrap(), b"last words");
}

#[tokio::test]
async fn a_lost_agent_breaks_its_streams_and_comes_back_by_itself() {
    let authority = Authority::new();
    let backend = backend(&authority, "127.0.0.1:0").await;
    let tls = authority.client("system:node:a", "system:nodes");
    let first = agent(&backend.address, Arc::clone(&tls), echo);
    eventually("attached", || backend.tunnels.is_connected("a")).await;
    let mut stream = backend.tunnels.dial("a").await.unwrap();
    first.cancel();
    eventually("detached", || !backend.tunnels.is_connected("a")).await;
    let error = stream.read(&mut [0; 16]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(matches!(backend.tunnels.dial("a").await, Err(Error::NotConnected(node)) if node == "a"));

    // A backend that goes away and comes back on the same address is found again.
    let _second = agent(&backend.address, tls, echo);
    eventually("attached again", || backend.tunnels.is_connected("a")).await;
    let port = backend.address.rsplit(':').next().unwrap().to_owned();
    backend.shutdown.cancel();
    backend.served.await.unwrap().unwrap();
    let next = self::backend(&authority, &format!("127.0.0.1:{port}")).await;
    eventually("attached to the next backend", || next.tunnels.is_connected("a")).await;
    let mut stream = next.tunnels.dial("a").await.unwrap();
    stream.write_all(b"hi").await.unwrap();
    let mut got = [0; 2];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hi");
}

#[tokio::test]
async fn only_nodes_of_this_cluster_may_attach() {
    let (authority, other) = (Authority::new(), Authority::new());
    let backend = backend(&authority, "127.0.0.1:0").await;
    let _user = agent(&backend.address, authority.client("system:node:a", "people"), echo);
    let _admin = agent(&backend.address, authority.client("admin", "system:nodes"), echo);
    let _stranger = agent(&backend.address, other.client("system:node:a", "system:nodes"), echo);
    let _good = agent(&backend.address, authority.client("system:node:good", "system:nodes"), echo);
    eventually("the good one attached", || backend.tunnels.is_connected("good")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(backend.tunnels.nodes(), ["good"]);
}
