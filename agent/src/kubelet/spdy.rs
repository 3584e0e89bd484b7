//! The client's side of SPDY/3.1 as far as a runtime's streaming server speaks it for exec and attach.
//!
//! Invariants: streams are opened by us alone, in ascending order, and nothing is sent before all were accepted; what is
//! read is handed on in pieces, so that no frame needs memory of its own size.
//! Source: <https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/>

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, FlushCompress};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

/// Largest piece of data that is read at once.
const PIECE: usize = 32 * 1024;
/// Largest control frame: there is nothing in them but a few headers.
const MAX_CONTROL: usize = 64 * 1024;
/// Room for what deflating adds to a few headers.
const DEFLATE_ROOM: usize = 64;

const CONTROL: u8 = 0x80;
const VERSION: u8 = 3;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const FIN: u8 = 1;

pub(super) struct Writer<W> {
    inner: W,
    /// One for all headers of a connection. SPDY's dictionary is not needed: a stream says whether it uses one.
    headers: Compress,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, headers: Compress::new(Compression::default(), true) }
    }

    /// Opens a stream with one header, whose name is in lower case.
    pub(super) async fn open(&mut self, stream: u32, name: &str, value: &str) -> io::Result<()> {
        let mut plain = BytesMut::new();
        plain.put_u32(1);
        for text in [name, value] {
            plain.put_u32(u32::try_from(text.len()).map_err(io::Error::other)?);
            plain.put_slice(text.as_bytes());
        }
        let mut packed = Vec::with_capacity(plain.len() + DEFLATE_ROOM);
        self.headers.compress_vec(&plain, &mut packed, FlushCompress::Sync).map_err(io::Error::other)?;
        let mut frame = BytesMut::new();
        frame.put_slice(&[CONTROL, VERSION]);
        frame.put_u16(SYN_STREAM);
        // Flags share the word with the length; none are set.
        frame.put_u32(u32::try_from(packed.len() + 10).map_err(io::Error::other)?);
        frame.put_u32(stream);
        // No stream it belongs to, no priority.
        frame.put_slice(&[0; 6]);
        frame.put_slice(&packed);
        self.inner.write_all(&frame).await?;
        self.inner.flush().await
    }

    pub(super) async fn data(&mut self, stream: u32, data: &[u8]) -> io::Result<()> {
        for piece in data.chunks(PIECE) {
            self.frame(stream, 0, piece).await?;
        }
        self.inner.flush().await
    }

    /// Says that nothing more comes on a stream.
    pub(super) async fn finish(&mut self, stream: u32) -> io::Result<()> {
        self.frame(stream, FIN, &[]).await?;
        self.inner.flush().await
    }

    async fn frame(&mut self, stream: u32, flags: u8, data: &[u8]) -> io::Result<()> {
        let mut frame = BytesMut::with_capacity(8 + data.len());
        frame.put_u32(stream);
        frame.put_u32((u32::from(flags) << 24) | u32::try_from(data.len()).map_err(io::Error::other)?);
        frame.put_slice(data);
        self.inner.write_all(&frame).await
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The other side has accepted a stream.
    Accepted,
    /// A piece of what came on a stream.
    Data(u32, Bytes),
}

pub(super) struct Reader<R> {
    inner: BufReader<R>,
    /// The stream whose frame is being read, and how much of it is left.
    open: (u32, usize),
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner: BufReader::new(inner), open: (0, 0) }
    }

    /// What comes next; `None` when the other side has hung up. Frames that say nothing to us are passed over.
    pub(super) async fn next(&mut self) -> io::Result<Option<Event>> {
        loop {
            let (stream, left) = self.open;
            if left > 0 {
                let mut piece = vec![0; left.min(PIECE)];
                self.inner.read_exact(&mut piece).await?;
                self.open.1 -= piece.len();
                return Ok(Some(Event::Data(stream, piece.into())));
            }
            let mut head = [0; 8];
            match self.inner.read_exact(&mut head).await {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error),
            }
            let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
            if head[0] & CONTROL == 0 {
                self.open = (u32::from_be_bytes([head[0], head[1], head[2], head[3]]), length);
                continue;
            }
            if length > MAX_CONTROL {
                return Err(io::Error::other(format!("a control frame of {length} bytes")));
            }
            let mut skipped = (&mut self.inner).take(length as u64);
            tokio::io::copy(&mut skipped, &mut tokio::io::sink()).await?;
            if u16::from_be_bytes([head[2], head[3]]) == SYN_REPLY {
                return Ok(Some(Event::Accepted));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};

    use super::*;

    #[tokio::test]
    async fn frames_are_the_protocols() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let mut writer = Writer::new(ours);
        writer.open(1, "streamtype", "stdin").await.unwrap();
        writer.open(3, "streamtype", "stdout").await.unwrap();
        writer.data(1, b"ab").await.unwrap();
        writer.finish(1).await.unwrap();
        let mut inflate = Decompress::new(true);
        for (id, name) in [(1, "stdin"), (3, "stdout")] {
            let mut head = [0; 18];
            theirs.read_exact(&mut head).await.unwrap();
            assert_eq!(head[..5], [0x80, 3, 0, 1, 0]);
            assert_eq!(head[8..], [0, 0, 0, id, 0, 0, 0, 0, 0, 0]);
            let mut packed = vec![0; usize::from(head[7]) - 10];
            theirs.read_exact(&mut packed).await.unwrap();
            let mut plain = Vec::with_capacity(1024);
            inflate.decompress_vec(&packed, &mut plain, FlushDecompress::Sync).unwrap();
            let length = u8::try_from(name.len()).unwrap();
            let wanted = [&[0, 0, 0, 1, 0, 0, 0, 10], b"streamtype".as_slice(), &[0, 0, 0, length], name.as_bytes()];
            assert_eq!(plain, wanted.concat());
        }
        let mut rest = [0; 18];
        theirs.read_exact(&mut rest).await.unwrap();
        assert_eq!(rest, [0, 0, 0, 1, 0, 0, 0, 2, b'a', b'b', 0, 0, 0, 1, 1, 0, 0, 0]);
    }

    #[tokio::test]
    async fn what_comes_is_read_in_pieces() {
        let mut sent = vec![0x80, 3, 0, 2, 0, 0, 0, 4, 0, 0, 0, 1];
        // A ping says nothing to us.
        sent.extend([0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 2]);
        sent.extend([0, 0, 0, 3, 0, 0, 0x80, 1]);
        sent.extend(vec![7; PIECE + 1]);
        sent.extend([0, 0, 0, 3, 1, 0, 0, 0]);
        let mut reader = Reader::new(sent.as_slice());
        assert_eq!(reader.next().await.unwrap(), Some(Event::Accepted));
        assert_eq!(reader.next().await.unwrap(), Some(Event::Data(3, vec![7; PIECE].into())));
        assert_eq!(reader.next().await.unwrap(), Some(Event::Data(3, vec![7].into())));
        assert_eq!(reader.next().await.unwrap(), None);
        let mut cut = Reader::new([0, 0, 0, 3, 0, 0, 0, 2, b'a'].as_slice());
        assert!(cut.next().await.is_err(), "the end within a frame");
        let mut huge = Reader::new([0x80, 3, 0, 7, 0, 0xff, 0xff, 0xff].as_slice());
        assert!(huge.next().await.is_err(), "a control frame without measure");
    }
}
