//! The demo web app: says who answered, so that a rollout, a scale or a load balancer can be watched from outside.
//!
//! `GET /` version, pod, node and the request's headers (JSON, or a page for browsers), `/version` the version alone,
//! `/healthz` 200, `/crash` answers and then exits with 1, `/env` the environment's names.
//! Environment: `DEMO_VERSION`, `POD_NAME` (default: the host name), `NODE_NAME`, `PORT` (default 8080).
//!
//! Limits: 16 KiB of request head, 10 s for it to arrive, 256 connections at once.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

const MAX_HEAD_BYTES: u64 = 16 * 1024;
const MAX_CONNECTIONS: usize = 256;
const PATIENCE: Duration = Duration::from_secs(10);

struct App {
    version: String,
    pod: String,
    node: String,
}

struct Head {
    path: String,
    headers: BTreeMap<String, String>,
}

struct Answer {
    status: &'static str,
    content_type: &'static str,
    body: String,
}

fn host_name() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}

/// A JSON string, quotes included.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn read_head(stream: &TcpStream) -> Option<Head> {
    let mut reader = BufReader::new(stream.take(MAX_HEAD_BYTES));
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let path = line.split_whitespace().nth(1)?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Some(Head { path, headers });
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
}

impl App {
    fn json(&self, head: &Head) -> String {
        let headers: Vec<String> =
            head.headers.iter().map(|(k, v)| format!("    {}: {}", quoted(k), quoted(v))).collect();
        format!(
            "{{\n  \"version\": {},\n  \"pod\": {},\n  \"node\": {},\n  \"path\": {},\n  \"headers\": {{\n{}\n  }}\n}}\n",
            quoted(&self.version),
            quoted(&self.pod),
            quoted(&self.node),
            quoted(&head.path),
            headers.join(",\n")
        )
    }

    fn page(&self) -> String {
        let hue = self.version.bytes().fold(200_u32, |hue, byte| (hue + u32::from(byte) * 47) % 360);
        format!(
            "<!doctype html><meta charset=utf-8><title>demo {v}</title><style>body{{font:18px system-ui;margin:0;\
             min-height:100vh;display:grid;place-content:center;background:hsl({hue} 45% 22%);color:#fff}}\
             b{{font-size:96px;display:block}}</style><main><b>v{v}</b>pod {p}<br>node {n}</main>\n",
            v = escaped(&self.version),
            p = escaped(&self.pod),
            n = escaped(&self.node)
        )
    }

    fn answer(&self, head: &Head) -> Answer {
        let text = |status, body: String| Answer { status, content_type: "text/plain; charset=utf-8", body };
        match head.path.split('?').next().unwrap_or("/") {
            "/healthz" | "/readyz" => text("200 OK", "ok\n".into()),
            "/version" => text("200 OK", format!("{}\n", self.version)),
            "/crash" => text("500 Internal Server Error", "crashing\n".into()),
            "/env" => {
                let mut names: Vec<String> = env::vars().map(|(name, _)| name).collect();
                names.sort();
                text("200 OK", names.join("\n") + "\n")
            }
            "/" if head.headers.get("accept").is_some_and(|accept| accept.contains("text/html")) => {
                Answer { status: "200 OK", content_type: "text/html; charset=utf-8", body: self.page() }
            }
            "/" => Answer { status: "200 OK", content_type: "application/json", body: self.json(head) },
            _ => text("404 Not Found", "not found\n".into()),
        }
    }

    fn serve(&self, mut stream: TcpStream) {
        let timeouts = stream.set_read_timeout(Some(PATIENCE)).and(stream.set_write_timeout(Some(PATIENCE)));
        let Some(head) = timeouts.ok().and_then(|()| read_head(&stream)) else { return };
        let Answer { status, content_type, body } = self.answer(&head);
        let sent = write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let _ = writeln!(std::io::stdout(), "{} {status}", head.path);
        if sent.and_then(|()| stream.flush()).is_ok() && head.path == "/crash" {
            exit(1);
        }
    }
}

fn stop_on_signal() {
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGINT);
    if set.thread_block().is_ok() {
        thread::spawn(move || {
            if set.wait().is_ok() {
                let _ = writeln!(std::io::stdout(), "stopping");
                exit(0);
            }
        });
    }
}

fn main() -> std::io::Result<()> {
    stop_on_signal();
    let app = Arc::new(App {
        version: env::var("DEMO_VERSION").unwrap_or_else(|_| "dev".into()),
        pod: env::var("POD_NAME").unwrap_or_else(|_| host_name()),
        node: env::var("NODE_NAME").unwrap_or_default(),
    });
    let port = env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(8080);
    let listener = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
        .or_else(|_| TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], port))))?;
    writeln!(std::io::stdout(), "demo {} listens on {port}", app.version)?;
    let open = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming().flatten() {
        if open.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (app, open) = (Arc::clone(&app), Arc::clone(&open));
        thread::spawn(move || {
            app.serve(stream);
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
    Ok(())
}
