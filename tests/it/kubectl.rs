//! Every kubectl on this machine (`kubectl`, and `kubectl.1.NN` beside it) does its everyday work.

use std::path::PathBuf;
use std::process::Stdio;

use pilothouse_e2e::{Cluster, eventually};

struct Kubectl<'a> {
    cluster: &'a Cluster,
    program: PathBuf,
    namespace: String,
}

/// The program itself, past links; versions beside it count too.
fn programs() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|dir| dir.join("kubectl")).find(|file| file.exists());
    let main = found.expect("kubectl is not installed: run scripts/setup").canonicalize().unwrap();
    let mut all: Vec<PathBuf> = std::fs::read_dir(main.parent().unwrap())
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kubectl.1.")))
        .collect();
    all.sort();
    if all.is_empty() { vec![main] } else { all }
}

impl Kubectl<'_> {
    fn output(&self, arguments: &[&str], input: Option<&str>) -> (bool, String) {
        use std::io::Write;
        let mut command = self.cluster.command(self.program.to_str().unwrap());
        command.args(["-n", &self.namespace]).args(arguments);
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
            pipe.write_all(input.as_bytes()).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    }

    fn run(&self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (ok, text) = self.output(&words, None);
        assert!(ok, "{} {line}: {text}", self.program.display());
        text
    }

    fn feed(&self, line: &str, input: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (ok, text) = self.output(&words, Some(input));
        assert!(ok, "{} {line}: {text}", self.program.display());
        text
    }

    fn expect(&self, line: &str, wanted: &str) {
        let text = self.run(line);
        assert!(text.contains(wanted), "{} {line}: expected {wanted:?} in {text}", self.program.display());
    }
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - {name: demo, image: 'pilothouse.local/demo:1', ports: [{containerPort: 8080}]}
";

fn everyday_work(k: &Kubectl<'_>) {
    // Apply, on the client's side and on the server's; diff; labels; patches.
    k.feed("apply -f -", DEPLOYMENT);
    let (same, text) = k.output(&["diff", "-f", "-"], Some(DEPLOYMENT));
    assert!(same, "diff of what was applied: {text}");
    let (same, text) = k.output(&["diff", "-f", "-"], Some(&DEPLOYMENT.replace("replicas: 1", "replicas: 2")));
    assert!(!same && text.contains("+  replicas: 2"), "{text}");
    assert!(k.feed("apply -f -", DEPLOYMENT).contains("unchanged"));
    k.feed("apply --server-side --force-conflicts -f -", DEPLOYMENT);
    k.run("rollout status deployment/web --timeout=120s");
    k.run("label deployment web tier=front");
    k.run("annotate deployment web note=kept");
    k.expect("get deployment -l tier=front -o name", "deployment.apps/web");
    k.run("patch deployment web --type=merge -p {\"metadata\":{\"labels\":{\"merged\":\"yes\"}}}");
    k.run("patch deployment web --type=json -p [{\"op\":\"add\",\"path\":\"/metadata/labels/patched\",\"value\":\"yes\"}]");
    k.run("patch deployment web -p {\"spec\":{\"template\":{\"spec\":{\"containers\":[{\"name\":\"demo\",\"env\":[{\"name\":\"A\",\"value\":\"b\"}]}]}}}}");
    k.expect("get deployment web -o jsonpath={.spec.template.spec.containers[0].image}", "pilothouse.local/demo:1");
    k.expect("get deployment web --show-labels", "patched=yes");
    k.run("rollout status deployment/web --timeout=120s");

    // Reading.
    k.expect("get deployments", "UP-TO-DATE");
    k.expect("get pods -o wide", "NOMINATED NODE");
    k.expect("get deployment web -o yaml", "kind: Deployment");
    k.expect("get all", "replicaset.apps/web-");
    k.expect("describe deployment web", "RollingUpdateStrategy");
    k.expect("describe pods", "Started container demo");
    k.expect("explain deployment.spec.strategy.rollingUpdate", "maxSurge");
    k.expect("api-resources", "poddisruptionbudgets");
    k.expect("api-versions", "apps/v1");
    k.expect("auth can-i create pods", "yes");
    k.expect("auth can-i --list", "selfsubjectaccessreviews");
    k.expect("version", "v1.36");
    k.expect("cluster-info", "is running at");

    // Changing.
    k.run("scale deployment web --replicas=2");
    k.run("wait --for=condition=Available deployment/web --timeout=120s");
    eventually("two ready", || {
        let text = k.run("get deployment web -o jsonpath={.status.readyReplicas}");
        if text.trim() == "2" { Ok(()) } else { Err(text) }
    });
    k.run("set image deployment/web demo=pilothouse.local/demo:2");
    k.run("rollout status deployment/web --timeout=120s");
    k.run("rollout restart deployment/web");
    k.run("rollout status deployment/web --timeout=120s");
    k.expect("rollout history deployment/web", "REVISION");
    k.run("rollout undo deployment/web");
    k.run("rollout status deployment/web --timeout=120s");

    // Streams.
    k.expect("logs deployment/web", "listens on 8080");
    k.expect("exec deployment/web -- echo through", "through");
    assert_eq!(k.feed("exec -i deployment/web -- cat", "in and out"), "in and out");

    // Editing, with an editor that appends nothing but a label.
    let editor = "sed -i s/tier:.front/tier:\\ back/";
    let mut command = k.cluster.command(k.program.to_str().unwrap());
    let edited = command.args(["-n", &k.namespace, "edit", "deployment", "web"]).env("KUBE_EDITOR", editor).output().unwrap();
    assert!(edited.status.success(), "{}", String::from_utf8_lossy(&edited.stderr));
    k.expect("get deployment -l tier=back -o name", "deployment.apps/web");

    // Errors keep their words.
    let (ok, text) = k.output(&["get", "pod", "missing"], None);
    assert!(!ok && text.contains("Error from server (NotFound): pods \"missing\" not found"), "{text}");
    let (ok, text) = k.output(&["create", "-f", "-"], Some(&DEPLOYMENT.replace("replicas: 1", "replicas: -1")));
    assert!(!ok && text.contains("spec.replicas"), "{text}");
    let (ok, text) = k.output(&["create", "-f", "-"], Some(&DEPLOYMENT.replace("replicas: 1", "replica: 1")));
    assert!(!ok && text.contains("unknown field \"spec.replica\""), "{text}");

    k.run("delete deployment web --timeout=60s");
    eventually("all gone", || {
        let text = k.run("get pods,replicasets -o name");
        if text.trim().is_empty() || text.contains("No resources") { Ok(()) } else { Err(text) }
    });
}

#[test]
fn every_version() {
    let cluster = Cluster::get();
    for program in programs() {
        let version = program.file_name().unwrap().to_string_lossy().replace("kubectl", "").replace('.', "-");
        let space = cluster.namespace(&format!("e2e-kubectl{version}"));
        everyday_work(&Kubectl { cluster: &cluster, program, namespace: space.name.clone() });
        space.delete();
    }
}
