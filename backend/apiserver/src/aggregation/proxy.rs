//! A request on its way to an extension server: with the caller's identity in the front proxy's headers, bytes as they
//! are.
//! Source: <https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/>
//!
//! Invariant: nothing a client sends may pass for the identity, and its credentials stay here.

use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use pilothouse_access::UserInfo;
use pilothouse_api::Status;

use super::link::HttpClient;
use super::services::Remote;
use crate::body::{self, Body};
use crate::door::UpgradeSlot;
use crate::server::Answer;

const USER: &str = "x-remote-user";
const UID: &str = "x-remote-uid";
const GROUP: &str = "x-remote-group";
const EXTRA: &str = "x-remote-extra-";
/// Headers that concern one hop only, or whoever sends a request directly.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const PRIVATE: [&str; 4] = ["authorization", "cookie", "x-pilothouse-csrf", "host"];
/// Bytes of an extra's key that need no escape in a header's name.
const KEY: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The headers that travel on, with who asks.
pub fn headers(from: &HeaderMap, user: &UserInfo, upgrade: bool) -> HeaderMap {
    let mut to = HeaderMap::with_capacity(from.len() + 4);
    for (name, value) in from {
        let text = name.as_str();
        let kept_hop = upgrade && (name == UPGRADE || name == CONNECTION);
        let hop = HOP_BY_HOP.contains(&text) && !kept_hop;
        let ours = text.starts_with("x-remote-") || text.starts_with("impersonate-");
        if !hop && !ours && !PRIVATE.contains(&text) {
            to.append(name.clone(), value.clone());
        }
    }
    let mut put = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            to.append(name, value);
        }
    };
    put(HeaderName::from_static(USER), &user.name);
    if !user.uid.is_empty() {
        put(HeaderName::from_static(UID), &user.uid);
    }
    for group in &user.groups {
        put(HeaderName::from_static(GROUP), group);
    }
    for (key, values) in &user.extra {
        let key = percent_encoding::utf8_percent_encode(&key.to_lowercase(), KEY).to_string();
        let Ok(name) = HeaderName::from_bytes(format!("{EXTRA}{key}").as_bytes()) else { continue };
        for value in values {
            put(name.clone(), value);
        }
    }
    to
}

/// The URI on the extension server.
fn uri(remote: &Remote, path_and_query: &str) -> Result<Uri, Status> {
    let uri = format!("https://{}:{}{path_and_query}", remote.host(), remote.port);
    uri.parse().map_err(|_| Status::bad_request("malformed path"))
}

fn unreachable(error: &hyper_util::client::legacy::Error) -> Status {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        text = next.to_string();
        cause = next.source();
    }
    Status::unavailable(format!("error trying to reach service: {text}"), 1)
}

/// Sends the request on; an upgraded answer is joined with the client by the door.
pub async fn forward(
    client: &HttpClient,
    remote: &Remote,
    user: &UserInfo,
    parts: &http::request::Parts,
    body: Body,
    upgrade: Option<UpgradeSlot>,
) -> Answer {
    let upgrades = upgrade.is_some() && parts.headers.contains_key(UPGRADE);
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = uri(remote, path)?;
    *request.headers_mut() = headers(&parts.headers, user, upgrades);
    let mut response = client.request(request).await.map_err(|error| unreachable(&error))?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(slot) = upgrade
    {
        let upgraded = hyper::upgrade::on(&mut response).await.map_err(Status::internal)?;
        slot.put(TokioIo::new(upgraded));
        let (parts, _) = response.into_parts();
        return Ok(Response::from_parts(parts, body::empty()));
    }
    let (mut parts, incoming) = response.into_parts();
    for name in HOP_BY_HOP {
        parts.headers.remove(HeaderName::from_static(name));
    }
    Ok(Response::from_parts(parts, body::boxed(incoming)))
}

/// A question of our own; gives code, media type and at most `limit` bytes of the answer.
///
/// # Errors
/// How it failed.
pub async fn ask(
    client: &HttpClient,
    remote: &Remote,
    path: &str,
    patience: Duration,
    limit: usize,
) -> Result<(StatusCode, bytes::Bytes), String> {
    let aggregator = UserInfo::new("system:kube-aggregator", &["system:masters"]);
    let exchange = async {
        let mut request = Request::new(body::empty());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = uri(remote, path).map_err(|status| status.message)?;
        *request.headers_mut() = headers(&HeaderMap::new(), &aggregator, false);
        request.headers_mut().insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        let response = client.request(request).await.map_err(|error| unreachable(&error).message)?;
        let code = response.status();
        let bytes = body::collect(body::boxed(response.into_body()), limit).await.map_err(|status| status.message)?;
        Ok((code, bytes))
    };
    match tokio::time::timeout(patience, exchange).await {
        Ok(outcome) => outcome,
        Err(_) => Err("context deadline exceeded".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_cannot_be_forged() {
        let mut from = HeaderMap::new();
        for (name, value) in [
            ("authorization", "Bearer secret"),
            ("cookie", "session"),
            ("x-remote-user", "root"),
            ("x-remote-group", "system:masters"),
            ("x-remote-extra-scopes", "all"),
            ("x-remote-uid", "0"),
            ("impersonate-user", "root"),
            ("accept", "application/json"),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
        ] {
            from.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let mut user = UserInfo::new("jane", &["staff", "system:authenticated"]);
        user.uid = "7".into();
        user.extra.insert("Example.com/Scope".into(), vec!["read".into()]);
        let to = headers(&from, &user, false);
        let all = |name: &str| to.get_all(name).iter().map(|v| v.to_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(all("x-remote-user"), ["jane"]);
        assert_eq!(all("x-remote-uid"), ["7"]);
        assert_eq!(all("x-remote-group"), ["staff", "system:authenticated"]);
        assert_eq!(all("x-remote-extra-example.com%2fscope"), ["read"]);
        assert_eq!(to.len(), 6, "{to:?}");
        let upgraded = headers(&from, &user, true);
        assert_eq!((upgraded.contains_key(UPGRADE), upgraded.contains_key(CONNECTION)), (true, true));
        assert!(!upgraded.contains_key(http::header::HOST));
    }
}
