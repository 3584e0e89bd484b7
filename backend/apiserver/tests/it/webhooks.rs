//! Admission webhooks, asked for real.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::hooks::{HookServer, Seen, patch, review};
use crate::support::{TestCluster, config_map, deployment, namespace, pod};

const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const MAPS: &str = "/api/v1/namespaces/hooked/configmaps";

fn handler(seen: &Seen) -> Option<(u16, Value)> {
    let path = seen.path.split('?').next().unwrap_or_default();
    let object = &seen.body["request"]["object"];
    match path {
        "/allow" => review(seen, json!({"allowed": true})),
        "/deny" => review(
            seen,
            json!({"allowed": false, "status": {"code": 403, "reason": "Forbidden", "message": "not today"}}),
        ),
        "/deny-bare" => review(seen, json!({"allowed": false})),
        "/warn" => review(seen, json!({"allowed": true, "warnings": ["careful", "careful"]})),
        "/hang" => None,
        "/broken" => Some((200, json!({"kind": "Nonsense"}))),
        "/error" => Some((500, json!({"message": "on fire"}))),
        // Adds the name of the step, and the second only where the first has been.
        "/first" => review(seen, patch(&json!([{"op": "add", "path": "/data/first", "value": "yes"}]))),
        "/second" if object["data"]["first"] == "yes" => {
            review(seen, patch(&json!([{"op": "add", "path": "/data/second", "value": "yes"}])))
        }
        "/third" if object["data"]["second"] == "yes" => {
            review(seen, patch(&json!([{"op": "add", "path": "/data/third", "value": "yes"}])))
        }
        "/unknown-field" => review(seen, patch(&json!([{"op": "add", "path": "/nonsense", "value": 1}]))),
        "/init" => review(
            seen,
            patch(
                &json!([{"op": "add", "path": "/spec/initContainers", "value": [{"name": "added", "image": "demo:1"}]}]),
            ),
        ),
        "/replicas" => review(seen, patch(&json!([{"op": "replace", "path": "/spec/replicas", "value": 7}]))),
        _ => review(seen, json!({"allowed": true})),
    }
}

fn hook(server: &HookServer, name: &str, path: &str, operations: &[&str], resources: &[&str]) -> Value {
    json!({"name": format!("{name}.hooks.example.com"), "clientConfig": server.client_config(path),
        "rules": [{"operations": operations, "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources}],
        "admissionReviewVersions": ["v1", "v1beta1"], "sideEffects": "None", "timeoutSeconds": 5,
        // The cluster's own objects are left alone.
        "namespaceSelector": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["hooked"]}]}})
}

fn configuration(kind: &str, name: &str, webhooks: &[Value]) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "webhooks": webhooks})
}

fn mutating(name: &str, webhooks: &[Value]) -> Value {
    configuration("MutatingWebhookConfiguration", name, webhooks)
}

fn validating(name: &str, webhooks: &[Value]) -> Value {
    configuration("ValidatingWebhookConfiguration", name, webhooks)
}

async fn hooked() -> (TestCluster, HookServer) {
    let cluster = TestCluster::start().await;
    cluster.namespace("hooked").await;
    (cluster, HookServer::start(handler).await)
}

#[tokio::test]
async fn a_refusal_is_the_webhooks_own() {
    let (cluster, server) = hooked().await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("old", &json!({"a": "b"}))).await;
    let hooks = [hook(&server, "no", "/deny", &["CREATE", "UPDATE", "DELETE"], &["configmaps"])];
    admin.create(VALIDATING, &validating("no", &hooks)).await;
    let refused = admin.post(MAPS, &config_map("new", &json!({}))).await;
    assert_eq!(refused.said(), "403 Forbidden");
    assert_eq!(refused.message(), "admission webhook \"no.hooks.example.com\" denied the request: not today");
    let old = format!("{MAPS}/old");
    let change = json!({"data": {"a": "c"}});
    for reply in [
        admin.put(&old, &config_map("old", &json!({"a": "c"}))).await,
        admin.patch(&old, "merge", &change).await,
        admin.patch(&format!("{old}?fieldManager=x&force=true"), "apply", &config_map("old", &json!({"a": "c"}))).await,
        admin.delete(&old).await,
        admin.delete(MAPS).await,
        admin.post(&format!("{MAPS}?dryRun=All"), &config_map("new", &json!({}))).await,
    ] {
        assert_eq!(reply.said(), "403 Forbidden", "{}", reply.text());
    }
    // Elsewhere nobody is asked.
    admin.create("/api/v1/namespaces/default/configmaps", &config_map("new", &json!({}))).await;
    let asked = server.last("/deny");
    assert_eq!((&asked["kind"], &asked["apiVersion"]), (&json!("AdmissionReview"), &json!("admission.k8s.io/v1")));
    let request = &asked["request"];
    assert_eq!(request["kind"], json!({"group": "", "version": "v1", "kind": "ConfigMap"}));
    assert_eq!(request["resource"], json!({"group": "", "version": "v1", "resource": "configmaps"}));
    assert_eq!((&request["namespace"], &request["name"]), (&json!("hooked"), &json!("new")));
    assert_eq!((&request["operation"], &request["dryRun"]), (&json!("CREATE"), &json!(true)));
    assert_eq!(request["userInfo"]["username"], "admin");
    assert_eq!(request["options"], json!({"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "dryRun": ["All"]}));
    assert_eq!((&request["object"]["metadata"]["name"], &request["oldObject"]), (&json!("new"), &Value::Null));
    // A delete shows what is there, and with it gone everything goes.
    admin.delete(&format!("{VALIDATING}/no")).await.expect(200);
    admin.delete(&old).await.expect(200);
}

#[tokio::test]
async fn changes_are_made_in_order_decoded_and_defaulted() {
    let (cluster, server) = hooked().await;
    let admin = cluster.admin();
    let steps = [("a", "/first"), ("b", "/second"), ("c", "/unknown-field")];
    let hooks = steps.map(|(name, path)| hook(&server, name, path, &["CREATE"], &["configmaps"]));
    admin.create(MUTATING, &mutating("steps", &hooks)).await;
    let object = admin.create(MAPS, &config_map("one", &json!({"own": "yes"}))).await;
    assert_eq!(object["data"], json!({"own": "yes", "first": "yes", "second": "yes"}));
    assert!(object.get("nonsense").is_none(), "what is no field is dropped: {object}");
    let hooks = [hook(&server, "init", "/init", &["CREATE"], &["pods"])];
    admin.create(MUTATING, &mutating("pods", &hooks)).await;
    let made = admin.create("/api/v1/namespaces/hooked/pods", &pod("web")).await;
    let added = &made["spec"]["initContainers"][0];
    assert_eq!((&added["name"], &added["terminationMessagePolicy"]), (&json!("added"), &json!("File")));
}

#[tokio::test]
async fn who_wants_to_see_the_end_is_asked_again() {
    let (cluster, server) = hooked().await;
    let admin = cluster.admin();
    // The third can do nothing before the second; it asks to be called again.
    let mut hooks = [("a", "/third"), ("b", "/first"), ("c", "/second")]
        .map(|(name, path)| hook(&server, name, path, &["CREATE"], &["configmaps"]));
    hooks[0]["reinvocationPolicy"] = json!("IfNeeded");
    admin.create(MUTATING, &mutating("again", &hooks)).await;
    let object = admin.create(MAPS, &config_map("one", &json!({"own": "yes"}))).await;
    assert_eq!(object["data"]["third"], "yes");
    assert_eq!((server.count("/third"), server.count("/first"), server.count("/second")), (2, 1, 1));
    hooks[0]["reinvocationPolicy"] = json!("Never");
    let mut stored = admin.get(&format!("{MUTATING}/again")).await.expect(200);
    stored["webhooks"] = json!(hooks);
    admin.put(&format!("{MUTATING}/again"), &stored).await.expect(200);
    let object = admin.create(MAPS, &config_map("two", &json!({"own": "yes"}))).await;
    assert_eq!(object["data"].get("third"), None);
}

#[tokio::test]
async fn failures_are_judged_by_policy_within_their_time() {
    let (cluster, server) = hooked().await;
    let admin = cluster.admin();
    for (path, expected) in [
        ("/broken", "received invalid webhook response: webhook response was absent"),
        ("/error", "an error on the server"),
        ("/hang", "context deadline exceeded"),
    ] {
        let mut one = hook(&server, "bad", path, &["CREATE"], &["configmaps"]);
        one["timeoutSeconds"] = json!(1);
        admin.create(VALIDATING, &validating("bad", &[one.clone()])).await;
        let begun = Instant::now();
        let failed = admin.post(MAPS, &config_map("x", &json!({}))).await;
        assert_eq!(failed.said(), "500 InternalError");
        let message = failed.message();
        let begins = "Internal error occurred: failed calling webhook \"bad.hooks.example.com\": ";
        assert!(message.starts_with(begins) && message.contains(expected), "{message}");
        if path == "/hang" {
            assert!(message.contains("/hang?timeout=1s"), "{message}");
            assert!(begun.elapsed() >= Duration::from_secs(1), "it had its time");
        }
        one["failurePolicy"] = json!("Ignore");
        let mut stored = admin.get(&format!("{VALIDATING}/bad")).await.expect(200);
        stored["webhooks"] = json!([one]);
        admin.put(&format!("{VALIDATING}/bad"), &stored).await.expect(200);
        let name = format!("x{}", path.trim_start_matches('/'));
        admin.create(MAPS, &config_map(&name, &json!({}))).await;
        admin.delete(&format!("{VALIDATING}/bad")).await.expect(200);
    }
    // A server whose certificate is not trusted is not asked.
    let mut stranger = hook(&server, "stranger", "/allow", &["CREATE"], &["configmaps"]);
    stranger["clientConfig"]["caBundle"] = json!(HookServer::start(handler).await.bundle);
    admin.create(MUTATING, &mutating("stranger", &[stranger])).await;
    assert_eq!(admin.post(MAPS, &config_map("y", &json!({}))).await.said(), "500 InternalError");
    assert_eq!(server.count("/allow"), 0);
}

#[tokio::test]
async fn one_that_hangs_holds_up_nobody_else() {
    let (cluster, server) = hooked().await;
    let admin = cluster.admin();
    let mut hanging = hook(&server, "hang", "/hang", &["CREATE"], &["configmaps"]);
    hanging["timeoutSeconds"] = json!(10);
    admin.create(VALIDATING, &validating("hang", &[hanging])).await;
    let (waiting, object) = (admin.clone(), config_map("slow", &json!({})));
    let slow = tokio::spawn(async move { waiting.post(MAPS, &object).await.status });
    cluster.eventually(|| admin.get("/version"), |_| server.count("/hang") == 1).await;
    let begun = Instant::now();
    for index in 0..20 {
        let name = format!("quick-{index}");
        admin.create("/api/v1/namespaces/default/configmaps", &config_map(&name, &json!({}))).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    slow.abort();
}

#[tokio::test]
async fn selectors_conditions_and_scope_choose() {
    let (cluster, server) = hooked().await;
    let admin = cluster.admin();
    let mut labelled = hook(&server, "labelled", "/deny", &["*"], &["configmaps"]);
    labelled["objectSelector"] = json!({"matchLabels": {"guarded": "yes"}});
    let mut named = hook(&server, "named", "/deny", &["CREATE"], &["configmaps"]);
    named["matchConditions"] = json!([
        {"name": "by-name", "expression": "object.metadata.name == 'forbidden'"},
        {"name": "not-robots", "expression": "!request.userInfo.username.startsWith('system:')"}]);
    let mut cluster_wide = hook(&server, "namespaces", "/deny", &["CREATE"], &["namespaces"]);
    cluster_wide["rules"][0]["scope"] = json!("Cluster");
    cluster_wide["namespaceSelector"] = json!({"matchLabels": {"guarded": "yes"}});
    admin.create(VALIDATING, &validating("some", &[labelled, named, cluster_wide])).await;
    let mut guarded = config_map("a", &json!({}));
    admin.create(MAPS, &guarded).await;
    guarded["metadata"]["labels"] = json!({"guarded": "yes"});
    assert_eq!(admin.put(&format!("{MAPS}/a"), &guarded).await.status, 403);
    assert_eq!(admin.post(MAPS, &config_map("forbidden", &json!({}))).await.status, 403);
    admin.create(MAPS, &config_map("permitted", &json!({}))).await;
    let mut space = namespace("closed");
    space["metadata"]["labels"] = json!({"guarded": "yes"});
    assert_eq!(admin.post("/api/v1/namespaces", &space).await.status, 403);
    admin.create("/api/v1/namespaces", &namespace("open")).await;
}

#[tokio::test]
async fn conditions_that_fail_and_conditions_that_do_not_compile() {
    let (cluster, server) = hooked().await;
    let admin = cluster.admin();
    let mut one = hook(&server, "cel", "/deny", &["CREATE"], &["configmaps"]);
    one["matchConditions"] = json!([{"name": "broken", "expression": "object.missing.field == 'x'"}]);
    admin.create(VALIDATING, &validating("cel", &[one.clone()])).await;
    let failed = admin.post(MAPS, &config_map("a", &json!({}))).await;
    assert_eq!(failed.said(), "403 Forbidden");
    assert!(failed.message().contains("no such key: missing"), "{}", failed.message());
    // One that is false decides before one that fails.
    one["matchConditions"] = json!([
        {"name": "broken", "expression": "object.missing.field == 'x'"}, {"name": "no", "expression": "false"}]);
    let mut stored = admin.get(&format!("{VALIDATING}/cel")).await.expect(200);
    stored["webhooks"] = json!([one]);
    admin.put(&format!("{VALIDATING}/cel"), &stored).await.expect(200);
    admin.create(MAPS, &config_map("a", &json!({}))).await;
    one["matchConditions"] = json!([{"name": "bad", "expression": "... [}"}]);
    for (path, object) in [(VALIDATING, validating("bad", &[one.clone()])), (MUTATING, mutating("bad", &[one.clone()]))]
    {
        let refused = admin.post(path, &object).await;
        assert_eq!(refused.said(), "422 Invalid");
        assert!(refused.message().contains("compilation failed"), "{}", refused.message());
    }
}

#[tokio::test]
async fn equivalent_versions_are_shown_in_the_hooks_own() {
    let (cluster, server) = hooked().await;
    let admin = cluster.admin();
    let mut old = hook(&server, "old", "/allow", &["CREATE"], &["horizontalpodautoscalers"]);
    old["rules"][0]["apiVersions"] = json!(["v1"]);
    let mut exact = hook(&server, "exact", "/deny", &["CREATE"], &["horizontalpodautoscalers"]);
    exact["rules"][0]["apiVersions"] = json!(["v1"]);
    exact["matchPolicy"] = json!("Exact");
    admin.create(VALIDATING, &validating("versions", &[old, exact])).await;
    let scaler = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
        "spec": {"minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}});
    admin.create("/apis/autoscaling/v2/namespaces/hooked/horizontalpodautoscalers", &scaler).await;
    let request = server.last("/allow")["request"].clone();
    assert_eq!(request["kind"]["version"], "v1");
    assert_eq!(request["requestKind"]["version"], "v2");
    assert_eq!(request["object"]["apiVersion"], "autoscaling/v1");
    assert_eq!(request["object"]["spec"]["targetCPUUtilizationPercentage"], 50);
}

#[tokio::test]
async fn subresources_are_asked_about_as_what_they_are() {
    let (cluster, server) = hooked().await;
    let admin = cluster.admin();
    let deployments = "/apis/apps/v1/namespaces/hooked/deployments";
    admin.create(deployments, &deployment("web", 1)).await;
    let hooks = [
        hook(&server, "scale", "/replicas", &["UPDATE"], &["deployments/scale"]),
        hook(&server, "status", "/allow-status", &["UPDATE"], &["deployments/status"]),
    ];
    admin.create(MUTATING, &mutating("sub", &hooks)).await;
    let scaled =
        admin.patch(&format!("{deployments}/web/scale"), "merge", &json!({"spec": {"replicas": 3}})).await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 7);
    let request = server.last("/replicas")["request"].clone();
    assert_eq!(request["kind"], json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}));
    assert_eq!((&request["subResource"], &request["object"]["kind"]), (&json!("scale"), &json!("Scale")));
    assert_eq!(
        (&request["object"]["spec"]["replicas"], &request["oldObject"]["spec"]["replicas"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(admin.get(&format!("{deployments}/web")).await.expect(200)["spec"]["replicas"], 7);
    admin.patch(&format!("{deployments}/web/status"), "merge", &json!({"status": {"replicas": 2}})).await.expect(200);
    assert_eq!(server.last("/allow-status")["request"]["subResource"], "status");
    // Connecting is asked about too, before anything is reached.
    let pods = "/api/v1/namespaces/hooked/pods";
    admin.create(pods, &pod("web")).await;
    let hooks = [
        hook(&server, "attach", "/deny", &["CONNECT"], &["pods/attach", "pods/proxy"]),
        hook(&server, "evict", "/deny-bare", &["CREATE"], &["pods/eviction", "pods/binding"]),
    ];
    admin.create(VALIDATING, &validating("connect", &hooks)).await;
    for path in [format!("{pods}/web/attach?container=main&stdin=true"), format!("{pods}/web/proxy/x")] {
        assert_eq!(admin.get(&path).await.said(), "403 Forbidden", "{path}");
    }
    let seen =
        server.seen.lock().iter().rev().find(|seen| seen.body["request"]["subResource"] == "attach").cloned().unwrap();
    let object = &seen.body["request"]["object"];
    assert_eq!(*object, json!({"kind": "PodAttachOptions", "apiVersion": "v1", "stdin": true, "container": "main"}));
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web"}});
    let refused = admin.post(&format!("{pods}/web/eviction"), &eviction).await;
    assert_eq!(refused.status, 400);
    assert_eq!(
        refused.message(),
        "admission webhook \"evict.hooks.example.com\" denied the request without explanation"
    );
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "web"}, "target": {"kind": "Node", "name": "n"}});
    assert_eq!(admin.post(&format!("{pods}/web/binding"), &binding).await.status, 400);
    assert_eq!(server.last("/deny-bare")["request"]["kind"]["kind"], "Binding");
}

#[tokio::test]
async fn warnings_dry_runs_and_side_effects() {
    let (cluster, server) = hooked().await;
    let admin = cluster.admin();
    let one = hook(&server, "warn", "/warn", &["CREATE"], &["configmaps"]);
    admin.create(VALIDATING, &validating("warn", &[one])).await;
    let reply = admin.post(MAPS, &config_map("a", &json!({}))).await;
    assert_eq!((reply.status, reply.warnings()), (201, vec!["299 - \"careful\"".to_owned()]));
    let before = server.seen.lock().len();
    admin.post(&format!("{MAPS}?dryRun=All"), &config_map("b", &json!({}))).await.expect(201);
    assert_eq!(server.seen.lock().len(), before + 1, "without side effects it is asked in a dry run too");
}

#[tokio::test]
async fn configurations_are_never_asked_about() {
    let (cluster, server) = hooked().await;
    let admin = cluster.admin();
    let mut all = hook(&server, "all", "/deny", &["*"], &["*/*"]);
    all["namespaceSelector"] = json!({});
    all["rules"][0]["apiGroups"] = json!(["admissionregistration.k8s.io"]);
    admin.create(VALIDATING, &validating("all", &[all.clone()])).await;
    admin.create(MUTATING, &mutating("all", &[all])).await;
    assert_eq!(server.seen.lock().len(), 0);
    admin.delete(&format!("{VALIDATING}/all")).await.expect(200);
    admin.delete(&format!("{MUTATING}/all")).await.expect(200);
}
