//! Every generator of `create`, and every way to look at what it made.

use super::Kubectl;

/// What `create` is told, and what `describe` then says of it.
const CREATED: &[(&str, &str, &str)] = &[
    ("deployment d1 --image=pilothouse.local/demo:1 --replicas=0 --port=8080", "deployment/d1", "8080/TCP"),
    ("job j1 --image=pilothouse.local/demo:1 -- true", "job/j1", "Parallelism:"),
    ("cronjob c1 --image=pilothouse.local/demo:1 --schedule='0 0 1 1 *' -- date", "cronjob/c1", "0 0 1 1 *"),
    ("service clusterip s1 --tcp=80:8080", "service/s1", "TargetPort:"),
    ("service nodeport s2 --tcp=80:8080", "service/s2", "NodePort:"),
    ("service externalname s3 --external-name=example.com", "service/s3", "example.com"),
    ("service loadbalancer s4 --tcp=80:8080", "service/s4", "LoadBalancer"),
    ("ingress i1 --rule='example.com/a*=s1:80,tls=t'", "ingress/i1", "t terminates example.com"),
    ("configmap m1 --from-literal=a=b", "configmap/m1", "a:\n----\nb"),
    ("secret generic x1 --from-literal=a=bcd", "secret/x1", "a:  3 bytes"),
    (
        "secret docker-registry x2 --docker-username=u --docker-password=p",
        "secret/x2",
        "kubernetes.io/dockerconfigjson",
    ),
    ("quota q1 --hard=pods=50", "quota/q1", "Resource"),
    ("role r1 --verb=get,list --resource=pods", "role/r1", "[get list]"),
    ("rolebinding b1 --role=r1 --user=bob", "rolebinding/b1", "User  bob"),
    ("poddisruptionbudget p1 --selector=app=none --min-available=1", "pdb/p1", "Min available:"),
    ("serviceaccount a1", "serviceaccount/a1", "a1"),
];

pub fn work(k: &Kubectl<'_>) {
    for (create, what, said) in CREATED {
        k.expect(&format!("create {create}"), "created");
        k.expect(&format!("describe {what}"), said);
    }
    cluster_scoped(k);
    tables(k);
    outputs(k);
    k.refused("create configmap m1", None, "configmaps \"m1\" already exists");
    k.refused("create configmap No_Name", None, "metadata.name: Invalid value: \"No_Name\"");
    k.refused("get nothing", None, "the server doesn't have a resource type \"nothing\"");
    k.refused("get pods --field-selector=foo=bar", None, "field label not supported: foo");
}

fn cluster_scoped(k: &Kubectl<'_>) {
    let name = &k.namespace;
    for (create, what, said) in [
        ("clusterrole NAME --verb=get --resource=nodes", "clusterrole NAME", "nodes"),
        ("clusterrolebinding NAME --clusterrole=view --group=g", "clusterrolebinding NAME", "Group"),
        ("priorityclass NAME --value=10", "priorityclass NAME", "PreemptLowerPriority"),
        ("namespace NAME-2", "namespace NAME-2", "Active"),
    ] {
        k.expect(&format!("create {}", create.replace("NAME", name)), "created");
        let what = what.replace("NAME", name);
        k.expect(&format!("describe {what}"), said);
        k.run(&format!("delete {what} --wait=false"));
    }
    k.expect("describe nodes", "Allocated resources:");
}

fn tables(k: &Kubectl<'_>) {
    for (what, columns) in [
        ("deployments", "NAME READY UP-TO-DATE AVAILABLE AGE CONTAINERS IMAGES SELECTOR"),
        ("jobs", "NAME STATUS COMPLETIONS DURATION AGE CONTAINERS IMAGES SELECTOR"),
        ("cronjobs", "NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST SCHEDULE AGE CONTAINERS IMAGES SELECTOR"),
        ("services", "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR"),
        ("ingresses", "NAME CLASS HOSTS ADDRESS PORTS AGE"),
        ("configmaps", "NAME DATA AGE"),
        ("secrets", "NAME TYPE DATA AGE"),
        ("resourcequotas", "NAME REQUEST LIMIT AGE"),
        ("roles", "NAME CREATED AT"),
        ("rolebindings", "NAME ROLE AGE USERS GROUPS SERVICEACCOUNTS"),
        ("poddisruptionbudgets", "NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE"),
        ("serviceaccounts", "NAME AGE"),
        ("endpointslices", "NAME ADDRESSTYPE PORTS ENDPOINTS AGE"),
        ("nodes", "NAME STATUS ROLES AGE VERSION INTERNAL-IP EXTERNAL-IP OS-IMAGE KERNEL-VERSION CONTAINER-RUNTIME"),
        ("namespaces", "NAME STATUS AGE"),
        ("clusterroles", "NAME CREATED AT"),
        ("priorityclasses", "NAME VALUE GLOBAL-DEFAULT AGE PREEMPTIONPOLICY"),
        ("leases -A", "NAMESPACE NAME HOLDER AGE"),
    ] {
        let text = k.run(&format!("get {what} -o wide"));
        let head: Vec<&str> = text.lines().next().unwrap_or_default().split_whitespace().collect();
        assert_eq!(head.join(" "), columns, "{what}");
    }
}

fn outputs(k: &Kubectl<'_>) {
    k.expect("get all", "service/s1");
    k.expect("get service s1 -o yaml", "kind: Service");
    k.expect("get service s1 -o json", "\"kind\": \"Service\"");
    k.expect("get service s1 -o jsonpath={.spec.ports[0].targetPort}", "8080");
    k.expect("get service s1 -o custom-columns=N:.metadata.name,T:.spec.type", "s1    ClusterIP");
    k.expect("get service s1 -o go-template={{.metadata.name}}", "s1");
    k.expect("get services --sort-by=.metadata.name --chunk-size=1", "s4");
    k.expect("get services --show-labels", "app=s1");
    k.expect("get services -l 'app in (s1,s2)' -L app --no-headers", "s2");
    k.expect("get services --field-selector=metadata.name=s3 -o name", "service/s3");
    k.expect("explain deployment.spec.strategy.rollingUpdate", "maxSurge");
    k.expect("explain pod.spec.containers.livenessProbe --recursive", "initialDelaySeconds");
    k.expect("explain pod.spec --output=plaintext-openapiv2", "activeDeadlineSeconds");
    k.expect("api-resources --namespaced=false -o wide", "deletecollection");
    k.expect("api-resources --api-group=policy", "poddisruptionbudgets");
    k.expect("api-versions", "apps/v1");
    k.expect("version", "v1.36");
    k.expect("cluster-info", "is running at");
    k.expect("events", "SuccessfulCreate");
    k.expect("get --raw /readyz", "ok");
    k.refused("top nodes", None, "Metrics API not available");
    k.refused("explain nothing", None, "the server doesn't have a resource type \"nothing\"");
}
