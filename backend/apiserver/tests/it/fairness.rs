//! Flow control as clients meet it.

use pilothouse_access::groups;
use serde_json::{Value, json};

use crate::support::{TestCluster, config_map};

const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn level(name: &str) -> Value {
    json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "PriorityLevelConfiguration", "metadata": {"name": name},
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 1, "lendablePercent": 0, "borrowingLimitPercent": 0,
            "limitResponse": {"type": "Reject"}}}})
}

fn schema(name: &str, level: &str, user: &str) -> Value {
    json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": name},
        "spec": {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": 50, "distinguisherMethod": {"type": "ByUser"},
            "rules": [{"subjects": [{"kind": "User", "user": {"name": user}}],
                "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true}]}]}})
}

fn dangling(schema: &Value) -> &str {
    let conditions = schema["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == "Dangling");
    found.and_then(|condition| condition["status"].as_str()).unwrap_or("unknown")
}

#[tokio::test]
async fn answers_name_the_schema_and_level() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let exempt = [SCHEMAS, LEVELS].map(|of| format!("{of}/exempt"));
    let schema_uid = admin.get(&exempt[0]).await.expect(200)["metadata"]["uid"].clone();
    let level_uid = admin.get(&exempt[1]).await.expect(200)["metadata"]["uid"].clone();
    let reply = cluster
        .eventually(|| admin.get(MAPS), |reply| reply.header("x-kubernetes-pf-flowschema-uid") == schema_uid)
        .await;
    assert_eq!(reply.header("x-kubernetes-pf-prioritylevel-uid"), level_uid);

    // A schema of one's own takes over as soon as it is there; a refusal is marked too.
    let level = admin.create(LEVELS, &level("janes")).await;
    let schema = admin.create(SCHEMAS, &schema("janes", "janes", "jane")).await;
    let jane = cluster.user("jane", &[groups::AUTHENTICATED]);
    let uid = schema["metadata"]["uid"].as_str().unwrap();
    let reply =
        cluster.eventually(|| jane.get(MAPS), |reply| reply.header("x-kubernetes-pf-flowschema-uid") == uid).await;
    assert_eq!(reply.said(), "403 Forbidden");
    assert_eq!(reply.header("x-kubernetes-pf-prioritylevel-uid"), level["metadata"]["uid"]);
}

#[tokio::test]
async fn a_level_that_is_full_refuses_and_others_go_on() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    // Long enough not to be answered in one piece.
    admin.create(MAPS, &config_map("long", &json!({"text": "x".repeat(500_000)}))).await;
    let bindings = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "readers"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "Group", "name": "readers", "apiGroup": "rbac.authorization.k8s.io"}]});
    admin.create(bindings, &binding).await;
    admin.create(LEVELS, &level("narrow")).await;
    let schema = admin.create(SCHEMAS, &schema("noisy", "narrow", "noisy")).await;
    let uid = schema["metadata"]["uid"].as_str().unwrap();
    let (noisy, calm) =
        (cluster.user("noisy", &["readers"]), cluster.user("calm", &["readers", groups::AUTHENTICATED]));
    let there =
        |reply: &crate::support::Reply| reply.status == 200 && reply.header("x-kubernetes-pf-flowschema-uid") == uid;
    cluster.eventually(|| noisy.get(MAPS), there).await;

    // One of some 250 shares of 600 seats: three lists whose bodies nobody reads take them all.
    let mut unread = Vec::new();
    for _ in 0..3 {
        unread.push(noisy.watch(MAPS).await);
    }
    let refused = noisy.get(&format!("{MAPS}/long")).await;
    assert_eq!(refused.said(), "429 TooManyRequests");
    assert_eq!((refused.header("retry-after"), refused.header("x-kubernetes-pf-flowschema-uid")), ("1", uid));
    assert_eq!(calm.get(&format!("{MAPS}/long")).await.status, 200);
    drop(unread);
    let long = format!("{MAPS}/long");
    cluster.eventually(|| noisy.get(&long), |reply| reply.status == 200).await;
    let metrics = admin.get("/metrics").await.text();
    let line = "apiserver_flowcontrol_rejected_requests_total{priority_level=\"narrow\",flow_schema=\"noisy\",reason=\"concurrency-limit\"}";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn schemas_say_whether_their_level_exists() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    admin.create(SCHEMAS, &schema("early", "late", "x")).await;
    let path = format!("{SCHEMAS}/early");
    let lost = cluster.eventually(|| admin.get(&path), |reply| dangling(&reply.json()) == "True").await.json();
    assert_eq!(lost["status"]["conditions"][0]["reason"], "NotFound");
    admin.create(LEVELS, &level("late")).await;
    cluster.eventually(|| admin.get(&path), |reply| dangling(&reply.json()) == "False").await;
    admin.delete(&format!("{LEVELS}/late")).await.expect(200);
    cluster.eventually(|| admin.get(&path), |reply| dangling(&reply.json()) == "True").await;
    let default = format!("{SCHEMAS}/global-default");
    cluster.eventually(|| admin.get(&default), |reply| dangling(&reply.json()) == "False").await;
}

#[tokio::test]
async fn default_objects_come_back_as_they_were() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    for path in [format!("{LEVELS}/catch-all"), format!("{SCHEMAS}/catch-all"), format!("{SCHEMAS}/service-accounts")] {
        let uid = admin.get(&path).await.expect(200)["metadata"]["uid"].clone();
        admin.delete(&path).await.expect(200);
        cluster
            .eventually(|| admin.get(&path), |reply| reply.status == 200 && reply.json()["metadata"]["uid"] != uid)
            .await;
    }
    let shares = json!({"spec": {"limited": {"nominalConcurrencyShares": 77}}});
    let of = |value: &Value| value["spec"]["limited"]["nominalConcurrencyShares"].as_i64();
    // A mandatory one changes back, a suggested one as well until it is said that it should not.
    for (name, back) in [("catch-all", 5), ("workload-low", 100)] {
        let path = format!("{LEVELS}/{name}");
        admin.patch(&path, "merge", &shares).await.expect(200);
        cluster.eventually(|| admin.get(&path), |reply| of(&reply.json()) == Some(back)).await;
    }
    let path = format!("{LEVELS}/workload-low");
    let own =
        json!({"metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}}, "spec": shares["spec"]});
    let changed = admin.patch(&path, "merge", &own).await.expect(200);
    // The round that sees another change has seen this one.
    let catch_all = format!("{LEVELS}/catch-all");
    admin.patch(&catch_all, "merge", &shares).await.expect(200);
    cluster.eventually(|| admin.get(&catch_all), |reply| of(&reply.json()) == Some(5)).await;
    assert_eq!(
        admin.get(&path).await.expect(200)["metadata"]["resourceVersion"],
        changed["metadata"]["resourceVersion"]
    );
}
