//! Every kubectl on this machine (`kubectl`, and `kubectl.1.NN` beside it) does its work: the oldest and the newest all
//! of it, those between what people do every day.

mod access;
mod changing;
mod everyday;
mod reading;
mod streams;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread::scope;

use pilothouse_e2e::{Cluster, words};

pub struct Kubectl<'a> {
    pub cluster: &'a Cluster,
    program: PathBuf,
    pub namespace: String,
}

pub const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {set: one}}
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

/// The program itself, past links; versions beside it count too. Oldest first.
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

fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

impl Kubectl<'_> {
    pub fn command(&self, line: &str) -> Command {
        let mut command = self.cluster.command(self.program.to_str().unwrap());
        command.args(["-n", &self.namespace]).args(words(line));
        command
    }

    fn output(&self, line: &str, input: Option<&str>) -> (bool, String) {
        use std::io::Write;
        let mut command = self.command(line);
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
            pipe.write_all(input.as_bytes()).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        (output.status.success(), both(&output))
    }

    /// What a command that must work says, on both its outputs. Single quotes group words.
    pub fn run(&self, line: &str) -> String {
        let (ok, text) = self.output(line, None);
        assert!(ok, "{} {line}: {text}", self.program.display());
        text
    }

    pub fn feed(&self, line: &str, input: &str) -> String {
        let (ok, text) = self.output(line, Some(input));
        assert!(ok, "{} {line}: {text}", self.program.display());
        text
    }

    pub fn expect(&self, line: &str, wanted: &str) {
        let text = self.run(line);
        assert!(text.contains(wanted), "{} {line}: expected {wanted:?} in {text}", self.program.display());
    }

    /// A command that must fail, and what it must say.
    pub fn refused(&self, line: &str, input: Option<&str>, wanted: &str) {
        let (ok, text) = self.output(line, input);
        assert!(!ok, "{} {line} should fail: {text}", self.program.display());
        assert!(text.contains(wanted), "{} {line}: expected {wanted:?} in {text}", self.program.display());
    }

    /// The minor version of this kubectl.
    pub fn minor(&self) -> u32 {
        let text = self.run("version --client -o json");
        let version: serde_json::Value = serde_json::from_str(&text).unwrap();
        version["clientVersion"]["minor"].as_str().unwrap().trim_end_matches('+').parse().unwrap()
    }
}

#[test]
fn every_version() {
    let cluster = Cluster::get();
    let programs = programs();
    let last = programs.len() - 1;
    for (index, program) in programs.into_iter().enumerate() {
        let version = program.file_name().unwrap().to_string_lossy().replace("kubectl", "").replace('.', "-");
        let space = cluster.namespace(&format!("e2e-kubectl{version}"));
        let k = Kubectl { cluster: &cluster, program, namespace: space.name.clone() };
        if index == 0 || index == last {
            // Side by side: most of their time they wait.
            let (k, parts) = (&k, [everyday::work, reading::work, changing::work, streams::work, access::work]);
            scope(|all| {
                for part in parts {
                    all.spawn(move || part(k));
                }
            });
        } else {
            everyday::work(&k);
        }
        space.delete();
    }
}
