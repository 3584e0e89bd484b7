//! Clients that speak WebSocket in a way the runtime does not: channels whose input can be closed, and the SPDY of a
//! port-forward inside messages. Towards the runtime both are SPDY.
//!
//! Invariant: one piece is read, then handed on: whoever is slow holds the other side back, not our memory.
//! Source: KEP 4006, Transition from SPDY to WebSockets.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig, frame::coding::CloseCode};
use tracing::debug;

use super::spdy::{Event, Reader, Writer};
use super::{Answer, Refusal, refuse};

/// Version 4's channels, and a message that closes one.
pub(super) const CHANNELS: &str = "v5.channel.k8s.io";
/// A SPDY connection as binary messages.
pub(super) const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

/// The channel of messages that close the channel in their second byte.
const CLOSE: u8 = 255;
const NAMES: [&str; 5] = ["stdin", "stdout", "stderr", "error", "resize"];
const STDIN: u8 = 0;
const ERROR: u8 = 3;
/// Largest message: clients write what they read, some tens of kilobytes at a time.
const MAX_MESSAGE: usize = 16 << 20;
const BUFFER: usize = 32 * 1024;

/// Which channels there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Channels {
    pub(super) stdin: bool,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    pub(super) tty: bool,
}

impl Channels {
    fn open(self) -> Vec<u8> {
        let is_open = [self.stdin, self.stdout, self.stderr, true, self.tty];
        (0..).zip(is_open).filter(|(_, open)| *open).map(|(channel, _)| channel).collect()
    }

    /// Where the client is told that it is heard: the first channel it reads.
    fn greeting(self) -> u8 {
        self.open().into_iter().find(|channel| *channel != STDIN).unwrap_or(ERROR)
    }
}

/// The SPDY stream of a channel: a client's streams have odd numbers.
fn stream(channel: u8) -> u32 {
    u32::from(channel) * 2 + 1
}

fn channel(stream: u32) -> Option<u8> {
    u8::try_from(stream / 2).ok().filter(|_| stream % 2 == 1)
}

/// Whether the client asks for a WebSocket and speaks this protocol on it.
pub(super) fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    let is_websocket = headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    is_websocket && offered.flat_map(|value| value.split(',')).any(|offer| offer.trim() == protocol)
}

fn accept(headers: &HeaderMap, protocol: &'static str) -> Result<Answer, Refusal> {
    let Some(key) = headers.get(SEC_WEBSOCKET_KEY) else {
        return refuse(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing");
    };
    let accepted = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|error| Refusal(StatusCode::BAD_REQUEST, error.to_string()))?;
    let body = Empty::<Bytes>::new().map_err(|never: std::convert::Infallible| match never {}).boxed();
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accepted);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    Ok(answer)
}

/// What carries the messages once the client has been answered.
pub(super) trait Runtime: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Runtime for T {}

/// Joins a client that speaks [`CHANNELS`] with the runtime's SPDY connection.
pub(super) fn channels(
    request: Request<Incoming>,
    runtime: impl Runtime,
    channels: Channels,
) -> Result<Answer, Refusal> {
    join(request, CHANNELS, async move |client| translate(client, runtime, channels).await)
}

/// Joins a client that speaks [`TUNNEL`] with the runtime's SPDY connection.
pub(super) fn tunnel(request: Request<Incoming>, runtime: impl Runtime) -> Result<Answer, Refusal> {
    join(request, TUNNEL, async move |client| carry(client, runtime).await)
}

type Client = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

fn join<F>(
    mut request: Request<Incoming>,
    protocol: &'static str,
    work: impl FnOnce(Client) -> F + Send + 'static,
) -> Result<Answer, Refusal>
where
    F: Future<Output = io::Result<()>> + Send,
{
    let answer = accept(request.headers(), protocol)?;
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let done = match upgraded.await {
            Ok(client) => work(socket(TokioIo::new(client)).await).await,
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = done {
            debug!(%error, protocol, "a stream ended");
        }
    });
    Ok(answer)
}

async fn socket<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> WebSocketStream<S> {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        // Nothing waits for company: whoever types wants to see it.
        .write_buffer_size(0)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await
}

fn end() -> Message {
    Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

fn message(channel: u8, data: &[u8]) -> Message {
    let mut message = BytesMut::with_capacity(1 + data.len());
    message.put_u8(channel);
    message.put_slice(data);
    Message::Binary(message.freeze())
}

async fn translate<S: AsyncRead + AsyncWrite + Unpin>(
    client: WebSocketStream<S>,
    runtime: impl Runtime,
    channels: Channels,
) -> io::Result<()> {
    let (reader, writer) = tokio::io::split(runtime);
    let (mut reader, mut writer) = (Reader::new(reader), Writer::new(writer));
    let open = channels.open();
    for number in &open {
        writer.open(stream(*number), "streamtype", NAMES[usize::from(*number)]).await?;
    }
    for _ in &open {
        if reader.next().await? != Some(Event::Accepted) {
            return Err(io::Error::other("the runtime did not accept the streams"));
        }
    }
    let (mut to_client, mut from_client) = client.split();
    to_client.send(message(channels.greeting(), &[])).await.map_err(io::Error::other)?;
    let input = async {
        while let Some(message) = from_client.next().await {
            let data = match message.map_err(io::Error::other)? {
                Message::Binary(data) => data,
                // Some clients (Python's) send what is a string to them as text.
                Message::Text(text) => text.into(),
                Message::Close(_) => break,
                _ => continue,
            };
            match data.split_first() {
                Some((&CLOSE, [number, ..])) if *number == STDIN && channels.stdin => {
                    writer.finish(stream(STDIN)).await?;
                }
                Some((number, data)) if open.contains(number) => writer.data(stream(*number), data).await?,
                _ => {}
            }
        }
        Ok(())
    };
    let output = async {
        while let Some(event) = reader.next().await? {
            let Event::Data(stream, data) = event else { continue };
            if let Some(number) = channel(stream) {
                to_client.send(message(number, &data)).await.map_err(io::Error::other)?;
            }
        }
        to_client.send(end()).await.map_err(io::Error::other)
    };
    tokio::select! {
        done = input => done,
        done = output => done,
    }
}

async fn carry<S: AsyncRead + AsyncWrite + Unpin>(client: WebSocketStream<S>, runtime: impl Runtime) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(runtime);
    let (mut to_client, mut from_client) = client.split();
    let input = async {
        while let Some(message) = from_client.next().await {
            match message.map_err(io::Error::other)? {
                Message::Binary(data) => writer.write_all(&data).await?,
                Message::Text(text) => writer.write_all(text.as_bytes()).await?,
                Message::Close(_) => break,
                _ => {}
            }
        }
        Ok(())
    };
    let output = async {
        let mut buffer = BytesMut::with_capacity(BUFFER);
        while reader.read_buf(&mut buffer).await? > 0 {
            to_client.send(Message::Binary(buffer.split().freeze())).await.map_err(io::Error::other)?;
            buffer.reserve(BUFFER);
        }
        to_client.send(end()).await.map_err(io::Error::other)
    };
    tokio::select! {
        done = input => done,
        done = output => done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_found_among_those_offered() {
        let headers = |upgrade: &'static str, offered: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(UPGRADE, HeaderValue::from_static(upgrade));
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(offered));
            headers
        };
        assert!(offers(&headers("WebSocket", "v4.channel.k8s.io, v5.channel.k8s.io"), CHANNELS));
        assert!(!offers(&headers("websocket", "v4.channel.k8s.io"), CHANNELS));
        assert!(!offers(&headers("SPDY/3.1", "v5.channel.k8s.io"), CHANNELS));
    }

    fn names(channels: Channels) -> Vec<&'static str> {
        channels.open().into_iter().map(|channel| NAMES[usize::from(channel)]).collect()
    }

    #[test]
    fn channels_are_those_asked_for() {
        let all = Channels { stdin: true, stdout: true, stderr: false, tty: true };
        assert_eq!(names(all), ["stdin", "stdout", "error", "resize"]);
        assert_eq!(all.greeting(), 1);
        let input = Channels { stdin: true, stdout: false, stderr: false, tty: false };
        assert_eq!((names(input), input.greeting()), (vec!["stdin", "error"], ERROR));
        assert_eq!(
            (0..5).map(|number| channel(stream(number))).collect::<Vec<_>>(),
            (0..5).map(Some).collect::<Vec<_>>()
        );
        assert_eq!(channel(2), None);
    }

    #[tokio::test]
    async fn a_tunnel_carries_bytes_both_ways() {
        let (ours, theirs) = tokio::io::duplex(1024);
        let (runtime, mut far) = tokio::io::duplex(1024);
        let carrying = tokio::spawn(async move { carry(socket(ours).await, runtime).await });
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        client.send(Message::Binary(Bytes::from_static(b"there"))).await.unwrap();
        client.send(Message::Text(" and back".into())).await.unwrap();
        let mut there = [0; 14];
        far.read_exact(&mut there).await.unwrap();
        assert_eq!(&there, b"there and back");
        far.write_all(b"back").await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), Message::Binary(Bytes::from_static(b"back")));
        drop(far);
        assert_eq!(client.next().await.unwrap().unwrap(), end());
        carrying.await.unwrap().unwrap();
    }
}
