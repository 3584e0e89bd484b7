//! One check of a probe or one call of a hook: exec, HTTP, TCP, gRPC.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ExecAction, GRPCAction, HTTPGetAction, Probe, TCPSocketAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;

use super::http::{self, Target, authority};
use crate::cri::Runtime;

/// Upstream keeps this much of a command's output.
const MAX_OUTPUT: usize = 10 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// Counts as success, and is worth an event.
    Warning(String),
    Failure(String),
}

/// What a check needs to know of its container.
#[derive(Clone, Debug)]
pub struct Subject {
    pub container_id: String,
    /// Where its ports are.
    pub ip: String,
}

/// A port's number, by number or by name.
///
/// # Errors
/// When the container has no port of that name, or it is out of range.
pub fn port(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => match container.ports.iter().flatten().find(|p| p.name.as_ref() == Some(name)) {
            Some(port) => port.container_port,
            None => name.parse().map_err(|_| format!("couldn't find port: {name}"))?,
        },
    };
    u16::try_from(number).ok().filter(|port| *port > 0).ok_or_else(|| format!("invalid port number: {number}"))
}

fn target(container: &Container, action: &HTTPGetAction, ip: &str) -> Result<Target, String> {
    let host = action.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| ip.to_owned());
    let path = action.path.clone().unwrap_or_default();
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    let headers = action.http_headers.iter().flatten().map(|header| (header.name.clone(), header.value.clone()));
    Ok(Target {
        https: action.scheme.as_deref() == Some("HTTPS"),
        host,
        port: port(container, &action.port)?,
        path,
        headers: headers.collect(),
    })
}

pub async fn http(container: &Container, action: &HTTPGetAction, ip: &str, timeout: Duration) -> Outcome {
    let target = match target(container, action, ip) {
        Ok(target) => target,
        Err(error) => return Outcome::Failure(error),
    };
    match http::get(target, timeout).await {
        Ok(answer) if answer.left => Outcome::Warning("Probe terminated redirects".to_owned()),
        Ok(answer) if (200..400).contains(&answer.status.as_u16()) => Outcome::Success,
        Ok(answer) => Outcome::Failure(format!("HTTP probe failed with statuscode: {}", answer.status.as_u16())),
        Err(error) => Outcome::Failure(error),
    }
}

pub async fn exec(runtime: &dyn Runtime, id: &str, action: &ExecAction, timeout: Duration) -> Outcome {
    let command = action.command.clone().unwrap_or_default();
    match runtime.exec_sync(id, command.clone(), timeout).await {
        Ok(answer) if answer.exit_code == 0 => Outcome::Success,
        Ok(answer) => {
            let mut output = [answer.stdout, answer.stderr].concat();
            output.truncate(MAX_OUTPUT);
            Outcome::Failure(String::from_utf8_lossy(&output).into_owned())
        }
        Err(error) if error.is_timeout() => {
            Outcome::Failure(format!("command timed out: {command:?} timed out after {}s", timeout.as_secs()))
        }
        Err(error) => Outcome::Failure(format!("command {command:?} could not be run: {error}")),
    }
}

async fn tcp(container: &Container, action: &TCPSocketAction, ip: &str, timeout: Duration) -> Outcome {
    let host = action.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| ip.to_owned());
    let address = match port(container, &action.port) {
        Ok(port) => authority(&host, port),
        Err(error) => return Outcome::Failure(error),
    };
    match tokio::time::timeout(timeout, TcpStream::connect(&address)).await {
        Ok(Ok(_)) => Outcome::Success,
        Ok(Err(error)) => Outcome::Failure(format!("dial tcp {address}: {error}")),
        Err(_) => Outcome::Failure(format!("dial tcp {address}: i/o timeout")),
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    /// 0 unknown, 1 serving, 2 not serving, 3 service unknown.
    #[prost(int32, tag = "1")]
    status: i32,
}

async fn grpc(action: &GRPCAction, ip: &str, timeout: Duration) -> Outcome {
    let Ok(port) = u16::try_from(action.port) else { return Outcome::Failure("invalid port number".to_owned()) };
    let address = authority(ip, port);
    let ask = async {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let mut grpc = Grpc::new(endpoint.connect().await?);
        grpc.ready().await?;
        let request = HealthCheckRequest { service: action.service.clone().unwrap_or_default() };
        let path = ::http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
        let codec = ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
        Ok::<_, tonic::transport::Error>(grpc.unary(tonic::Request::new(request), path, codec).await)
    };
    match tokio::time::timeout(timeout, ask).await {
        Err(_) => Outcome::Failure(format!("timeout: failed to connect service {address:?} within {timeout:?}")),
        Ok(Err(error)) => {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Outcome::Failure(format!("error: failed to connect service at {address:?}: {cause}"))
        }
        Ok(Ok(Ok(answer))) => match answer.into_inner().status {
            1 => Outcome::Success,
            0 => Outcome::Failure("service unhealthy (responded with \"UNKNOWN\")".to_owned()),
            3 => Outcome::Failure("service unhealthy (responded with \"SERVICE_UNKNOWN\")".to_owned()),
            _ => Outcome::Failure("service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
        },
        Ok(Ok(Err(status))) if status.code() == Code::Unimplemented => Outcome::Failure(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)".to_owned(),
        ),
        Ok(Ok(Err(status))) => {
            Outcome::Failure(format!("error: health rpc probe failed: {}: {}", status.code(), status.message()))
        }
    }
}

/// Runs a probe's check once.
pub async fn once(runtime: &dyn Runtime, container: &Container, probe: &Probe, subject: &Subject) -> Outcome {
    let timeout = Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1)).unwrap_or(1).max(1));
    if let Some(action) = &probe.exec {
        return exec(runtime, &subject.container_id, action, timeout).await;
    }
    if let Some(action) = &probe.http_get {
        return http(container, action, &subject.ip, timeout).await;
    }
    if let Some(action) = &probe.tcp_socket {
        return tcp(container, action, &subject.ip, timeout).await;
    }
    match &probe.grpc {
        Some(action) => grpc(action, &subject.ip, timeout).await,
        None => Outcome::Success,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// A server that gives every connection the same answer.
    async fn server(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let _ = socket.read(&mut [0; 4096]).await;
                let _ = socket.write_all(answer.as_bytes()).await;
            }
        });
        port
    }

    fn container(port: u16) -> Container {
        serde_json::from_value(json!({"name": "c", "ports": [{"name": "web", "containerPort": port}]})).unwrap()
    }

    async fn get(answer: &'static str) -> Outcome {
        let port = server(answer).await;
        let action = HTTPGetAction { port: IntOrString::String("web".into()), ..Default::default() };
        http(&container(port), &action, "127.0.0.1", PATIENCE).await
    }

    #[tokio::test]
    async fn http_answers() {
        assert_eq!(get("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await, Outcome::Success);
        assert_eq!(
            get("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").await,
            Outcome::Failure("HTTP probe failed with statuscode: 503".into())
        );
        assert_eq!(
            get("HTTP/1.1 302 Go\r\nlocation: http://elsewhere/x\r\ncontent-length: 0\r\n\r\n").await,
            Outcome::Warning("Probe terminated redirects".into())
        );
        assert!(matches!(get("nonsense\r\n\r\n").await, Outcome::Failure(_)));
        let around = get("HTTP/1.1 302 Go\r\nlocation: /again\r\ncontent-length: 0\r\n\r\n").await;
        assert!(matches!(around, Outcome::Failure(text) if text.contains("redirects")));
    }

    #[tokio::test]
    async fn tcp_answers() {
        let port = server("").await;
        let action = TCPSocketAction { port: IntOrString::Int(port.into()), host: None };
        assert_eq!(tcp(&container(1), &action, "127.0.0.1", PATIENCE).await, Outcome::Success);
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().port()
        };
        let action = TCPSocketAction { port: IntOrString::Int(closed.into()), host: None };
        assert!(matches!(tcp(&container(1), &action, "127.0.0.1", PATIENCE).await, Outcome::Failure(_)));
    }

    /// A server of `grpc.health.v1.Health` that knows one service, `known`, in this state.
    async fn health_server(status: u8) -> i32 {
        use bytes::Bytes;
        use http_body_util::{BodyExt, StreamBody};
        use hyper::body::{Frame, Incoming};
        use hyper_util::rt::{TokioExecutor, TokioIo};

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = move |request: ::http::Request<Incoming>| async move {
            assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
            let asked = request.into_body().collect().await.unwrap().to_bytes();
            let is_known = asked.windows(5).any(|name| name == b"known");
            let mut frames = Vec::new();
            let mut trailers = ::http::HeaderMap::new();
            let code = if is_known { "0" } else { "5" };
            if is_known {
                frames.push(Ok::<_, std::io::Error>(Frame::data(Bytes::from(vec![0, 0, 0, 0, 2, 8, status]))));
            }
            trailers.insert("grpc-status", code.parse().unwrap());
            frames.push(Ok(Frame::trailers(trailers)));
            let body = StreamBody::new(futures::stream::iter(frames));
            ::http::Response::builder().header("content-type", "application/grpc").body(body)
        };
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = hyper::service::service_fn(answer);
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(server.serve_connection(TokioIo::new(socket), service));
            }
        });
        i32::from(port)
    }

    #[tokio::test]
    async fn grpc_answers() {
        let ask = async |status: u8, service: &str| {
            let action = GRPCAction { port: health_server(status).await, service: Some(service.to_owned()) };
            grpc(&action, "127.0.0.1", PATIENCE).await
        };
        assert_eq!(ask(1, "known").await, Outcome::Success);
        let sick = "service unhealthy (responded with \"NOT_SERVING\")";
        assert_eq!(ask(2, "known").await, Outcome::Failure(sick.to_owned()));
        assert!(matches!(ask(1, "other").await, Outcome::Failure(text) if text.contains("rpc probe failed")));
        let action = GRPCAction { port: 1, service: None };
        let nobody = grpc(&action, "127.0.0.1", PATIENCE).await;
        assert!(matches!(nobody, Outcome::Failure(text) if text.contains("failed to connect service")));
    }

    #[test]
    fn ports_by_name() {
        let container = container(8080);
        assert_eq!(port(&container, &IntOrString::String("web".into())), Ok(8080));
        assert_eq!(port(&container, &IntOrString::String("81".into())), Ok(81));
        assert!(port(&container, &IntOrString::String("none".into())).is_err());
        assert!(port(&container, &IntOrString::Int(0)).is_err());
        assert!(port(&container, &IntOrString::Int(70_000)).is_err());
    }
}
