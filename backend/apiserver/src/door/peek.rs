//! A connection some of whose bytes were looked at already, and what those bytes say.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Longest head that is searched; real ones of streams are below 4 KiB.
const MAX_HEAD: usize = 16 * 1024;
/// How long the first bytes of a connection may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Only these paths lead to streams that may be SPDY.
const STREAMS: [&str; 4] = ["/exec", "/attach", "/portforward", "/proxy"];

/// `I` with the bytes that were read ahead in front.
pub struct Peeked<I> {
    pub io: I,
    ahead: Bytes,
}

impl<I: AsyncRead + Unpin> Peeked<I> {
    pub fn new(io: I) -> Self {
        Self { io, ahead: Bytes::new() }
    }

    /// Reads ahead until it is known whether the first request asks for a SPDY stream.
    ///
    /// # Errors
    /// When the connection breaks or says nothing in time.
    pub async fn is_spdy(&mut self) -> io::Result<bool> {
        let mut head = BytesMut::with_capacity(4096);
        let look = async {
            loop {
                if self.io.read_buf(&mut head).await? == 0 {
                    return Ok(false);
                }
                match asks_for_spdy(&head) {
                    Some(answer) => return Ok(answer),
                    None if head.len() >= MAX_HEAD => return Ok(false),
                    None => {}
                }
            }
        };
        let answer = tokio::time::timeout(PATIENCE, look).await.map_err(|_| io::ErrorKind::TimedOut)?;
        self.ahead = head.freeze();
        answer
    }
}

/// None when more bytes are needed to know.
fn asks_for_spdy(head: &[u8]) -> Option<bool> {
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = lines.next()?;
    if first.len() == head.len() {
        return None;
    }
    let path = first.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let path = String::from_utf8_lossy(path.split(|byte| *byte == b'?').next().unwrap_or_default());
    if !STREAMS.iter().any(|stream| path.contains(stream)) {
        return Some(false);
    }
    for line in lines {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            // The head's end, or the end of what has come so far.
            return head.windows(4).any(|end| end == b"\r\n\r\n").then_some(false);
        }
        if let Some(colon) = line.iter().position(|byte| *byte == b':')
            && line[..colon].eq_ignore_ascii_case(b"upgrade")
            && head.ends_with(b"\n")
        {
            return Some(line[colon + 1..].trim_ascii().to_ascii_lowercase().starts_with(b"spdy/"));
        }
    }
    None
}

impl<I: AsyncRead + Unpin> AsyncRead for Peeked<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let count = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..count]);
        self.ahead.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Peeked<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let exec = "POST /api/v1/namespaces/a/pods/b/exec?command=sh HTTP/1.1\r\n";
        for (head, answer) in [
            ("GET /api".to_owned(), None),
            ("GET /api/v1/pods HTTP/1.1\r\n".to_owned(), Some(false)),
            (exec.to_owned(), None),
            (format!("{exec}Host: x\r\n"), None),
            (format!("{exec}Host: x\r\nUpgrade: SPD"), None),
            (format!("{exec}Host: x\r\nUpgrade: SPDY/3.1\r\n"), Some(true)),
            (format!("{exec}upgrade: spdy/3.1\r\n\r\n"), Some(true)),
            (format!("{exec}Upgrade: websocket\r\n"), Some(false)),
            (format!("{exec}Host: x\r\n\r\n"), Some(false)),
        ] {
            assert_eq!(asks_for_spdy(head.as_bytes()), answer, "{head:?}");
        }
    }

    #[tokio::test]
    async fn what_was_looked_at_is_read_again() {
        let text = b"POST /a/exec HTTP/1.1\r\nUpgrade: SPDY/3.1\r\n\r\nrest";
        let mut io = Peeked::new(&text[..]);
        assert!(io.is_spdy().await.unwrap());
        let mut all = Vec::new();
        io.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, text);
    }
}
