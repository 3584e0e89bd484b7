use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

use super::*;

fn now() -> Timestamp {
    Timestamp::now()
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

#[test]
fn an_authority_survives_being_stored() {
    let ca = Ca::create("kubernetes", now()).unwrap();
    let loaded = Ca::load(ca.certificate_pem(), ca.key_pem()).unwrap();
    assert_eq!(loaded.certificate_pem(), ca.certificate_pem());
    let other = Ca::create("kubernetes", now()).unwrap();
    assert!(Ca::load(ca.certificate_pem(), other.key_pem()).is_err(), "the key belongs to the certificate");
    assert!(Ca::load("nonsense", ca.key_pem()).is_err());
}

#[test]
fn client_certificates_carry_all_groups() {
    let ca = Ca::create("kubernetes", now()).unwrap();
    for groups in [&[][..], &["a"], &["a", "system:nodes", "ein Grüppchen"]] {
        let issued = ca.issue_client("jane", groups, Validity::one_year(now())).unwrap();
        let user = identity(&der(&issued.certificate_pem)).unwrap();
        assert_eq!(user.name, "jane");
        assert_eq!(user.groups, groups);
        let id = user.extra("authentication.kubernetes.io/credential-id").unwrap();
        assert!(id.starts_with("X509SHA256=") && id.len() == 11 + 64);
    }
    let long = Validity { now: now(), life: Duration::from_secs(100 * 365 * 86400) };
    assert_eq!(ca.issue_client("x", &[], long).unwrap().not_after, ca.not_after(), "never outlives the authority");
    assert!(identity(b"garbage").is_err());
}

/// Runs a TLS handshake in memory; gives the peer certificate the server saw.
fn handshake(ca: &Ca, clients: ClientCertificates, client: Option<&Issued>) -> Result<Option<Vec<u8>>, rustls::Error> {
    let server = ca.issue_server("kube-apiserver", &["kubernetes", "127.0.0.1"], Validity::one_year(now())).unwrap();
    let leaf = Leaf::new(&server.certificate_pem, &server.key_pem).unwrap();
    let server = server_config(leaf, &[ca.certificate_pem()], clients, &["h2", "http/1.1"]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ca.certificate_der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots);
    let config = match client {
        None => config.with_no_client_auth(),
        Some(issued) => {
            let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
            config.with_client_auth_cert(vec![der(&issued.certificate_pem)], key).unwrap()
        }
    };
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    for _ in 0..10 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut &wire[..]).unwrap();
        client.process_new_packets()?;
    }
    assert!(!server.is_handshaking() && !client.is_handshaking());
    Ok(server.peer_certificates().and_then(|all| all.first()).map(|c| c.to_vec()))
}

#[test]
fn tls_takes_our_certificates_and_no_others() {
    let (ca, other) = (Ca::create("kubernetes", now()).unwrap(), Ca::create("kubernetes", now()).unwrap());
    let good = ca.issue_client("jane", &["a"], Validity::one_year(now())).unwrap();
    let foreign = other.issue_client("jane", &["system:masters"], Validity::one_year(now())).unwrap();
    let past = Timestamp::from_second(now().as_second() - 1000).unwrap();
    let expired = ca.issue_client("jane", &[], Validity { now: past, life: Duration::from_secs(900) }).unwrap();
    let server = ca.issue_server("jane", &["x"], Validity::one_year(now())).unwrap();

    use ClientCertificates::{Optional, Required};
    assert_eq!(handshake(&ca, Optional, None).unwrap(), None, "anonymous");
    let seen = handshake(&ca, Optional, Some(&good)).unwrap().unwrap();
    assert_eq!(identity(&seen).unwrap().name, "jane");
    for (name, bad) in [("foreign", &foreign), ("expired", &expired), ("for servers", &server)] {
        assert!(handshake(&ca, Optional, Some(bad)).is_err(), "{name}");
    }
    assert!(handshake(&ca, Required, None).is_err());
    assert!(handshake(&ca, Required, Some(&good)).is_ok());
}

#[test]
fn a_leaf_is_replaced_or_kept() {
    let ca = Ca::create("kubernetes", now()).unwrap();
    let issue = |days: u64| {
        let validity = Validity { now: now(), life: Duration::from_secs(days * 86400) };
        ca.issue_server("x", &["x"], validity).unwrap()
    };
    let (first, second) = (issue(1), issue(2));
    let leaf = Leaf::new(&first.certificate_pem, &first.key_pem).unwrap();
    let before = leaf.not_after().unwrap();
    assert!(leaf.replace(&second.certificate_pem, &first.key_pem).is_err(), "key and certificate differ");
    assert_eq!(leaf.not_after().unwrap(), before);
    leaf.replace(&second.certificate_pem, &second.key_pem).unwrap();
    assert!(leaf.not_after().unwrap() > before);
}

fn csr(common_name: &str, organization: &str, names: Vec<SanType>) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    if !organization.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.subject_alt_names = names;
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
}

#[test]
fn requests_are_signed_by_the_rules_of_their_signer() {
    let ca = Ca::create("kubernetes", now()).unwrap();
    let dns = || vec![SanType::DnsName("n1".try_into().unwrap())];
    let mail = || vec![SanType::Rfc822Name("a@b.c".try_into().unwrap())];
    let node = || csr("system:node:n1", "system:nodes", vec![]);
    let (client, kubelet, serving) = (
        "kubernetes.io/kube-apiserver-client",
        "kubernetes.io/kube-apiserver-client-kubelet",
        "kubernetes.io/kubelet-serving",
    );
    let client_auth = ["digital signature", "client auth"];
    let server_auth = ["digital signature", "key encipherment", "server auth"];
    let cases: &[(&str, String, &[&str], &str)] = &[
        (kubelet, node(), &client_auth, ""),
        (kubelet, node(), &["client auth"], "usages did not match"),
        (kubelet, node(), &["digital signature", "client auth", "server auth"], "usages did not match"),
        (kubelet, csr("system:node:n1", "system:masters", vec![]), &client_auth, "subject organization is not"),
        (kubelet, csr("n1", "system:nodes", vec![]), &client_auth, "common name does not begin with"),
        (kubelet, csr("system:node:n1", "system:nodes", dns()), &client_auth, "DNS subjectAltNames are not allowed"),
        (serving, csr("system:node:n1", "system:nodes", dns()), &server_auth, ""),
        (serving, node(), &server_auth, "DNS or IP subjectAltName is required"),
        (serving, csr("system:node:n1", "system:nodes", mail()), &server_auth, "DNS or IP subjectAltName is required"),
        (client, csr("jane", "team", vec![]), &client_auth, ""),
        (client, csr("jane", "team", vec![]), &["server auth"], "invalid usage for client certificate: server auth"),
        (client, csr("jane", "team", vec![]), &["digital signature"], "missing required usage"),
        (client, csr("jane", "system:masters", vec![]), &client_auth, "system:masters"),
        ("example.com/x", node(), &client_auth, "unrecognized signerName"),
        (client, "nonsense".into(), &client_auth, "PEM block type must be CERTIFICATE REQUEST"),
        (client, ca.certificate_pem().into(), &client_auth, "PEM block type must be CERTIFICATE REQUEST"),
    ];
    for (signer, csr_pem, usages, expected) in cases {
        let request = SignRequest {
            signer_name: (*signer).to_owned(),
            csr_pem: csr_pem.clone(),
            usages: usages.iter().map(|u| (*u).to_owned()).collect(),
            expiration_seconds: Some(3600),
        };
        match ca.sign_request(&request, now()) {
            Ok(pem) => {
                assert_eq!(*expected, "", "{signer} {usages:?}");
                let expiry = certificate_expiry(&der(&pem)).unwrap();
                assert!((expiry.as_second() - now().as_second() - 3600).abs() < 60);
            }
            Err(error) => {
                assert!(!expected.is_empty() && error.to_string().contains(expected), "{signer} {usages:?}: {error}");
            }
        }
    }
    // Expiration: between ten minutes and a year.
    for (asked, seconds) in
        [(Some(1), 600), (Some(700), 700), (None, 365 * 86400 - 300), (Some(1 << 40), 365 * 86400 - 300)]
    {
        let request = SignRequest {
            signer_name: kubelet.to_owned(),
            csr_pem: node(),
            usages: client_auth.iter().map(|u| (*u).to_owned()).collect(),
            expiration_seconds: asked,
        };
        let certificate = der(&ca.sign_request(&request, now()).unwrap());
        let life = certificate_expiry(&certificate).unwrap().as_second() - now().as_second();
        assert!((life - seconds).abs() < 60, "{asked:?}: {life}");
        assert_eq!(identity(&certificate).unwrap().node_name(), Some("n1"));
    }
}

#[test]
fn a_signed_request_completes_a_handshake() {
    let ca = Ca::create("kubernetes", now()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, "system:node:n1");
    let request = SignRequest {
        signer_name: "kubernetes.io/kube-apiserver-client-kubelet".into(),
        csr_pem: params.serialize_request(&key).unwrap().pem().unwrap(),
        usages: vec!["digital signature".into(), "client auth".into()],
        expiration_seconds: None,
    };
    let certificate_pem = ca.sign_request(&request, now()).unwrap();
    let issued = Issued { certificate_pem, key_pem: key.serialize_pem(), not_after: now() };
    let seen = handshake(&ca, ClientCertificates::Required, Some(&issued)).unwrap().unwrap();
    assert_eq!(identity(&seen).unwrap().node_name(), Some("n1"));
}

#[test]
fn kubeconfig_is_plain_yaml() {
    let config = Kubeconfig {
        cluster: "pilothouse",
        server: "https://127.0.0.1:6443",
        ca_pem: "CA",
        user: "kubernetes-admin",
        credential: Credential::Token("a: \"b\"\n"),
    };
    let text = config.render();
    assert!(text.contains("current-context: \"kubernetes-admin@pilothouse\"\n"), "{text}");
    assert!(text.contains("    token: \"a: \\\"b\\\"\\n\"\n"), "{text}");
    assert!(text.contains("certificate-authority-data: Q0E=\n"), "{text}");
}

proptest::proptest! {
    /// Certificates and requests come from outside: damaged ones are refused, they do not panic.
    #[test]
    fn damaged_input_is_refused(at in 0usize..600, byte: u8, cut in 0usize..600) {
        use std::sync::LazyLock;
        static INPUT: LazyLock<(Ca, Vec<u8>, Vec<u8>)> = LazyLock::new(|| {
            let ca = Ca::create("kubernetes", now()).unwrap();
            let names = vec![SanType::DnsName("n1".try_into().unwrap())];
            let pem = csr("system:node:n1", "system:nodes", names);
            let request = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap().1.contents;
            let certificate = ca.certificate_der().to_vec();
            (ca, certificate, request)
        });
        let (ca, certificate, request) = &*INPUT;
        let damage = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len().max(1) - cut % bytes.len() / 8);
            bytes
        };
        let _ = identity(&damage(certificate));
        let pem = pem("CERTIFICATE REQUEST", &damage(request));
        let _ = request_subject(&pem);
        let signed = ca.sign_request(&SignRequest {
            signer_name: "kubernetes.io/kubelet-serving".into(),
            csr_pem: pem.clone(),
            usages: vec!["digital signature".into(), "server auth".into()],
            expiration_seconds: None,
        }, now());
        // What is signed; around it lies the name of the algorithm, which may be damaged without harm.
        let info = |der: &[u8]| {
            use x509_parser::prelude::{FromDer, X509CertificationRequest};
            X509CertificationRequest::from_der(der).ok().map(|(_, all)| all.certification_request_info.raw.to_vec())
        };
        proptest::prop_assert!(signed.is_err() || info(&damage(request)) == info(request), "its signature no longer fits");
    }
}
