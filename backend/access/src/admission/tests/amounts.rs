//! Limit ranges and quotas.

use serde_json::json;

use super::*;

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
