use http::HeaderValue;

use super::*;
use crate::authz::Authorizer;
use crate::pki::{Ca, Validity};
use crate::testing::Objects;
use crate::tokens::{Config, Keys, Mint};

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn authenticator() -> Authenticator {
    let cluster = Objects::with(&[
        ("serviceaccounts", json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u"}})),
        ("secrets", bootstrap::secret("abcdef.0123456789abcdef", None, "").unwrap()),
    ]);
    let keys = Keys::load(&Keys::generate_pem().unwrap(), &[]).unwrap();
    let tokens = ServiceAccountTokens::new(keys, Config::for_domain("cluster.local"));
    Authenticator::new(Arc::new(cluster), Arc::new(tokens), Arc::new(Sessions::new([1; 32])))
}

fn token(of: &Authenticator, audiences: &[&str]) -> String {
    let audiences: Vec<String> = audiences.iter().map(|a| (*a).to_owned()).collect();
    let audiences = if audiences.is_empty() { of.tokens.config().audiences.clone() } else { audiences };
    let what =
        Mint { namespace: "shop", name: "web", uid: "u", audiences: &audiences, seconds: 600, ..Mint::default() };
    of.tokens.mint(&what, now()).unwrap()
}

fn ask(of: &Authenticator, authorization: Option<&str>, peer: Option<&[u8]>) -> Result<Identity, Status> {
    let mut headers = HeaderMap::new();
    if let Some(value) = authorization {
        headers.insert("authorization", HeaderValue::from_str(value).unwrap());
    }
    of.authenticate_at(&Method::GET, &headers, peer, now())
}

#[test]
fn the_first_credentials_decide() {
    let of = authenticator();
    let anonymous = ask(&of, None, None).unwrap();
    assert_eq!((anonymous.via, &*anonymous.user), (Via::Anonymous, &UserInfo::anonymous()));

    let good = format!("Bearer {}", token(&of, &[]));
    assert_eq!(ask(&of, Some(&good), None).unwrap().user.name, "system:serviceaccount:shop:web");
    let bootstrap = ask(&of, Some("bearer abcdef.0123456789abcdef"), None).unwrap();
    assert_eq!((bootstrap.via, bootstrap.user.name.as_str()), (Via::BootstrapToken, "system:bootstrap:abcdef"));

    let ca = Ca::create("kubernetes", now()).unwrap();
    let admin = ca.issue_admin(Validity::one_year(now())).unwrap();
    let (_, pem) = x509_parser::pem::parse_x509_pem(admin.certificate_pem.as_bytes()).unwrap();
    let by_certificate = ask(&of, Some(&good), Some(&pem.contents)).unwrap();
    assert_eq!(by_certificate.user.name, "kubernetes-admin");
    assert_eq!(by_certificate.user.groups, ["system:masters", "system:authenticated"]);
}

#[test]
fn bad_credentials_are_never_anonymous() {
    let of = authenticator();
    let elsewhere = format!("Bearer {}", token(&of, &["vault"]));
    for bad in ["Bearer nonsense", "Bearer abcdef.0123456789abcdee", &elsewhere, "Bearer a.b.c"] {
        assert_eq!(ask(&of, Some(bad), None).unwrap_err(), Status::unauthorized(), "{bad}");
    }
    assert_eq!(ask(&of, None, Some(b"no certificate")).unwrap_err().code, 401);
    let mut headers = HeaderMap::new();
    headers.insert("cookie", HeaderValue::from_static("a=b; pilothouse-session=forged"));
    assert_eq!(of.authenticate_at(&Method::GET, &headers, None, now()).unwrap_err().code, 401);
}

#[test]
fn token_reviews() {
    let of = authenticator();
    let good = of.review(&json!({"token": token(&of, &[])}), now());
    assert_eq!(good["authenticated"], true);
    assert_eq!(good["user"]["username"], "system:serviceaccount:shop:web");
    let vault = of.review(&json!({"token": token(&of, &["vault"]), "audiences": ["vault", "x"]}), now());
    assert_eq!(vault["audiences"], json!(["vault"]));
    for spec in [json!({}), json!({"token": "x"}), json!({"token": token(&of, &[]), "audiences": ["vault"]})] {
        let status = of.review(&spec, now());
        assert!(status.get("authenticated").is_none(), "{spec}");
        assert!(status["error"].as_str().unwrap().contains("invalid bearer token"));
    }
}

fn impersonating(authorizer: &Authorizer, headers: &[(&'static str, &str)]) -> Result<Option<UserInfo>, Status> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    impersonate(authorizer, &UserInfo::new("boss", &[]), &map)
}

#[test]
fn impersonation_needs_every_part() {
    let authorizer = Authorizer::new();
    assert_eq!(impersonating(&authorizer, &[]).unwrap(), None);
    assert_eq!(impersonating(&authorizer, &[("impersonate-group", "x")]).unwrap_err().code, 400);
    let denied = impersonating(&authorizer, &[("impersonate-user", "jane")]).unwrap_err();
    assert_eq!(
        denied.message,
        r#"users "jane" is forbidden: User "boss" cannot impersonate resource "users" in API group "" at the cluster scope"#
    );

    let rules = json!([
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["jane"]},
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": ["dev"]},
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]},
        {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/acme.io/x"]},
    ]);
    authorizer.apply("clusterroles.rbac.authorization.k8s.io", &json!({"metadata": {"name": "r"}, "rules": rules}));
    authorizer.apply(
        "clusterrolebindings.rbac.authorization.k8s.io",
        &json!({"metadata": {"name": "b"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "boss"}]}),
    );
    let jane = ("impersonate-user", "jane");
    let user = impersonating(&authorizer, &[jane, ("impersonate-group", "dev")]).unwrap().unwrap();
    assert_eq!(user.groups, ["dev", "system:authenticated"]);
    let user = impersonating(&authorizer, &[jane, ("impersonate-extra-acme.io%2fx", "1")]).unwrap().unwrap();
    assert_eq!(user.extra("acme.io/x"), Some("1"));
    let account = ("impersonate-user", "system:serviceaccount:shop:web");
    let user = impersonating(&authorizer, &[account]).unwrap().unwrap();
    assert_eq!(user, UserInfo::service_account("shop", "web", ""));
    for refused in [
        &[jane, ("impersonate-group", "system:masters")][..],
        &[jane, ("impersonate-group", "dev"), ("impersonate-group", "system:masters")],
        &[jane, ("impersonate-uid", "1")],
        &[jane, ("impersonate-extra-other", "1")],
        &[("impersonate-user", "john")],
    ] {
        assert_eq!(impersonating(&authorizer, refused).unwrap_err().code, 403, "{refused:?}");
    }
}
