//! What goes through and yet deserves a word; and whose the fields of a new object are.

use serde_json::{Value, json};

use crate::support::{TestCluster, config_map, deployment, pod};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn kinds_warn() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    cluster.namespace("warn").await;
    let mut object = pod("a.b");
    object["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
    object["spec"]["nodeSelector"] = json!({"beta.kubernetes.io/os": "linux"});
    let pods = "/api/v1/namespaces/warn/pods";
    let reply = admin.post(&format!("{pods}?dryRun=All"), &object).await;
    let warnings = reply.warnings();
    assert_eq!(reply.status, 201, "{}", reply.text());
    for text in [
        "metadata.name: this is used in the Pod's hostname",
        "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \\\"kubernetes.io/os\\\" instead",
        "spec.containers[0].env[1]: hides previous definition of \\\"A\\\", which may be dropped when using apply",
    ] {
        assert!(warnings.iter().any(|warning| warning.contains(text)), "{text}: {warnings:?}");
    }
    let mut template = deployment("web", 1);
    template["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(-1);
    let deployments = "/apis/apps/v1/namespaces/warn/deployments";
    let grace = "spec.template.spec.terminationGracePeriodSeconds: must be >= 0";
    assert!(admin.post(deployments, &template).await.warnings()[0].contains(grace));
    // An update warns of what it changes, not again of what was there.
    let path = format!("{deployments}/web");
    let labelled = admin.patch(&path, "merge", &json!({"metadata": {"labels": {"x": "y"}}})).await;
    assert_eq!((labelled.status, labelled.warnings()), (200, vec![]));
    let scaled = admin.patch(&path, "merge", &json!({"spec": {"replicas": 2}})).await;
    assert!(scaled.warnings()[0].contains(grace));
    // A kind on its way out says so at every request.
    let old = admin.get("/api/v1/namespaces/warn/endpoints").await;
    assert_eq!(
        old.warnings(),
        ["299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\""]
    );
}

#[tokio::test]
async fn owners_that_are_named_twice() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u-1"});
    let mut object = config_map("a", &json!({}));
    object["metadata"]["ownerReferences"] = json!([owner, owner]);
    let reply = admin.post(MAPS, &object).await;
    assert!(reply.warnings()[0].contains("duplicate UID(s) observed: u-1"), "{:?}", reply.warnings());
    assert_eq!(reply.expect(201)["metadata"]["ownerReferences"], json!([owner]));
}

#[tokio::test]
async fn what_admission_adds_is_nobodys() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    cluster.namespace("own").await;
    let mut object = pod("");
    object["metadata"] = json!({"generateName": "web-"});
    let made = admin.create("/api/v1/namespaces/own/pods?fieldManager=me", &object).await;
    let managed = made["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!((managed.len(), &managed[0]["manager"]), (1, &json!("me")));
    let fields = &managed[0]["fieldsV1"];
    assert_eq!(fields["f:metadata"]["f:generateName"], json!({}));
    let spec = fields["f:spec"].as_object().unwrap();
    assert!(made["spec"]["serviceAccountName"].is_string() && made["spec"]["tolerations"].is_array());
    assert!(spec.contains_key("f:containers") && spec.contains_key("f:dnsPolicy"), "{spec:?}");
    for added in ["f:serviceAccountName", "f:tolerations", "f:volumes", "f:priority"] {
        assert!(!spec.contains_key(added), "{added}");
    }
}

#[tokio::test]
async fn creating_by_an_update_needs_the_right_to_create() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "updater"},
        "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "update"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "u"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "updater"},
        "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}]});
    admin.create(&format!("{rbac}/roles"), &role).await;
    admin.create(&format!("{rbac}/rolebindings"), &binding).await;
    let jane = cluster.user("jane", &["system:authenticated"]);
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/mine";
    let lease: Value = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "mine"}});
    cluster.eventually(|| jane.get(path), |reply| reply.status == 404).await;
    let refused = jane.put(path, &lease).await;
    assert_eq!(refused.said(), "403 Forbidden");
    assert!(refused.message().contains("cannot create resource \"leases\""), "{}", refused.message());
    let made = admin.put(path, &lease).await.expect(201);
    assert_eq!(jane.put(path, &made).await.status, 200);
}

#[tokio::test]
async fn a_name_that_is_being_deleted() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let mut object = config_map("a", &json!({}));
    object["metadata"]["finalizers"] = json!(["example.com/wait"]);
    admin.create(MAPS, &object).await;
    admin.delete(&format!("{MAPS}/a")).await.expect(200);
    let reply = admin.post(MAPS, &config_map("a", &json!({}))).await;
    assert_eq!(reply.said(), "409 AlreadyExists");
    assert_eq!(reply.message(), "object is being deleted: configmaps \"a\" already exists");
}
