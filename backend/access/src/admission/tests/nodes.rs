//! Nodes, certificates, roles and users.

use serde_json::json;

use super::*;

fn by_node(mut request: Request) -> Request {
    request.user = UserInfo::new("system:node:n1", &["system:nodes"]);
    request
}

#[test]
fn nodes_are_kept_to_themselves() {
    let node =
        |name: &str, labels: Value| json!({"kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": {}});
    let running = |name: &str, node: &str| {
        json!({"metadata": {"name": name, "namespace": "a", "uid": name}, "spec": {"nodeName": node, "volumes": [
            {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]}})
    };
    let world = || {
        let objects = cluster();
        objects.put("pods", running("mine", "n1"));
        objects.put("pods", running("theirs", "n2"));
        objects.put("nodes", json!({"metadata": {"name": "n1", "uid": "u1"}}));
        objects
    };
    let update = |resource: &str, sub: &str, old: Value, new: Value| {
        let mut request = request(Operation::Update, "", resource, new);
        request.subresource = sub.to_owned();
        request.old = Some(Arc::new(old));
        request
    };
    let token = |pod: &str, uid: &str, audiences: Value| {
        let object = json!({"kind": "TokenRequest", "metadata": {"name": "default", "namespace": "a"}, "spec": {
            "audiences": audiences, "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}}});
        let mut request = request(Operation::Create, "", "serviceaccounts", object);
        request.subresource = "token".into();
        request
    };
    let delete = |name: &str| {
        let mut request = request(Operation::Delete, "", "pods", running(name, "n1"));
        request.object = None;
        request
    };
    let mut taints = node("n1", json!({}));
    taints["spec"]["taints"] = json!([{"key": "x"}]);
    let mut relabelled = running("mine", "n1");
    relabelled["metadata"]["labels"] = json!({"a": "b"});
    let lease = |name: &str| json!({"kind": "Lease", "metadata": {"name": name, "namespace": "kube-node-lease"}});
    let cases: Vec<(Request, &str)> = vec![
        (request(Operation::Create, "", "nodes", node("n1", json!({"kubernetes.io/hostname": "n1", "own": "x"}))), ""),
        (request(Operation::Create, "", "nodes", node("n2", json!({}))), "is not allowed to modify node \"n2\""),
        (
            request(Operation::Create, "", "nodes", node("n1", json!({"node-role.kubernetes.io/master": ""}))),
            "is not allowed to set the following labels: node-role.kubernetes.io/master",
        ),
        (
            request(Operation::Create, "", "nodes", node("n1", json!({"x.node-restriction.kubernetes.io/y": ""}))),
            "is not allowed to set the following labels",
        ),
        (update("nodes", "", node("n1", json!({})), taints), "is not allowed to modify taints"),
        (update("nodes", "status", node("n1", json!({})), node("n1", json!({"node.kubernetes.io/x": "1"}))), ""),
        (request(Operation::Create, "", "pods", pod(one_container())), "can only create mirror pods"),
        (delete("mine"), ""),
        (delete("theirs"), "can only delete pods with spec.nodeName set to itself"),
        (update("pods", "status", running("mine", "n1"), running("mine", "n1")), ""),
        (update("pods", "status", running("theirs", "n2"), running("theirs", "n2")), "can only update pod status"),
        (update("pods", "status", running("mine", "n1"), relabelled), "cannot update labels through pod status"),
        (update("pods", "", running("mine", "n1"), running("mine", "n1")), "unexpected operation"),
        (token("mine", "mine", json!([])), ""),
        (token("mine", "", json!([])), "without a uid"),
        (token("mine", "other", json!([])), "does not match the UID in record"),
        (token("theirs", "theirs", json!([])), "scheduled on a different node"),
        (token("mine", "mine", json!(["vault"])), "audience \"vault\" not found in pod spec volume"),
        (request(Operation::Create, "coordination.k8s.io", "leases", lease("n1")), ""),
        (request(Operation::Create, "coordination.k8s.io", "leases", lease("n2")), "can only create node lease"),
    ];
    for (request, refusal) in cases {
        let objects = world();
        objects.put("namespaces", namespace("kube-node-lease", json!({})));
        let shown = format!("{:?} {} {}", request.operation, request.resource, request.name);
        let result = message(run(objects, by_node(request)));
        if refusal.is_empty() {
            assert_eq!(result, "", "{shown}");
        } else {
            assert!(result.contains(refusal), "{shown}: {result}");
        }
    }
}

#[test]
fn certificates_need_the_right_over_their_signer() {
    let csr = |approved: bool| {
        let conditions = if approved { json!([{"type": "Approved"}]) } else { json!([]) };
        json!({"kind": "CertificateSigningRequest", "metadata": {"name": "r"},
               "spec": {"signerName": "example.com/x"}, "status": {"conditions": conditions}})
    };
    let authorizer = Arc::new(Authorizer::new());
    let chain = Admission::new(Arc::new(cluster()), authorizer.clone());
    let approve = |subresource: &str| {
        let mut request = request(Operation::Update, "certificates.k8s.io", "certificatesigningrequests", csr(true));
        request.subresource = subresource.into();
        request.old = Some(Arc::new(csr(false)));
        message(chain.run(&mut request))
    };
    assert!(approve("approval").ends_with("user not permitted to approve requests with signerName \"example.com/x\""));
    assert!(approve("status").ends_with("user not permitted to sign requests with signerName \"example.com/x\""));
    authorizer.apply("clusterroles.rbac.authorization.k8s.io", &json!({"metadata": {"name": "r"}, "rules": [
        {"verbs": ["approve"], "apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": ["example.com/*"]}]}));
    authorizer.apply(
        "clusterrolebindings.rbac.authorization.k8s.io",
        &json!({"metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]}),
    );
    assert_eq!(approve("approval"), "");
    assert_ne!(approve("status"), "");
}

#[test]
fn nobody_hands_out_groups_they_could_not_act_as() {
    let user = |groups: Value| json!({"kind": "User", "metadata": {"name": "john"}, "spec": {"groups": groups}});
    let write = |who: UserInfo, old: Option<Value>, new: Value| {
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        let mut request = request(operation, "pilothouse.io", "users", new);
        (request.user, request.old) = (who, old.map(Arc::new));
        run(cluster(), request)
    };
    let (jane, root) = (UserInfo::new("jane", &[]), UserInfo::new("root", &["system:masters"]));
    assert!(write(jane.clone(), None, user(json!([]))).is_ok());
    let refused = message(write(jane.clone(), None, user(json!(["system:masters"]))));
    assert!(refused.contains("may not hand out the group \"system:masters\""), "{refused}");
    assert!(write(root, None, user(json!(["system:masters"]))).is_ok());
    assert!(write(jane, Some(user(json!(["x"]))), user(json!(["x"]))).is_ok(), "what was there may stay");
}

#[test]
fn roles_pass_the_escalation_check() {
    let role = json!({"kind": "Role", "metadata": {"name": "r"},
                      "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]});
    let mut create = request(Operation::Create, "rbac.authorization.k8s.io", "roles", role);
    create.namespace = "a".into();
    let refused = message(run(cluster(), create.clone()));
    assert!(refused.contains("is attempting to grant RBAC permissions not currently held"), "{refused}");
    create.user = UserInfo::new("root", &["system:masters"]);
    assert!(run(cluster(), create).is_ok());
}

#[test]
fn passwords_are_stored_as_hashes_only() {
    let secret = |fields: Value| {
        let mut secret = json!({"kind": "Secret", "type": "pilothouse.io/user-password",
                                "metadata": {"name": "pilothouse-user-jane", "namespace": "a"}});
        fields.as_object().unwrap().iter().for_each(|(key, value)| secret[key] = value.clone());
        run(cluster(), request(Operation::Create, "", "secrets", secret))
    };
    // base64 of "correct horse"
    for fields in
        [json!({"data": {"password": "Y29ycmVjdCBob3JzZQ=="}}), json!({"stringData": {"password": "correct horse"}})]
    {
        let stored = secret(fields).unwrap().object.unwrap();
        assert_eq!(stored["data"].as_object().unwrap().keys().collect::<Vec<_>>(), ["hash"]);
        assert!(!stored.to_string().contains("Y29ycmVjdCBob3JzZQ==") && !stored.to_string().contains("horse"));
    }
    assert_eq!(secret(json!({"stringData": {"password": "short"}})).err().unwrap().code, 422);
    let hashed = secret(json!({"data": {"hash": "eA=="}})).unwrap().object.unwrap();
    assert_eq!(hashed["data"], json!({"hash": "eA=="}), "a hash is taken as it is");
}
