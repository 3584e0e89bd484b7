//! Pods on a real containerd, in namespaces of their own. Needs root, and containerd, runc, the CNI plugins and
//! busybox-static of Debian.
//!
//! The test of that name starts itself again inside the namespaces; there the other one does the work.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pilothouse_agent::cri;
use pilothouse_agent::cri::Runtime;
use serde_json::{Value, json};

use crate::api::Api;
use crate::archive;
use crate::harness::{Node, is_ready};

const IMAGE: &str = "test.local/busybox:1";

/// Set in the environment of the test that runs inside the namespaces it was started in.
const INSIDE: &str = "PILOTHOUSE_TEST_INSIDE";

#[test]
fn pods_run_on_containerd() {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(inside());
    }
    for (tool, package) in
        [("containerd", "containerd"), ("runc", "runc"), ("ctr", "containerd"), ("unshare", "util-linux")]
    {
        let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).output().unwrap();
        assert!(found.status.success(), "{tool} is needed for this test: apt-get install {package}");
    }
    assert!(
        Path::new("/usr/lib/cni/bridge").exists(),
        "the CNI plugins are needed: apt-get install containernetworking-plugins"
    );
    let inside = Command::new("unshare")
        .args(["-m", "-n", "-p", "-u", "-i", "-C", "--fork", "--mount-proc", "--kill-child"])
        .arg(std::env::current_exe().unwrap())
        .args(["containerd::pods_run_on_containerd", "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&inside.stdout), String::from_utf8_lossy(&inside.stderr));
    assert!(inside.status.success(), "inside the namespaces (root is needed):\n{text}");
    assert!(text.contains("1 passed"), "the inner test did not run:\n{text}");
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {text}");
    text
}

struct Machine {
    dir: tempfile::TempDir,
    containerd: Child,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.containerd.kill();
        let _ = self.containerd.wait();
    }
}

impl Machine {
    fn socket(&self) -> PathBuf {
        self.dir.path().join("containerd.sock")
    }

    fn spawn(dir: &Path) -> Child {
        let log = std::fs::File::options().append(true).create(true).open(dir.join("containerd.log")).unwrap();
        let mut command = Command::new("containerd");
        command.arg("--config").arg(dir.join("config.toml")).stdout(log.try_clone().unwrap()).stderr(log);
        command.spawn().unwrap()
    }

    fn restart_containerd(&mut self) {
        self.containerd.kill().unwrap();
        self.containerd.wait().unwrap();
        self.containerd = Self::spawn(self.dir.path());
    }

    async fn start() -> Self {
        run("mount", &["--make-rprivate", "/"]);
        for dir in ["/run", "/var/lib/cni"] {
            std::fs::create_dir_all(dir).unwrap();
            run("mount", &["-t", "tmpfs", "tmpfs", dir]);
        }
        run("mount", &["--make-rshared", "/"]);
        run("ip", &["link", "set", "lo", "up"]);
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let dir = tempfile::Builder::new().prefix("agent-it").tempdir_in("/var/tmp").unwrap();
        let d = dir.path().display().to_string();
        std::fs::create_dir_all(dir.path().join("cni")).unwrap();
        let network = json!({"cniVersion": "1.0.0", "name": "test", "plugins": [{"type": "bridge", "bridge": "cni0",
            "isGateway": true, "hairpinMode": true, "ipam": {"type": "host-local", "dataDir": format!("{d}/ipam"),
            "ranges": [[{"subnet": "10.77.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]});
        std::fs::write(dir.path().join("cni/10-test.conflist"), network.to_string()).unwrap();
        let config = format!(
            r#"version = 2
root = "{d}/root"
state = "/run/state"
[grpc]
  address = "{d}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "test.local/pause:1"
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{d}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
        BinaryName = "runc"
        Root = "/run/runc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{d}/opt"
"#
        );
        std::fs::write(dir.path().join("config.toml"), config).unwrap();
        let containerd = Self::spawn(dir.path());
        let machine = Self { dir, containerd };
        let begun = Instant::now();
        while cri::Client::new(&machine.socket()).version().await.is_err() {
            let log = std::fs::read_to_string(machine.dir.path().join("containerd.log")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(30), "containerd does not answer:\n{log}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for (name, command) in [("test.local/pause:1", ["/bin/sleep", "2147483647"]), (IMAGE, ["/bin/sleep", "3600"])] {
            let file = machine.dir.path().join("image.tar");
            archive::write(&file, name, &command);
            let socket = machine.socket();
            run("ctr", &["-a", socket.to_str().unwrap(), "-n", "k8s.io", "images", "import", file.to_str().unwrap()]);
        }
        machine
    }

    fn node(&self, api: Api) -> Node {
        let runtime: Arc<dyn Runtime> = Arc::new(cri::Client::new(&self.socket()));
        Node::start(self.dir.path(), api, runtime, true)
    }
}

pub fn shell(name: &str, script: &str) -> Value {
    json!({"name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["/bin/sh", "-c", script]})
}

/// What the container wrote to its log.
fn log(node: &Node, pod: &Value, container: &str) -> String {
    let pod: k8s_openapi::api::core::v1::Pod = serde_json::from_value(pod.clone()).unwrap();
    pilothouse_agent::logs::tail(&node.context.log_dir(&pod).join(container).join("0.log"), 1000, 1 << 20)
}

async fn runs_and_ends(node: &Node) {
    node.api.put("configmaps", json!({"metadata": {"name": "cm", "namespace": "default"}, "data": {"color": "red"}}));
    node.api.put("secrets", json!({"metadata": {"name": "s", "namespace": "default"}, "data": {"key": "c2VjcmV0"}}));
    let script = "echo color=$COLOR ip=$IP arg=$0; cat /cm/color /s/key /sa/token; echo; cat /one; echo; \
                  hostname; cat /etc/hosts | grep \"$IP\"; cat /etc/resolv.conf; id -u; id -G; stat -c %a:%g /data; \
                  stat -c %a -L /s/key; touch /ro 2>&1; echo final > /dev/termination-log; exit 3";
    let mut main = shell("main", script);
    main["env"] = json!([
        {"name": "COLOR", "valueFrom": {"configMapKeyRef": {"name": "cm", "key": "color"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]);
    main["args"] = json!(["$(COLOR)!"]);
    main["securityContext"] = json!({"runAsUser": 1000, "runAsGroup": 1000, "readOnlyRootFilesystem": true,
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}});
    main["resources"] = json!({"limits": {"memory": "64Mi", "cpu": "500m"}});
    main["volumeMounts"] = json!([
        {"name": "cm", "mountPath": "/cm"}, {"name": "s", "mountPath": "/s"}, {"name": "sa", "mountPath": "/sa"},
        {"name": "data", "mountPath": "/data"}, {"name": "cm", "mountPath": "/one", "subPath": "color"}]);
    let volumes = json!([
        {"name": "cm", "configMap": {"name": "cm"}},
        {"name": "s", "secret": {"secretName": "s", "defaultMode": 0o440}},
        {"name": "sa", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        {"name": "data", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]);
    let mut init = shell("init", "echo made > /data/by-init");
    init["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let spec = json!({"restartPolicy": "Never", "hostname": "called", "initContainers": [init], "containers": [main],
        "volumes": volumes, "securityContext": {"fsGroup": 2000}, "serviceAccountName": "robot"});
    node.create("all", spec);
    let pod = node.until_phase("all", "Failed").await;
    let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["message"]), (&json!(3), &json!("final\n")), "{pod:#}");
    assert_eq!(pod["status"]["qosClass"], "Burstable");
    let log = log(node, &pod, "main");
    let ip = pod["status"]["podIP"].as_str().unwrap();
    for line in [
        &format!("color=red ip={ip} arg=red!"),
        "redsecrettoken-of-robot",
        "red",
        "called",
        &format!("{ip}\tcalled"),
        "search default.svc.cluster.local svc.cluster.local cluster.local",
        "nameserver 10.96.0.10",
        "1000",
        "1000 2000",
        "2777:2000",
        "440",
        "touch: /ro: Read-only file system",
    ] {
        assert!(log.lines().any(|have| have.starts_with(line)), "{line:?} is missing in:\n{log}");
    }
    node.api.delete_pod("all", 30);
    node.until_gone("all").await;
}

async fn probes_restarts_and_hooks(node: &Node) {
    let mut web = shell("web", "mkdir -p /tmp/w; echo ok > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w");
    web["readinessProbe"] = json!({"httpGet": {"path": "/index.html", "port": 8080}, "periodSeconds": 1});
    web["livenessProbe"] =
        json!({"exec": {"command": ["/bin/test", "!", "-e", "/tmp/sick"]}, "periodSeconds": 1, "failureThreshold": 1});
    web["lifecycle"] = json!({"postStart": {"exec": {"command": ["/bin/sh", "-c", "echo started > /tmp/w/hook"]}},
        "preStop": {"exec": {"command": ["/bin/sh", "-c", "echo stopped > /shared/hook"]}}});
    web["volumeMounts"] = json!([{"name": "shared", "mountPath": "/shared"}]);
    let shared = node.context.config().data_dir.join("shared");
    let volumes = json!([{"name": "shared", "hostPath": {"path": shared, "type": "DirectoryOrCreate"}}]);
    node.create("web", json!({"terminationGracePeriodSeconds": 2, "containers": [web], "volumes": volumes}));
    let pod = node.until("web", "ready", is_ready).await;
    let id = pod["status"]["containerStatuses"][0]["containerID"]
        .as_str()
        .unwrap()
        .trim_start_matches("containerd://")
        .to_owned();
    let command = ["/bin/sh", "-c", "cat /tmp/w/hook; touch /tmp/sick"].map(str::to_owned).to_vec();
    let answer = node.context.runtime.exec_sync(&id, command, Duration::from_secs(5)).await.unwrap();
    assert_eq!(String::from_utf8(answer.stdout).unwrap(), "started\n");
    let again = |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"] == 1 && is_ready(pod);
    let pod = node.until("web", "restarted by its probe", again).await;
    assert_eq!(
        pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 137,
        "httpd ignores TERM as PID 1"
    );
    assert!(node.told("Unhealthy").iter().any(|message| message.starts_with("Liveness probe failed")));
    node.api.delete_pod("web", 2);
    node.until_gone("web").await;
    assert_eq!(std::fs::read_to_string(shared.join("hook")).unwrap(), "stopped\n");
}

async fn out_of_memory(node: &Node) {
    let mut greedy = shell("greedy", "dd if=/dev/zero of=/dev/null bs=200M count=1");
    greedy["resources"] = json!({"limits": {"memory": "20Mi"}});
    node.create("greedy", json!({"restartPolicy": "Never", "containers": [greedy]}));
    let pod = node.until_phase("greedy", "Failed").await;
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"], "OOMKilled");
}

async fn resized(node: &Node) {
    let with = |cpu: &str, memory: &str| {
        let mut main = shell("main", "exec sleep 3600");
        main["resources"] = json!({"limits": {"cpu": cpu, "memory": memory}});
        main
    };
    node.create("grows", json!({"containers": [with("100m", "32Mi")]}));
    let mut pod = node.until("grows", "ready", is_ready).await;
    let id = pod["status"]["containerStatuses"][0]["containerID"].clone();
    pod["spec"]["containers"] = json!([with("300m", "64Mi")]);
    node.api.put("pods", pod.clone());
    let uid = pod["metadata"]["uid"].as_str().unwrap();
    let group = format!("{}/pod{uid}", crate::harness::config(Path::new("/")).cgroup_root);
    let bare = id.as_str().unwrap().trim_start_matches("containerd://");
    let quotas = [format!("{group}/cpu.cfs_quota_us"), format!("{group}/{bare}/cpu.cfs_quota_us")];
    let v2 = [format!("{group}/cpu.max"), format!("{group}/{bare}/cpu.max")];
    let grown = |_: &Value| {
        let read = |path: &String| std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(path)).unwrap_or_default();
        let one = quotas.iter().all(|path| read(&format!("cpu/{path}")).trim() == "30000");
        one || v2.iter().all(|path| read(path).trim() == "30000 100000")
    };
    let pod = node.until("grows", "resized", grown).await;
    assert_eq!(pod["status"]["containerStatuses"][0]["containerID"], id, "without a restart");
    node.api.delete_pod("grows", 1);
    node.until_gone("grows").await;
}

fn cgroups_left(node: &Node) -> Vec<String> {
    node.context.cgroups.as_ref().unwrap().pods()
}

async fn inside() {
    let mut machine = Machine::start().await;
    let node = machine.node(Api::new());
    runs_and_ends(&node).await;
    probes_restarts_and_hooks(&node).await;
    out_of_memory(&node).await;
    resized(&node).await;
    crate::kubelet::serves(&node).await;

    // Agent and containerd go and come back; the pod does not notice.
    node.create("steady", json!({"containers": [shell("main", "exec sleep 3600")]}));
    let before = node.until("steady", "ready", is_ready).await;
    let api = node.stop().await;
    machine.restart_containerd();
    let node = machine.node(api);
    node.create("next", json!({"containers": [shell("main", "exec sleep 3600")]}));
    node.until("next", "ready", is_ready).await;
    let after = node.until("steady", "ready", is_ready).await;
    assert_eq!(before["status"]["containerStatuses"], after["status"]["containerStatuses"]);

    for pod in ["steady", "next", "greedy"] {
        node.api.delete_pod(pod, 1);
    }
    for pod in ["steady", "next", "greedy"] {
        node.until_gone(pod).await;
    }
    let begun = Instant::now();
    loop {
        let left = (cgroups_left(&node), node.context.runtime.list_pod_sandboxes(None).await.unwrap().len());
        if left.0.is_empty() && left.1 == 0 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "left behind: {left:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(std::fs::read_dir(node.context.config().pods_dir()).unwrap().count(), 0);
    node.stop().await;
    let root = crate::harness::config(Path::new("/")).cgroup_root;
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    for hierarchy in hierarchies {
        for class in ["besteffort", "burstable", ""] {
            let _ = std::fs::remove_dir(hierarchy.path().join(&root).join(class));
        }
    }
}
