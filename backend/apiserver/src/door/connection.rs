//! A client's connection, after TLS: who is at the other end, and what its first request asks for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::server::Peer;

/// A head longer than this is not looked through for an upgrade.
const MAX_PEEK: usize = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Http1,
    Http2,
    /// The first request asks to be upgraded.
    Upgrade,
}

/// The TLS stream, with the bytes that were read ahead put back in front.
pub struct Connection {
    tls: TlsStream<TcpStream>,
    ahead: Vec<u8>,
    read: usize,
    peer: Peer,
    kind: Kind,
}

impl Connection {
    pub async fn new(mut tls: TlsStream<TcpStream>, peer: Peer, h2: bool) -> io::Result<Self> {
        let mut ahead = Vec::new();
        let mut kind = Kind::Http2;
        if !h2 {
            kind = Kind::Http1;
            let mut buffer = [0; 4096];
            while !ended(&ahead) && ahead.len() < MAX_PEEK {
                let count = tls.read(&mut buffer).await?;
                if count == 0 {
                    break;
                }
                ahead.extend_from_slice(&buffer[..count]);
            }
            if asks_upgrade(&ahead) {
                kind = Kind::Upgrade;
            }
        }
        Ok(Self { tls, ahead, read: 0, peer, kind })
    }
    pub fn peer(&self) -> &Peer {
        &self.peer
    }
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

fn ended(head: &[u8]) -> bool {
    head.windows(4).any(|window| window == b"\r\n\r\n")
}

/// Whether the head has an `Upgrade` header.
fn asks_upgrade(head: &[u8]) -> bool {
    let end = head.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(head.len());
    head[..end].split(|byte| *byte == b'\n').skip(1).any(|line| {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(0);
        line[..colon].eq_ignore_ascii_case(b"upgrade")
    })
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.read < this.ahead.len() {
            let count = (this.ahead.len() - this.read).min(buffer.remaining());
            buffer.put_slice(&this.ahead[this.read..this.read + count]);
            this.read += count;
            if this.read == this.ahead.len() {
                (this.ahead, this.read) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.tls).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, bytes)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(cx, bytes)
    }
    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrades_are_recognized_by_their_head() {
        for (head, upgrade) in [
            (&b"POST /exec HTTP/1.1\r\nHost: a\r\nUpgrade: SPDY/3.1\r\n\r\n"[..], true),
            (b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", true),
            (b"GET /upgrade: HTTP/1.1\r\nHost: a\r\n\r\n", false),
            (b"POST / HTTP/1.1\r\nHost: a\r\n\r\nUpgrade: x", false),
            (b"", false),
        ] {
            assert_eq!(asks_upgrade(head), upgrade, "{}", String::from_utf8_lossy(head));
        }
    }
}
