//! Who has the default roles.

use serde_json::{Value, json};

use super::{facts, metadata};

const GROUP: &str = "rbac.authorization.k8s.io";

#[derive(Clone, Copy)]
enum Subject {
    User(&'static str),
    Group(&'static str),
    /// In kube-system.
    Account(&'static str),
}

use Subject::{Account, Group, User};

const MANAGER: Subject = User("system:kube-controller-manager");
const SCHEDULER: Subject = User("system:kube-scheduler");

/// Binding, cluster role, subjects.
const CLUSTER: &[(&str, &str, &[Subject])] = &[
    ("cluster-admin", "cluster-admin", &[Group("system:masters")]),
    ("pilothouse:addons", "pilothouse:addons", &[Account("pilothouse-addons")]),
    ("pilothouse:dns", "pilothouse:dns", &[Account("pilothouse-dns")]),
    // Nodes join with a bootstrap token and get, then renew, their own certificate.
    (
        "pilothouse:node-autoapprove-bootstrap",
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[Group("system:bootstrappers")],
    ),
    (
        "pilothouse:node-autoapprove-certificate-rotation",
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[Group("system:nodes")],
    ),
    ("pilothouse:node-bootstrap", "system:node-bootstrapper", &[Group("system:bootstrappers")]),
    // The agent is also its node's service proxy, router and DNS server.
    ("pilothouse:node-network", "pilothouse:node-network", &[Group("system:nodes")]),
    ("system:basic-user", "system:basic-user", &[Group("system:authenticated")]),
    ("system:discovery", "system:discovery", &[Group("system:authenticated")]),
    ("system:kube-controller-manager", "system:kube-controller-manager", &[MANAGER]),
    ("system:kube-dns", "system:kube-dns", &[Account("kube-dns")]),
    ("system:kube-scheduler", "system:kube-scheduler", &[SCHEDULER]),
    ("system:monitoring", "system:monitoring", &[Group("system:monitoring")]),
    ("system:node", "system:node", &[]),
    ("system:node-proxier", "system:node-proxier", &[User("system:kube-proxy")]),
    (
        "system:public-info-viewer",
        "system:public-info-viewer",
        &[Group("system:authenticated"), Group("system:unauthenticated")],
    ),
    (
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        &[Group("system:serviceaccounts")],
    ),
    ("system:volume-scheduler", "system:volume-scheduler", &[SCHEDULER]),
];

/// Namespace, binding, kind of role, role, subjects.
const NAMESPACED: &[(&str, &str, &str, &str, &[Subject])] = &[
    (
        "kube-public",
        "system:controller:bootstrap-signer",
        "Role",
        "system:controller:bootstrap-signer",
        &[Account("bootstrap-signer")],
    ),
    // The lease that elects the backend with the background work.
    (
        "kube-system",
        "pilothouse:leader-election",
        "ClusterRole",
        "pilothouse:leader-election",
        &[MANAGER, Account("leader-election-controller"), Account("pilothouse-leader")],
    ),
    (
        "kube-system",
        "system::extension-apiserver-authentication-reader",
        "Role",
        "extension-apiserver-authentication-reader",
        &[MANAGER, SCHEDULER],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        "Role",
        "system::leader-locking-kube-controller-manager",
        &[MANAGER, Account("kube-controller-manager"), Account("leader-election-controller")],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        "Role",
        "system::leader-locking-kube-scheduler",
        &[SCHEDULER, Account("kube-scheduler")],
    ),
    (
        "kube-system",
        "system:controller:bootstrap-signer",
        "Role",
        "system:controller:bootstrap-signer",
        &[Account("bootstrap-signer")],
    ),
    (
        "kube-system",
        "system:controller:cloud-provider",
        "Role",
        "system:controller:cloud-provider",
        &[Account("cloud-provider")],
    ),
    (
        "kube-system",
        "system:controller:token-cleaner",
        "Role",
        "system:controller:token-cleaner",
        &[Account("token-cleaner")],
    ),
];

fn subject(subject: Subject) -> Value {
    match subject {
        User(name) => json!({"apiGroup": GROUP, "kind": "User", "name": name}),
        Group(name) => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
        Account(name) => account(name),
    }
}

fn account(name: &str) -> Value {
    json!({"kind": "ServiceAccount", "name": name, "namespace": "kube-system"})
}

fn binding(namespace: Option<&str>, name: &str, role_kind: &str, role: &str, subjects: Vec<Value>) -> Value {
    let kind = if namespace.is_some() { "RoleBinding" } else { "ClusterRoleBinding" };
    let mut object = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": metadata(name, namespace, &[]),
        "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": role},
    });
    if !subjects.is_empty() {
        object["subjects"] = json!(subjects);
    }
    object
}

pub(super) fn cluster_role_bindings() -> Vec<Value> {
    let fixed = CLUSTER.iter().map(|(name, role, subjects)| {
        binding(None, name, "ClusterRole", role, subjects.iter().map(|s| subject(*s)).collect())
    });
    let controllers = facts::controller_roles().into_keys().map(|name| {
        let role = format!("system:controller:{name}");
        binding(None, &role, "ClusterRole", &role, vec![account(&name)])
    });
    fixed.chain(controllers).collect()
}

pub(super) fn role_bindings() -> Vec<Value> {
    let object = |(namespace, name, kind, role, subjects): &(&str, &str, &str, &str, &[Subject])| {
        binding(Some(namespace), name, kind, role, subjects.iter().map(|s| subject(*s)).collect())
    };
    NAMESPACED.iter().map(object).collect()
}
