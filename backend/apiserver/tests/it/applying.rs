//! Server-side apply: creation, ownership, conflicts, force.

use serde_json::json;

use crate::support::{TestCluster, deployment};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

#[tokio::test]
async fn owners_and_conflicts() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let path = |manager: &str, force: bool| format!("{DEPLOYMENTS}/web?fieldManager={manager}&force={force}");
    let nobody = admin.patch(&format!("{DEPLOYMENTS}/web"), "apply", &deployment("web", 1)).await;
    assert_eq!(nobody.status, 422);
    assert!(
        nobody.message().contains("fieldManager: Required value: is required for apply patch"),
        "{}",
        nobody.message()
    );

    let made = admin.patch(&path("one", false), "apply", &deployment("web", 1)).await.expect(201);
    assert_eq!(made["metadata"]["managedFields"][0]["manager"], "one");
    assert_eq!(made["metadata"]["managedFields"][0]["operation"], "Apply");
    admin.patch(&path("one", false), "apply", &deployment("web", 1)).await.expect(200);

    let replicas =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 3}});
    let conflict = admin.patch(&path("two", false), "apply", &replicas).await;
    assert_eq!(conflict.said(), "409 Conflict");
    assert_eq!(conflict.message(), "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas");
    assert_eq!(conflict.json()["details"]["causes"][0]["field"], ".spec.replicas");
    let forced = admin.patch(&path("two", true), "apply", &replicas).await.expect(200);
    assert_eq!(forced["spec"]["replicas"], 3);

    // What its only owner no longer applies goes.
    let mut labelled = deployment("web", 3);
    labelled["metadata"]["labels"]["extra"] = json!("1");
    labelled["spec"].as_object_mut().unwrap().remove("replicas");
    admin.patch(&path("one", false), "apply", &labelled).await.expect(200);
    let mut plain = labelled.clone();
    plain["metadata"]["labels"].as_object_mut().unwrap().remove("extra");
    let after = admin.patch(&path("one", false), "apply", &plain).await.expect(200);
    assert_eq!(after["metadata"]["labels"], json!({"app": "web"}));
    assert_eq!(after["spec"]["replicas"], 3);
}

#[tokio::test]
async fn a_plain_update_takes_over() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let path = format!("{DEPLOYMENTS}/web");
    let mut object = admin.patch(&format!("{path}?fieldManager=one"), "apply", &deployment("web", 1)).await.expect(201);
    object["spec"]["replicas"] = json!(5);
    let agent = [("content-type", "application/json"), ("user-agent", "kubectl/v1.33.1 (linux/amd64)")];
    let after = admin.send("PUT", &path, &agent, object.to_string()).await.expect(200);
    let managers: Vec<_> = after["metadata"]["managedFields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| format!("{} {}", entry["manager"].as_str().unwrap(), entry["operation"].as_str().unwrap()))
        .collect();
    assert_eq!(managers, ["one Apply", "kubectl Update"]);
    let back = admin.patch(&format!("{path}?fieldManager=one"), "apply", &deployment("web", 1)).await;
    assert_eq!(back.message(), "Apply failed with 1 conflict: conflict with \"kubectl\" using apps/v1: .spec.replicas");
}

#[tokio::test]
async fn bad_configurations() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let path = format!("{DEPLOYMENTS}/web?fieldManager=one");
    let mut unknown = deployment("web", 1);
    unknown["spec"]["nonsense"] = json!(1);
    let mut other = deployment("web", 1);
    other["apiVersion"] = json!("apps/v2");
    let mut owned = deployment("web", 1);
    owned["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    for (config, said) in [
        (unknown, "field not declared in schema"),
        (other, "apps/v2"),
        (owned, "metadata.managedFields must be nil"),
        (deployment("other", 1), "the name of the object (other) does not match the name on the URL (web)"),
    ] {
        let reply = admin.patch(&path, "apply", &config).await;
        assert!(reply.status >= 400 && reply.message().contains(said), "{said}: {}", reply.text());
    }
    assert_eq!(admin.get(&format!("{DEPLOYMENTS}/web")).await.status, 404);
}

#[tokio::test]
async fn creating_by_apply_needs_the_right_to_create() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let rules = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "patcher"},
        "rules": [{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["patch", "get"]}]});
    admin.create("/apis/rbac.authorization.k8s.io/v1/clusterroles", &rules).await;
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "patcher"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "patcher"},
        "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}]});
    admin.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await;
    let jane = cluster.user("jane", &["system:authenticated"]);
    let path = format!("{DEPLOYMENTS}/web?fieldManager=jane");
    let config = deployment("web", 1);
    let refused = cluster
        .eventually(|| jane.patch(&path, "apply", &config), |reply| reply.message().contains("cannot create resource"));
    assert_eq!(refused.await.said(), "403 Forbidden");
}

#[tokio::test]
async fn what_is_applied_says_what_it_is() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let path = format!("{DEPLOYMENTS}/web?fieldManager=one");
    for (change, said) in [
        (json!({"kind": null}), "invalid object type: apps/v1, Kind="),
        (json!({"apiVersion": null}), "invalid object type: /, Kind=Deployment"),
        (json!({"kind": "Pod"}), "invalid object type: apps/v1, Kind=Pod"),
        (json!({"apiVersion": "apps/v2"}), "invalid object type: apps/v2, Kind=Deployment"),
    ] {
        let mut config = deployment("web", 1);
        for (key, value) in change.as_object().unwrap() {
            config[key] = value.clone();
        }
        let reply = admin.patch(&path, "apply", &config).await;
        assert_eq!((reply.said().as_str(), reply.message().as_str()), ("400 BadRequest", said));
    }
    let mut config = deployment("web", 1);
    config["spec"]["template"]["spec"]["containers"] = json!({"name": "c"});
    let reply = admin.patch(&path, "apply", &config).await;
    assert_eq!(reply.status, 500);
    assert_eq!(
        reply.message(),
        "failed to create typed patch object (/web; apps/v1, Kind=Deployment): \
         .spec.template.spec.containers: expected list, got &{map[name:c]}"
    );
}
