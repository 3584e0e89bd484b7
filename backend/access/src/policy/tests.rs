use std::collections::BTreeSet;

use super::*;
use crate::UserInfo;
use crate::authz::{Attributes, Authorizer};
use crate::{name_of, namespace_of};

fn new_cluster() -> Authorizer {
    let authorizer = Authorizer::new();
    for object in bootstrap_objects() {
        let plural = format!("{}s", object["kind"].as_str().unwrap().to_lowercase());
        authorizer.apply(&format!("{plural}.rbac.authorization.k8s.io"), &object);
    }
    authorizer
}

#[test]
fn names_are_unique_and_roles_exist() {
    let all = bootstrap_objects();
    let key = |o: &Value| (o["kind"].to_string(), namespace_of(o).to_owned(), name_of(o).to_owned());
    let keys: BTreeSet<_> = all.iter().map(key).collect();
    assert_eq!(keys.len(), all.len());
    for binding in all.iter().filter(|o| o.get("roleRef").is_some()) {
        let role = &binding["roleRef"];
        let namespace = if role["kind"] == "Role" { namespace_of(binding) } else { "" };
        let wanted = (role["kind"].to_string(), namespace.to_owned(), role["name"].as_str().unwrap().to_owned());
        assert!(keys.contains(&wanted), "{wanted:?}");
    }
}

#[test]
fn the_default_users_can_do_their_work_and_no_more() {
    let cluster = new_cluster();
    let account = |name: &str| UserInfo::service_account("kube-system", name, "");
    let anonymous = UserInfo::anonymous();
    let jane = UserInfo::new("jane", &["system:authenticated"]);
    let joining = UserInfo::new("system:bootstrap:abcdef", &["system:bootstrappers", "system:authenticated"]);
    let scheduler = UserInfo::new("system:kube-scheduler", &["system:authenticated"]);
    let deployments = account("deployment-controller");
    let can = |user: &UserInfo, verb: &str, group: &str, resource: &str, sub: &str| {
        let asked = Attributes::resource(user, verb, group, "v1", resource).subresource(sub).namespace("default");
        cluster.authorize(&asked).allowed
    };
    let reads = |user: &UserInfo, path: &str| cluster.authorize(&Attributes::path(user, "get", path)).allowed;

    assert!(reads(&anonymous, "/healthz") && reads(&anonymous, "/version"));
    assert!(!reads(&anonymous, "/api") && !reads(&anonymous, "/metrics"));
    assert!(!can(&anonymous, "get", "", "pods", ""));
    assert!(reads(&jane, "/apis/apps/v1") && reads(&jane, "/openapi/v3"));
    assert!(can(&jane, "create", "authorization.k8s.io", "selfsubjectaccessreviews", ""));
    assert!(!can(&jane, "list", "", "pods", ""));
    assert!(can(&joining, "create", "certificates.k8s.io", "certificatesigningrequests", ""));
    assert!(can(&joining, "create", "certificates.k8s.io", "certificatesigningrequests", "nodeclient"));
    assert!(!can(&joining, "get", "", "secrets", ""));
    assert!(can(&scheduler, "create", "", "pods", "binding") && can(&scheduler, "list", "", "nodes", ""));
    assert!(!can(&scheduler, "create", "", "pods", ""));
    assert!(can(&deployments, "create", "apps", "replicasets", ""));
    assert!(!can(&deployments, "create", "batch", "jobs", ""));
    let root = UserInfo::new("root", &["system:masters"]);
    assert!(can(&root, "delete", "anything", "at-all", "") && reads(&root, "/metrics"));
    for controller in ["namespace-controller", "generic-garbage-collector"] {
        assert!(can(&account(controller), "delete", "custom.example.com", "things", ""), "{controller}");
    }
}

#[test]
fn admin_edit_and_view_are_filled() {
    let all = bootstrap_objects();
    let rules = |name: &str| {
        let role = all.iter().find(|o| o["kind"] == "ClusterRole" && name_of(o) == name).unwrap();
        role["rules"].as_array().unwrap().clone()
    };
    let (view, edit, admin) = (rules("view"), rules("edit"), rules("admin"));
    assert!(view.len() > 5 && edit.len() > view.len() && admin.len() > edit.len());
    assert!(view.iter().all(|rule| edit.contains(rule)) && edit.iter().all(|rule| admin.contains(rule)));
    let secrets =
        |rules: &[Value]| rules.iter().any(|r| r["resources"].as_array().unwrap().contains(&json!("secrets")));
    assert!(!secrets(&view) && secrets(&edit));
}

#[test]
fn aggregation_follows_labels_and_settles() {
    let role = |name: &str, labels: Value, collects: &str, verbs: &[&str]| {
        let mut role = json!({"metadata": {"name": name, "labels": labels}});
        if collects.is_empty() {
            role["rules"] = json!([{"verbs": verbs, "apiGroups": [""], "resources": ["pods"]}]);
        } else {
            role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {(collects): "yes"}}]});
        }
        role
    };
    let mut roles = vec![
        role("a", json!({"to-b": "yes"}), "to-a", &[]),
        role("b", json!({"to-a": "yes"}), "to-b", &[]),
        role("leaf", json!({"to-a": "yes"}), "", &["get"]),
        role("other", json!({}), "", &["delete"]),
    ];
    let changed = aggregate(&roles);
    assert_eq!(changed.iter().map(name_of).collect::<Vec<_>>(), ["a", "b"], "a cycle ends");
    assert!(changed.iter().all(|role| role["rules"] == roles[2]["rules"]));
    roles.splice(0..2, changed);
    assert!(aggregate(&roles).is_empty(), "settled");
    roles[2]["metadata"]["labels"] = json!({});
    roles[1]["metadata"]["labels"] = json!({});
    assert_eq!(aggregate(&roles)[0]["rules"], json!([]), "what is no longer selected goes");
}

#[test]
fn stored_roles_get_what_they_lack() {
    let all = bootstrap_objects();
    let default = all.iter().find(|o| name_of(o) == "system:kube-dns" && o["kind"] == "ClusterRole").unwrap();
    assert_eq!(reconcile(default, default), None);
    let mut stored = default.clone();
    let own = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]});
    stored["rules"] = json!([own]);
    let merged = reconcile(&stored, default).unwrap();
    assert!(merged["rules"].as_array().unwrap().contains(&own));
    assert!(merged["rules"].as_array().unwrap().contains(&default["rules"][0]));
    stored["metadata"]["annotations"][roles::AUTOUPDATE] = json!("false");
    assert_eq!(reconcile(&stored, default), None);
    for object in &all {
        assert_eq!(reconcile(object, object), None, "{}", name_of(object));
    }
}
