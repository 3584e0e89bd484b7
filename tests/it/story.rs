//! A person deploys an app with kubectl and sees it run, answer, scale, update, roll back and heal.

use pilothouse_e2e::{Cluster, Namespace, eventually, name};

const CLIENT: &str = "
apiVersion: v1
kind: Pod
metadata: {name: client, labels: {app: client}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: client, image: 'pilothouse.local/demo:1'}
";

fn version(space: &Namespace<'_>, url: &str) -> Result<String, String> {
    let output = space.try_kubectl(&format!("exec client -- wget -qO- {url}/version"));
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() { Ok(text) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn deploy_expose_scale_update_roll_back_heal() {
    let cluster = Cluster::get();
    let space = cluster.namespace("e2e-story");
    space.apply(CLIENT);
    space.kubectl("create deployment web --image=pilothouse.local/demo:1 --replicas=3 --port=8080");
    space.kubectl("rollout status deployment/web --timeout=120s");
    space.kubectl("expose deployment web --type=NodePort --port=80 --target-port=8080");
    space.wait_pods("app=client", 1);
    let pods = space.wait_pods("app=web", 3);
    // Who owns which fields is told by the names everybody knows.
    let owned =
        space.json(&format!("get pod {} --show-managed-fields", name(&pods[0])))["metadata"]["managedFields"].clone();
    let managers = |subresource: Option<&str>| {
        let all = owned.as_array().into_iter().flatten();
        let these = all.filter(|entry| entry["subresource"].as_str() == subresource);
        these.map(|entry| entry["manager"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(managers(Some("status")), ["kubelet"]);
    assert_eq!(managers(None), ["replicaset-controller"]);

    // ClusterIP, DNS name, NodePort.
    let service = space.json("get service web");
    let cluster_ip = service["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let node_port = service["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    let node_ip = cluster.json("get node node-1")["status"]["addresses"][0]["address"].as_str().unwrap().to_owned();
    for url in [
        format!("http://{cluster_ip}"),
        "http://web".into(),
        "http://web.e2e-story".into(),
        "http://web.e2e-story.svc.cluster.local".into(),
        format!("http://{node_ip}:{node_port}"),
    ] {
        let seen = eventually(&url, || version(&space, &url));
        assert_eq!(seen, "1", "{url}");
    }

    // A deleted pod is replaced.
    let victim = name(&pods[0]);
    space.kubectl(&format!("delete pod {victim}"));
    let healed = space.wait_pods("app=web", 3);
    assert!(healed.iter().all(|pod| name(pod) != victim));

    // Scale, update, history, undo.
    space.kubectl("scale deployment web --replicas=4");
    space.wait_pods("app=web", 4);
    space.kubectl("set image deployment/web demo=pilothouse.local/demo:2");
    space.kubectl("rollout status deployment/web --timeout=120s");
    space.wait_pods("app=web", 4);
    eventually("version 2", || match version(&space, "http://web") {
        Ok(seen) if seen == "2" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let history = space.kubectl("rollout history deployment/web");
    assert!(history.lines().any(|line| line.starts_with('2')), "{history}");
    space.kubectl("rollout undo deployment/web");
    space.kubectl("rollout status deployment/web --timeout=120s");
    space.wait_pods("app=web", 4);
    assert_eq!(eventually("version 1", || version(&space, "http://web")), "1");

    // A crashed container is restarted in place.
    let pod = name(&space.wait_pods("app=web", 4)[0]);
    eventually("restart", || {
        let status = space.json(&format!("get pod {pod}"))["status"]["containerStatuses"][0].clone();
        if status["restartCount"] == 0 {
            // Asked again until it was heard: without a probe a pod is ready before its app listens.
            space.try_kubectl(&format!("exec {pod} -- wget -qO- http://127.0.0.1:8080/crash"));
        }
        if status["restartCount"].as_u64() >= Some(1) && status["ready"] == true {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
    space.delete();
}

#[test]
fn logs_exec_cp_port_forward() {
    let cluster = Cluster::get();
    let space = cluster.namespace("e2e-streams");
    space.apply(CLIENT);
    space.wait_pods("app=client", 1);
    assert!(space.kubectl("logs client").contains("demo 1 listens on 8080"));
    assert_eq!(space.exec("client", "echo to-stdout; hostname").trim(), "to-stdout\nclient");
    let failed = space.try_kubectl("exec client -- sh -c 'exit 7'");
    assert_eq!(failed.status.code(), Some(7));
    assert_eq!(
        space.cluster.kubectl_stdin("-n e2e-streams exec -i client -- cat", "through and back\n"),
        "through and back\n"
    );

    let dir = tempfile::tempdir().unwrap();
    let (here, back) = (dir.path().join("here"), dir.path().join("back"));
    std::fs::write(&here, "copied\n").unwrap();
    space.kubectl(&format!("cp {} client:/tmp/there", here.display()));
    space.kubectl(&format!("cp client:/tmp/there {}", back.display()));
    assert_eq!(std::fs::read_to_string(back).unwrap(), "copied\n");

    let mut forward = cluster.command("kubectl");
    let mut child = forward
        .args(["-n", "e2e-streams", "port-forward", "pod/client", "18080:8080"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let seen = eventually("port-forward", || {
        let output = cluster.command("curl").args(["-sS", "http://127.0.0.1:18080/version"]).output().unwrap();
        if output.status.success() {
            Ok(output.stdout)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    });
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(String::from_utf8_lossy(&seen).trim(), "1");
    space.delete();
}
