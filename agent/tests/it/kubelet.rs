//! The kubelet's API against pods on containerd: logs, exec and port-forward over WebSocket, statistics, image import.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use pilothouse_agent::kubelet::Server;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::archive;
use crate::containerd::shell;
use crate::harness::{Node, is_ready};

async fn send(server: &std::sync::Arc<Server>, request: Request<Full<Bytes>>) -> Response<Incoming> {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    server.serve(theirs);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(ours)).await.unwrap();
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request).await.unwrap()
}

async fn get(server: &std::sync::Arc<Server>, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).header("host", "node").body(Full::default()).unwrap();
    let answer = send(server, request).await;
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// One WebSocket connection in Kubernetes' channel protocol: the first byte of a message is its channel.
struct Channels(TokioIo<hyper::upgrade::Upgraded>);

impl Channels {
    async fn open(server: &std::sync::Arc<Server>, path: &str) -> Self {
        Self::speaking("v4.channel.k8s.io", server, path).await
    }

    async fn speaking(protocol: &str, server: &std::sync::Arc<Server>, path: &str) -> Self {
        let request = Request::get(path)
            .header("host", "node")
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")
            .header("sec-websocket-protocol", protocol)
            .body(Full::default())
            .unwrap();
        let answer = send(server, request).await;
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS, "{path}");
        assert_eq!(answer.headers()["sec-websocket-protocol"], protocol, "{path}");
        Self(TokioIo::new(hyper::upgrade::on(answer).await.unwrap()))
    }

    async fn write(&mut self, channel: u8, data: &[u8]) {
        self.send(0x82, channel, data).await;
    }

    /// As clients do to whom input is text.
    async fn write_text(&mut self, channel: u8, text: &str) {
        self.send(0x81, channel, text.as_bytes()).await;
    }

    async fn send(&mut self, kind: u8, channel: u8, data: &[u8]) {
        let length = u8::try_from(data.len() + 1).unwrap();
        assert!(length < 126);
        // A client's frames are masked; this mask changes nothing.
        let mut frame = vec![kind, 0x80 | length, 0, 0, 0, 0, channel];
        frame.extend_from_slice(data);
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next message, as channel and bytes; `None` at the end.
    async fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let mut head = [0; 2];
            self.0.read_exact(&mut head).await.ok()?;
            let length = match head[1] {
                126 => usize::from(self.0.read_u16().await.ok()?),
                short => usize::from(short),
            };
            let mut data = vec![0; length];
            self.0.read_exact(&mut data).await.ok()?;
            if head[0] & 0x0f == 8 {
                return None;
            }
            if !data.is_empty() {
                return Some((data[0], data[1..].to_vec()));
            }
        }
    }

    /// All that comes on this channel until `enough`.
    async fn until(&mut self, channel: u8, enough: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        while !enough(&text) {
            let Some((from, data)) = self.read().await else { break };
            if from == channel {
                text.push_str(&String::from_utf8_lossy(&data));
            }
        }
        text
    }
}

pub async fn serves(node: &Node) {
    let server = Server::new(std::sync::Arc::clone(&node.context));
    let main = shell("main", "httpd -p 8080 -h /etc; i=0; while :; do echo line $i; i=$((i+1)); sleep 1; done");
    node.create("talks", json!({"containers": [main]}));
    node.until("talks", "ready", is_ready).await;

    let logs = "/containerLogs/default/talks/main";
    // It runs before it has said anything.
    let deadline = Instant::now() + Duration::from_secs(10);
    let first = loop {
        let (status, text) = get(&server, &format!("{logs}?limitBytes=7")).await;
        assert_eq!(status, StatusCode::OK);
        if !text.is_empty() || Instant::now() > deadline {
            break text;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(first, "line 0\n");
    let request =
        Request::get(format!("{logs}?follow=true&tailLines=1")).header("host", "n").body(Full::default()).unwrap();
    let mut followed = send(&server, request).await.into_body();
    let mut lines = String::new();
    while lines.lines().count() < 3 {
        let frame = followed.frame().await.unwrap().unwrap();
        lines.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    let first: u32 = lines.lines().next().unwrap().trim_start_matches("line ").parse().unwrap();
    assert!(lines.starts_with(&format!("line {first}\nline {}\nline {}\n", first + 1, first + 2)), "{lines}");
    drop(followed);
    for (path, status) in [
        ("/containerLogs/default/none/main", StatusCode::NOT_FOUND),
        ("/containerLogs/default/talks/none", StatusCode::NOT_FOUND),
        ("/containerLogs/default/talks/main?previous=true", StatusCode::BAD_REQUEST),
        ("/containerLogs/default/talks/main?tailLines=x", StatusCode::BAD_REQUEST),
        ("/exec/default/talks/main?output=1", StatusCode::BAD_REQUEST),
        ("/exec/default/talks/none?command=ls&output=1", StatusCode::NOT_FOUND),
        ("/elsewhere", StatusCode::NOT_FOUND),
        ("/healthz", StatusCode::OK),
    ] {
        assert_eq!(get(&server, path).await.0, status, "{path}");
    }

    // Names arrive percent-encoded, too.
    let command = "/exec/default/talks/ma%69n?command=/bin/cat&command=/etc/note&output=1&error=1";
    let mut exec = Channels::open(&server, command).await;
    assert_eq!(exec.until(1, |text| text.ends_with(":1")).await, "test.local/busybox:1");
    let outcome: Value = serde_json::from_str(&exec.until(3, |text| text.ends_with('}')).await).unwrap();
    assert_eq!(outcome["status"], "Success");
    let mut cat = Channels::open(&server, "/exec/default/talks/main?command=/bin/cat&input=1&output=1").await;
    cat.write(0, b"there and back\n").await;
    assert_eq!(cat.until(1, |text| text.ends_with('\n')).await, "there and back\n");

    // Version 5 can close the input, so that what reads to its end ends.
    let count = "/exec/default/talks/main?command=/bin/busybox&command=wc&command=-c&input=1&output=1&error=1";
    let mut count = Channels::speaking("v5.channel.k8s.io", &server, count).await;
    assert_eq!(count.read().await, Some((1, Vec::new())), "it is heard");
    count.write(0, b"twelve").await;
    count.write_text(0, " bytes").await;
    count.write(255, &[0]).await;
    assert_eq!(count.until(1, |text| text.ends_with('\n')).await.trim(), "12");
    let outcome: Value = serde_json::from_str(&count.until(3, |text| text.ends_with('}')).await).unwrap();
    assert_eq!(outcome["status"], "Success");
    assert_eq!(count.read().await, None, "closed by the other side");
    let mut fails = Channels::speaking(
        "v5.channel.k8s.io",
        &server,
        "/exec/default/talks/main?command=/bin/sh&command=-c&command=exit%203&output=1",
    )
    .await;
    let outcome: Value = serde_json::from_str(&fails.until(3, |text| text.ends_with('}')).await).unwrap();
    assert_eq!(outcome["details"]["causes"][0], json!({"reason": "ExitCode", "message": "3"}));

    let mut forward = Channels::open(&server, "/portForward/default/talks?port=8080").await;
    forward.write(0, b"GET /note HTTP/1.0\r\n\r\n").await;
    let text = forward.until(0, |text| text.ends_with(":1")).await;
    assert!(text.contains("200 OK") && text.ends_with("test.local/busybox:1"), "{text:?}");

    let (status, summary) = get(&server, "/stats/summary").await;
    assert_eq!(status, StatusCode::OK);
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let pod = summary["pods"].as_array().unwrap().iter().find(|pod| pod["podRef"]["name"] == "talks").unwrap();
    assert!(pod["containers"][0]["memory"]["workingSetBytes"].as_u64().unwrap() > 0, "{pod}");
    assert!(pod["cpu"]["usageCoreNanoSeconds"].as_u64().unwrap() > 0, "{pod}");
    assert!(summary["node"]["cpu"]["usageNanoCores"].as_u64().unwrap() > 0, "{}", summary["node"]);
    let (_, metrics) = get(&server, "/metrics/resource").await;
    let line = "container_memory_working_set_bytes{container=\"main\",namespace=\"default\",pod=\"talks\"} ";
    assert!(metrics.contains(line), "{metrics}");
    assert!(get(&server, "/metrics").await.1.contains("kubelet_running_containers{container_state=\"running\"}"));
    assert!(get(&server, "/pods").await.1.contains("\"talks\""));

    let file = node.context.config().data_dir.join("other.tar");
    archive::write(&file, "test.local/other:1", &["/bin/true"]);
    let import = |body: Vec<u8>| Request::post("/images/import").header("host", "n").body(Full::from(body)).unwrap();
    let answer = send(&server, import(std::fs::read(&file).unwrap())).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), json!({"images": ["test.local/other:1"]}));
    assert!(node.context.runtime.image_status("test.local/other:1").await.unwrap().is_some());
    assert_eq!(send(&server, import(b"no archive".to_vec())).await.status(), StatusCode::BAD_REQUEST);

    node.api.delete_pod("talks", 1);
    node.until_gone("talks").await;
}
