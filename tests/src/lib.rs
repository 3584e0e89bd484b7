//! How the end-to-end tests drive a running cluster: real kubectl, plain HTTP, the processes themselves.
//!
//! Invariant: no sleeps for effects; everything waits on a condition with a deadline, and says what it last saw.

// What these functions are for fails a test when it fails.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

pub mod browser;

const PATIENCE: Duration = Duration::from_secs(120);

/// The cluster under test, as scripts/test names it by `PILOTHOUSE_E2E_HOME`.
pub struct Cluster {
    pub home: PathBuf,
}

/// A namespace of a test's own, deleted when the test ends well.
pub struct Namespace<'a> {
    pub cluster: &'a Cluster,
    pub name: String,
}

fn checked(what: &str, output: Output) -> String {
    assert!(
        output.status.success(),
        "{what}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Polls until `look` gives something; panics with what it last said otherwise.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(last) if Instant::now() > deadline => panic!("{what}: still not after {PATIENCE:?}; last seen: {last}"),
            Err(_) => sleep(Duration::from_millis(200)),
        }
    }
}

impl Cluster {
    pub fn get() -> Self {
        let home = std::env::var_os("PILOTHOUSE_E2E_HOME")
            .expect("PILOTHOUSE_E2E_HOME is not set: run these tests through scripts/test, which brings a cluster up");
        Self { home: home.into() }
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.home.join("kubeconfig")
    }

    pub fn password(&self) -> String {
        std::fs::read_to_string(self.home.join("admin-password")).unwrap().trim().to_owned()
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        let text = std::fs::read_to_string(self.kubeconfig()).unwrap();
        let line = text.lines().find_map(|line| line.trim().strip_prefix("server:")).unwrap();
        line.trim().trim_matches('"').to_owned()
    }

    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", self.kubeconfig()).stdin(Stdio::null());
        command
    }

    pub fn try_kubectl(&self, line: &str) -> Output {
        self.command("kubectl").args(words(line)).output().unwrap()
    }

    /// kubectl's standard output; a failure fails the test with what it said. Single quotes group words.
    pub fn kubectl(&self, line: &str) -> String {
        checked(&format!("kubectl {line}"), self.try_kubectl(line))
    }

    pub fn kubectl_stdin(&self, line: &str, input: &str) -> String {
        use std::io::Write;
        let mut command = self.command("kubectl");
        let mut child = command
            .args(words(line))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        checked(&format!("kubectl {line}"), child.wait_with_output().unwrap())
    }

    pub fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.kubectl(&format!("{line} -o json"))).unwrap()
    }

    /// A request with the administrator's certificate: status code and body.
    pub fn request(&self, arguments: &[&str], path: &str) -> (u16, String) {
        let dir = tempfile::tempdir().unwrap();
        let config = self.json("config view --raw --flatten");
        let user = &config["users"][0]["user"];
        for (file, data) in [
            ("ca", &config["clusters"][0]["cluster"]["certificate-authority-data"]),
            ("cert", &user["client-certificate-data"]),
            ("key", &user["client-key-data"]),
        ] {
            let decoded = Command::new("sh")
                .args(["-c", "printf %s \"$1\" | base64 -d > \"$2\"", "sh", data.as_str().unwrap()])
                .arg(dir.path().join(file))
                .status()
                .unwrap();
            assert!(decoded.success());
        }
        let output = Command::new("curl")
            .args(["-sS", "-m", "60", "-w", "\n%{http_code}", "--cacert", "ca", "--cert", "cert", "--key", "key"])
            .args(arguments)
            .arg(format!("{}{path}", self.url()))
            .current_dir(dir.path())
            .output()
            .unwrap();
        split_code(&checked(&format!("curl {path}"), output))
    }

    /// A request that brings no identity.
    pub fn anonymous(&self, arguments: &[&str], path: &str) -> (u16, String) {
        let output = Command::new("curl")
            .args(["-sSk", "-m", "60", "-w", "\n%{http_code}"])
            .args(arguments)
            .arg(format!("{}{path}", self.url()))
            .output()
            .unwrap();
        split_code(&checked(&format!("curl {path}"), output))
    }

    pub fn namespace(&self, name: &str) -> Namespace<'_> {
        let _ = self.try_kubectl(&format!("delete namespace {name} --ignore-not-found --wait=true"));
        self.kubectl(&format!("create namespace {name}"));
        Namespace { cluster: self, name: name.to_owned() }
    }

    /// The short folder with the cluster's pid files.
    fn run_dir(&self) -> PathBuf {
        let output = Command::new("sh")
            .args(["-c", "printf %s \"$1\" | sha256sum | cut -c1-8", "sh"])
            .arg(&self.home)
            .output()
            .unwrap();
        PathBuf::from("/run/pilothouse").join(checked("sha256sum", output).trim())
    }

    /// The pid of a supervised process: `postgres`, `server`, `node-1` …
    pub fn pid(&self, name: &str) -> Option<i32> {
        let text = std::fs::read_to_string(self.run_dir().join(format!("{name}.pid"))).ok()?;
        text.split(' ').next()?.parse().ok()
    }

    pub fn kill9(&self, name: &str) {
        let pid = self.pid(name).unwrap_or_else(|| panic!("{name} has no pid file"));
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        eventually(&format!("{name} restarted"), || match self.pid(name) {
            Some(new) if new != pid => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    /// A command in a node's namespaces.
    pub fn on_node(&self, node: &str, script: &str) -> Output {
        let unshare = self.pid(node).unwrap_or_else(|| panic!("{node} does not run"));
        let children = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).unwrap();
        let first = children.split_whitespace().next().expect("the node has a first process").to_owned();
        Command::new("nsenter").args(["-t", &first, "-a", "sh", "-c", script]).output().unwrap()
    }

    pub fn wait_ready(&self) {
        eventually("the API is ready", || {
            let output = self.try_kubectl("get --raw /readyz");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            if output.status.success() && text.trim() == "ok" { Ok(()) } else { Err(text) }
        });
    }
}

impl Namespace<'_> {
    pub fn kubectl(&self, line: &str) -> String {
        self.cluster.kubectl(&format!("-n {} {line}", self.name))
    }
    pub fn try_kubectl(&self, line: &str) -> Output {
        self.cluster.try_kubectl(&format!("-n {} {line}", self.name))
    }
    pub fn apply(&self, yaml: &str) -> String {
        // The mark of a document keeps kubectl from taking YAML that begins with a brace for JSON.
        self.cluster.kubectl_stdin(&format!("-n {} apply -f -", self.name), &format!("---\n{yaml}"))
    }
    pub fn json(&self, line: &str) -> Value {
        self.cluster.json(&format!("-n {} {line}", self.name))
    }
    /// Output of a shell command in a pod.
    pub fn exec(&self, target: &str, script: &str) -> String {
        self.kubectl(&format!("exec {target} -- sh -c '{script}'"))
    }
    pub fn pods(&self, selector: &str) -> Vec<Value> {
        self.json(&format!("get pods -l {selector}"))["items"].as_array().unwrap().clone()
    }
    /// Waits until exactly `count` pods of the selector are ready and no other is left.
    pub fn wait_pods(&self, selector: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} ready pods of {selector}"), || {
            let pods = self.pods(selector);
            let ready = pods.iter().filter(|pod| is_ready(pod)).count();
            if pods.len() == count && ready == count {
                Ok(pods)
            } else {
                Err(format!("{ready} ready of {}", pods.len()))
            }
        })
    }
    pub fn delete(self) {
        self.cluster.kubectl(&format!("delete namespace {} --wait=true --timeout=120s", self.name));
    }
}

pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
        && pod["metadata"]["deletionTimestamp"].is_null()
}

pub fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

fn split_code(text: &str) -> (u16, String) {
    let (body, code) = text.rsplit_once('\n').unwrap();
    (code.trim().parse().unwrap(), body.to_owned())
}

/// Words of a command line; single quotes keep what is in them together, also with what is beside them.
pub fn words(line: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => all.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    all.extend(word);
    all
}
