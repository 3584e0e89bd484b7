//! Between actix's requests and ours: headers are converted, bodies are passed on as they come.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::body::{BodySize, MessageBody};
use actix_http::{HttpMessage, Payload, Request as ActixRequest, Response as ActixResponse};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body::Body as _;
use pilothouse_api::Status;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::relay::{Relayed, relayed};
use crate::body::{self, Body, BoxError};
use crate::error;
use crate::server::{ApiServer, Peer};

/// How long a body may pause.
const BODY_PATIENCE: Duration = Duration::from_secs(30);
/// Chunks of a body under way from actix's thread.
const CHUNKS: usize = 4;
/// How much of a body that nobody wants is taken, and for how long.
const DRAINED: usize = 16 * 1024 * 1024;
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);
/// Bodies up to this length are read before the request is handed on: most are, and have arrived with their head, so
/// that a task and a channel for each would be in vain.
const SMALL: u64 = 64 * 1024;

async fn convert(request: &mut ActixRequest) -> Result<Request<Body>, Status> {
    let bad = |error: &dyn std::fmt::Display| Status::bad_request(format!("malformed request: {error}"));
    let mut parts = http::request::Builder::new()
        .method(Method::from_bytes(request.method().as_str().as_bytes()).map_err(|e| bad(&e))?)
        .uri(request.uri().to_string().parse::<Uri>().map_err(|e| bad(&e))?);
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    if let Some(headers) = parts.headers_mut() {
        for (name, value) in request.headers() {
            let name = HeaderName::from_bytes(name.as_str().as_bytes()).map_err(|e| bad(&e))?;
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).map_err(|e| bad(&e))?);
        }
        if let (Some(authority), false) = (authority, headers.contains_key(http::header::HOST)) {
            headers.insert(http::header::HOST, authority.parse().map_err(|e| bad(&e))?);
        }
    }
    if let Some(peer) = request.conn_data::<Peer>() {
        parts = parts.extension(peer.clone());
    }
    let length = request.headers().get(actix_http::header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let payload = request.take_payload();
    let body = match length {
        Some(length @ 1..=SMALL) if !matches!(payload, Payload::None) => small(payload, length as usize).await?,
        _ => incoming(payload),
    };
    parts.body(body).map_err(|e| bad(&e))
}

/// The whole of a body that says it is small; the length bounds what is read.
async fn small(mut payload: Payload, length: usize) -> Result<Body, Status> {
    let broken = |why: &dyn std::fmt::Display| Status::bad_request(format!("the request's body broke off: {why}"));
    let (mut first, mut all) = (Bytes::new(), BytesMut::new());
    // To its end: actix keeps the connection only when all of the body was taken.
    loop {
        let chunk = match timeout(BODY_PATIENCE, payload.next()).await {
            Err(_) => return Err(broken(&"it did not arrive in time")),
            Ok(Some(Err(error))) => return Err(broken(&error)),
            Ok(Some(Ok(chunk))) => chunk,
            Ok(None) => return Ok(body::full(if all.is_empty() { first } else { all.freeze() })),
        };
        if first.len().max(all.len()) + chunk.len() > length {
            return Err(broken(&"it is too long"));
        }
        // One that came in one piece need not be copied.
        if first.is_empty() && all.is_empty() {
            first = chunk;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&chunk);
    }
}

/// actix's payload belongs to its thread; a task there feeds it through a channel.
fn incoming(mut payload: Payload) -> Body {
    if matches!(payload, Payload::None) {
        return body::empty();
    }
    let (send, receive) = mpsc::channel::<Result<Bytes, BoxError>>(CHUNKS);
    actix_web::rt::spawn(async move {
        loop {
            let chunk = match timeout(BODY_PATIENCE, payload.next()).await {
                Ok(None) => return,
                Ok(Some(chunk)) => chunk.map_err(|error| BoxError::from(error.to_string())),
                Err(_) => Err("the body did not arrive in time".into()),
            };
            let ended = chunk.is_err();
            if send.send(chunk).await.is_err() {
                // A request that was answered before all of it was read, for example because it is too large.
                return drain(payload).await;
            }
            if ended {
                return;
            }
        }
    });
    body::stream(tokio_stream::wrappers::ReceiverStream::new(receive))
}

/// Takes what a client still sends, within limits: a stream that is dropped before its answer is out would be reset, and
/// the client would see that instead of the answer.
async fn drain(mut payload: Payload) {
    let mut left = DRAINED;
    let all = async {
        while let Some(Ok(chunk)) = payload.next().await {
            left = left.saturating_sub(chunk.len());
            if left == 0 {
                return;
            }
        }
    };
    // Out of time or not: there is nobody left to tell.
    let _ = timeout(DRAIN_PATIENCE, all).await;
}

fn outgoing(response: Response<Body>) -> ActixResponse<Answer> {
    let (parts, body) = response.into_parts();
    let status = actix_http::StatusCode::from_u16(parts.status.as_u16())
        .unwrap_or(actix_http::StatusCode::INTERNAL_SERVER_ERROR);
    let mut out = ActixResponse::with_body(status, Answer { body, relayed: Relayed::default() });
    for (name, value) in &parts.headers {
        // actix writes the connection's own headers.
        if matches!(*name, http::header::CONNECTION | http::header::CONTENT_LENGTH | http::header::TRANSFER_ENCODING) {
            continue;
        }
        let name = actix_http::header::HeaderName::from_bytes(name.as_str().as_bytes());
        let value = actix_http::header::HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            out.headers_mut().append(name, value);
        }
    }
    out
}

/// A body of ours as actix wants it; the bytes stay where they are.
pub struct Answer {
    body: Body,
    relayed: Relayed,
}

impl MessageBody for Answer {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size_hint().exact().map_or(BodySize::Stream, BodySize::Sized)
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let Self { body, relayed } = &mut *self;
        relayed.poll(cx, |cx| {
            loop {
                match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                    None => return Poll::Ready(None),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error as Self::Error))),
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data()
                            && !data.is_empty()
                        {
                            return Poll::Ready(Some(Ok(data)));
                        }
                    }
                }
            }
        })
    }
}

pub async fn handle(api: ApiServer, mut request: ActixRequest) -> Result<ActixResponse<Answer>, Infallible> {
    // Boxed: actix keeps the room of this future for as long as the answer lasts, and a watch's lasts for long.
    let response = relayed(Box::pin(async move {
        match convert(&mut request).await {
            Ok(request) => api.handle(request).await,
            Err(status) => error::response(&status),
        }
    }));
    Ok(outgoing(response.await))
}
