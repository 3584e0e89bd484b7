//! A list's work is done while its body is sent: its turn lasts as long, within reason.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use super::Turn;
use crate::body::{Body, BoxError};

/// A client that reads more slowly than this no longer holds a seat.
const LONGEST: Duration = Duration::from_secs(60);

/// Keeps the turn until the body has been sent or dropped.
pub fn hold(response: Response<Body>, turn: Turn) -> Response<Body> {
    if turn.is_exempt() || response.body().is_end_stream() {
        return response;
    }
    let (done, ended) = oneshot::channel::<()>();
    tokio::spawn(async move {
        // An error is the sender's end, which is what is waited for.
        let _ = tokio::time::timeout(LONGEST, ended).await;
        drop(turn);
    });
    response.map(|inner| Held { inner, _done: done }.boxed_unsync())
}

struct Held {
    inner: Body,
    _done: oneshot::Sender<()>,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }
    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
