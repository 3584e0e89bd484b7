//! A log over WebSocket: what a browser, or a client without HTTP streaming, reads message by message.
//!
//! Invariant: what the client sends is thrown away; only its close, or its going, ends the stream early.
//! Source: RFC 6455; the protocols `binary.k8s.io` and `base64.binary.k8s.io` are Kubernetes' own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use pilothouse_api::Status;
use sha1::{Digest, Sha1};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};

use crate::body::{self, Body};
use crate::door::UpgradeSlot;

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const BINARY: &str = "binary.k8s.io";
const BASE64: &str = "base64.binary.k8s.io";
const BUFFER: usize = 64 * 1024;

/// Operation codes with the bit that says a frame is a whole message.
const TEXT: u8 = 0x81;
const DATA: u8 = 0x82;
const CLOSE: u8 = 0x88;

pub fn is_wanted(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

fn accept(key: &[u8]) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// The protocol to speak of those offered; none was offered: binary without a name.
fn protocol(headers: &HeaderMap) -> Result<Option<&'static str>, Status> {
    let offered: Vec<&str> = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
        .collect();
    if offered.is_empty() {
        return Ok(None);
    }
    let known = [BINARY, BASE64].into_iter().find(|known| offered.contains(known));
    known.map(Some).ok_or_else(|| Status::bad_request(format!("none of the protocols {offered:?} is spoken here")))
}

/// Answers with a connection that carries `source`, one message for each part of it that comes.
pub fn answer(headers: &HeaderMap, source: Body, slot: &UpgradeSlot) -> Result<Response<Body>, Status> {
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| Status::bad_request("Sec-WebSocket-Key is missing"))?;
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Status::bad_request("only version 13 of the WebSocket protocol is spoken here"));
    }
    let protocol = protocol(headers)?;
    let accept = HeaderValue::from_str(&accept(key.as_bytes())).map_err(Status::internal)?;
    let (ours, theirs) = tokio::io::duplex(BUFFER);
    slot.put(theirs);
    tokio::spawn(carry(source, ours, protocol == Some(BASE64)));
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answered = response.headers_mut();
    answered.insert(UPGRADE, HeaderValue::from_static("websocket"));
    answered.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answered.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(protocol) = protocol {
        answered.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    Ok(response)
}

async fn carry(source: Body, stream: DuplexStream, base64: bool) {
    let (reader, writer) = tokio::io::split(stream);
    tokio::select! {
        () = until_closed(reader) => {}
        // The client has gone: nobody is left to be told.
        _ = send(source, writer, base64) => {}
    }
}

async fn send(mut source: Body, mut writer: impl AsyncWrite + Unpin, base64: bool) -> std::io::Result<()> {
    // Upstream begins with an empty message, so that the client knows that it is heard.
    writer.write_all(&frame(&[], base64)).await?;
    while let Some(Ok(part)) = source.frame().await {
        let Ok(data) = part.into_data() else { continue };
        if !data.is_empty() {
            writer.write_all(&frame(&data, base64)).await?;
        }
    }
    writer.write_all(&[CLOSE, 2, 0x03, 0xe8]).await?;
    writer.shutdown().await
}

/// A message in one frame, as a server sends it.
fn frame(data: &[u8], base64: bool) -> Bytes {
    let encoded = if base64 { STANDARD.encode(data).into_bytes() } else { data.to_vec() };
    let mut out = vec![if base64 { TEXT } else { DATA }];
    match (u8::try_from(encoded.len()), u16::try_from(encoded.len())) {
        (Ok(short @ 0..126), _) => out.push(short),
        (_, Ok(long)) => {
            out.push(126);
            out.extend_from_slice(&long.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(encoded.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&encoded);
    out.into()
}

/// Reads and forgets frames until the client closes or has gone.
async fn until_closed(mut reader: impl AsyncRead + Unpin) {
    let mut next = async || -> std::io::Result<bool> {
        let mut head = [0; 2];
        reader.read_exact(&mut head).await?;
        let length = match head[1] & 0x7f {
            126 => u64::from(reader.read_u16().await?),
            127 => reader.read_u64().await?,
            short => u64::from(short),
        };
        let mask = if head[1] & 0x80 == 0 { 0 } else { 4 };
        let mut rest = (&mut reader).take(length.saturating_add(mask));
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
        Ok(head[0] & 0x0f == CLOSE & 0x0f)
    };
    while let Ok(false) = next().await {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_handshake_is_the_specifications() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let offered = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(text));
            protocol(&headers).ok()
        };
        assert_eq!(offered("other, base64.binary.k8s.io"), Some(Some(BASE64)));
        assert_eq!(offered("binary.k8s.io"), Some(Some(BINARY)));
        assert_eq!(offered("other"), None);
        assert_eq!(protocol(&HeaderMap::new()).ok(), Some(None));
    }

    #[test]
    fn frames_of_every_length() {
        assert_eq!(frame(b"ab", false).as_ref(), [DATA, 2, b'a', b'b']);
        assert_eq!(frame(b"ab", true).as_ref(), [[TEXT, 4].as_slice(), b"YWI=".as_slice()].concat());
        assert_eq!(frame(&[0; 300], false)[..4], [DATA, 126, 1, 44]);
        assert_eq!(frame(&[0; 70_000], false)[..10], [DATA, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]);
    }

    #[tokio::test]
    async fn a_body_becomes_messages_and_a_close() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        tokio::spawn(carry(body::full("one"), ours, false));
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, [DATA, 0, DATA, 3, b'o', b'n', b'e', CLOSE, 2, 0x03, 0xe8]);
    }

    #[tokio::test]
    async fn a_client_that_closes_ends_it() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let endless = futures::stream::pending::<Result<Bytes, body::BoxError>>();
        let carrying = tokio::spawn(carry(body::stream(endless), ours, false));
        theirs.write_all(&[0x82, 0x81, 0, 0, 0, 0, 7]).await.unwrap();
        theirs.write_all(&[CLOSE, 0x80, 0, 0, 0, 0]).await.unwrap();
        carrying.await.unwrap();
    }
}
