//! Processes are really killed; nothing acknowledged is lost and everything heals by itself.

use pilothouse_e2e::{Cluster, eventually, is_ready, name};

#[test]
fn a_killed_process_loses_nothing() {
    let cluster = Cluster::get();
    let space = cluster.namespace("e2e-faults");
    space.kubectl("create deployment web --image=pilothouse.local/demo:1 --replicas=2");
    let before: Vec<String> =
        space.wait_pods("app=web", 2).iter().map(|pod| pod["metadata"]["uid"].to_string()).collect();
    for (index, process) in ["server", "postgres", "server"].into_iter().enumerate() {
        space.kubectl(&format!("create configmap kept-{index} --from-literal=k={index}"));
        cluster.kill9(process);
        cluster.wait_ready();
        for earlier in 0..=index {
            assert_eq!(space.json(&format!("get configmap kept-{earlier}"))["data"]["k"], earlier.to_string());
        }
    }
    // Containers outlive the control plane, the agent and containerd.
    for victim in ["agent", "containerd"] {
        let killed = cluster.on_node("node-1", &format!("kill -9 $(cut -d' ' -f1 /run/{victim}.pid)"));
        assert!(killed.status.success(), "{}", String::from_utf8_lossy(&killed.stderr));
    }
    eventually("node-1 is ready again", || {
        let node = cluster.json("get node node-1");
        if is_ready(&node) { Ok(()) } else { Err(node["status"]["conditions"].to_string()) }
    });
    let after = space.wait_pods("app=web", 2);
    assert_eq!(before, after.iter().map(|pod| pod["metadata"]["uid"].to_string()).collect::<Vec<_>>());
    assert!(after.iter().all(|pod| pod["status"]["containerStatuses"][0]["restartCount"] == 0), "{after:?}");
    space.kubectl("scale deployment web --replicas=3");
    space.wait_pods("app=web", 3);
    space.delete();
}

#[test]
fn pods_leave_a_stopped_node() {
    let cluster = Cluster::get();
    let space = cluster.namespace("e2e-node-loss");
    // Tolerating the outage only for a moment, as an app that wants to move fast would.
    space.apply(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      tolerations:
      - {key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      - {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 1}
      affinity:
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - {weight: 100, podAffinityTerm: {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}}
      containers:
      - {name: web, image: 'pilothouse.local/demo:1'}
",
    );
    let pods = space.wait_pods("app=web", 3);
    let node = pods[0]["spec"]["nodeName"].as_str().unwrap().to_owned();
    let stop = "agent=$(cut -d' ' -f1 /run/agent.pid); kill -STOP $agent";
    assert!(cluster.on_node(&node, stop).status.success());
    let moved = eventually("three ready pods elsewhere", || {
        let pods = space.pods("app=web");
        let ready: Vec<_> =
            pods.iter().filter(|pod| is_ready(pod) && pod["spec"]["nodeName"] != node.as_str()).collect();
        if ready.len() == 3 {
            Ok(ready.iter().map(|pod| name(pod)).collect::<Vec<_>>())
        } else {
            Err(format!("{}", ready.len()))
        }
    });
    assert_eq!(moved.len(), 3);
    let go_on = "agent=$(cut -d' ' -f1 /run/agent.pid); kill -CONT $agent";
    assert!(cluster.on_node(&node, go_on).status.success());
    eventually("the node is back", || {
        let seen = cluster.json(&format!("get node {node}"));
        if is_ready(&seen) { Ok(()) } else { Err(seen["status"]["conditions"].to_string()) }
    });
    space.wait_pods("app=web", 3);
    space.delete();
}
