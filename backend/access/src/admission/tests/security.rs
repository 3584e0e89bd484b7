//! The Pod Security Standards.

use serde_json::json;

use super::*;

fn secured(labels: Value) -> Objects {
    let objects = cluster();
    objects.put("namespaces", namespace("a", labels));
    objects
}

fn safe() -> Value {
    json!({
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "image": "i", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
    })
}

#[test]
fn the_restricted_standard_in_upstreams_words() {
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    assert_eq!(
        message(run_pod(secured(labels.clone()), one_container())),
        "pods \"p\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false \
         (container \"c\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities \
         (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true (pod or container \
         \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" must set \
         securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
    );
    assert_eq!(message(run_pod(secured(labels), safe())), "");
}

#[test]
fn each_check_of_the_standards() {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut spec = safe();
        change(&mut spec);
        spec
    };
    let context =
        |key: &'static str, value: Value| with(&move |s| s["containers"][0]["securityContext"][key] = value.clone());
    // What it does | violation of baseline | violation of restricted (empty: allowed)
    let cases: &[(Value, &str, &str)] = &[
        (with(&|_| {}), "", ""),
        (
            with(&|s| s["hostNetwork"] = json!(true)),
            "host namespaces (hostNetwork=true)",
            "host namespaces (hostNetwork=true)",
        ),
        (with(&|s| s["hostPID"] = json!(true)), "host namespaces (hostPID=true)", "host namespaces (hostPID=true)"),
        (
            with(&|s| s["volumes"] = json!([{"name": "v", "hostPath": {"path": "/"}}])),
            "hostPath volumes (volume \"v\")",
            "restricted volume types (volume \"v\" uses restricted volume type \"hostPath\")",
        ),
        (
            with(&|s| s["volumes"] = json!([{"name": "v", "nfs": {}}])),
            "",
            "restricted volume types (volume \"v\" uses restricted volume type \"nfs\")",
        ),
        (with(&|s| s["volumes"] = json!([{"name": "v", "emptyDir": {}}])), "", ""),
        (
            with(&|s| s["containers"][0]["ports"] = json!([{"hostPort": 80}])),
            "hostPort (container \"c\" uses hostPort 80)",
            "hostPort (container \"c\" uses hostPort 80)",
        ),
        (
            context("privileged", json!(true)),
            "privileged (container \"c\" must not set securityContext.privileged=true)",
            "privileged (container \"c\" must not set securityContext.privileged=true)",
        ),
        (
            context("capabilities", json!({"drop": ["ALL"], "add": ["NET_ADMIN"]})),
            "non-default capabilities (container \"c\" must not include \"NET_ADMIN\" in securityContext.capabilities.add)",
            "unrestricted capabilities (container \"c\" must not include \"NET_ADMIN\" in securityContext.capabilities.add)",
        ),
        (
            context("capabilities", json!({"drop": ["ALL"], "add": ["CHOWN"]})),
            "",
            "unrestricted capabilities (container \"c\" must not include \"CHOWN\" in securityContext.capabilities.add)",
        ),
        (context("capabilities", json!({"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]})), "", ""),
        (
            context("procMount", json!("Unmasked")),
            "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
            "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
        ),
        (
            context("seccompProfile", json!({"type": "Unconfined"})),
            "seccompProfile (container \"c\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
            "seccompProfile (container \"c\" must not set securityContext.seccompProfile.type to \"Unconfined\")",
        ),
        (
            context("appArmorProfile", json!({"type": "Unconfined"})),
            "forbidden AppArmor profile (container \"c\" must not set AppArmor profile type to \"Unconfined\")",
            "forbidden AppArmor profile (container \"c\" must not set AppArmor profile type to \"Unconfined\")",
        ),
        (
            context("seLinuxOptions", json!({"type": "spc_t", "user": "u"})),
            "seLinuxOptions (container \"c\" set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set)",
            "seLinuxOptions (container \"c\" set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set)",
        ),
        (
            with(&|s| {
                s["securityContext"]["sysctls"] = json!([{"name": "kernel.msgmax"}, {"name": "net.ipv4.tcp_rmem"}])
            }),
            "forbidden sysctls (kernel.msgmax)",
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            context("windowsOptions", json!({"hostProcess": true})),
            "hostProcess (container \"c\" must not set securityContext.windowsOptions.hostProcess=true)",
            "hostProcess (container \"c\" must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            with(&|s| s["containers"][0]["livenessProbe"] = json!({"httpGet": {"host": "10.0.0.1"}})),
            "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"10.0.0.1\")",
            "probe or lifecycle host (container \"c\" uses probe or lifecycle host \"10.0.0.1\")",
        ),
        (
            context("allowPrivilegeEscalation", json!(true)),
            "",
            "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false)",
        ),
        (
            context("runAsNonRoot", json!(false)),
            "",
            "runAsNonRoot != true (container \"c\" must not set securityContext.runAsNonRoot=false)",
        ),
        (context("runAsUser", json!(0)), "", "runAsUser=0 (container \"c\" must not set runAsUser=0)"),
        (with(&|s| s["securityContext"]["runAsUser"] = json!(0)), "", "runAsUser=0 (pod must not set runAsUser=0)"),
        (
            with(&|s| {
                s["securityContext"]["runAsUser"] = json!(0);
                s["hostUsers"] = json!(false);
            }),
            "",
            "",
        ),
    ];
    for (spec, baseline, restricted) in cases {
        for (level, violation) in [("baseline", baseline), ("restricted", restricted)] {
            let labels = json!({"pod-security.kubernetes.io/enforce": level});
            let expected = match *violation {
                "" => String::new(),
                text => format!("pods \"p\" is forbidden: violates PodSecurity \"{level}:latest\": {text}"),
            };
            assert_eq!(message(run_pod(secured(labels), spec.clone())), expected, "{level} {spec}");
        }
        assert!(run_pod(secured(json!({})), spec.clone()).is_ok(), "privileged by default");
    }
}

#[test]
fn standards_have_versions_and_modes() {
    let rmem = json!({"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}]}, "containers": []});
    for (version, refused) in [("v1.31", true), ("v1.32", false), ("latest", false)] {
        let labels = json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": version});
        assert_eq!(run_pod(secured(labels), rmem.clone()).is_err(), refused, "{version}");
    }
    // A check does not bind those who pinned a version from before it.
    let probed = json!({"containers": [{"name": "c", "livenessProbe": {"tcpSocket": {"host": "10.0.0.1"}}}]});
    for (version, refused) in [("v1.33", false), ("v1.34", true)] {
        let labels = json!({"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/enforce-version": version});
        assert_eq!(run_pod(secured(labels), probed.clone()).is_err(), refused, "{version}");
    }
    let labels =
        json!({"pod-security.kubernetes.io/warn": "restricted", "pod-security.kubernetes.io/audit": "restricted"});
    let done = run(secured(labels), request(Operation::Create, "", "pods", pod(one_container()))).unwrap();
    assert!(done.warnings[0].starts_with("would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation"));
    assert!(done.audit.iter().any(|(key, _)| key == "pod-security.kubernetes.io/audit-violations"));
    // A template only warns, also where pods are refused.
    let deployment = json!({"kind": "Deployment", "metadata": {"name": "d", "namespace": "a"},
                            "spec": {"template": {"spec": one_container()}}});
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let done = run(secured(labels.clone()), request(Operation::Create, "apps", "deployments", deployment)).unwrap();
    assert_eq!(done.warnings.len(), 1);
    // Updates that change no image are not judged again.
    let mut update = request(Operation::Update, "", "pods", pod(one_container()));
    update.old = Some(Arc::new(pod(one_container())));
    assert!(run(secured(labels.clone()), update.clone()).is_ok());
    update.object.as_mut().unwrap()["spec"]["containers"][0]["image"] = json!("other");
    assert!(run(secured(labels), update).is_err());
}

#[test]
fn bad_and_stricter_labels_of_namespaces() {
    let bad = namespace("b", json!({"pod-security.kubernetes.io/enforce": "strict"}));
    let refused = run(cluster(), request(Operation::Create, "", "namespaces", bad)).err().unwrap();
    assert_eq!(refused.code, 422);
    assert!(refused.message.contains("must be one of privileged, baseline, restricted"), "{}", refused.message);
    let objects = cluster();
    objects.put("pods", pod(json!({"hostPID": true, "containers": []})));
    let mut update = request(
        Operation::Update,
        "",
        "namespaces",
        namespace("a", json!({"pod-security.kubernetes.io/enforce": "baseline"})),
    );
    update.old = Some(Arc::new(namespace("a", json!({}))));
    assert_eq!(
        run(objects, update).unwrap().warnings,
        [
            "existing pods in namespace \"a\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "p: host namespaces"
        ]
    );
}
