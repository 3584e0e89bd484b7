//! Each plugin by tables of objects, through the whole chain where that is what matters.

use serde_json::json;

use super::*;
use crate::testing::Objects;

fn now() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

fn request(operation: Operation, group: &str, resource: &str, object: Value) -> Request {
    let kind = object["kind"].as_str().unwrap_or("Thing").to_owned();
    let mut request = Request::new(operation, UserInfo::new("jane", &[]), group, "v1", resource, &kind);
    request.namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("").to_owned();
    request.name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or("").to_owned();
    request.object = Some(object);
    request.now = now();
    request.random = 12_345_678;
    request
}

fn pod(spec: Value) -> Value {
    json!({"kind": "Pod", "metadata": {"name": "p", "namespace": "a"}, "spec": spec})
}

fn one_container() -> Value {
    json!({"containers": [{"name": "c", "image": "i"}]})
}

fn namespace(name: &str, labels: Value) -> Value {
    json!({"kind": "Namespace", "metadata": {"name": name, "labels": labels}, "status": {"phase": "Active"}})
}

/// Namespace `a` with its default account.
fn cluster() -> Objects {
    Objects::with(&[
        ("namespaces", namespace("a", json!({}))),
        ("serviceaccounts", json!({"metadata": {"name": "default", "namespace": "a", "uid": "u"}})),
    ])
}

fn admission(objects: Objects) -> (Arc<Objects>, Admission) {
    let objects = Arc::new(objects);
    (objects.clone(), Admission::new(objects, Arc::new(Authorizer::new())))
}

fn run(objects: Objects, mut request: Request) -> Result<Request, Status> {
    admission(objects).1.run(&mut request).map(|()| request)
}

fn run_pod(objects: Objects, spec: Value) -> Result<Value, Status> {
    run(objects, request(Operation::Create, "", "pods", pod(spec))).map(|r| r.object.unwrap())
}

fn message(result: Result<impl Sized, Status>) -> String {
    result.err().map_or_else(String::new, |status| status.message)
}

#[test]
fn the_table_is_in_order_and_complete() {
    let names: Vec<&str> = ALL.iter().map(|plugin| plugin.name).collect();
    assert_eq!(names.first(), Some(&"NamespaceLifecycle"));
    assert_eq!(names.last(), Some(&"ResourceQuota"), "the quota sees the final object");
    assert!(ALL.iter().all(|plugin| plugin.admit.is_some() || plugin.validate.is_some()));
    let unique: std::collections::BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(unique.len(), names.len());
}

#[test]
fn namespaces_live_and_end() {
    let map = |namespace: &str| json!({"kind": "ConfigMap", "metadata": {"name": "m", "namespace": namespace}});
    let create = |objects: Objects, ns: &str| run(objects, request(Operation::Create, "", "configmaps", map(ns)));
    assert!(create(cluster(), "a").is_ok());
    let missing = create(cluster(), "b").err().unwrap();
    assert_eq!((missing.code, missing.message.as_str()), (404, r#"namespaces "b" not found"#));

    let ending = cluster();
    let mut object = namespace("a", json!({}));
    object["status"]["phase"] = json!("Terminating");
    ending.put("namespaces", object);
    let refused = create(ending, "a").err().unwrap();
    assert_eq!(
        refused.message,
        r#"configmaps "m" is forbidden: unable to create new content in namespace a because it is being terminated"#
    );
    let cause = &refused.details.unwrap().causes[0];
    assert_eq!((cause.reason.as_str(), cause.field.as_str()), ("NamespaceTerminating", "metadata.namespace"));

    for (name, allowed) in [("default", false), ("kube-system", false), ("kube-public", false), ("a", true)] {
        let mut delete = request(Operation::Delete, "", "namespaces", namespace(name, json!({})));
        delete.object = None;
        let result = run(cluster(), delete);
        assert_eq!(result.is_ok(), allowed, "{name}");
    }
}

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
    assert_eq!(
        made["spec"]["tolerations"],
        json!([{"operator": "Exists"}, {"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"}])
    );
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

#[test]
fn limit_ranges_default_and_bound() {
    let with = |limits: Value| {
        let objects = cluster();
        objects.put("limitranges", json!({"metadata": {"name": "l", "namespace": "a"}, "spec": {"limits": limits}}));
        objects
    };
    let defaults =
        json!([{"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "100m", "memory": "1Mi"}}]);
    let made = run_pod(with(defaults), one_container()).unwrap();
    let expected = json!({"limits": {"cpu": "1"}, "requests": {"cpu": "100m", "memory": "1Mi"}});
    assert_eq!(made["spec"]["containers"][0]["resources"], expected);
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu, memory request for container c; cpu limit for container c"
    );
    let asks = |requests: Value, limits: Value| json!({"containers": [{"name": "c", "resources": {"requests": requests, "limits": limits}}]});
    let max = json!([{"type": "Container", "max": {"cpu": "1"}}]);
    let min = json!([{"type": "Container", "min": {"cpu": "100m"}}]);
    let pods = json!([{"type": "Pod", "max": {"memory": "100Mi"}}]);
    let ratio = json!([{"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}]);
    for (limits, spec, expected) in [
        (&max, asks(json!({}), json!({"cpu": "2"})), "maximum cpu usage per Container is 1, but limit is 2"),
        (&max, asks(json!({}), json!({})), "maximum cpu usage per Container is 1.  No limit is specified"),
        (&max, asks(json!({"cpu": "1"}), json!({"cpu": "1"})), ""),
        (&min, asks(json!({"cpu": "50m"}), json!({})), "minimum cpu usage per Container is 100m, but request is 50m"),
        (&min, asks(json!({}), json!({})), "minimum cpu usage per Container is 100m.  No request is specified"),
        (&min, asks(json!({"cpu": "0.1"}), json!({})), ""),
        (
            &pods,
            asks(json!({}), json!({"memory": "101Mi"})),
            "maximum memory usage per Pod is 100Mi, but limit is 101Mi",
        ),
        (
            &ratio,
            asks(json!({"cpu": "1"}), json!({"cpu": "3"})),
            "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
        ),
        (&ratio, asks(json!({"cpu": "1"}), json!({"cpu": "2"})), ""),
        (
            &ratio,
            asks(json!({}), json!({"cpu": "2"})),
            "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
        ),
    ] {
        let expected = if expected.is_empty() { String::new() } else { format!("pods \"p\" is forbidden: {expected}") };
        assert_eq!(message(run_pod(with(limits.clone()), spec.clone())), expected, "{limits} {spec}");
    }
    let claims = json!([{"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}]);
    let claim = json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "c", "namespace": "a"},
                       "spec": {"storageClassName": "", "resources": {"requests": {"storage": "3Gi"}}}});
    let refused = run(with(claims), request(Operation::Create, "", "persistentvolumeclaims", claim));
    assert!(message(refused).ends_with("maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"));
}

fn quota(hard: Value) -> Value {
    json!({"metadata": {"name": "q", "namespace": "a"}, "spec": {"hard": hard}})
}

fn numbered(n: usize, spec: Value) -> Request {
    let mut object = pod(spec);
    object["metadata"]["name"] = json!(format!("p{n}"));
    request(Operation::Create, "", "pods", object)
}

#[test]
fn quotas_hold() {
    let asks = |cpu: &str| json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}}]});
    let (objects, chain) = admission(cluster());
    objects.put("resourcequotas", quota(json!({"pods": "2", "requests.cpu": "1"})));
    assert!(chain.run(&mut numbered(1, asks("400m"))).is_ok());
    // Not in the cache yet: the ledger knows it.
    let refused = chain.run(&mut numbered(2, asks("700m")));
    assert_eq!(
        message(refused),
        "pods \"p2\" is forbidden: exceeded quota: q, requested: requests.cpu=700m, used: requests.cpu=400m, limited: \
         requests.cpu=1"
    );
    // Now it is in the cache: not counted twice.
    let mut stored = pod(asks("400m"));
    stored["metadata"]["name"] = json!("p1");
    objects.put("pods", stored.clone());
    assert!(chain.run(&mut numbered(2, asks("600m"))).is_ok());
    let refused = chain.run(&mut numbered(3, asks("1m")));
    assert!(
        message(refused)
            .contains("requested: pods=1,requests.cpu=1m, used: pods=2,requests.cpu=1, limited: pods=2,requests.cpu=1")
    );
    // The second never arrives: later its place is free again. A finished pod holds nothing.
    let mut later = numbered(3, asks("600m"));
    later.now = now() + Duration::from_secs(6);
    assert!(chain.run(&mut later).is_ok());
    stored["status"] = json!({"phase": "Succeeded"});
    objects.put("pods", stored);
    let mut last = numbered(4, asks("400m"));
    last.now = later.now;
    assert!(chain.run(&mut last).is_ok());
    // Whoever is limited has to say what it wants.
    let refused = chain.run(&mut numbered(5, one_container()));
    assert_eq!(message(refused), "pods \"p5\" is forbidden: failed quota: q: must specify requests.cpu for: c");
}

#[test]
fn a_dry_run_books_nothing() {
    let (objects, chain) = admission(cluster());
    objects.put("resourcequotas", quota(json!({"pods": "1"})));
    for n in 0..3 {
        let mut dry = numbered(n, one_container());
        dry.dry_run = true;
        assert!(chain.run(&mut dry).is_ok());
    }
    assert!(chain.run(&mut numbered(9, one_container())).is_ok());
    assert!(chain.run(&mut numbered(10, one_container())).is_err());
    let mut delete = numbered(9, one_container());
    (delete.operation, delete.object) = (Operation::Delete, None);
    chain.run(&mut delete).unwrap();
    assert!(chain.run(&mut numbered(10, one_container())).is_ok(), "a deleted one frees its place");
}

#[test]
fn quotas_count_all_kinds_of_things() {
    let service = |kind: &str, ports: usize| {
        let ports: Vec<Value> = (0..ports).map(|n| json!({"port": n + 1})).collect();
        json!({"kind": "Service", "metadata": {"name": "s", "namespace": "a"}, "spec": {"type": kind, "ports": ports}})
    };
    let claim = json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "c", "namespace": "a"},
        "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "5Gi"}}}});
    let plain = |kind: &str| json!({"kind": kind, "metadata": {"name": "x", "namespace": "a"}});
    let cases: &[(Value, &str, &str, Value, &str)] = &[
        (json!({"services": "0"}), "", "services", service("ClusterIP", 1), "services=1"),
        (json!({"services.nodeports": "1"}), "", "services", service("ClusterIP", 2), ""),
        (json!({"services.nodeports": "1"}), "", "services", service("NodePort", 2), "services.nodeports=2"),
        (
            json!({"services.loadbalancers": "0"}),
            "",
            "services",
            service("LoadBalancer", 1),
            "services.loadbalancers=1",
        ),
        (json!({"requests.storage": "4Gi"}), "", "persistentvolumeclaims", claim.clone(), "requests.storage=5Gi"),
        (
            json!({"fast.storageclass.storage.k8s.io/requests.storage": "1Gi"}),
            "",
            "persistentvolumeclaims",
            claim.clone(),
            "fast.storageclass.storage.k8s.io/requests.storage=5Gi",
        ),
        (
            json!({"slow.storageclass.storage.k8s.io/persistentvolumeclaims": "0"}),
            "",
            "persistentvolumeclaims",
            claim,
            "",
        ),
        (json!({"configmaps": "0"}), "", "configmaps", plain("ConfigMap"), "configmaps=1"),
        (
            json!({"count/deployments.apps": "0"}),
            "apps",
            "deployments",
            plain("Deployment"),
            "count/deployments.apps=1",
        ),
        (json!({"count/jobs.batch": "0"}), "apps", "deployments", plain("Deployment"), ""),
        (json!({"count/pods": "0"}), "", "pods", pod(one_container()), "count/pods=1"),
    ];
    for (hard, group, resource, object, requested) in cases {
        let objects = cluster();
        objects.put("resourcequotas", quota(hard.clone()));
        let refused = message(run(objects, request(Operation::Create, group, resource, object.clone())));
        if requested.is_empty() {
            assert_eq!(refused, "", "{hard}");
        } else {
            assert!(
                refused.contains(&format!("exceeded quota: q, requested: {requested}, used: ")),
                "{hard}: {refused}"
            );
        }
    }
}

#[test]
fn quotas_have_scopes() {
    let scoped = |scope: &str| {
        let objects = cluster();
        let mut quota = quota(json!({"pods": "0"}));
        quota["spec"]["scopes"] = json!([scope]);
        objects.put("resourcequotas", quota);
        objects
    };
    let mut ending = one_container();
    ending["activeDeadlineSeconds"] = json!(5);
    let sized = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]});
    for (scope, spec, refused) in [
        ("Terminating", &ending, true),
        ("Terminating", &sized, false),
        ("NotTerminating", &ending, false),
        ("NotTerminating", &sized, true),
        ("BestEffort", &ending, true),
        ("BestEffort", &sized, false),
        ("NotBestEffort", &sized, true),
    ] {
        assert_eq!(run_pod(scoped(scope), spec.clone()).is_err(), refused, "{scope} {spec}");
    }
    let objects = cluster();
    objects.put("priorityclasses.scheduling.k8s.io", json!({"metadata": {"name": "high"}, "value": 1}));
    let mut by_class = quota(json!({"pods": "0"}));
    by_class["spec"]["scopeSelector"] =
        json!({"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]});
    objects.put("resourcequotas", by_class);
    let (_, chain) = admission(objects);
    let mut high = one_container();
    high["priorityClassName"] = json!("high");
    assert!(chain.run(&mut numbered(1, high)).is_err());
    assert!(chain.run(&mut numbered(2, one_container())).is_ok());
}

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
