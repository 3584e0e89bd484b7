//! A connection that becomes a SPDY stream: hyper serves its one request and hands the raw connection over.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::UpgradeSlot;
use crate::body::{self, Body, BoxError};
use crate::server::{ApiServer, Peer};

const HEAD_PATIENCE: Duration = Duration::from_secs(30);
const MAX_HEAD: usize = 64 * 1024;
/// What is read of the client at once.
const CHUNK: usize = 32 * 1024;
/// Chunks on their way to the handler.
const CHANNEL: usize = 4;

pub async fn serve<I>(api: ApiServer, io: I, peer: Peer, shutdown: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (api, peer) = (api.clone(), peer.clone());
        async move { Ok::<_, Infallible>(answer(api, request, peer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(MAX_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    tokio::select! {
        outcome = connection => {
            if let Err(error) = outcome {
                debug!(%error, "a stream's connection ended");
            }
        }
        () = shutdown.cancelled() => {}
    }
}

async fn answer(api: ApiServer, mut request: Request<Incoming>, peer: Peer) -> Response<Body> {
    let upgraded = hyper::upgrade::on(&mut request);
    let (to_handler, from_client) = mpsc::channel::<Result<_, BoxError>>(CHANNEL);
    // The body proper of such a request is empty; what follows the 101 takes its place.
    let (parts, _) = request.into_parts();
    let mut request = Request::from_parts(parts, body::stream(ReceiverStream::new(from_client)));
    request.extensions_mut().insert(peer);
    request.extensions_mut().insert(UpgradeSlot);
    let response = api.handle(request).await;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    let (mut parts, to_client) = response.into_parts();
    parts.headers.insert(http::header::CONNECTION, http::HeaderValue::from_static("Upgrade"));
    tokio::spawn(async move {
        match upgraded.await {
            Ok(io) => carry(TokioIo::new(io), to_client, to_handler).await,
            Err(error) => debug!(%error, "the client did not take the stream"),
        }
    });
    Response::from_parts(parts, body::empty())
}

/// Carries bytes both ways until the handler's side has ended, or the client is gone.
async fn carry<I>(io: I, mut to_client: Body, to_handler: mpsc::Sender<Result<bytes::Bytes, BoxError>>)
where
    I: AsyncRead + AsyncWrite,
{
    let (mut reader, mut writer) = tokio::io::split(io);
    let inward = async {
        let mut buffer = bytes::BytesMut::new();
        loop {
            buffer.reserve(CHUNK);
            match reader.read_buf(&mut buffer).await {
                Ok(0) => return,
                Ok(_) if to_handler.send(Ok(buffer.split().freeze())).await.is_err() => return,
                Ok(_) => {}
                Err(error) => {
                    let _ = to_handler.send(Err(error.into())).await;
                    return;
                }
            }
        }
    };
    let outward = async {
        while let Some(Ok(frame)) = to_client.frame().await {
            let Ok(mut data) = frame.into_data() else { continue };
            if writer.write_all_buf(&mut data).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
        let _ = writer.shutdown().await;
    };
    // The client's end of sending does not end what it gets; dropping the sender tells the handler.
    let inward = async {
        inward.await;
        drop(to_handler);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = outward => {}
        () = inward => {}
    }
}
