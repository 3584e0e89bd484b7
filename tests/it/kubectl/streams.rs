//! Logs, exec, attach, port-forward, cp, debug, proxy: over SPDY or WebSocket, as the client speaks.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Stdio};

use pilothouse_e2e::eventually;

use super::Kubectl;

const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: two, labels: {streams: 'yes'}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: web, image: 'pilothouse.local/demo:1'}
  - {name: echo, image: 'pilothouse.local/demo:1', stdin: true, command: [sh, -c, 'echo ready; while read line; do echo got $line; done; sleep 1000']}
---
apiVersion: v1
kind: Pod
metadata: {name: crash}
spec:
  containers: [{name: c, image: 'pilothouse.local/demo:1', command: [sh, -c, 'echo dying; exit 3']}]
";

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn work(k: &Kubectl<'_>) {
    k.feed("apply -f -", PODS);
    k.run("wait pod/two --for=condition=Ready --timeout=120s");
    logs(k);
    exec(k);
    attach(k);
    forward(k);
    copy(k);
    debug(k);
    k.run("delete pod two crash --now --timeout=60s");
}

fn logs(k: &Kubectl<'_>) {
    k.expect("logs two -c web", "demo 1 listens on 8080");
    k.expect("logs two", "Defaulted container \"web\" out of: web, echo");
    k.expect("logs two --all-containers --prefix", "[pod/two/echo] ready");
    k.expect("logs -l streams=yes --all-containers --tail=1", "ready");
    k.expect("logs two -c echo --timestamps --since=1h", "Z ready");
    assert_eq!(k.run("logs two -c echo --limit-bytes=3").trim(), "rea");
    k.refused("logs two -c nope", None, "container nope is not valid for pod two");
    k.refused("logs two -c web -p", None, "previous terminated container \"web\" in pod \"two\" not found");
    eventually("a container that has crashed twice", || {
        let text = k.run("get pod crash -o jsonpath={.status.containerStatuses[0].restartCount}");
        if text.trim().parse::<u32>().is_ok_and(|count| count > 0) { Ok(()) } else { Err(text) }
    });
    k.expect("logs crash -p", "dying");
}

fn exec(k: &Kubectl<'_>) {
    k.expect("exec two -c web -- sh -c 'echo out; echo err >&2'", "out");
    k.refused("exec two -c web -- sh -c 'exit 7'", None, "command terminated with exit code 7");
    k.refused("exec two -c nope -- true", None, "container nope is not valid for pod two");
    k.refused("exec two -c web -- no-such-command", None, "no-such-command");
    let large = "x".repeat(1_000_000);
    assert_eq!(k.feed("exec -i two -c web -- sh -c 'wc -c'", &large).trim(), "1000000");
    // With a terminal, which `script` gives.
    let kubectl = k.command("exec -it two -c web -- sh -c 'test -t 0 && echo on a terminal'");
    let line: Vec<String> = std::iter::once(kubectl.get_program())
        .chain(kubectl.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let output = k.cluster.command("script").args(["-qec", &line.join(" "), "/dev/null"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("on a terminal"), "{text}");
}

fn attach(k: &Kubectl<'_>) {
    let mut command = k.command("attach -i two -c echo");
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut attached = Running(child);
    attached.0.stdin.as_mut().unwrap().write_all(b"hello\n").unwrap();
    let mut seen = Vec::new();
    let mut out = attached.0.stdout.take().unwrap();
    let mut buffer = [0; 256];
    while !String::from_utf8_lossy(&seen).contains("got hello") {
        let read = out.read(&mut buffer).unwrap();
        assert!(read > 0, "attach ended after {:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..read]);
    }
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn answer(port: u16, path: &str) -> Result<String, String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(|error| error.to_string())?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.starts_with("HTTP/1.1 200") { Ok(text) } else { Err(text) }
}

fn forward(k: &Kubectl<'_>) {
    let quiet = |line: &str| Running(k.command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let port = free_port();
    let _forwarding = quiet(&format!("port-forward pod/two {port}:8080"));
    eventually("the forwarded port answers", || answer(port, "/healthz"));
    for _ in 0..5 {
        answer(port, "/").unwrap();
    }
    let port = free_port();
    let _proxy = quiet(&format!("proxy --port={port}"));
    let path = format!("/api/v1/namespaces/{}/pods/two:8080/proxy/healthz", k.namespace);
    let text = eventually("the proxy answers", || answer(port, &path));
    assert!(text.ends_with("ok\n"), "{text}");
}

fn copy(k: &Kubectl<'_>) {
    let dir = tempfile::tempdir().unwrap();
    let (there, back) = (dir.path().join("there"), dir.path().join("back"));
    std::fs::write(&there, "carried").unwrap();
    k.run(&format!("cp {} two:/tmp/file -c web", there.display()));
    k.expect("exec two -c web -- cat /tmp/file", "carried");
    k.run(&format!("cp two:/tmp/file {} -c web", back.display()));
    assert_eq!(std::fs::read_to_string(back).unwrap(), "carried");
}

fn debug(k: &Kubectl<'_>) {
    k.run("debug two --image=pilothouse.local/demo:1 -c looker --attach=false -- sh -c 'echo looking'");
    eventually("the debugging container has spoken", || {
        let (_, text) = k.output("logs two -c looker", None);
        if text.contains("looking") { Ok(()) } else { Err(text) }
    });
}
