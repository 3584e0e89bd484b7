//! What becomes of a pod on its way in.

use serde_json::json;

use super::*;

#[test]
fn pods_get_their_account_and_its_token() {
    let spec = json!({"containers": [{"name": "c"}, {"name": "own", "volumeMounts": [
        {"name": "x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}], "initContainers": [{"name": "i"}]});
    let made = run_pod(cluster(), spec).unwrap();
    let spec = &made["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["serviceAccount"], "default");
    let volume = &spec["volumes"][0];
    let name = volume["name"].as_str().unwrap();
    assert!(name.starts_with("kube-api-access-") && name.len() == 21, "{name}");
    assert_eq!(volume["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"], 3607);
    assert_eq!(volume["projected"]["sources"][1]["configMap"]["name"], "kube-root-ca.crt");
    assert_eq!(volume["projected"]["sources"][2]["downwardAPI"]["items"][0]["path"], "namespace");
    let mount = json!([{"name": name, "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]);
    assert_eq!(spec["containers"][0]["volumeMounts"], mount);
    assert_eq!(spec["initContainers"][0]["volumeMounts"], mount);
    assert_eq!(spec["containers"][1]["volumeMounts"][0]["name"], "x", "a mount of its own stays");

    let mut silent = one_container();
    silent["automountServiceAccountToken"] = json!(false);
    assert!(run_pod(cluster(), silent).unwrap()["spec"].get("volumes").is_none());
    let objects = cluster();
    let account = json!({"metadata": {"name": "default", "namespace": "a"}, "automountServiceAccountToken": false,
                         "imagePullSecrets": [{"name": "registry"}]});
    objects.put("serviceaccounts", account);
    let made = run_pod(objects, one_container()).unwrap();
    assert!(made["spec"].get("volumes").is_none(), "the account's wish");
    assert_eq!(made["spec"]["imagePullSecrets"], json!([{"name": "registry"}]));

    let mut other = one_container();
    other["serviceAccountName"] = json!("builder");
    assert_eq!(
        message(run_pod(cluster(), other)),
        r#"pods "p" is forbidden: error looking up service account a/builder: serviceaccount "builder" not found"#
    );
}

#[tokio::test]
async fn pods_wait_for_a_new_namespaces_account() {
    let (objects, admission) = admission(Objects::with(&[("namespaces", namespace("a", json!({})))]));
    let admission = Arc::new(admission);
    let pod = request(Operation::Create, "", "pods", pod(one_container()));
    let waiting = tokio::spawn({
        let (admission, mut pod) = (admission.clone(), pod.clone());
        async move {
            admission.settle(&pod).await;
            admission.admit(&mut pod)
        }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    objects.put("serviceaccounts", json!({"metadata": {"name": "default", "namespace": "a"}}));
    assert!(waiting.await.unwrap().is_ok());
}

#[test]
fn priorities_are_computed() {
    let class = |name: &str, value: i64, default: bool| {
        (
            "priorityclasses.scheduling.k8s.io",
            json!({"metadata": {"name": name}, "value": value, "globalDefault": default,
            "preemptionPolicy": "Never"}),
        )
    };
    let with = |classes: &[(&str, Value)]| {
        let objects = cluster();
        classes.iter().for_each(|(resource, class)| objects.put(resource, class.clone()));
        objects
    };
    let plain = run_pod(cluster(), one_container()).unwrap();
    assert_eq!(
        (&plain["spec"]["priority"], &plain["spec"]["preemptionPolicy"]),
        (&json!(0), &json!("PreemptLowerPriority"))
    );
    let default = run_pod(with(&[class("low", 5, true), class("high", 9, true)]), one_container()).unwrap();
    assert_eq!((&default["spec"]["priority"], &default["spec"]["priorityClassName"]), (&json!(5), &json!("low")));
    let mut named = one_container();
    named["priorityClassName"] = json!("high");
    let made = run_pod(with(&[class("high", 9, false)]), named.clone()).unwrap();
    assert_eq!((&made["spec"]["priority"], &made["spec"]["preemptionPolicy"]), (&json!(9), &json!("Never")));
    assert!(message(run_pod(cluster(), named.clone())).ends_with("no PriorityClass with name high was found"));
    named["priority"] = json!(10);
    assert!(message(run_pod(with(&[class("high", 9, false)]), named)).contains(
        "the integer value of priority (10) must not be provided in pod spec; priority admission controller computed 9"
    ));
    let second = json!({"kind": "PriorityClass", "metadata": {"name": "x"}, "value": 1, "globalDefault": true});
    let result =
        run(with(&[class("low", 5, true)]), request(Operation::Create, "scheduling.k8s.io", "priorityclasses", second));
    assert!(message(result).ends_with("PriorityClass low is already marked as default. Only one default can exist"));
}

#[test]
fn tolerations_and_taints_are_added_once() {
    let made = run_pod(cluster(), one_container()).unwrap();
    let keys: Vec<&str> =
        made["spec"]["tolerations"].as_array().unwrap().iter().map(|t| t["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]);
    assert_eq!(made["spec"]["tolerations"][0]["tolerationSeconds"], 300);
    let mut all = one_container();
    all["tolerations"] = json!([{"operator": "Exists"}]);
    all["containers"][0]["resources"] = json!({"requests": {"example.com/gpu": "1", "cpu": "1"}});
    let made = run_pod(cluster(), all).unwrap();
    // Devices are not tolerated unasked: `ExtendedResourceToleration` is off where upstream's defaults hold.
    assert_eq!(made["spec"]["tolerations"], json!([{"operator": "Exists"}]));
    let node = json!({"kind": "Node", "metadata": {"name": "n"}, "spec": {}});
    let made = run(cluster(), request(Operation::Create, "", "nodes", node)).unwrap().object.unwrap();
    assert_eq!(made["spec"]["taints"], json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]));
    let again = run(cluster(), request(Operation::Create, "", "nodes", made.clone())).unwrap().object.unwrap();
    assert_eq!(again["spec"]["taints"], made["spec"]["taints"]);
}

#[test]
fn classes_finalizers_and_overheads() {
    let objects = cluster();
    let class = |name: &str, at: &str| {
        json!({"metadata": {"name": name, "creationTimestamp": at,
                            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
               "allowVolumeExpansion": true})
    };
    objects.put("storageclasses.storage.k8s.io", class("old", "2029-01-01T00:00:00Z"));
    objects.put("storageclasses.storage.k8s.io", class("new", "2029-06-01T00:00:00Z"));
    objects.put(
        "runtimeclasses.node.k8s.io",
        json!({"metadata": {"name": "vm"},
        "overhead": {"podFixed": {"cpu": "250m"}},
        "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]}}),
    );
    let (_, chain) = admission(objects);
    let claim = |spec: Value| json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "c", "namespace": "a"}, "spec": spec});
    for (spec, expected) in [
        (json!({}), json!("new")),
        (json!({"storageClassName": ""}), json!("")),
        (json!({"storageClassName": "x"}), json!("x")),
    ] {
        let mut request = request(Operation::Create, "", "persistentvolumeclaims", claim(spec));
        chain.run(&mut request).unwrap();
        let made = request.object.unwrap();
        assert_eq!(made["spec"]["storageClassName"], expected);
        assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    }
    let sized = |size: &str, phase: &str| {
        let mut claim = claim(json!({"storageClassName": "new", "resources": {"requests": {"storage": size}}}));
        claim["status"] = json!({"phase": phase});
        claim
    };
    for (phase, size, refused) in [("Bound", "2Gi", ""), ("Pending", "2Gi", "Only bound"), ("Pending", "1Gi", "")] {
        let mut grow = request(Operation::Update, "", "persistentvolumeclaims", sized(size, phase));
        grow.old = Some(Arc::new(sized("1Gi", phase)));
        assert!(message(chain.run(&mut grow)).contains(refused), "{phase} {size}");
    }
    let mut vm = one_container();
    vm["runtimeClassName"] = json!("vm");
    let mut create = request(Operation::Create, "", "pods", pod(vm.clone()));
    chain.run(&mut create).unwrap();
    let spec = &create.object.unwrap()["spec"];
    assert_eq!(spec["overhead"], json!({"cpu": "250m"}));
    assert_eq!(spec["nodeSelector"], json!({"vm": "yes"}));
    vm["overhead"] = json!({"cpu": "1"});
    let refused = chain.run(&mut request(Operation::Create, "", "pods", pod(vm.clone())));
    assert!(message(refused).ends_with("Pod's Overhead doesn't match RuntimeClass's defined Overhead"));
    vm["runtimeClassName"] = json!("other");
    let refused = chain.run(&mut request(Operation::Create, "", "pods", pod(vm)));
    assert!(message(refused).ends_with(r#"pod rejected: RuntimeClass "other" not found"#));
}
