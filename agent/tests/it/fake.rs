//! Pods on the in-memory runtime: what the API is told, and in which order the runtime is asked.

use std::sync::Arc;
use std::time::Duration;

use pilothouse_agent::cri::Runtime;
use pilothouse_agent::cri::fake::{Behaviour, Fake};
use pilothouse_agent::node::{self, Handle, machine::Machine};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::harness::{Node, condition, config, is_ready};

struct Test {
    node: Node,
    runtime: Fake,
    dir: tempfile::TempDir,
}

fn start() -> Test {
    let (runtime, dir) = (Fake::default(), tempfile::tempdir().unwrap());
    runtime.image("run:1", Behaviour::default());
    runtime.image("done:1", Behaviour { exits: Some(0), ..Behaviour::default() });
    runtime.image("fail:1", Behaviour { exits: Some(3), ..Behaviour::default() });
    runtime.image("stubborn:1", Behaviour { ignores_stop: true, ..Behaviour::default() });
    let node = Node::start(dir.path(), Api::new(), Arc::new(runtime.clone()), false);
    Test { node, runtime, dir }
}

fn container(name: &str, image: &str) -> Value {
    json!({"name": name, "image": image})
}

fn state(pod: &Value, list: &str) -> Value {
    pod["status"][list][0]["state"].clone()
}

#[tokio::test]
async fn a_pod_runs_and_goes() {
    let test = start();
    test.node.create("web", json!({"containers": [container("a", "run:1"), container("b", "run:1")]}));
    let pod = test.node.until("web", "ready", is_ready).await;
    let status = &pod["status"];
    assert_eq!((&status["phase"], &status["qosClass"]), (&json!("Running"), &json!("BestEffort")));
    assert_eq!(status["observedGeneration"], 1);
    assert!(status["podIP"].as_str().unwrap().starts_with("10.128."));
    assert_eq!(status["podIPs"][0]["ip"], status["podIP"]);
    assert!(status["containerStatuses"][1]["containerID"].as_str().unwrap().starts_with("containerd://"));
    for type_ in ["PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready"] {
        assert_eq!(condition(&pod, type_), "True", "{type_}");
    }
    test.node.api.delete_pod("web", 30);
    test.node.until_gone("web").await;
    let calls = test.runtime.calls();
    assert_eq!(&calls[..5], ["run web", "create a", "start a", "create b", "start b"]);
    assert_eq!(calls.last().unwrap(), "stop sandbox web");
    assert_eq!(test.node.told("Started").len(), 2);
    // It started at once and ended at once, so each was told once, or twice where the machine was slow, and not each of
    // its six steps; nobody asked for Services again.
    let told = test.node.api.asked("PATCH pods/web/status");
    assert!((2..=4).contains(&told), "{told} reports");
    assert_eq!(test.node.api.asked("DELETE pods/web"), 1);
    assert_eq!(test.node.api.asked("GET services"), 1);
}

#[tokio::test]
async fn what_others_do_to_the_node_is_answered_at_once() {
    let (api, dir) = (Api::new(), tempfile::tempdir().unwrap());
    let handle = Arc::new(Handle::new(config(dir.path()), Machine::read(dir.path())));
    node::register(&handle, &api.client()).await;
    let runtime: Arc<dyn Runtime> = Arc::new(Fake::default());
    tokio::spawn(node::keep_status(handle, api.client(), runtime, CancellationToken::new()));
    // Far sooner than at the next regular look.
    let ready = async || {
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            let node = api.global("nodes", "node-1").unwrap_or_default();
            if is_ready(&node) {
                return node;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the node is not ready: {:#}", api.global("nodes", "node-1").unwrap_or_default());
    };
    let mut node = ready().await;
    for condition in node["status"]["conditions"].as_array_mut().unwrap() {
        condition["status"] = json!("Unknown");
    }
    api.put("nodes", node);
    let node = ready().await;
    api.remove("nodes", node);
    ready().await;
    let written = api.asked("PATCH nodes/node-1/status");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(api.asked("PATCH nodes/node-1/status"), written, "its own writes are no news");
    assert_eq!(written, 3);
}

#[tokio::test]
async fn jobs_end_as_they_ended() {
    let test = start();
    for (name, image, phase) in [("good", "done:1", "Succeeded"), ("bad", "fail:1", "Failed")] {
        test.node.create(name, json!({"restartPolicy": "Never", "containers": [container("a", image)]}));
        let pod = test.node.until_phase(name, phase).await;
        assert_eq!(state(&pod, "containerStatuses")["terminated"]["exitCode"], if phase == "Failed" { 3 } else { 0 });
        assert_eq!(condition(&pod, "Ready"), "False");
    }
    // What has ended stays until it is deleted, and goes at once then.
    test.node.api.delete_pod("good", 30);
    test.node.until_gone("good").await;
}

#[tokio::test]
async fn a_crash_loop_is_told_and_counted() {
    let test = start();
    test.node.create("crash", json!({"containers": [container("a", "fail:1")]}));
    let waits = |pod: &Value| state(pod, "containerStatuses")["waiting"]["reason"] == "CrashLoopBackOff";
    let pod = test.node.until("crash", "in back-off", waits).await;
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(status["restartCount"], 1);
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(pod["status"]["phase"], "Running");
    test.node.until("crash", "told", |_| !test.node.told("BackOff").is_empty()).await;
}

#[tokio::test]
async fn init_containers_come_first_and_sidecars_stay() {
    let test = start();
    let mut sidecar = container("side", "run:1");
    sidecar["restartPolicy"] = json!("Always");
    let spec = json!({"restartPolicy": "Never", "initContainers": [container("init", "done:1"), sidecar],
        "containers": [container("main", "run:1")]});
    test.node.create("pod", spec);
    test.node.until("pod", "ready", is_ready).await;
    let starts: Vec<String> = test.runtime.calls().into_iter().filter(|call| call.starts_with("start")).collect();
    assert_eq!(starts, ["start init", "start side", "start main"]);
    test.runtime.exit("main", 0);
    test.node.until_phase("pod", "Succeeded").await;
    assert!(test.runtime.calls().contains(&"stop side".to_owned()));
}

#[tokio::test]
async fn images_that_cannot_be_had_are_told() {
    let test = start();
    let with =
        |image: &str, policy: &str| json!({"containers": [{"name": "a", "image": image, "imagePullPolicy": policy}]});
    for (name, image, policy, reason) in [
        ("none", "none:1", "IfNotPresent", "ErrImagePull"),
        ("none", "none:1", "IfNotPresent", "ImagePullBackOff"),
        ("never", "none:1", "Never", "ErrImageNeverPull"),
        ("bad", "Bad Name", "Always", "InvalidImageName"),
    ] {
        if test.node.api.get("pods", name).is_none() {
            test.node.create(name, with(image, policy));
        }
        let waits = |pod: &Value| state(pod, "containerStatuses")["waiting"]["reason"] == reason;
        test.node.until(name, reason, waits).await;
    }
    test.runtime.pullable("pull:1", Behaviour::default());
    test.node.create("pull", with("pull:1", "IfNotPresent"));
    test.node.until("pull", "ready", is_ready).await;
    test.node.until("pull", "told", |_| test.node.told("Pulled").iter().any(|m| m.starts_with("Successfully"))).await;
}

#[tokio::test]
async fn what_a_container_refers_to_must_be_there() {
    let test = start();
    let env = json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "k"}}}]);
    let spec = json!({"containers": [{"name": "a", "image": "run:1", "env": env}],
        "volumes": [{"name": "v", "configMap": {"name": "cm2"}}]});
    test.node.create("pod", spec);
    test.node.until("pod", "told", |_| test.node.told("FailedMount").iter().any(|m| m.contains("cm2"))).await;
    let config_map =
        |name: &str, key: &str| json!({"metadata": {"name": name, "namespace": "default"}, "data": {key: "x"}});
    test.node.api.put("configmaps", config_map("cm2", "k"));
    let waits = |pod: &Value| state(pod, "containerStatuses")["waiting"]["reason"] == "CreateContainerConfigError";
    let pod = test.node.until("pod", "waiting", waits).await;
    assert_eq!(state(&pod, "containerStatuses")["waiting"]["message"], "configmap \"cm\" not found");
    test.node.api.put("configmaps", config_map("cm", "k"));
    test.node.until("pod", "ready", is_ready).await;
}

#[tokio::test]
async fn a_shorter_grace_period_counts_at_once() {
    let test = start();
    test.node
        .create("slow", json!({"terminationGracePeriodSeconds": 600, "containers": [container("a", "stubborn:1")]}));
    test.node.until("slow", "ready", is_ready).await;
    test.node.api.delete_pod("slow", 600);
    let calls = || test.runtime.calls().iter().filter(|call| *call == "stop a").count();
    test.node.until("slow", "being stopped", |_| calls() == 1).await;
    test.node.api.delete_pod("slow", 1);
    test.node.until_gone("slow").await;
}

#[tokio::test]
async fn a_deleted_pod_that_waits_for_its_image_goes_at_once() {
    let test = start();
    test.node.create("pod", json!({"containers": [container("a", "none:1")]}));
    test.node.until("pod", "waiting", |pod| !state(pod, "containerStatuses")["waiting"].is_null()).await;
    test.node.api.delete_pod("pod", 30);
    test.node.until_gone("pod").await;
}

#[tokio::test]
async fn a_deleted_pod_that_never_ran_has_failed_while_a_finalizer_keeps_it() {
    let test = start();
    test.node.create("pod", json!({"containers": [container("a", "none:1")]}));
    let mut pod = test.node.until("pod", "waiting", |pod| !state(pod, "containerStatuses")["waiting"].is_null()).await;
    pod["metadata"]["finalizers"] = json!(["batch.kubernetes.io/job-tracking"]);
    test.node.api.put("pods", pod);
    test.node.api.delete_pod("pod", 30);
    let pod = test.node.until_phase("pod", "Failed").await;
    let ended = state(&pod, "containerStatuses")["terminated"].clone();
    assert_eq!((&ended["reason"], &ended["exitCode"]), (&json!("ContainerStatusUnknown"), &json!(137)));
}

#[tokio::test]
async fn a_pod_past_its_deadline_fails() {
    let test = start();
    test.node.create("late", json!({"activeDeadlineSeconds": 1, "containers": [container("a", "run:1")]}));
    let pod = test.node.until_phase("late", "Failed").await;
    assert_eq!(pod["status"]["reason"], "DeadlineExceeded");
    let ended = |pod: &Value| !state(pod, "containerStatuses")["terminated"].is_null();
    test.node.until("late", "ended", ended).await;
}

#[tokio::test]
async fn pods_that_do_not_fit_are_refused() {
    let test = start();
    let spec = json!({"containers": [{"name": "a", "image": "run:1", "resources": {"requests": {"cpu": "1000"}}}]});
    test.node.create("huge", spec);
    let pod = test.node.until_phase("huge", "Failed").await;
    assert_eq!(pod["status"]["reason"], "OutOfcpu");
    assert!(test.runtime.calls().is_empty());
}

#[tokio::test]
async fn an_agent_that_restarts_takes_over_and_ends_orphans() {
    let test = start();
    for name in ["stays", "goes"] {
        test.node.create(name, json!({"containers": [container("a", "run:1")]}));
        test.node.until(name, "ready", is_ready).await;
    }
    let before = test.node.api.get("pods", "stays").unwrap();
    let calls = test.runtime.calls().len();
    let api = test.node.stop().await;
    api.delete_pod("goes", 0);
    let node = Node::start(test.dir.path(), api, Arc::new(test.runtime.clone()), false);
    node.until("stays", "alone", |_| test.runtime.calls().contains(&"stop sandbox goes".to_owned())).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = node.api.get("pods", "stays").unwrap();
    assert_eq!(before["status"]["containerStatuses"], after["status"]["containerStatuses"]);
    let later = &test.runtime.calls()[calls..];
    assert_eq!(later, ["stop a", "stop sandbox goes"], "the pod that stays is not touched");
    // It is looked after again.
    test.runtime.exit("a", 1);
    let restarted = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"] == 1 && is_ready(pod);
    node.until("stays", "restarted", restarted).await;
}

#[tokio::test]
async fn a_dead_sandbox_is_replaced() {
    let test = start();
    test.node.create("web", json!({"containers": [container("a", "run:1")]}));
    let first = test.node.until("web", "ready", is_ready).await;
    test.runtime.crash_sandboxes();
    let again = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"] == 1 && is_ready(pod);
    let second = test.node.until("web", "ready again", again).await;
    assert_ne!(first["status"]["podIP"], second["status"]["podIP"]);
}

#[tokio::test]
async fn somebody_elses_condition_is_kept() {
    let test = start();
    test.node.create(
        "gated",
        json!({"readinessGates": [{"conditionType": "x/ready"}], "containers": [container("a", "run:1")]}),
    );
    let held = |pod: &Value| condition(pod, "ContainersReady") == "True" && condition(pod, "Ready") == "False";
    let mut pod = test.node.until("gated", "held", held).await;
    pod["status"]["conditions"].as_array_mut().unwrap().push(json!({"type": "x/ready", "status": "True"}));
    test.node.api.put("pods", pod);
    let pod = test.node.until("gated", "ready", is_ready).await;
    assert_eq!(condition(&pod, "x/ready"), "True");
}
