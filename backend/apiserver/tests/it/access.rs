//! Who may: without an identity almost nothing, with RBAC what was granted.

use jiff::{SignedDuration, Timestamp};
use pilothouse_access::tokens::{Config, Keys, Mint, ServiceAccountTokens};
use pilothouse_apiserver::bootstrap;
use serde_json::json;

use crate::support::{TestCluster, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// What anybody may see. This list may only shrink.
const OPEN: [&str; 5] = ["/healthz", "/livez", "/readyz", "/version", "/version/"];

#[tokio::test]
async fn nothing_is_open_that_need_not_be() {
    let cluster = TestCluster::start().await;
    let stranger = cluster.stranger();
    for path in OPEN {
        assert_eq!(stranger.get(path).await.status, 200, "{path}");
    }
    let mut paths: Vec<String> =
        ["/", "/api", "/apis", "/api/v1", "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/auth/session"]
            .map(str::to_owned)
            .to_vec();
    for kind in pilothouse_kinds::builtin() {
        let root = if kind.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", kind.group) };
        let place = if kind.namespaced { "/namespaces/default" } else { "" };
        let all = format!("{root}/{}{place}/{}", kind.version, kind.plural);
        paths.push(all.clone());
        paths.push(format!("{all}/x"));
        paths.extend(kind.subresources.iter().map(|sub| format!("{all}/x/{}", sub.name)));
    }
    for path in paths {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let reply = stranger.send(method, &path, &[], "").await;
            assert!(matches!(reply.status, 401 | 403 | 404), "{method} {path}: {}", reply.text());
            assert!(
                reply.status != 404 || path.starts_with("/auth/"),
                "{method} {path} is answered before it is authorized"
            );
        }
    }
}

#[tokio::test]
async fn roles_grant_and_stop_granting() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let jane = cluster.user("jane", &["system:authenticated"]);
    let refused = jane.get(MAPS).await;
    assert_eq!(refused.said(), "403 Forbidden");
    assert_eq!(
        refused.message(),
        "configmaps is forbidden: User \"jane\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""
    );
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "jane-views"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}]});
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    admin.create(bindings, &binding).await;
    cluster.eventually(|| jane.get(MAPS), |reply| reply.status == 200).await;
    assert_eq!(jane.post(MAPS, &config_map("a", &json!({}))).await.status, 403);
    assert_eq!(jane.get("/api/v1/namespaces/kube-system/configmaps").await.status, 403);
    assert_eq!(jane.get("/api/v1/namespaces/default/secrets").await.status, 403);
    // Nobody grants what they do not hold.
    let mut more = binding.clone();
    more["roleRef"]["name"] = json!("cluster-admin");
    assert_eq!(jane.post(bindings, &more).await.status, 403);
    admin.delete(&format!("{bindings}/jane-views")).await.expect(200);
    cluster.eventually(|| jane.get(MAPS), |reply| reply.status == 403).await;
}

#[tokio::test]
async fn reviews() {
    let cluster = TestCluster::start().await;
    let jane = cluster.user("jane", &["system:authenticated"]);
    let me = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let me = jane.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &me).await.expect(201);
    assert_eq!(me["status"]["userInfo"], json!({"username": "jane", "groups": ["system:authenticated"]}));
    let may = |verb: &str| {
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"verb": verb, "resource": "pods", "namespace": "default"}}})
    };
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(jane.post(path, &may("list")).await.expect(201)["status"]["allowed"], false);
    assert_eq!(cluster.admin().post(path, &may("list")).await.expect(201)["status"]["allowed"], true);
    // A review has no metadata: it can be no table, but who reads JSON too gets JSON.
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    for (accept, status) in [(table, 406), (&format!("{table},application/json"), 201)] {
        let headers = [("accept", accept), ("content-type", "application/json")];
        let answer = jane.send("POST", path, &headers, may("list").to_string()).await;
        assert_eq!(answer.status, status, "{accept}: {}", answer.text());
    }
    let of_jane = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {"user": "jane", "nonResourceAttributes": {"verb": "get", "path": "/version"}}});
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    assert_eq!(jane.post(path, &of_jane).await.status, 403);
    let mut of_group = of_jane.clone();
    of_group["spec"]["groups"] = json!(["system:authenticated"]);
    let answer = cluster.admin().post(path, &of_group).await.expect(201);
    assert_eq!(answer["status"]["allowed"], true, "{answer}");
    let rules = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": "default"}});
    let rules = jane.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &rules).await.expect(201);
    assert!(rules["status"]["nonResourceRules"].as_array().is_some_and(|rules| !rules.is_empty()), "{rules}");
}

#[tokio::test]
async fn tokens_of_accounts() {
    let cluster = TestCluster::start().await;
    cluster.namespace("tokens").await;
    let admin = cluster.admin();
    let path = "/api/v1/namespaces/tokens/serviceaccounts/default/token";
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}});
    let answer = admin.post(path, &request).await.expect(201);
    let token = answer["status"]["token"].as_str().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    let with = [("authorization", bearer.as_str())];
    let stranger = cluster.stranger();
    let denied = stranger.send("GET", MAPS, &with, "").await;
    assert_eq!(denied.said(), "403 Forbidden");
    assert!(denied.message().contains("User \"system:serviceaccount:tokens:default\""), "{}", denied.message());
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}});
    let review = admin.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.expect(201);
    assert_eq!(review["status"]["authenticated"], true, "{review}");
    for bad in ["Bearer nonsense", "Bearer a.b.c", &bearer[..bearer.len() - 3]] {
        assert_eq!(stranger.send("GET", MAPS, &[("authorization", bad)], "").await.said(), "401 Unauthorized", "{bad}");
    }
    // The token ends with its account.
    admin.delete("/api/v1/namespaces/tokens/serviceaccounts/default").await.expect(200);
    let ended = cluster.eventually(|| stranger.send("GET", MAPS, &with, ""), |reply| reply.status == 401);
    assert_eq!(ended.await.said(), "401 Unauthorized");
}

#[tokio::test]
async fn impersonation() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    // In process the identity is given; through the front an administrator may act as others.
    let token_of = |name: &str| format!("/api/v1/namespaces/kube-system/serviceaccounts/{name}/token");
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "boss"}});
    admin.create("/api/v1/namespaces/kube-system/serviceaccounts", &account).await;
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "boss"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "boss", "namespace": "kube-system"}]});
    admin.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let answer = admin.post(&token_of("boss"), &request).await.expect(201);
    let bearer = format!("Bearer {}", answer["status"]["token"].as_str().unwrap());
    let stranger = cluster.stranger();
    let as_boss = [("authorization", bearer.as_str())];
    cluster.eventually(|| stranger.send("GET", MAPS, &as_boss, ""), |reply| reply.status == 200).await;
    let as_jane = [("authorization", bearer.as_str()), ("impersonate-user", "jane")];
    let refused = stranger.send("GET", MAPS, &as_jane, "").await;
    assert!(refused.message().contains("User \"jane\" cannot list"), "{}", refused.message());
}

#[tokio::test]
async fn tokens_end() {
    let cluster = TestCluster::start().await;
    let robot = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}});
    let robot = cluster.admin().create("/api/v1/namespaces/default/serviceaccounts", &robot).await;
    let secrets = bootstrap::secrets(&cluster.store).await.unwrap();
    let config = Config::for_domain("cluster.local");
    let tokens = ServiceAccountTokens::new(Keys::load(&secrets.token_key, &[]).unwrap(), config.clone());
    let mint = Mint {
        namespace: "default",
        name: "robot",
        uid: robot["metadata"]["uid"].as_str().unwrap(),
        audiences: &config.audiences,
        seconds: 600,
        ..Mint::default()
    };
    let stranger = cluster.stranger();
    for (age, expected) in [(0, "403 Forbidden"), (500, "403 Forbidden"), (700, "401 Unauthorized")] {
        let token = tokens.mint(&mint, Timestamp::now() - SignedDuration::from_secs(age)).unwrap();
        let reply = stranger.send("GET", MAPS, &[("authorization", &format!("Bearer {token}"))], "").await;
        assert_eq!(reply.said(), expected, "a token of {age} seconds: {}", reply.text());
    }
}

#[tokio::test]
async fn questions_that_cannot_be_answered() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let group = "/apis/authorization.k8s.io/v1";
    let [anyones, own] = ["subjectaccessreviews", "selfsubjectaccessreviews"].map(|name| format!("{group}/{name}"));
    let local = format!("{group}/namespaces/default/localsubjectaccessreviews");
    let get = json!({"verb": "get", "resource": "pods", "namespace": "x"});
    for (path, review, field) in [
        (&anyones, json!({"metadata": {"name": "x"}, "spec": {"user": "u", "resourceAttributes": get}}), "metadata"),
        (&anyones, json!({"spec": {"resourceAttributes": get}}), "spec.user"),
        (&anyones, json!({"spec": {"user": "u"}}), "spec.resourceAttributes"),
        (&own, json!({"spec": {"resourceAttributes": get, "nonResourceAttributes": {}}}), "spec.nonResourceAttributes"),
        (&own, json!({"metadata": {"labels": {"a": "b"}}, "spec": {"resourceAttributes": get}}), "metadata"),
        (&local, json!({"spec": {"user": "u", "resourceAttributes": get}}), "spec.resourceAttributes.namespace"),
        (&local, json!({"spec": {"user": "u", "nonResourceAttributes": {"path": "/"}}}), "spec.nonResourceAttributes"),
    ] {
        let refused = admin.post(path, &review).await;
        assert_eq!(refused.said(), "422 Invalid", "{review}: {}", refused.text());
        assert!(refused.message().starts_with(".authorization.k8s.io \"\" is invalid: "), "{}", refused.message());
        assert_eq!(refused.json()["details"]["causes"][0]["field"], field, "{review}");
    }
    let empty = admin.post("/apis/authentication.k8s.io/v1/tokenreviews", &json!({"spec": {}})).await;
    assert_eq!(empty.message(), "token is required for TokenReview in authentication");
    assert_eq!(empty.said(), "400 BadRequest");
}

/// Questions that are narrowed by a selector say how.
#[tokio::test]
async fn selectors_of_questions() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    for (selector, wrong) in [
        (json!({"fieldSelector": {"rawSelector": "x=y"}}), None),
        (
            json!({"fieldSelector": {"rawSelector": "x=y", "requirements": [{"key": "a", "operator": "In", "values": ["b"]}]}}),
            Some("spec.resourceAttributes.fieldSelector.rawSelector"),
        ),
        (json!({"labelSelector": {}}), Some("spec.resourceAttributes.labelSelector.requirements")),
        (
            json!({"fieldSelector": {"requirements": [{"key": "", "operator": "Later"}]}}),
            Some("spec.resourceAttributes.fieldSelector.requirements[0].key"),
        ),
        (
            json!({"labelSelector": {"requirements": [{"key": "a", "operator": "Exists", "values": ["x"]}]}}),
            Some("spec.resourceAttributes.labelSelector.requirements[0].values"),
        ),
        (
            json!({"labelSelector": {"requirements": [{"key": "a", "operator": "In"}]}}),
            Some("spec.resourceAttributes.labelSelector.requirements[0].values"),
        ),
    ] {
        let mut attributes = json!({"verb": "list", "resource": "pods"});
        attributes.as_object_mut().unwrap().extend(selector.as_object().unwrap().clone());
        let review = json!({"spec": {"resourceAttributes": attributes}});
        let reply = admin.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await;
        let field = reply.json()["details"]["causes"][0]["field"].as_str().map(str::to_owned);
        assert_eq!(field.as_deref(), wrong, "{}", reply.text());
        assert_eq!(reply.status, if wrong.is_some() { 422 } else { 201 });
    }
}
