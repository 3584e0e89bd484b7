//! Streams to a pod's node and into pods and Services: logs, exec, attach, port-forward, proxies.
//!
//! Invariant: bytes pass through as they are; which protocol (SPDY, WebSocket of any version) is spoken over an
//! upgraded connection is between the client and the node's runtime.

use std::sync::Arc;

use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use pilothouse_access::admission::Operation;
use pilothouse_api::Status;
use pilothouse_api::field::{Error, Path};
use pilothouse_kinds::Kind;
use serde_json::{Value, json};

use super::{links, websocket};
use crate::admission;
use crate::body::{self, Body};
use crate::door::UpgradeSlot;
use crate::registry::{create, read, render};
use crate::server::{Answer, Call, Server};
use crate::subresources::isolate::isolate;

/// Headers that concern one hop only.
const HOP_BY_HOP: [&str; 7] =
    ["connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"];
/// What is escaped in a path's segment: everything but RFC 3986's unreserved characters.
const SEGMENT: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Longest text of a refusal that is passed on.
const MAX_REFUSAL_BYTES: usize = 16 * 1024;
/// What proves the client's identity stays here.
const PRIVATE: [&str; 3] = ["authorization", "cookie", "x-pilothouse-csrf"];

async fn pod(server: &Arc<Server>, call: &Call, kind: &Kind) -> Result<Value, Status> {
    let stored = read::newest(server, kind, &call.info.namespace, &call.info.name).await?;
    Ok(render::value(kind, &stored))
}

fn node(pod: &Value) -> Result<String, Status> {
    match pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty()) {
        Some(node) => Ok(node.to_owned()),
        None => Err(Status::bad_request(format!("pod {} does not have a host assigned", text(pod, "name")))),
    }
}

fn text<'a>(pod: &'a Value, field: &str) -> &'a str {
    pod["metadata"][field].as_str().unwrap_or_default()
}

fn names<'a>(pod: &'a Value, field: &str) -> Vec<&'a str> {
    pod["spec"][field].as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect()
}

/// The container that is meant: the one named, the default one, or the only one.
fn container(pod: &Value, asked: &str) -> Result<String, Status> {
    let (own, init, ephemeral) =
        (names(pod, "containers"), names(pod, "initContainers"), names(pod, "ephemeralContainers"));
    let name = text(pod, "name");
    if asked.is_empty() {
        return match own.as_slice() {
            [one] => Ok((*one).to_owned()),
            [] => Err(Status::bad_request(format!("pod {name} has no containers"))),
            many => {
                let mut text =
                    format!("a container name must be specified for pod {name}, choose one of: [{}]", many.join(" "));
                if !init.is_empty() {
                    text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
                }
                Err(Status::bad_request(text))
            }
        };
    }
    if own.iter().chain(&init).chain(&ephemeral).any(|known| *known == asked) {
        return Ok(asked.to_owned());
    }
    Err(Status::bad_request(format!("container {asked} is not valid for pod {name}")))
}

fn encode(segment: &str) -> String {
    percent_encoding::utf8_percent_encode(segment, SEGMENT).to_string()
}

/// The query without some parameters and with others.
fn query(call: &Call, without: &[&str], with: &[(&str, &str)]) -> String {
    let raw = call.parts.uri.query().unwrap_or_default();
    let mut out = form_urlencoded::Serializer::new(String::new());
    for (key, value) in form_urlencoded::parse(raw.as_bytes()).filter(|(key, _)| !without.contains(&&**key)) {
        out.append_pair(&key, &value);
    }
    for (key, value) in with {
        out.append_pair(key, value);
    }
    out.finish()
}

/// What of a log may be asked for.
fn check_log(call: &Call) -> Result<(), Status> {
    let number = |name: &str| call.query.number::<i64>(name);
    let (tail, limit, seconds) = (number("tailLines")?, number("limitBytes")?, number("sinceSeconds")?);
    let time = call.query.text("sinceTime");
    let mut errors = Vec::new();
    let mut least = |name: &str, value: Option<i64>, least: i64, words: &str| {
        if let Some(value) = value.filter(|value| *value < least) {
            errors.push(Error::invalid(Path::new(name), value, format!("must be greater than {words}")));
        }
    };
    least("tailLines", tail, 0, "or equal to 0");
    least("limitBytes", limit, 1, "0");
    if seconds.is_some() && !time.is_empty() {
        let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(Error::forbidden(Path::new("[]"), why));
    } else if let Some(seconds) = seconds.filter(|seconds| *seconds < 1) {
        errors.push(Error::invalid(Path::new("sinceSeconds"), seconds, "must be greater than 0"));
    }
    let (stream, streams) = (call.query.text("stream"), ["All", "Stderr", "Stdout"]);
    if !stream.is_empty() && !streams.contains(&stream) {
        errors.push(Error::not_supported(Path::new("stream"), stream, &streams));
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("", "PodLogOptions", &call.info.name, &errors)) }
}

pub async fn log(server: &Arc<Server>, call: &mut Call, kind: &Arc<Kind>, upgrade: Option<UpgradeSlot>) -> Answer {
    check_log(call)?;
    let pod = pod(server, call, kind).await?;
    let container = container(&pod, call.query.text("container"))?;
    // A pod that is nowhere yet has said nothing yet.
    if pod["spec"]["nodeName"].as_str().unwrap_or_default().is_empty() {
        return Ok(crate::server::ok("text/plain", body::empty()));
    }
    let path = format!(
        "/containerLogs/{}/{}/{}?{}",
        encode(&call.info.namespace),
        encode(&call.info.name),
        encode(&container),
        query(call, &["container"], &[])
    );
    let request = Request::get(path).header(HOST, "node").body(body::empty()).map_err(Status::internal)?;
    let response = to_node(server, &node(&pod)?, request, None).await?;
    if !response.status().is_success() {
        return Err(refused(response).await);
    }
    match upgrade.filter(|_| websocket::is_wanted(&call.parts.headers)) {
        Some(slot) => websocket::answer(&call.parts.headers, response.into_body(), &slot),
        None => Ok(response),
    }
}

/// What the agent refused, in the API's form: it answers with a line of text.
async fn refused(response: Response<Body>) -> Status {
    let code = response.status();
    let text = body::collect(response.into_body(), MAX_REFUSAL_BYTES).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    match code {
        StatusCode::BAD_REQUEST => Status::bad_request(text),
        StatusCode::NOT_FOUND => Status::failure(404, "NotFound", text),
        _ => Status::internal(text),
    }
}

/// exec, attach, port-forward.
pub async fn connect(server: &Arc<Server>, call: &mut Call, kind: &Arc<Kind>, upgrade: Option<UpgradeSlot>) -> Answer {
    let pod = pod(server, call, kind).await?;
    let what = call.info.subresource.clone();
    admit(server, call, kind).await?;
    if upgrade.is_none() {
        return Err(Status::bad_request(format!(
            "Upgrade request required: {what} needs a connection that can be upgraded (SPDY/3.1 or WebSocket over HTTP/1.1)"
        )));
    }
    if matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        return Err(Status::bad_request(format!(
            "cannot {what} a container in a completed pod; current phase is {phase}"
        )));
    }
    let (namespace, name) = (encode(&call.info.namespace), encode(&call.info.name));
    let path = if what == "portforward" {
        let ports: Vec<&str> = call.query.all("ports").collect();
        let rest = query(call, &["ports"], &[]);
        let ports: String = ports.iter().map(|port| format!("&port={}", encode(port))).collect();
        format!("/portForward/{namespace}/{name}?{rest}{ports}")
    } else {
        let container = container(&pod, call.query.text("container"))?;
        let streams: Vec<(&str, &str)> =
            [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")]
                .into_iter()
                .filter(|(asked, _)| call.query.flag(asked))
                .map(|(_, sent)| (sent, "1"))
                .collect();
        let rest = query(call, &["container", "stdin", "stdout", "stderr", "tty"], &streams);
        format!("/{what}/{namespace}/{name}/{}?{rest}", encode(&container))
    };
    let mut request = Request::builder().method(call.parts.method.clone()).uri(path);
    if let Some(headers) = request.headers_mut() {
        forward(&call.parts.headers, headers, true);
    }
    let request = request.body(body::empty()).map_err(Status::internal)?;
    to_node(server, &node(&pod)?, request, upgrade).await
}

/// The options of a connection as an object: what admission is asked about.
fn options(call: &Call, kind: &Kind) -> Value {
    let Some(sub) = kind.subresource(&call.info.subresource) else { return Value::Null };
    let mut object = json!({"kind": sub.kind, "apiVersion": "v1"});
    match call.info.subresource.as_str() {
        "exec" | "attach" => {
            for flag in ["stdin", "stdout", "stderr", "tty"].into_iter().filter(|flag| call.query.flag(flag)) {
                object[flag] = json!(true);
            }
            if let Some(container) = call.query.get("container") {
                object["container"] = json!(container);
            }
            let command: Vec<&str> = call.query.all("command").collect();
            if !command.is_empty() {
                object["command"] = json!(command);
            }
        }
        "portforward" => {
            let ports: Vec<u64> = call.query.all("ports").filter_map(|port| port.parse().ok()).collect();
            if !ports.is_empty() {
                object["ports"] = json!(ports);
            }
        }
        _ if !call.info.rest.is_empty() => object["path"] = json!(call.info.rest),
        _ => {}
    }
    object
}

/// Asks admission about a connection.
async fn admit(server: &Arc<Server>, call: &mut Call, kind: &Arc<Kind>) -> Result<(), Status> {
    let (what, name) = (call.info.subresource.clone(), call.info.name.clone());
    let mut request = create::admission_request(call, kind, Operation::Connect, &what, &name);
    request.object = Some(options(call, kind));
    admission::run(server, call, kind, &mut request, &Value::Null).await
}

/// Copies the headers that may travel on.
fn forward(from: &HeaderMap, to: &mut HeaderMap, upgrade: bool) {
    for (name, value) in from {
        let text = name.as_str();
        let hop = HOP_BY_HOP.contains(&text) || text == "upgrade";
        if PRIVATE.contains(&text) || text == "host" || (hop && !(upgrade && (name == UPGRADE || name == CONNECTION))) {
            continue;
        }
        to.append(name.clone(), value.clone());
    }
    to.insert(HOST, http::HeaderValue::from_static("node"));
}

fn unreachable(node: &str, why: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("the agent of node {node} cannot be reached: {why}"), 1)
}

/// Sends a request to a node's agent through its tunnel. An upgraded answer is joined with the client by the door.
async fn to_node(server: &Arc<Server>, node: &str, request: Request<Body>, upgrade: Option<UpgradeSlot>) -> Answer {
    let stream = server.tunnels.dial(node).await.map_err(|error| unreachable(node, error))?;
    exchange(stream, request, upgrade).await.map_err(|error| unreachable(node, error))
}

async fn exchange(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    request: Request<Body>,
    upgrade: Option<UpgradeSlot>,
) -> hyper::Result<Response<Body>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    let mut response = sender.send_request(request).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(slot) = upgrade
    {
        let upgraded = hyper::upgrade::on(&mut response).await?;
        slot.put(TokioIo::new(upgraded));
        let (parts, _) = response.into_parts();
        let mut answer = Response::new(body::empty());
        *answer.status_mut() = parts.status;
        *answer.headers_mut() = parts.headers;
        return Ok(answer);
    }
    let (mut parts, incoming) = response.into_parts();
    for name in HOP_BY_HOP {
        parts.headers.remove(HeaderName::from_static(name));
    }
    Ok(Response::from_parts(parts, body::boxed(incoming)))
}

/// `nodes/proxy`, `pods/proxy`, `services/proxy`.
pub async fn proxy(
    server: &Arc<Server>,
    call: &mut Call,
    kind: &Arc<Kind>,
    body: Body,
    upgrade: Option<UpgradeSlot>,
) -> Answer {
    let (resource, path) = (call.info.resource.clone(), call.info.rest.clone());
    if path.is_empty() && matches!(call.parts.method, Method::GET | Method::HEAD) {
        // Relative links only work below a slash.
        let location =
            format!("{}/{}", call.info.path, call.parts.uri.query().map(|q| format!("?{q}")).unwrap_or_default());
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
        let location = http::HeaderValue::from_str(&location).map_err(|_| Status::bad_request("bad path"))?;
        response.headers_mut().insert(http::header::LOCATION, location);
        return Ok(response);
    }
    admit(server, call, kind).await?;
    let (node, inner) = match resource.as_str() {
        "nodes" => {
            let name = call.info.name.split(':').next().unwrap_or_default().to_owned();
            read::newest(server, kind, "", &name).await?;
            (name, path)
        }
        "pods" => pod_target(server, call).await?,
        _ => service_target(server, call).await?,
    };
    let query = call.parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut request = Request::builder().method(call.parts.method.clone()).uri(format!("{inner}{query}"));
    if let Some(headers) = request.headers_mut() {
        forward(&call.parts.headers, headers, upgrade.is_some());
    }
    let is_node = resource == "nodes";
    let prefix = links::Prefix::new(&call.info.path, &call.info.rest, &call.parts.headers);
    if let Some(headers) = request.headers_mut().filter(|_| !is_node) {
        prefix.announce(&call.info.path, headers);
        // Links can be found only in what is not compressed.
        headers.remove(http::header::ACCEPT_ENCODING);
    }
    let request = request.body(body).map_err(|error| Status::bad_request(error.to_string()))?;
    let mut response = to_node(server, &node, request, upgrade).await?;
    isolate(response.headers_mut());
    Ok(if is_node { response } else { links::rewrite(response, prefix) })
}

/// `[scheme:]name[:port]`.
fn split_name(text: &str) -> (&str, &str, &str) {
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [scheme, name, port] => (scheme, name, port),
        [name, port] => ("", name, port),
        _ => ("", text, ""),
    }
}

/// The path on the agent that forwards to a pod's port.
fn through_node(scheme: &str, ip: &str, port: u64, rest: &str) -> String {
    let scheme = if scheme.is_empty() { "http" } else { scheme };
    format!("/proxy/{scheme}/{ip}/{port}{}", if rest.is_empty() { "/" } else { rest })
}

async fn pod_target(server: &Arc<Server>, call: &Call) -> Result<(String, String), Status> {
    let (scheme, name, port) = split_name(&call.info.name);
    let kind = server.kinds.get("", "v1", "pods").ok_or_else(Status::unknown_path)?;
    let pod = render::value(&kind, &*read::newest(server, &kind, &call.info.namespace, name).await?);
    let ports = || {
        pod["spec"]["containers"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|c| c["ports"].as_array().into_iter().flatten())
    };
    let number = match port {
        "" => ports().next().and_then(|p| p["containerPort"].as_u64()).unwrap_or(80),
        text => match text.parse() {
            Ok(number) => number,
            Err(_) => ports()
                .find(|p| p["name"] == text)
                .and_then(|p| p["containerPort"].as_u64())
                .ok_or_else(|| Status::bad_request(format!("invalid port {text:?}")))?,
        },
    };
    let ip = pod["status"]["podIP"]
        .as_str()
        .filter(|ip| !ip.is_empty())
        .ok_or_else(|| Status::bad_request("address not allowed"))?;
    Ok((node(&pod)?, through_node(scheme, ip, number, &call.info.rest)))
}

async fn service_target(server: &Arc<Server>, call: &Call) -> Result<(String, String), Status> {
    let (scheme, name, port) = split_name(&call.info.name);
    let kind = server.kinds.get("", "v1", "services").ok_or_else(Status::unknown_path)?;
    let service = render::value(&kind, &*read::newest(server, &kind, &call.info.namespace, name).await?);
    let ports: Vec<&Value> = service["spec"]["ports"].as_array().into_iter().flatten().collect();
    let chosen = match (port, ports.as_slice()) {
        ("", [one]) => Some(*one),
        ("", _) => ports.iter().copied().find(|p| p["name"].as_str().unwrap_or_default().is_empty()),
        (text, _) => ports
            .iter()
            .copied()
            .find(|p| p["name"] == text || p["port"].as_u64().map(|n| n.to_string()).as_deref() == Some(text)),
    };
    let none = || Status::unavailable(format!("no endpoints available for service {:?}", call.info.name), 1);
    let port_name = chosen.ok_or_else(none)?["name"].as_str().unwrap_or_default().to_owned();
    let slices = server.store.list("endpointslices.discovery.k8s.io", Some(&call.info.namespace));
    let mut targets = Vec::new();
    for slice in slices.items.iter().filter(|slice| slice.label("kubernetes.io/service-name") == Some(name)) {
        let slice = slice.value();
        let number = slice["ports"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|p| p["name"].as_str().unwrap_or_default() == port_name);
        let Some(number) = number.and_then(|p| p["port"].as_u64()) else { continue };
        for endpoint in
            slice["endpoints"].as_array().into_iter().flatten().filter(|e| e["conditions"]["ready"] != false)
        {
            // One that is no pod is reached from any node.
            let node = endpoint["nodeName"].as_str().map(str::to_owned);
            let node = node.or_else(|| server.tunnels.nodes().into_iter().next());
            if let (Some(ip), Some(node)) = (endpoint["addresses"][0].as_str(), node) {
                targets.push((node, through_node(scheme, ip, number, &call.info.rest)));
            }
        }
    }
    if targets.is_empty() {
        return Err(none());
    }
    let index = rand::random::<u32>() as usize % targets.len();
    Ok(targets.swap_remove(index))
}
