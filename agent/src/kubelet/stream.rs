//! exec, attach and port-forward: the runtime's own streaming server does the talking, we pass the bytes through.
//!
//! Invariant: neither SPDY nor WebSocket is understood here; whatever client and runtime agree on works. What no
//! runtime's WebSocket server agrees on, but clients prefer, is translated (`websocket`).

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use pilothouse_cri::v1;
use tokio::net::TcpStream;
use tracing::debug;

use super::websocket::{self, Channels};
use super::{Answer, Query, Refusal, refuse};
use crate::cri::labels;
use crate::pods::containers;
use crate::pods::context::Context;

fn internal(error: impl std::fmt::Display) -> Refusal {
    Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

fn find(context: &Context, namespace: &str, pod: &str) -> Result<std::sync::Arc<Pod>, Refusal> {
    let found = context.registry.by_name(namespace, pod);
    found.ok_or_else(|| Refusal(StatusCode::NOT_FOUND, format!("pod {pod:?} does not exist")))
}

async fn running(context: &Context, pod: &Pod, container: &str) -> Result<v1::Container, Refusal> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let all = context.runtime.list_containers(Some(uid)).await.map_err(internal)?;
    let newest = all
        .into_iter()
        .filter(|found| found.state == i32::from(v1::ContainerState::ContainerRunning))
        .filter(|found| found.labels.get(labels::CONTAINER_NAME).is_some_and(|name| name == container))
        .max_by_key(|found| found.created_at);
    newest.ok_or_else(|| Refusal(StatusCode::NOT_FOUND, format!("container not found ({container:?})")))
}

pub(super) async fn exec(
    context: &Context,
    (namespace, pod, container): (&str, &str, &str),
    query: &Query,
    request: Request<Incoming>,
) -> Result<Answer, Refusal> {
    let pod = find(context, namespace, pod)?;
    let cmd: Vec<String> = query.all("command").map(str::to_owned).collect();
    if cmd.is_empty() {
        return refuse(StatusCode::BAD_REQUEST, "you must specify at least 1 command for the container");
    }
    let found = running(context, &pod, container).await?;
    let tty = query.flag(["tty", "tty"]);
    let call = v1::ExecRequest {
        container_id: found.id,
        cmd,
        tty,
        stdin: query.flag(["input", "stdin"]),
        stdout: query.flag(["output", "stdout"]),
        // A terminal has one output.
        stderr: query.flag(["error", "stderr"]) && !tty,
    };
    if !(call.stdin || call.stdout || call.stderr) {
        return refuse(StatusCode::BAD_REQUEST, "you must specify at least 1 of stdin, stdout, stderr");
    }
    let channels = Channels { stdin: call.stdin, stdout: call.stdout, stderr: call.stderr, tty };
    let url = context.runtime.exec(call).await.map_err(internal)?;
    run(&url, channels, request).await
}

pub(super) async fn attach(
    context: &Context,
    (namespace, pod, container): (&str, &str, &str),
    query: &Query,
    request: Request<Incoming>,
) -> Result<Answer, Refusal> {
    let pod = find(context, namespace, pod)?;
    let found = running(context, &pod, container).await?;
    let spec = pod.spec.as_ref().and_then(|spec| containers::find(spec, container));
    // Whether there is a terminal was decided when the container was made.
    let tty = spec.is_some_and(|(_, container)| container.tty == Some(true));
    let call = v1::AttachRequest {
        container_id: found.id,
        stdin: query.flag(["input", "stdin"]),
        tty,
        stdout: query.flag(["output", "stdout"]),
        stderr: query.flag(["error", "stderr"]) && !tty,
    };
    let channels = Channels { stdin: call.stdin, stdout: call.stdout, stderr: call.stderr, tty };
    let url = context.runtime.attach(call).await.map_err(internal)?;
    run(&url, channels, request).await
}

/// exec and attach.
async fn run(url: &str, channels: Channels, request: Request<Incoming>) -> Result<Answer, Refusal> {
    if !websocket::offers(request.headers(), websocket::CHANNELS) {
        return pass(url, false, request).await;
    }
    match spdy(url, "v4.channel.k8s.io").await? {
        Ok(runtime) => websocket::channels(request, runtime, channels),
        Err(refused) => Ok(refused),
    }
}

pub(super) async fn port_forward(
    context: &Context,
    (namespace, pod): (&str, &str),
    query: &Query,
    request: Request<Incoming>,
) -> Result<Answer, Refusal> {
    let pod = find(context, namespace, pod)?;
    let mut port = Vec::new();
    for text in query.all("port").chain(query.all("ports")).flat_map(|text| text.split(',')) {
        let number = text.parse::<i32>().ok().filter(|number| (1..=65_535).contains(number));
        port.push(number.ok_or_else(|| Refusal(StatusCode::BAD_REQUEST, format!("invalid port {text:?}")))?);
    }
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let sandboxes = context.runtime.list_pod_sandboxes(Some(uid)).await.map_err(internal)?;
    let ready = |sandbox: &&v1::PodSandbox| sandbox.state == i32::from(v1::PodSandboxState::SandboxReady);
    let Some(sandbox) = sandboxes.iter().filter(ready).max_by_key(|sandbox| sandbox.created_at) else {
        return refuse(StatusCode::NOT_FOUND, "the pod has no running sandbox");
    };
    let call = v1::PortForwardRequest { pod_sandbox_id: sandbox.id.clone(), port };
    let url = context.runtime.port_forward(call).await.map_err(internal)?;
    if !websocket::offers(request.headers(), websocket::TUNNEL) {
        // Over WebSocket the ports are read from the query once more.
        return pass(&url, true, request).await;
    }
    match spdy(&url, "portforward.k8s.io").await? {
        Ok(runtime) => websocket::tunnel(request, runtime),
        Err(refused) => Ok(refused),
    }
}

type Onward = hyper::client::conn::http1::SendRequest<Empty<Bytes>>;

/// Connects to the runtime's streaming server.
async fn dial(url: &Uri) -> Result<(Onward, HeaderValue), Refusal> {
    let authority = url.authority().ok_or_else(|| internal("the runtime's streaming URL has no host"))?.as_str();
    let stream = TcpStream::connect(authority).await;
    let stream = stream.map_err(|error| internal(format!("the runtime's streaming server: {error}")))?;
    stream.set_nodelay(true).map_err(internal)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(internal)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            debug!(%error, "a connection to the runtime's streaming server ended");
        }
    });
    Ok((sender, HeaderValue::from_str(authority).map_err(internal)?))
}

/// A SPDY connection of our own to the runtime, or the runtime's refusal.
async fn spdy(url: &str, protocol: &'static str) -> Result<Result<TokioIo<Upgraded>, Answer>, Refusal> {
    let url: Uri = url.parse().map_err(internal)?;
    let (mut sender, host) = dial(&url).await?;
    let request = Request::post(url.path())
        .header(header::HOST, host)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "SPDY/3.1")
        .header("x-stream-protocol-version", protocol)
        .body(Empty::new())
        .map_err(internal)?;
    let answer = sender.send_request(request).await.map_err(internal)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Err(answer.map(|body| body.map_err(std::io::Error::other).boxed())));
    }
    Ok(Ok(TokioIo::new(hyper::upgrade::on(answer).await.map_err(internal)?)))
}

/// Sends the request to the runtime's streaming server, and joins the two connections if it upgrades.
async fn pass(url: &str, with_query: bool, mut request: Request<Incoming>) -> Result<Answer, Refusal> {
    let url: Uri = url.parse().map_err(internal)?;
    let (mut sender, host) = dial(&url).await?;
    let client = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    let mut path = url.path().to_owned();
    if let Some(query) = parts.uri.query().filter(|_| with_query) {
        path = format!("{path}?{query}");
    }
    let mut onward = Request::new(Empty::<Bytes>::new());
    *onward.method_mut() = parts.method;
    *onward.uri_mut() = path.parse().map_err(internal)?;
    *onward.headers_mut() = parts.headers;
    onward.headers_mut().remove(header::AUTHORIZATION);
    onward.headers_mut().insert(header::HOST, host);
    let mut answer = sender.send_request(onward).await.map_err(internal)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(answer.map(|body| body.map_err(std::io::Error::other).boxed()));
    }
    let server = hyper::upgrade::on(&mut answer);
    tokio::spawn(async move {
        match tokio::try_join!(client, server) {
            Ok((client, server)) => {
                let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut server).await {
                    debug!(%error, "a stream ended");
                }
            }
            Err(error) => debug!(%error, "a stream was not upgraded"),
        }
    });
    let (parts, _) = answer.into_parts();
    let empty = Empty::<Bytes>::new().map_err(|never: std::convert::Infallible| match never {}).boxed();
    Ok(Response::from_parts(parts, empty))
}
