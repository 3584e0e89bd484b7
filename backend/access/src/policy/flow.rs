//! The default flow schemas and priority levels.
//! Source: <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#defaults>

use serde_json::{Value, json};

const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";

/// Name, shares, percent that may be lent, queues and hand size (None: requests over the limit are rejected).
const LIMITED: &[(&str, i64, i64, Option<(i64, i64)>)] = &[
    ("catch-all", 5, 0, None),
    ("global-default", 20, 50, Some((128, 6))),
    ("leader-election", 10, 0, Some((16, 4))),
    ("node-high", 40, 25, Some((64, 6))),
    ("system", 30, 33, Some((64, 6))),
    ("workload-high", 40, 50, Some((128, 6))),
    ("workload-low", 100, 90, Some((128, 6))),
];

/// Says `true` on objects whose spec follows ours.
pub const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": kind, "spec": spec,
        "metadata": {"name": name, "annotations": {(AUTOUPDATE): "true"}},
    })
}

pub(super) fn priority_levels() -> Vec<Value> {
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let limited = LIMITED.iter().map(|(name, shares, lendable, queues)| {
        let response = match queues {
            None => json!({"type": "Reject"}),
            Some((queues, hand)) => json!({
                "type": "Queue",
                "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50},
            }),
        };
        let limited = json!({
            "nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response,
        });
        object("PriorityLevelConfiguration", name, json!({"type": "Limited", "limited": limited}))
    });
    std::iter::once(object("PriorityLevelConfiguration", "exempt", exempt)).chain(limited).collect()
}

/// The names of what no cluster is without; its specs cannot be changed for long.
const MANDATORY: &[&str] = &["catch-all", "exempt"];

/// Whether this is one of the mandatory objects.
pub fn is_mandatory(object: &Value) -> bool {
    object["metadata"]["name"].as_str().is_some_and(|name| MANDATORY.contains(&name))
}

/// The mandatory levels and schemas.
pub fn mandatory_flow_control() -> (Vec<Value>, Vec<Value>) {
    let mandatory = |all: Vec<Value>| all.into_iter().filter(is_mandatory).collect();
    (mandatory(priority_levels()), mandatory(flow_schemas()))
}

/// Whether the spec of a default object follows ours: always when it is mandatory, else unless somebody has changed it
/// or said so in its annotation.
pub fn maintained(stored: &Value) -> bool {
    let said = stored["metadata"]["annotations"][AUTOUPDATE].as_str();
    is_mandatory(stored) || said.map_or(stored["metadata"]["generation"] == 1, |said| said == "true")
}

/// All levels and schemas of a new cluster.
pub fn default_flow_control() -> (Vec<Value>, Vec<Value>) {
    (priority_levels(), flow_schemas())
}

fn group(name: &str) -> Value {
    json!({"kind": "Group", "group": {"name": name}})
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

fn system_accounts() -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": "kube-system"}})
}

fn everybody() -> Vec<Value> {
    vec![group("system:unauthenticated"), group("system:authenticated")]
}

fn resources(verbs: &[&str], groups: &[&str], resources: &[&str], cluster_scope: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "namespaces": ["*"]});
    if cluster_scope {
        rule["clusterScope"] = json!(true);
    }
    rule
}

fn everything(subjects: &[Value]) -> Value {
    json!([{
        "subjects": subjects,
        "resourceRules": [resources(&["*"], &["*"], &["*"], true)],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }])
}

fn schema(name: &str, level: &str, precedence: i64, distinguisher: Option<&str>, rules: Value) -> Value {
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": rules,
    });
    if let Some(by) = distinguisher {
        spec["distinguisherMethod"] = json!({"type": by});
    }
    object("FlowSchema", name, spec)
}

pub(super) fn flow_schemas() -> Vec<Value> {
    let (by_user, by_namespace) = (Some("ByUser"), Some("ByNamespace"));
    let nodes = [group("system:nodes")];
    let leases = |verbs: &[&str]| resources(verbs, &["coordination.k8s.io"], &["leases"], false);
    let probes = json!([{
        "subjects": everybody(),
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}],
    }]);
    let election = json!([{
        "subjects": [user("system:kube-controller-manager"), user("system:kube-scheduler"), system_accounts()],
        "resourceRules": [leases(&["get", "create", "update"])],
    }]);
    let health = json!([{
        "subjects": nodes,
        "resourceRules": [resources(&["*"], &[""], &["nodes", "nodes/status"], true), leases(&["*"])],
    }]);
    let manager = everything(&[user("system:kube-controller-manager")]);
    vec![
        schema("exempt", "exempt", 1, None, everything(&[group("system:masters")])),
        schema("probes", "exempt", 2, None, probes),
        schema("system-leader-election", "leader-election", 100, by_user, election),
        schema("system-node-high", "node-high", 400, by_user, health),
        schema("system-nodes", "system", 500, by_user, everything(&nodes)),
        schema("kube-controller-manager", "workload-high", 800, by_namespace, manager),
        schema("kube-scheduler", "workload-high", 800, by_namespace, everything(&[user("system:kube-scheduler")])),
        schema("kube-system-service-accounts", "workload-high", 900, by_namespace, everything(&[system_accounts()])),
        schema("service-accounts", "workload-low", 9000, by_user, everything(&[group("system:serviceaccounts")])),
        schema("global-default", "global-default", 9900, by_user, everything(&everybody())),
        schema("catch-all", "catch-all", 10_000, by_user, everything(&everybody())),
    ]
}
