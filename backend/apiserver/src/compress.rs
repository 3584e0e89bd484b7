//! gzip of long answers, for clients that take it.
//!
//! As upstream: from 128 KiB on, at the fastest level (a list shrinks to a tenth). The work is done off the threads that
//! serve, a piece at a time, so memory stays flat and nobody waits for it.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;

use crate::body::{self, Body, BoxError};

/// Shorter answers are sent as they are.
const FROM_BYTES: u64 = 128 * 1024;
/// What is compressed at once.
const PIECE: usize = 128 * 1024;

/// Whether the client takes gzip.
pub fn accepts(headers: &HeaderMap) -> bool {
    let all = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(',')).any(|part| {
        let mut words = part.split(';').map(str::trim);
        let named = words.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip") || name == "*");
        let refused = words.any(|word| matches!(word.replace(' ', "").as_str(), "q=0" | "q=0.0"));
        named && !refused
    })
}

/// The answer, compressed if that is worth it.
pub fn compressed(response: Response<Body>) -> Response<Body> {
    let headers = response.headers();
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let text = ["application/json", "application/yaml", "application/openmetrics-text", "text/plain"];
    let worth = response.status() == StatusCode::OK
        && !headers.contains_key(CONTENT_ENCODING)
        && text.iter().any(|known| kind.starts_with(known))
        && response.body().size_hint().exact().is_some_and(|bytes| bytes >= FROM_BYTES);
    if !worth {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, encoded(body))
}

fn encoded(mut body: Body) -> Body {
    body::stream(async_stream::stream! {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        while let Some(frame) = body.frame().await {
            let mut data = match frame {
                Ok(frame) => frame.into_data().unwrap_or_default(),
                Err(error) => {
                    yield Err(error);
                    return;
                }
            };
            while !data.is_empty() {
                let piece = data.split_to(data.len().min(PIECE));
                match work(move || encoder.write_all(&piece).map(|()| encoder)).await {
                    Ok(back) => encoder = back,
                    Err(error) => {
                        yield Err(error);
                        return;
                    }
                }
                let ready = std::mem::take(encoder.get_mut());
                if !ready.is_empty() {
                    yield Ok::<Bytes, BoxError>(ready.into());
                }
            }
        }
        yield work(move || encoder.finish()).await.map(Bytes::from);
    })
}

async fn work<T: Send + 'static>(job: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, BoxError> {
    Ok(tokio::task::spawn_blocking(job).await??)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn who_takes_gzip() {
        for (text, answer) in [
            ("gzip", true),
            ("br, gzip;q=0.5", true),
            ("gzip;q=0", false),
            ("identity", false),
            ("", false),
            ("*", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(text));
            assert_eq!(accepts(&headers), answer, "{text}");
        }
    }

    #[tokio::test]
    async fn long_answers_come_back_as_they_were() {
        let text: String = (0..100_000).map(|n| format!("{n},")).collect();
        let answer = crate::server::ok("application/json", body::full(text.clone()));
        let answer = compressed(answer);
        assert_eq!(answer.headers()[CONTENT_ENCODING], "gzip");
        let packed = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(packed.len() < text.len() / 2);
        let mut back = String::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut back).unwrap();
        assert_eq!(back, text);
        let short = compressed(crate::server::ok("application/json", body::full("{}")));
        assert!(!short.headers().contains_key(CONTENT_ENCODING));
    }
}
