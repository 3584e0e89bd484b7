//! `/proxy/SCHEME/IP/PORT/…`: the last hop of the API's pod and service proxies; `/dial/IP/PORT`: the same for bytes of
//! any protocol (webhooks and extension servers speak TLS with the backend, not with us).
//!
//! Invariant: only pods of this node and of the cluster's pod networks are reached: the path is made by the API server
//! from pods and EndpointSlices, and addresses of the node itself are refused here as well.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use super::{Answer, Refusal, refuse};
use crate::tls;

const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// The part of the path after the address, query included.
fn rest(uri: &Uri) -> String {
    let path = uri.path();
    let slash = path.match_indices('/').nth(4).map_or(path.len(), |(at, _)| at);
    let rest = if slash == path.len() { "/" } else { &path[slash..] };
    uri.query().map_or_else(|| rest.to_owned(), |query| format!("{rest}?{query}"))
}

fn target(ip: &str, port: &str) -> Result<SocketAddr, Refusal> {
    let (Ok(address), Ok(port)) = (ip.parse::<IpAddr>(), port.parse::<u16>()) else {
        return refuse(StatusCode::BAD_REQUEST, format!("{ip}:{port} is not an address"));
    };
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
        return refuse(StatusCode::BAD_REQUEST, format!("address {address} is not allowed"));
    }
    Ok(SocketAddr::new(address, port))
}

async fn connect(target: SocketAddr) -> Result<TcpStream, Refusal> {
    match timeout(CONNECT_PATIENCE, TcpStream::connect(target)).await {
        Ok(Ok(stream)) => {
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) => refuse(StatusCode::BAD_GATEWAY, format!("error trying to reach service: {error}")),
        Err(_) => refuse(StatusCode::GATEWAY_TIMEOUT, format!("{target} does not answer")),
    }
}

/// Connects, switches protocols, and passes bytes both ways.
pub async fn dial(ip: &str, port: &str, mut request: Request<Incoming>) -> Result<Answer, Refusal> {
    let target = target(ip, port)?;
    if !request.headers().contains_key(header::UPGRADE) {
        return refuse(StatusCode::UPGRADE_REQUIRED, "the connection must be upgraded");
    }
    let mut stream = connect(target).await?;
    let client = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(client) = client.await {
            let _ = copy_bidirectional(&mut TokioIo::new(client), &mut stream).await;
        }
    });
    let mut answer = Response::new(Empty::new().map_err(|never: std::convert::Infallible| match never {}).boxed());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("tcp"));
    Ok(answer)
}

pub async fn answer(scheme: &str, ip: &str, port: &str, mut request: Request<Incoming>) -> Result<Answer, Refusal> {
    let address = target(ip, port)?;
    if !matches!(scheme, "http" | "https") {
        return refuse(
            StatusCode::BAD_REQUEST,
            format!("invalid scheme {scheme:?}: only http and https are proxied to"),
        );
    }
    let stream = connect(address).await?;
    let failed =
        |error: hyper::Error| Refusal(StatusCode::BAD_GATEWAY, format!("error trying to reach service: {error}"));
    let mut sender = if scheme == "https" {
        handshake(encrypt(address.ip(), stream).await?).await.map_err(failed)?
    } else {
        handshake(stream).await.map_err(failed)?
    };
    let client = hyper::upgrade::on(&mut request);
    let path = rest(request.uri());
    *request.uri_mut() = path.parse().map_err(|_| Refusal(StatusCode::BAD_REQUEST, "malformed path".into()))?;
    let host = HeaderValue::from_str(&address.to_string());
    request
        .headers_mut()
        .insert(header::HOST, host.map_err(|_| Refusal(StatusCode::BAD_REQUEST, "malformed host".into()))?);
    let mut response = sender.send_request(request).await.map_err(failed)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let server = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            if let (Ok(client), Ok(server)) = (client.await, server.await) {
                let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(server)).await;
            }
        });
    }
    Ok(response.map(|body| body.map_err(std::io::Error::other).boxed()))
}

async fn encrypt(address: IpAddr, stream: TcpStream) -> Result<TlsStream<TcpStream>, Refusal> {
    let failed = |error: String| Refusal(StatusCode::BAD_GATEWAY, format!("error trying to reach service: {error}"));
    let connect = tls::trusting().map_err(failed)?.connect(ServerName::from(address), stream);
    match timeout(CONNECT_PATIENCE, connect).await {
        Ok(connected) => connected.map_err(|error| failed(error.to_string())),
        Err(_) => refuse(StatusCode::GATEWAY_TIMEOUT, format!("{address} does not speak TLS in time")),
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> hyper::Result<SendRequest<Incoming>> {
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_of_the_path() {
        for (uri, expected) in [
            ("/proxy/http/10.0.0.1/80/a//b?c=d", "/a//b?c=d"),
            ("/proxy/http/10.0.0.1/80/", "/"),
            ("/proxy/http/10.0.0.1/80", "/"),
            ("/proxy/http/10.0.0.1/80?x", "/?x"),
        ] {
            assert_eq!(rest(&uri.parse().unwrap()), expected, "{uri}");
        }
    }
}
