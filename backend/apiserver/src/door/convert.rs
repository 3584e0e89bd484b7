//! Requests and answers between actix (`http` 0.2, bound to its thread) and the service (`http` 1).

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::body::{BodySize, MessageBody};
use actix_http::{ConnectionType, Payload};
use actix_web::http::header::{HeaderName as OldName, HeaderValue as OldValue};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::{Bytes, BytesMut};
use futures::{FutureExt, StreamExt};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body::Body as _;
use pilothouse_api::Status;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::UpgradeSlot;
use crate::body::{self, Body, BoxError};
use crate::error;
use crate::server::{ApiServer, Peer};

/// A body that says it is at most so long is read at once; longer ones flow through a channel.
const INLINE: u64 = 256 * 1024;
/// How long a body that is read at once may take.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// How long a body that flows may pause. Upgraded connections may pause for ever.
const PAUSE_PATIENCE: Duration = Duration::from_secs(60);
/// Chunks on their way from the socket's thread to the handler.
const CHANNEL: usize = 4;

pub async fn handle(api: ApiServer, request: HttpRequest, payload: web::Payload) -> HttpResponse<Answer> {
    let upgrades = request.head().upgrade();
    let response = match incoming(&request, payload.into_inner(), upgrades).await {
        Ok(request) => api.handle(request).await,
        Err(status) => error::response(&status),
    };
    outgoing(response, upgrades)
}

async fn incoming(old: &HttpRequest, payload: Payload, upgrades: bool) -> Result<Request<Body>, Status> {
    let bad = |what: &str| Status::bad_request(format!("the request has no valid {what}"));
    let method = Method::from_bytes(old.method().as_str().as_bytes()).map_err(|_| bad("method"))?;
    let uri: Uri = old.uri().to_string().parse().map_err(|_| bad("URI"))?;
    let mut headers = http::HeaderMap::with_capacity(old.headers().len() + 1);
    for (name, value) in old.headers() {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).map_err(|_| bad("header name"))?;
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| bad("header"))?);
    }
    if !headers.contains_key(header::HOST)
        && let Some(host) = uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
    {
        // HTTP/2 says it in `:authority`.
        headers.insert(header::HOST, host);
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = take(payload, length, upgrades).await?;
    let mut request = Request::new(body);
    (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, uri, headers);
    if let Some(peer) = old.conn_data::<Peer>() {
        request.extensions_mut().insert(peer.clone());
    }
    if upgrades {
        request.extensions_mut().insert(UpgradeSlot);
    }
    Ok(request)
}

async fn take(mut payload: Payload, length: Option<u64>, upgrades: bool) -> Result<Body, Status> {
    if matches!(payload, Payload::None) {
        return Ok(body::empty());
    }
    if upgrades {
        return Ok(flowing(payload, None, None));
    }
    match length {
        Some(0) => Ok(body::empty()),
        Some(length) if length <= INLINE => {
            let read = timeout(BODY_PATIENCE, whole(&mut payload, length)).await;
            let late = |_| Status::failure(408, "Timeout", "the request's body did not come in time");
            Ok(body::full(read.map_err(late)??))
        }
        Some(_) => Ok(flowing(payload, None, Some(PAUSE_PATIENCE))),
        // HTTP/2 without a length: mostly no body at all, which is known at once.
        None => match payload.next().now_or_never() {
            Some(None) => Ok(body::empty()),
            Some(Some(first)) => Ok(flowing(payload, Some(first.map_err(Into::into)), Some(PAUSE_PATIENCE))),
            None => Ok(flowing(payload, None, Some(PAUSE_PATIENCE))),
        },
    }
}

async fn whole(payload: &mut Payload, length: u64) -> Result<Bytes, Status> {
    let broken = |error| Status::bad_request(format!("the request's body broke off: {error}"));
    let first = match payload.next().await {
        None => return Ok(Bytes::new()),
        Some(chunk) => chunk.map_err(broken)?,
    };
    if first.len() as u64 >= length {
        return Ok(first);
    }
    let mut all = BytesMut::from(first.as_ref());
    while let Some(chunk) = payload.next().await {
        all.extend_from_slice(&chunk.map_err(broken)?);
    }
    Ok(all.freeze())
}

/// A body that can leave the socket's thread.
fn flowing(mut payload: Payload, first: Option<Result<Bytes, BoxError>>, pause: Option<Duration>) -> Body {
    let (sender, receiver) = mpsc::channel(CHANNEL);
    actix_web::rt::spawn(async move {
        if let Some(first) = first
            && sender.send(first).await.is_err()
        {
            return;
        }
        loop {
            let next = async {
                match pause {
                    Some(pause) => timeout(pause, payload.next()).await,
                    None => Ok(payload.next().await),
                }
            };
            let next = tokio::select! {
                next = next => next,
                () = sender.closed() => return,
            };
            let item = match next {
                Ok(None) => return,
                Ok(Some(chunk)) => chunk.map_err(BoxError::from),
                Err(_) => Err("the body paused for too long".into()),
            };
            let ends = item.is_err();
            if sender.send(item).await.is_err() || ends {
                return;
            }
        }
    });
    body::stream(ReceiverStream::new(receiver))
}

fn outgoing(response: http::Response<Body>, upgrades: bool) -> HttpResponse<Answer> {
    let (parts, body) = response.into_parts();
    let status = actix_web::http::StatusCode::from_u16(parts.status.as_u16())
        .unwrap_or(actix_web::http::StatusCode::INTERNAL_SERVER_ERROR);
    let mut old = HttpResponse::with_body(status, Answer(body));
    for (name, value) in &parts.headers {
        // actix writes the connection's own headers.
        if matches!(*name, header::CONNECTION | header::CONTENT_LENGTH | header::TRANSFER_ENCODING) {
            continue;
        }
        let name = OldName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, OldValue::from_bytes(value.as_bytes())) {
            old.headers_mut().append(name, value);
        }
    }
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        old.head_mut().set_connection_type(ConnectionType::Upgrade);
    } else if upgrades {
        // The client's stream was not wanted: nothing that follows on this connection can be told from it.
        old.head_mut().set_connection_type(ConnectionType::Close);
    }
    old
}

/// A body of ours as actix wants it.
pub struct Answer(Body);

impl MessageBody for Answer {
    type Error = BoxError;

    fn size(&self) -> BodySize {
        self.0.size_hint().exact().map_or(BodySize::Stream, BodySize::Sized)
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        loop {
            match ready!(Pin::new(&mut self.0).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }
}
