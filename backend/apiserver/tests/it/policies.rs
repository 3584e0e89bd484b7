//! Admission policies in CEL.

use serde_json::{Value, json};

use crate::support::{Caller, TestCluster, config_map, deployment};

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/ruled/deployments";
const MAPS: &str = "/api/v1/namespaces/ruled/configmaps";

fn constraints(group: &str, resource: &str) -> Value {
    json!({"resourceRules": [{"apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": [resource]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ruled"}}})
}

fn validating(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec})
}

fn binding(name: &str, policy: &str, actions: &[&str]) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": policy, "validationActions": actions}})
}

fn mutating(name: &str, spec: Value) -> [Value; 2] {
    let object = |kind: &str, spec: Value| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    [object("MutatingAdmissionPolicy", spec), object("MutatingAdmissionPolicyBinding", json!({"policyName": name}))]
}

async fn rule(admin: &Caller, policy: &Value, binding: &Value) {
    admin.create(&format!("{GROUP}/validatingadmissionpolicies"), policy).await;
    admin.create(&format!("{GROUP}/validatingadmissionpolicybindings"), binding).await;
}

async fn mutate(admin: &Caller, [policy, binding]: &[Value; 2]) {
    admin.create(&format!("{GROUP}/mutatingadmissionpolicies"), policy).await;
    admin.create(&format!("{GROUP}/mutatingadmissionpolicybindings"), binding).await;
}

async fn ruled() -> (TestCluster, Caller) {
    let cluster = TestCluster::start().await;
    cluster.namespace("ruled").await;
    let admin = cluster.admin();
    (cluster, admin)
}

#[tokio::test]
async fn what_does_not_hold_is_denied_in_the_policys_words() {
    let (_cluster, admin) = ruled().await;
    let policy = validating(
        "replicas",
        json!({"matchConstraints": constraints("apps", "deployments"), "validations": [
        {"expression": "object.spec.replicas > 1", "messageExpression": "'wants more than ' + string(object.spec.replicas)"},
        {"expression": "namespaceObject.metadata.name == 'ruled'", "message": "elsewhere"}]}),
    );
    admin.create(&format!("{GROUP}/validatingadmissionpolicies"), &policy).await;
    admin.create(DEPLOYMENTS, &deployment("unbound", 1)).await;
    admin.create(&format!("{GROUP}/validatingadmissionpolicybindings"), &binding("all", "replicas", &["Deny"])).await;
    let refused = admin.post(DEPLOYMENTS, &deployment("one", 1)).await;
    assert_eq!(refused.said(), "422 Invalid");
    let said = "ValidatingAdmissionPolicy 'replicas' with binding 'all' denied request: wants more than 1";
    assert_eq!(refused.message(), format!("deployments.apps \"one\" is forbidden: {said}"));
    assert_eq!(refused.json()["details"]["causes"][0]["message"], said);
    admin.create(DEPLOYMENTS, &deployment("two", 2)).await;
    let shrunk = admin.patch(&format!("{DEPLOYMENTS}/two"), "merge", &json!({"spec": {"replicas": 1}})).await;
    assert_eq!(shrunk.said(), "422 Invalid");
    // Another namespace is not selected.
    admin.create("/apis/apps/v1/namespaces/default/deployments", &deployment("one", 1)).await;
}

#[tokio::test]
async fn reasons_variables_conditions_and_the_authorizer() {
    let (cluster, admin) = ruled().await;
    let policy = validating(
        "maps",
        json!({"matchConstraints": constraints("", "configmaps"),
        "variables": [{"name": "size", "expression": "has(object.data) ? size(object.data) : 0"},
            {"name": "odd", "expression": "variables.size % 2 == 1"}],
        "matchConditions": [{"name": "not-free", "expression": "object.metadata.name != 'free'"}],
        "validations": [
            {"expression": "!variables.odd", "message": "an even number, please", "reason": "Forbidden"},
            {"expression": "authorizer.group('').resource('secrets').namespace('ruled').check('get').allowed()", "message": "trusted people only"}]}),
    );
    rule(&admin, &policy, &binding("maps", "maps", &["Deny"])).await;
    let odd = config_map("a", &json!({"x": "1"}));
    let refused = admin.post(MAPS, &odd).await;
    assert_eq!(refused.said(), "403 Forbidden");
    assert!(refused.message().ends_with("an even number, please"), "{}", refused.message());
    admin.create(MAPS, &config_map("even", &json!({"x": "1", "y": "2"}))).await;
    admin.create(MAPS, &config_map("free", &json!({"x": "1"}))).await;
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "maps"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]}]});
    let bound = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "maps"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "maps"},
        "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/ruled";
    admin.create(&format!("{rbac}/roles"), &role).await;
    admin.create(&format!("{rbac}/rolebindings"), &bound).await;
    let jane = cluster.user("jane", &["system:authenticated"]);
    let even = config_map("b", &json!({}));
    let refused = cluster.eventually(|| jane.post(MAPS, &even), |reply| reply.status == 422).await;
    assert!(refused.message().ends_with("trusted people only"), "{}", refused.message());
}

#[tokio::test]
async fn warnings_instead_of_denials() {
    let (_cluster, admin) = ruled().await;
    let policy = validating(
        "soft",
        json!({"matchConstraints": constraints("", "configmaps"),
        "validations": [{"expression": "object.metadata.name.startsWith('app-')"}]}),
    );
    rule(&admin, &policy, &binding("soft", "soft", &["Warn", "Audit"])).await;
    let reply = admin.post(MAPS, &config_map("other", &json!({}))).await;
    let said = "Validation failed for ValidatingAdmissionPolicy 'soft' with binding 'soft': failed expression: \
        object.metadata.name.startsWith('app-')";
    assert_eq!((reply.status, reply.warnings()), (201, vec![format!("299 - \"{said}\"")]));
}

#[tokio::test]
async fn parameters_come_from_objects() {
    let (_cluster, admin) = ruled().await;
    let policy = validating(
        "limits",
        json!({"matchConstraints": constraints("apps", "deployments"),
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [{"expression": "object.spec.replicas <= int(params.data.most)", "messageExpression": "'at most ' + params.data.most"}]}),
    );
    let mut bound = binding("limits", "limits", &["Deny"]);
    bound["spec"]["paramRef"] = json!({"name": "most", "parameterNotFoundAction": "Deny"});
    rule(&admin, &policy, &bound).await;
    let refused = admin.post(DEPLOYMENTS, &deployment("web", 9)).await;
    assert!(
        refused.message().contains("no params found for policy binding with `Deny` parameterNotFoundAction"),
        "{}",
        refused.message()
    );
    admin.create(MAPS, &config_map("most", &json!({"most": "5"}))).await;
    let refused = admin.post(DEPLOYMENTS, &deployment("web", 9)).await;
    assert!(refused.message().ends_with("denied request: at most 5"), "{}", refused.message());
    admin.create(DEPLOYMENTS, &deployment("web", 5)).await;
}

#[tokio::test]
async fn failures_follow_the_failure_policy() {
    let (_cluster, admin) = ruled().await;
    for (name, failure, status) in [("closed", "Fail", 422), ("open", "Ignore", 201)] {
        let policy = validating(
            name,
            json!({"matchConstraints": constraints("", "configmaps"), "failurePolicy": failure,
            "validations": [{"expression": "object.data.missing == 'x'"}]}),
        );
        rule(&admin, &policy, &binding(name, name, &["Deny"])).await;
        let reply = admin.post(MAPS, &config_map(name, &json!({"a": "b"}))).await;
        assert_eq!(reply.status, status, "{}", reply.text());
        if status == 422 {
            assert!(
                reply
                    .message()
                    .contains("expression 'object.data.missing == 'x'' resulted in error: no such key: missing"),
                "{}",
                reply.message()
            );
        }
        admin.delete(&format!("{GROUP}/validatingadmissionpolicybindings/{name}")).await.expect(200);
    }
}

#[tokio::test]
async fn broken_policies_are_refused_when_they_are_written() {
    let (_cluster, admin) = ruled().await;
    let policies = format!("{GROUP}/validatingadmissionpolicies");
    for (spec, field) in [
        (json!({"validations": [{"expression": "object.spec.replicas >"}]}), "spec.validations[0].expression"),
        (
            json!({"validations": [{"expression": "true", "messageExpression": "1"}]}),
            "spec.validations[0].messageExpression",
        ),
        (json!({"validations": [{"expression": "variables.x"}]}), "spec.validations[0].expression"),
        (json!({"validations": [{"expression": "params.x"}]}), "spec.validations[0].expression"),
        (
            json!({"validations": [{"expression": "true"}], "variables": [{"name": "a", "expression": "nothing"}]}),
            "spec.variables[0].expression",
        ),
        (
            json!({"auditAnnotations": [{"key": "a", "valueExpression": "1"}]}),
            "spec.auditAnnotations[0].valueExpression",
        ),
    ] {
        let mut spec = spec;
        spec["matchConstraints"] = constraints("", "configmaps");
        let refused = admin.post(&policies, &validating("broken", spec)).await;
        assert_eq!(refused.said(), "422 Invalid", "{field}");
        assert!(refused.message().contains(field), "{field}: {}", refused.message());
    }
}

#[tokio::test]
async fn types_are_checked_behind_the_scenes() {
    let (cluster, admin) = ruled().await;
    let policies = format!("{GROUP}/validatingadmissionpolicies");
    let policy = |name: &str, expression: &str, message: &str| {
        validating(
            name,
            json!({"matchConstraints": constraints("apps", "deployments"),
            "validations": [{"expression": expression, "messageExpression": message}]}),
        )
    };
    admin.create(&policies, &policy("right", "object.spec.replicas > 1", "'more'")).await;
    admin.create(&policies, &policy("wrong", "object.spec.replicas > '1'", "'got ' + object.spec.replicas")).await;
    let (right, wrong) = (format!("{policies}/right"), format!("{policies}/wrong"));
    let done = |reply: &crate::support::Reply| reply.json()["status"]["typeChecking"].is_object();
    let right = cluster.eventually(|| admin.get(&right), done).await.json();
    assert_eq!(right["status"]["typeChecking"]["expressionWarnings"].as_array().map_or(0, Vec::len), 0, "{right}");
    assert_eq!(right["status"]["observedGeneration"], 1);
    let wrong = cluster.eventually(|| admin.get(&wrong), done).await.json();
    let warnings = wrong["status"]["typeChecking"]["expressionWarnings"].as_array().unwrap();
    let said: Vec<(&str, bool)> = warnings
        .iter()
        .zip([
            "found no matching overload for '_>_' applied to '(int, string)'",
            "found no matching overload for '_+_' applied to '(string, int)'",
        ])
        .map(|(warning, expected)| {
            (warning["fieldRef"].as_str().unwrap(), warning["warning"].as_str().unwrap().contains(expected))
        })
        .collect();
    assert_eq!(
        said,
        [("spec.validations[0].expression", true), ("spec.validations[0].messageExpression", true)],
        "{wrong}"
    );
}

#[tokio::test]
async fn objects_are_changed_by_configurations_and_patches() {
    let (_cluster, admin) = ruled().await;
    let apply = json!({"matchConstraints": constraints("apps", "deployments"), "failurePolicy": "Fail", "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
            "Object{metadata: Object.metadata{annotations: {'mutated-by': 'policy'}}, spec: Object.spec{replicas: object.spec.replicas + 10}}"}}]});
    mutate(&admin, &mutating("apply", apply)).await;
    let made = admin.create(DEPLOYMENTS, &deployment("web", 1)).await;
    assert_eq!(
        (&made["spec"]["replicas"], &made["metadata"]["annotations"]["mutated-by"]),
        (&json!(11), &json!("policy"))
    );
    assert_eq!(made["spec"]["template"]["spec"]["containers"][0]["image"], "demo:1", "the rest stays");
    let patch = json!({"matchConstraints": constraints("", "configmaps"), "failurePolicy": "Fail", "reinvocationPolicy": "Never",
        "matchConditions": [{"name": "not-skipped", "expression": "object.metadata.name != 'skip'"}],
        "variables": [{"name": "key", "expression": "'example.com/x'"}],
        "mutations": [
            {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey(variables.key), value: 'yes'}]"}},
            {"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'test', path: '/data/x', value: 'other'}, JSONPatch{op: 'remove', path: '/data/x'}]"}}]});
    mutate(&admin, &mutating("patch", patch)).await;
    let mut map = config_map("one", &json!({"x": "y"}));
    map["metadata"]["annotations"] = json!({"had": "one"});
    let made = admin.create(MAPS, &map).await;
    assert_eq!(made["data"], json!({"x": "y"}), "a patch whose test fails changes nothing");
    assert_eq!(made["metadata"]["annotations"], json!({"had": "one", "example.com/x": "yes"}));
    let skipped = admin.create(MAPS, &config_map("skip", &json!({"x": "y"}))).await;
    assert_eq!(skipped["data"], json!({"x": "y"}));
}

#[tokio::test]
async fn a_mutation_that_fails_denies_and_wholes_are_not_cut() {
    let (_cluster, admin) = ruled().await;
    let expression = "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{\
        containers: [Object.spec.template.spec.containers{name: 'main', command: ['x']}]}}}}";
    let spec = json!({"matchConstraints": constraints("apps", "deployments"), "failurePolicy": "Fail", "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]});
    mutate(&admin, &mutating("whole", spec)).await;
    let refused = admin.post(DEPLOYMENTS, &deployment("web", 1)).await;
    assert_eq!(refused.status, 403);
    let message = refused.message();
    assert!(message.starts_with("policy 'whole' with binding 'whole' denied request: "), "{message}");
    assert!(message.contains("may not mutate atomic arrays, maps or structs"), "{message}");
}
