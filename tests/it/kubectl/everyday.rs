//! What people do every day.

use pilothouse_e2e::eventually;

use super::{DEPLOYMENT, Kubectl};

pub fn work(k: &Kubectl<'_>) {
    let deployment = DEPLOYMENT.replace("web", "daily");
    k.feed("apply -f -", &deployment);
    k.feed("diff -f -", &deployment);
    k.refused("diff -f -", Some(&deployment.replace("replicas: 1", "replicas: 2")), "+  replicas: 2");
    assert!(k.feed("apply -f -", &deployment).contains("unchanged"));
    k.run("rollout status deployment/daily --timeout=120s");
    k.run("patch deployment daily --type=merge -p {\"metadata\":{\"labels\":{\"merged\":\"yes\"}}}");
    k.expect("get deployment -l merged=yes -o name", "deployment.apps/daily");
    k.expect("get deployments", "UP-TO-DATE");
    k.expect("get pods -l app=daily -o wide", "NOMINATED NODE");
    k.expect("describe deployment daily", "RollingUpdateStrategy");
    k.expect("logs deployment/daily", "listens on 8080");
    k.expect("exec deployment/daily -- echo through", "through");
    assert_eq!(k.feed("exec -i deployment/daily -- cat", "in and out"), "in and out");
    k.run("scale deployment daily --replicas=2");
    eventually("two ready", || {
        let text = k.run("get deployment daily -o jsonpath={.status.readyReplicas}");
        if text.trim() == "2" { Ok(()) } else { Err(text) }
    });
    k.refused("get pod missing", None, "Error from server (NotFound): pods \"missing\" not found");
    k.refused("create -f -", Some(&deployment.replace("replicas: 1", "replicas: -1")), "spec.replicas");
    let unknown = deployment.replace("replicas: 1", "replica: 1").replace("name: daily", "name: other");
    k.refused("create -f -", Some(&unknown), "unknown field \"spec.replica\"");
    k.run("delete deployment daily --timeout=60s");
    eventually("all gone", || {
        let text = k.run("get pods,replicasets -l app=daily -o name");
        if text.trim().is_empty() || text.contains("No resources") { Ok(()) } else { Err(text) }
    });
}
