//! scale, binding, eviction, log and the streams.

use serde_json::{Value, json};

use crate::support::{TestCluster, deployment, pod};

#[tokio::test]
async fn scale() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let all = "/apis/apps/v1/namespaces/default/deployments";
    admin.create(all, &deployment("web", 2)).await;
    let path = format!("{all}/web/scale");
    let mut scale = admin.get(&path).await.expect(200);
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(2)));
    assert_eq!(scale["status"]["selector"], "app=web");
    scale["spec"]["replicas"] = json!(5);
    assert_eq!(admin.put(&path, &scale).await.expect(200)["spec"]["replicas"], 5);
    assert_eq!(admin.put(&path, &scale).await.said(), "409 Conflict");
    for (name, why) in [("", "name must be provided"), ("x", "does not match the name on the URL (web)")] {
        let mut other = scale.clone();
        other["metadata"]["name"] = name.into();
        let refused = admin.put(&path, &other).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(refused.message().contains(why), "{}", refused.message());
    }
    assert_eq!(admin.patch(&path, "merge", &json!({"spec": {"replicas": 7}})).await.expect(200)["spec"]["replicas"], 7);
    assert_eq!(admin.patch(&path, "merge", &json!({"spec": {"replicas": -1}})).await.status, 422);
    assert_eq!(admin.get(&format!("{all}/web")).await.json()["spec"]["replicas"], 7);
    let renamed = admin.patch(&path, "merge", &json!({"metadata": {"name": "x"}})).await;
    assert_eq!(renamed.said(), "400 BadRequest");
    let none = admin.patch(&path, "merge", &json!({"spec": {"replicas": 0}})).await.expect(200);
    assert_eq!(none["spec"], json!({}), "as Go writes it");
    assert_eq!(admin.get("/api/v1/namespaces/default/configmaps/x/scale").await.status, 404);
}

#[tokio::test]
async fn binding_happens_once() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    cluster.namespace("pods").await;
    let all = "/api/v1/namespaces/pods/pods";
    admin.create(all, &pod("a")).await;
    let binding = |node: &str| json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": {"kind": "Node", "name": node}});
    let path = format!("{all}/a/binding");
    // Upstream has no code for these.
    let mut wrong = binding("");
    wrong["target"]["kind"] = json!("Pod");
    for path in [path.as_str(), "/api/v1/namespaces/pods/bindings"] {
        let refused = admin.post(path, &wrong).await;
        let why = r#"[target.kind: Unsupported value: "Pod": supported values: "Node", "<empty>", target.name: Required value]"#;
        assert_eq!((refused.status, refused.message().as_str()), (500, why));
    }
    let mut nameless = binding("n1");
    nameless["metadata"] = json!({});
    assert_eq!(admin.post(&path, &nameless).await.said(), "400 BadRequest");
    let mut stale = binding("n1");
    stale["metadata"]["resourceVersion"] = json!("1");
    assert_eq!(admin.post(&path, &stale).await.said(), "409 Conflict", "a binding of another state of the pod");
    assert_eq!(admin.post(&path, &binding("n1")).await.expect(201)["status"], "Success");
    let bound = admin.get(&format!("{all}/a")).await.json();
    assert_eq!(bound["spec"]["nodeName"], "n1");
    let scheduled = bound["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "PodScheduled");
    assert_eq!(scheduled.map(|c| &c["status"]), Some(&json!("True")));
    assert_eq!(bound["metadata"]["generation"], 1, "the author of the pod has changed nothing");
    assert_eq!(admin.post(&path, &binding("n2")).await.said(), "409 Conflict");
}

#[tokio::test]
async fn evictions_ask_the_budget() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    cluster.namespace("pods").await;
    let all = "/api/v1/namespaces/pods/pods";
    for name in ["a", "b"] {
        let mut object = pod(name);
        object["metadata"]["labels"] = json!({"app": "web"});
        object["spec"]["nodeName"] = json!("n1");
        let made = admin.create(all, &object).await;
        let mut running = made.clone();
        running["status"]["phase"] = json!("Running");
        running["status"]["conditions"] = json!([{"type": "Ready", "status": "True"}]);
        admin.put(&format!("{all}/{name}/status"), &running).await.expect(200);
    }
    let budgets = "/apis/policy/v1/namespaces/pods/poddisruptionbudgets";
    let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "pdb"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    let mut budget = admin.create(budgets, &budget).await;
    let eviction = |name: &str| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    let refused = admin.post(&format!("{all}/a/eviction"), &eviction("a")).await;
    assert_eq!(refused.said(), "429 TooManyRequests");
    assert_eq!(refused.json()["details"]["causes"][0]["reason"], "DisruptionBudget");
    budget["status"] = json!({"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1,
                              "expectedPods": 2});
    admin.put(&format!("{budgets}/pdb/status"), &budget).await.expect(200);
    // A trial takes nothing, and is asked for in the options.
    for (dry_run, code) in [(json!(["All"]), 201), (json!(["all"]), 422)] {
        let mut trial = eviction("a");
        trial["deleteOptions"] = json!({ "dryRun": dry_run });
        let reply = admin.post(&format!("{all}/a/eviction"), &trial).await;
        assert_eq!(reply.status, code, "{trial}");
        assert!(code == 201 || reply.message().starts_with("DeleteOptions.meta.k8s.io \"\" is invalid: dryRun"));
        assert_eq!(admin.get(&format!("{budgets}/pdb")).await.json()["status"]["disruptionsAllowed"], 1);
        admin.get(&format!("{all}/a")).await.expect(200);
    }
    let mut sideways = eviction("a");
    sideways["deleteOptions"] = json!({"propagationPolicy": "Sideways", "dryRun": ["All"]});
    assert_eq!(admin.post(&format!("{all}/a/eviction"), &sideways).await.said(), "422 Invalid");
    assert_eq!(admin.post(&format!("{all}/a/eviction"), &eviction("b")).await.said(), "400 BadRequest");
    let (one, two) = (eviction("a"), eviction("b"));
    let (path_a, path_b) = (format!("{all}/a/eviction"), format!("{all}/b/eviction"));
    let (one, two) = tokio::join!(admin.post(&path_a, &one), admin.post(&path_b, &two));
    let mut codes = [one.status, two.status];
    codes.sort_unstable();
    assert_eq!(codes, [201, 429], "one disruption is allowed, not two");
    let spent = admin.get(&format!("{budgets}/pdb")).await.json();
    assert_eq!(spent["status"]["disruptionsAllowed"], 0);
    // The one that went says why; pods on a node go when the node has let them.
    let pods = admin.get(all).await.json();
    let evicted = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|c| c["type"] == "DisruptionTarget" && c["reason"] == "EvictionByEvictionAPI")
    };
    let items = pods["items"].as_array().expect("pods");
    for pod in items {
        assert_eq!(evicted(pod), pod["metadata"].get("deletionTimestamp").is_some(), "{pod}");
    }
    assert_eq!(items.iter().filter(|pod| evicted(pod)).count(), 1);
}

#[tokio::test]
async fn pods_that_are_not_ready_go_as_the_policy_says() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    cluster.namespace("pods").await;
    let all = "/api/v1/namespaces/pods/pods";
    let budgets = "/apis/policy/v1/namespaces/pods/poddisruptionbudgets";
    for (name, policy, healthy, expect) in [
        ("strict", "IfHealthyBudget", 0, 429),
        ("enough", "IfHealthyBudget", 1, 201),
        ("always", "AlwaysAllow", 0, 201),
    ] {
        let mut object = pod(name);
        object["metadata"]["labels"] = json!({"app": name});
        object["spec"]["nodeName"] = json!("n1");
        let mut running = admin.create(all, &object).await;
        running["status"]["phase"] = json!("Running");
        admin.put(&format!("{all}/{name}/status"), &running).await.expect(200);
        let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name},
            "spec": {"minAvailable": 1, "unhealthyPodEvictionPolicy": policy, "selector": {"matchLabels": {"app": name}}}});
        let mut budget = admin.create(budgets, &budget).await;
        budget["status"] = json!({"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": healthy,
                                  "desiredHealthy": 1, "expectedPods": 1});
        admin.put(&format!("{budgets}/{name}/status"), &budget).await.expect(200);
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        let answer = admin.post(&format!("{all}/{name}/eviction"), &eviction).await;
        assert_eq!(answer.status, expect, "{name}: {}", answer.text());
    }
}

#[tokio::test]
async fn streams_need_a_node() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    cluster.namespace("pods").await;
    let all = "/api/v1/namespaces/pods/pods";
    let mut two = pod("two");
    two["spec"]["containers"] = json!([{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]);
    two["spec"]["nodeName"] = json!("n1");
    admin.create(all, &two).await;
    let log = |query: &str| format!("{all}/two/log{query}");
    let which = admin.get(&log("")).await;
    assert_eq!(which.said(), "400 BadRequest");
    assert_eq!(which.message(), "a container name must be specified for pod two, choose one of: [a b]");
    assert_eq!(admin.get(&log("?container=c")).await.message(), "container c is not valid for pod two");
    let away = admin.get(&log("?container=a")).await;
    assert!(matches!(away.status, 500 | 502 | 503), "{}", away.text());
    assert!(away.message().contains("n1"), "{}", away.message());
    assert_eq!(admin.get(&format!("{all}/none/log")).await.said(), "404 NotFound");
    assert_eq!(admin.get(&log("?container=a&tailLines=-1")).await.status, 422);
    let plain = admin.send("POST", &format!("{all}/two/exec?container=a&command=sh"), &[], "").await;
    assert_eq!(plain.status, 400, "{}", plain.text());
    let jane = cluster.user("jane", &["system:authenticated"]);
    for sub in ["exec", "attach", "portforward"] {
        assert_eq!(jane.get(&format!("{all}/two/{sub}")).await.status, 403, "{sub}");
    }
}

/// What is sent to one object is about that object.
#[tokio::test]
async fn actions_stay_in_their_namespace() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    cluster.namespace("a").await;
    admin.create("/api/v1/namespaces/a/pods", &pod("p")).await;
    admin.create("/apis/apps/v1/namespaces/a/deployments", &deployment("d", 1)).await;
    let elsewhere = |version: &str, kind: &str, name: &str, spec: serde_json::Value| json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec});
    let eviction = elsewhere("policy/v1", "Eviction", "p", json!(null));
    let scale = elsewhere("autoscaling/v1", "Scale", "d", json!({"replicas": 3}));
    let token = elsewhere("authentication.k8s.io/v1", "TokenRequest", "", json!({}));
    for reply in [
        admin.post("/api/v1/namespaces/a/pods/p/eviction", &eviction).await,
        admin.put("/apis/apps/v1/namespaces/a/deployments/d/scale", &scale).await,
        admin.post("/api/v1/namespaces/a/serviceaccounts/default/token", &token).await,
    ] {
        assert_eq!(reply.status, 400, "{}", reply.text());
        assert!(reply.message().starts_with("the namespace of the provided object"), "{}", reply.message());
    }
    admin.get("/api/v1/namespaces/a/pods/p").await.expect(200);
    // What cannot be read is refused before anybody looks for the workload.
    let none = "/apis/apps/v1/namespaces/a/deployments/none/scale";
    let reply = admin.send("PUT", none, &[("content-type", "text/plain")], "x").await;
    assert_eq!(reply.status, 415, "{}", reply.text());
}

/// Replicas that are applied conflict with who set them.
#[tokio::test]
async fn scales_are_applied() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let path = "/apis/apps/v1/namespaces/default/deployments";
    admin.create(&format!("{path}?fieldManager=maker"), &deployment("web", 1)).await;
    let scale = format!("{path}/web/scale");
    admin.patch(&format!("{scale}?fieldManager=hand"), "merge", &json!({"spec": {"replicas": 2}})).await.expect(200);
    let applied =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 5}});
    let refused = admin.patch(&format!("{scale}?fieldManager=other"), "apply", &applied).await;
    assert_eq!(refused.said(), "409 Conflict");
    assert_eq!(
        refused.message(),
        "Apply failed with 1 conflict: conflict with \"hand\" with subresource \"scale\" using autoscaling/v1: .spec.replicas"
    );
    assert_eq!(admin.get(&scale).await.json()["spec"]["replicas"], 2);
    let forced = admin.patch(&format!("{scale}?fieldManager=other&force=true"), "apply", &applied).await.expect(200);
    assert_eq!(forced["spec"]["replicas"], 5);
    assert_eq!(admin.patch(&scale, "apply", &applied).await.status, 422);
}

/// What became of a wish is none, whatever is noted with it.
#[tokio::test]
async fn a_status_counts_no_generation() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let path = "/apis/apps/v1/namespaces/default/deployments";
    admin.create(path, &deployment("web", 1)).await;
    let noted = json!({"metadata": {"annotations": {"a": "b"}}, "status": {"observedGeneration": 1}});
    let after = admin.patch(&format!("{path}/web/status"), "merge", &noted).await.expect(200);
    assert_eq!(after["metadata"]["generation"], 1);
}

#[tokio::test]
async fn options_of_logs() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    cluster.namespace("a").await;
    admin.create("/api/v1/namespaces/a/pods", &pod("p")).await;
    for (query, status, field) in [
        ("tailLines=-1", 422, "tailLines"),
        ("limitBytes=0", 422, "limitBytes"),
        ("sinceSeconds=0", 422, "sinceSeconds"),
        ("sinceSeconds=1&sinceTime=2020-01-01T00:00:00Z", 422, "[]"),
        ("stream=x", 422, "stream"),
        ("tailLines=x", 400, ""),
        ("tailLines=0", 200, ""),
    ] {
        // Whether there is such a pod or not.
        for name in ["p", "none"] {
            let reply = admin.get(&format!("/api/v1/namespaces/a/pods/{name}/log?{query}")).await;
            let status = if status == 200 && name == "none" { 404 } else { status };
            assert_eq!(reply.status, status, "{query}: {}", reply.text());
            if status == 422 {
                assert_eq!(reply.json()["details"]["causes"][0]["field"], field);
            }
        }
    }
}
