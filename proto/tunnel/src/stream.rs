//! One byte stream and the pump between it and its gRPC call; the same on both sides.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::wire::Chunk;
use crate::{MAX_CHUNK, STREAM_WINDOW};

/// A byte stream through a tunnel, with half-close. Dropping it ends both directions, after what was written.
#[derive(Debug)]
pub struct TunnelStream {
    io: DuplexStream,
    broken: Arc<AtomicBool>,
    _dropped: DropGuard,
}

/// The tunnel's own end of a [`TunnelStream`].
pub(crate) struct Inner {
    io: DuplexStream,
    broken: Arc<AtomicBool>,
    dropped: CancellationToken,
}

pub(crate) fn pair() -> (TunnelStream, Inner) {
    let (outer, inner) = tokio::io::duplex(STREAM_WINDOW as usize);
    let broken = Arc::new(AtomicBool::new(false));
    let dropped = CancellationToken::new();
    let stream = TunnelStream { io: outer, broken: Arc::clone(&broken), _dropped: dropped.clone().drop_guard() };
    (stream, Inner { io: inner, broken, dropped })
}

impl Inner {
    /// Carries bytes both ways until both directions have ended, one broke, or the owner dropped the stream.
    pub(crate) async fn pump<E>(
        self,
        incoming: impl Stream<Item = Result<Chunk, E>> + Send,
        outgoing: mpsc::Sender<Chunk>,
    ) {
        let Self { io, broken, dropped } = self;
        let mut verdict = Verdict { broken, ended: false };
        let sent = CancellationToken::new();
        let (mut reader, mut writer) = tokio::io::split(io);
        let send = async {
            let mut buffer = BytesMut::new();
            loop {
                buffer.reserve(MAX_CHUNK / 2);
                // An in-memory pipe has no read errors; its end is the owner's shutdown or drop.
                let read = reader.read_buf(&mut buffer).await.unwrap_or(0);
                let chunk = Chunk { data: buffer.split().freeze(), end: read == 0, ..Chunk::default() };
                outgoing.send(chunk).await.map_err(|_| ())?;
                if read == 0 {
                    sent.cancel();
                    return Ok(());
                }
            }
        };
        let mut incoming = std::pin::pin!(incoming);
        let receive = async {
            // Once the owner has gone, what still comes is thrown away, so that the other side is not stuck with it.
            let mut gone = false;
            while let Some(Ok(chunk)) = incoming.next().await {
                gone = gone || (!chunk.data.is_empty() && writer.write_all(&chunk.data).await.is_err());
                if chunk.end {
                    verdict.ended = true;
                    gone = gone || writer.shutdown().await.is_err();
                }
                if chunk.closed {
                    return;
                }
            }
        };
        let abandoned = async {
            sent.cancelled().await;
            dropped.cancelled().await;
        };
        let closing = tokio::select! {
            () = receive => false,
            Err(()) = send => false,
            () = abandoned => true,
        };
        // What the owner wrote before dropping the stream still arrives: the call goes on until the other side knows.
        if closing && outgoing.send(Chunk { closed: true, ..Chunk::default() }).await.is_ok() {
            while let Some(Ok(chunk)) = incoming.next().await
                && !chunk.closed
            {}
        }
    }
}

/// Says at the end of the pump, however it ends, whether the other side ended its direction or broke.
struct Verdict {
    broken: Arc<AtomicBool>,
    ended: bool,
}

impl Drop for Verdict {
    fn drop(&mut self) {
        if !self.ended {
            self.broken.store(true, Ordering::Release);
        }
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let ended = buf.filled().len() == before && buf.remaining() > 0;
        if ended && self.broken.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, "the tunnel's stream broke")));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
