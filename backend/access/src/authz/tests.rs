use proptest::prelude::*;
use serde_json::json;

use super::*;

fn role(name: &str, namespace: &str, rules: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace}, "rules": rules})
}

fn binding(name: &str, namespace: &str, role_kind: &str, role: &str, subjects: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace}, "subjects": subjects,
           "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role}})
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name})
}

fn group(name: &str) -> Value {
    json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": name})
}

fn account(namespace: &str, name: &str) -> Value {
    json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
}

const ROLES: &str = "roles.rbac.authorization.k8s.io";
const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io";
const ROLE_BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io";
const CLUSTER_ROLE_BINDINGS: &str = "clusterrolebindings.rbac.authorization.k8s.io";

/// A cluster role with these rules, bound to jane everywhere.
fn jane_may(rules: Value) -> Authorizer {
    let authorizer = Authorizer::new();
    authorizer.apply(CLUSTER_ROLES, &role("r", "", rules));
    authorizer.apply(CLUSTER_ROLE_BINDINGS, &binding("b", "", "ClusterRole", "r", json!([user("jane")])));
    authorizer
}

#[test]
fn rules_match_as_upstream() {
    let jane = UserInfo::new("jane", &[]);
    // verbs, groups, resources, names | verb, group, resource, subresource, name | allowed
    type Rule = (&'static [&'static str], &'static [&'static str], &'static [&'static str], &'static [&'static str]);
    type Asked = (&'static str, &'static str, &'static str, &'static str, &'static str);
    let cases: &[(Rule, Asked, bool)] = &[
        ((&["get"], &[""], &["pods"], &[]), ("get", "", "pods", "", "x"), true),
        ((&["get"], &[""], &["pods"], &[]), ("list", "", "pods", "", ""), false),
        ((&["get"], &[""], &["pods"], &[]), ("get", "apps", "pods", "", "x"), false),
        ((&["get"], &[""], &["pods"], &[]), ("get", "", "pods", "log", "x"), false),
        ((&["get"], &[""], &["pods/log"], &[]), ("get", "", "pods", "log", "x"), true),
        ((&["get"], &[""], &["pods/log"], &[]), ("get", "", "pods", "", "x"), false),
        ((&["*"], &["*"], &["*"], &[]), ("frob", "g", "r", "s", "n"), true),
        ((&["*"], &["apps"], &["*"], &[]), ("get", "apps", "deployments", "status", "x"), true),
        ((&["*"], &["apps"], &["*"], &[]), ("get", "", "pods", "", "x"), false),
        ((&["update"], &["*"], &["*/scale"], &[]), ("update", "apps", "deployments", "scale", "x"), true),
        ((&["update"], &["*"], &["*/scale"], &[]), ("update", "apps", "deployments", "", "x"), false),
        ((&["update"], &["*"], &["*/scale"], &[]), ("update", "apps", "deployments", "status", "x"), false),
        ((&["get"], &[""], &["secrets"], &["a", "b"]), ("get", "", "secrets", "", "b"), true),
        ((&["get"], &[""], &["secrets"], &["a", "b"]), ("get", "", "secrets", "", "c"), false),
        ((&["list"], &[""], &["secrets"], &["a"]), ("list", "", "secrets", "", ""), false),
        ((&["get"], &[""], &["pod"], &[]), ("get", "", "pods", "", "x"), false),
    ];
    for (rule, (verb, group, resource, subresource, name), allowed) in cases {
        let (verbs, groups, resources, names) = rule;
        let rules = json!([{"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names}]);
        let asked =
            Attributes::resource(&jane, verb, group, "v1", resource).subresource(subresource).namespace("n").name(name);
        assert_eq!(jane_may(rules).authorize(&asked).allowed, *allowed, "{rule:?} {asked:?}");
    }
}

#[test]
fn urls_match_as_upstream() {
    let jane = UserInfo::new("jane", &[]);
    for (url, path, allowed) in [
        ("/metrics", "/metrics", true),
        ("/metrics", "/metrics/slis", false),
        ("/apis/*", "/apis/apps/v1", true),
        ("/apis/*", "/apis", false),
        ("*", "/anything", true),
        ("/healthz*", "/healthz/ping", true),
    ] {
        let authorizer = jane_may(json!([{"verbs": ["get"], "nonResourceURLs": [url]}]));
        assert_eq!(authorizer.authorize(&Attributes::path(&jane, "get", path)).allowed, allowed, "{url} {path}");
        assert!(!authorizer.authorize(&Attributes::path(&jane, "post", path)).allowed);
        assert!(!authorizer.authorize(&Attributes::resource(&jane, "get", "", "v1", "pods")).allowed);
    }
}

#[test]
fn bindings_reach_exactly_their_subjects_and_namespace() {
    let authorizer = Authorizer::new();
    let pods = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
    authorizer.apply(CLUSTER_ROLES, &role("reader", "", pods.clone()));
    authorizer.apply(ROLES, &role("reader", "a", pods));
    let subjects = json!([user("jane"), group("devs"), account("a", "web"), {"kind": "ServiceAccount", "name": "own"}]);
    authorizer.apply(ROLE_BINDINGS, &binding("b", "a", "Role", "reader", subjects.clone()));
    authorizer.apply(ROLE_BINDINGS, &binding("b", "c", "ClusterRole", "reader", subjects));
    authorizer.apply(ROLE_BINDINGS, &binding("dead", "d", "Role", "reader", json!([user("jane")])));

    let decide = |user: &UserInfo, namespace: &str| {
        authorizer.authorize(&Attributes::resource(user, "get", "", "v1", "pods").namespace(namespace))
    };
    let jane = UserInfo::new("jane", &["x"]);
    let dev = UserInfo::new("john", &["x", "devs"]);
    let web = UserInfo::service_account("a", "web", "");
    assert_eq!(decide(&jane, "a").reason, r#"RBAC: allowed by RoleBinding "b/a" of Role "reader" to User "jane""#);
    assert_eq!(
        decide(&dev, "c").reason,
        r#"RBAC: allowed by RoleBinding "b/c" of ClusterRole "reader" to Group "devs""#
    );
    assert_eq!(
        decide(&web, "c").reason,
        r#"RBAC: allowed by RoleBinding "b/c" of ClusterRole "reader" to ServiceAccount "web/a""#
    );
    assert!(decide(&UserInfo::service_account("c", "own", ""), "c").allowed, "its own namespace by default");
    for (who, namespace) in [
        (&jane, "b"),
        (&jane, ""),
        (&jane, "d"),
        (&UserInfo::new("devs", &[]), "a"),
        (&UserInfo::new("x", &["jane"]), "a"),
        (&UserInfo::service_account("b", "web", ""), "a"),
        (&UserInfo::service_account("a", "own", ""), "c"),
    ] {
        assert_eq!(decide(who, namespace), Decision::deny(""), "{} {namespace}", who.name);
    }
}

#[test]
fn the_index_follows_changes() {
    let authorizer = Authorizer::new();
    let jane = UserInfo::new("jane", &[]);
    let may = || authorizer.authorize(&Attributes::resource(&jane, "get", "", "v1", "pods")).allowed;
    let pods = role("r", "", json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]));
    let bound = binding("b", "", "ClusterRole", "r", json!([user("jane")]));
    authorizer.apply(CLUSTER_ROLE_BINDINGS, &bound);
    assert!(!may(), "the role is missing");
    authorizer.apply(CLUSTER_ROLES, &pods);
    assert!(may(), "the role appeared");
    authorizer.apply(CLUSTER_ROLE_BINDINGS, &binding("b", "", "ClusterRole", "r", json!([user("john")])));
    assert!(!may(), "the subject left");
    authorizer.apply(CLUSTER_ROLE_BINDINGS, &bound);
    authorizer.apply(CLUSTER_ROLES, &role("r", "", json!([])));
    assert!(!may(), "the rule left");
    authorizer.apply(CLUSTER_ROLES, &pods);
    authorizer.delete(CLUSTER_ROLE_BINDINGS, "", "b");
    assert!(!may(), "the binding is gone");
    authorizer.reset(CLUSTER_ROLE_BINDINGS, [&bound]);
    assert!(may());
    authorizer.reset(CLUSTER_ROLES, []);
    assert!(!may(), "all roles are gone");
}

#[test]
fn refusals_read_as_upstream() {
    let jane = UserInfo::new("jane", &[]);
    let pods = Attributes::resource(&jane, "list", "", "v1", "pods");
    for (asked, text) in [
        (
            pods.clone().namespace("default"),
            r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "default""#,
        ),
        (pods, r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" at the cluster scope"#),
        (
            Attributes::resource(&jane, "get", "apps", "v1", "deployments")
                .subresource("scale")
                .namespace("a")
                .name("w"),
            r#"deployments.apps "w" is forbidden: User "jane" cannot get resource "deployments/scale" in API group "apps" in the namespace "a""#,
        ),
        (Attributes::path(&jane, "get", "/foo"), r#"forbidden: User "jane" cannot get path "/foo""#),
    ] {
        let status = Authorizer::new().check(&asked).unwrap_err();
        assert_eq!((status.code, status.reason.as_str(), status.message.as_str()), (403, "Forbidden", text));
    }
}

#[test]
fn nobody_grants_more_than_they_hold() {
    let read = json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]});
    let manage = json!({"verbs": ["*"], "apiGroups": ["rbac.authorization.k8s.io"],
                        "resources": ["roles", "rolebindings", "clusterroles"], "resourceNames": []});
    let plain = json!({"verbs": ["create", "update"], "apiGroups": ["rbac.authorization.k8s.io"],
                       "resources": ["roles", "rolebindings", "clusterroles"]});
    let jane = UserInfo::new("jane", &["devs", "system:authenticated"]);
    let want = |verbs: &[&str], resource: &str| {
        role("new", "a", json!([{"verbs": verbs, "apiGroups": [""], "resources": [resource]}]))
    };
    let limited = jane_may(json!([read, plain]));
    assert!(limited.escalation_check(&jane, ROLES, &want(&["get"], "pods"), None).is_ok());
    let status = limited.escalation_check(&jane, ROLES, &want(&["get", "delete", "create"], "pods"), None).unwrap_err();
    assert_eq!(
        status.message,
        "roles.rbac.authorization.k8s.io \"new\" is forbidden: user \"jane\" (groups=[\"devs\" \
         \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\" \"create\"]}"
    );
    assert!(limited.escalation_check(&jane, ROLES, &want(&["get"], "pods/log"), None).is_err());
    assert!(limited.escalation_check(&jane, ROLES, &want(&["get"], "*"), None).is_err());
    let aggregating = json!({"metadata": {"name": "all"}, "rules": [],
                             "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}});
    let status = limited.escalation_check(&jane, CLUSTER_ROLES, &aggregating, None).unwrap_err();
    assert!(status.message.ends_with("must have cluster-admin privileges to use the aggregationRule"));

    // Bindings: what the role holds counts, unless one may bind it.
    limited.apply(CLUSTER_ROLES, &role("admin", "", json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}])));
    limited.apply(CLUSTER_ROLES, &role("reader", "", json!([read])));
    let bind = |role: &str| binding("new", "a", "ClusterRole", role, json!([user("john")]));
    assert!(limited.escalation_check(&jane, ROLE_BINDINGS, &bind("reader"), None).is_ok());
    assert_eq!(limited.escalation_check(&jane, ROLE_BINDINGS, &bind("admin"), None).unwrap_err().code, 403);
    assert_eq!(limited.escalation_check(&jane, ROLE_BINDINGS, &bind("missing"), None).unwrap_err().code, 404);
    let binder = json!({"verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"],
                        "resourceNames": ["admin"]});
    limited.apply(CLUSTER_ROLES, &role("r", "", json!([read, plain, binder])));
    assert!(limited.escalation_check(&jane, ROLE_BINDINGS, &bind("admin"), None).is_ok());

    // Those who may escalate, and the masters.
    let escalating = jane_may(json!([manage]));
    assert!(escalating.escalation_check(&jane, ROLES, &want(&["delete"], "nodes"), None).is_ok());
    let master = UserInfo::new("root", &["system:masters"]);
    assert!(limited.escalation_check(&master, CLUSTER_ROLES, &aggregating, None).is_ok());
    // Taking a finalizer away is always possible.
    let mut old = want(&["delete"], "nodes");
    old["metadata"]["finalizers"] = json!(["x"]);
    assert!(limited.escalation_check(&jane, ROLES, &want(&["delete"], "nodes"), Some(&old)).is_ok());
    assert!(limited.escalation_check(&jane, "pods", &json!({}), None).is_ok(), "other resources pass");
}

#[test]
fn rules_can_be_listed() {
    let authorizer = jane_may(json!([
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["x"]},
        {"verbs": ["get"], "nonResourceURLs": ["/metrics"]},
    ]));
    let review = authorizer.rules_for(&UserInfo::new("jane", &[]), "default");
    assert_eq!(
        serde_json::to_value(&review).unwrap(),
        json!({
            "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["x"]}],
            "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}],
            "incomplete": false,
        })
    );
    let node = UserInfo::new("system:node:n1", &["system:nodes"]);
    assert!(authorizer.rules_for(&node, "default").incomplete);
}

#[test]
fn a_decision_does_not_slow_down_with_other_peoples_bindings() {
    let authorizer = jane_may(json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]));
    for n in 0..5000 {
        let name = format!("b{n}");
        let subjects = json!([user(&format!("user-{n}"))]);
        authorizer.apply(CLUSTER_ROLE_BINDINGS, &binding(&name, "", "ClusterRole", "r", subjects.clone()));
        authorizer.apply(ROLE_BINDINGS, &binding(&name, "default", "ClusterRole", "r", subjects));
    }
    let jane = UserInfo::new("jane", &["a", "b", "c"]);
    let asked = Attributes::resource(&jane, "delete", "", "v1", "pods").namespace("default");
    let start = std::time::Instant::now();
    for _ in 0..1000 {
        assert!(!authorizer.authorize(&asked).allowed);
    }
    // Microseconds when optimized; here there is room for a debug build on a busy machine. A scan of 10,000 bindings
    // would take milliseconds each.
    assert!(start.elapsed() < std::time::Duration::from_millis(500), "{:?}", start.elapsed());
}

// ---- nodes ----

fn node_cluster() -> Authorizer {
    let authorizer = Authorizer::new();
    let pod = |name: &str, node: &str, suffix: &str| {
        json!({
            "metadata": {"name": name, "namespace": "a"},
            "spec": {
                "nodeName": node, "serviceAccountName": format!("sa-{suffix}"),
                "imagePullSecrets": [{"name": format!("pull-{suffix}")}],
                "containers": [{"name": "c",
                    "env": [{"valueFrom": {"secretKeyRef": {"name": format!("env-{suffix}")}}},
                            {"valueFrom": {"configMapKeyRef": {"name": format!("env-{suffix}")}}}],
                    "envFrom": [{"secretRef": {"name": format!("from-{suffix}")}}]}],
                "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": format!("init-{suffix}")}}]}],
                "volumes": [
                    {"name": "s", "secret": {"secretName": format!("vol-{suffix}")}},
                    {"name": "p", "projected": {"sources": [{"configMap": {"name": "shared"}}]}},
                    {"name": "c", "persistentVolumeClaim": {"claimName": format!("claim-{suffix}")}},
                ],
            },
        })
    };
    authorizer.apply("pods", &pod("p1", "n1", "one"));
    authorizer.apply("pods", &pod("p2", "n2", "two"));
    authorizer.apply("pods", &pod("loose", "", "loose"));
    let mut mirror = pod("mirror", "n1", "mirror");
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
    authorizer.apply("pods", &mirror);
    authorizer.apply(
        "persistentvolumes",
        &json!({"metadata": {"name": "pv-one"}, "spec": {
            "claimRef": {"namespace": "a", "name": "claim-one"},
            "csi": {"nodePublishSecretRef": {"namespace": "csi", "name": "csi-secret"}}}}),
    );
    authorizer.apply(
        "volumeattachments.storage.k8s.io",
        &json!({"metadata": {"name": "va-one"}, "spec": {"nodeName": "n1"}}),
    );
    authorizer
}

#[test]
fn nodes_reach_what_their_pods_use() {
    let authorizer = node_cluster();
    let n1 = UserInfo::new("system:node:n1", &["system:nodes", "system:authenticated"]);
    // verb, group, resource/subresource, namespace, name, field selector | allowed
    let cases: &[(&str, &str, &str, &str, &str, &str, bool)] = &[
        ("get", "", "secrets", "a", "env-one", "", true),
        ("get", "", "secrets", "a", "from-one", "", true),
        ("get", "", "secrets", "a", "pull-one", "", true),
        ("watch", "", "secrets", "a", "", "metadata.name=vol-one", true),
        ("get", "", "secrets", "b", "vol-one", "", false),
        ("get", "", "secrets", "a", "vol-two", "", false),
        ("get", "", "secrets", "a", "vol-loose", "", false),
        ("get", "", "secrets", "a", "vol-mirror", "", false),
        ("get", "", "secrets", "csi", "csi-secret", "", true),
        ("list", "", "secrets", "a", "", "", false),
        ("list", "", "secrets", "", "", "", false),
        ("update", "", "secrets", "a", "vol-one", "", false),
        ("get", "", "configmaps", "a", "env-one", "", true),
        ("get", "", "configmaps", "a", "init-one", "", true),
        ("get", "", "configmaps", "a", "shared", "", true),
        ("get", "", "configmaps", "a", "env-two", "", false),
        ("get", "", "persistentvolumeclaims", "a", "claim-one", "", true),
        ("get", "", "persistentvolumeclaims", "a", "claim-two", "", false),
        ("update", "", "persistentvolumeclaims/status", "a", "claim-one", "", true),
        ("get", "", "persistentvolumes", "", "pv-one", "", true),
        ("get", "", "persistentvolumes", "", "pv-two", "", false),
        ("get", "storage.k8s.io", "volumeattachments", "", "va-one", "", true),
        ("create", "", "serviceaccounts/token", "a", "sa-one", "", true),
        ("create", "", "serviceaccounts/token", "a", "sa-two", "", false),
        ("create", "", "serviceaccounts/token", "a", "", "", false),
        ("get", "", "serviceaccounts", "a", "sa-one", "", true),
        ("delete", "", "serviceaccounts", "a", "sa-one", "", false),
        ("get", "", "nodes", "", "n1", "", true),
        ("get", "", "nodes", "", "n2", "", false),
        ("list", "", "nodes", "", "", "", false),
        ("watch", "", "nodes", "", "", "metadata.name=n1", true),
        ("create", "", "nodes", "", "", "", true),
        ("delete", "", "nodes", "", "n1", "", false),
        ("patch", "", "nodes/status", "", "n1", "", true),
        ("list", "", "pods", "", "", "spec.nodeName=n1", true),
        ("watch", "", "pods", "", "", "spec.nodeName==n1", true),
        ("list", "", "pods", "", "", "spec.nodeName=n2", false),
        ("list", "", "pods", "", "", "spec.nodeName!=n1", false),
        ("list", "", "pods", "", "", "metadata.name!=x\\,spec.nodeName=n1", false),
        ("list", "", "pods", "", "", "", false),
        ("get", "", "pods", "a", "p1", "", true),
        ("get", "", "pods", "a", "p2", "", false),
        ("get", "", "pods", "a", "mirror", "", true),
        ("patch", "", "pods/status", "a", "p1", "", true),
        ("create", "", "pods/eviction", "a", "p1", "", true),
        ("create", "", "pods/exec", "a", "p1", "", false),
        ("get", "coordination.k8s.io", "leases", "kube-node-lease", "n1", "", true),
        ("update", "coordination.k8s.io", "leases", "kube-node-lease", "n1", "", true),
        ("update", "coordination.k8s.io", "leases", "kube-node-lease", "n2", "", false),
        ("update", "coordination.k8s.io", "leases", "kube-system", "n1", "", false),
        ("create", "coordination.k8s.io", "leases", "kube-node-lease", "", "", true),
        ("list", "", "services", "", "", "", true),
        ("create", "", "events", "a", "", "", true),
        ("create", "certificates.k8s.io", "certificatesigningrequests", "", "", "", true),
        ("create", "", "services", "a", "", "", false),
        ("get", "apps", "deployments", "a", "x", "", false),
    ];
    for (verb, group, resource, namespace, name, fields, allowed) in cases {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let asked = Attributes::resource(&n1, verb, group, "v1", resource)
            .subresource(subresource)
            .namespace(namespace)
            .name(name)
            .field_selector(fields);
        assert_eq!(
            authorizer.authorize(&asked).allowed,
            *allowed,
            "{verb} {group} {resource}/{subresource} {namespace}/{name} {fields}"
        );
    }
    // The name alone does not make a node, nor the group alone.
    for who in [UserInfo::new("system:node:n1", &[]), UserInfo::new("n1", &["system:nodes"])] {
        let asked = Attributes::resource(&who, "get", "", "v1", "secrets").namespace("a").name("env-one");
        assert!(!authorizer.authorize(&asked).allowed);
    }
}

#[test]
fn access_ends_with_the_last_pod() {
    let authorizer = node_cluster();
    let n1 = UserInfo::new("system:node:n1", &["system:nodes"]);
    let shared = Attributes::resource(&n1, "get", "", "v1", "configmaps").namespace("a").name("shared");
    let second = json!({"metadata": {"name": "p3", "namespace": "a"}, "spec": {"nodeName": "n1",
        "volumes": [{"name": "v", "configMap": {"name": "shared"}}]}});
    authorizer.apply("pods", &second);
    authorizer.apply("pods", &second);
    authorizer.delete("pods", "a", "p1");
    assert!(authorizer.authorize(&shared).allowed);
    authorizer.delete("pods", "a", "p3");
    let decision = authorizer.authorize(&shared);
    assert_eq!(decision, Decision::deny("no relationship found between node 'n1' and this object"));
    authorizer.apply("pods", &second);
    authorizer.reset("pods", []);
    assert!(!authorizer.authorize(&shared).allowed);
}

proptest! {
    /// Deny by default: without bindings nothing is allowed to anyone but the masters, whatever is asked.
    #[test]
    fn nothing_is_allowed_without_a_binding(
        verb in "[a-z*]{1,8}", group in "[a-z.]{0,8}", resource in "[a-z*/]{1,10}", namespace in "[a-z]{0,5}",
        name in "[a-z*]{0,5}", user in "[a-z:*]{1,12}", groups in proptest::collection::vec("[a-z:*]{1,12}", 0..4),
    ) {
        let authorizer = Authorizer::new();
        authorizer.apply(CLUSTER_ROLES, &role("all", "", json!([
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]}])));
        let user = UserInfo { name: user, groups, ..UserInfo::default() };
        let asked = Attributes::resource(&user, &verb, &group, "v1", &resource).namespace(&namespace).name(&name);
        prop_assert!(!authorizer.authorize(&asked).allowed);
        prop_assert!(!authorizer.authorize(&Attributes::path(&user, &verb, &resource)).allowed);
    }

    /// A grant reaches only what it names: another verb, resource, namespace or user is refused.
    #[test]
    fn a_grant_is_not_more_than_it_says(
        verb in "[a-z]{1,4}", resource in "[a-z]{1,4}", namespace in "[a-z]{1,4}", user_name in "[a-z]{1,4}",
    ) {
        let authorizer = Authorizer::new();
        authorizer.apply(ROLES, &role("r", "ns", json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}])));
        authorizer.apply(ROLE_BINDINGS, &binding("b", "ns", "Role", "r", json!([user("jane")])));
        let who = UserInfo::new(user_name.clone(), &[]);
        let asked = Attributes::resource(&who, &verb, "", "v1", &resource).namespace(&namespace);
        let exact = verb == "get" && resource == "pods" && namespace == "ns" && user_name == "jane";
        prop_assert_eq!(authorizer.authorize(&asked).allowed, exact);
    }
}
