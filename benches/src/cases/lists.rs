//! LISTs: pages, and everything at once.

use std::time::Instant;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use memchr::memmem::Finder;

use super::{Outcome, Setup, writes};
use crate::client::Connection;
use crate::histogram::Latencies;
use crate::load::{self, Client, Tally};

/// Objects on one page.
const PAGE: usize = 500;

struct Pager {
    path: String,
}

impl Client for Pager {
    async fn next(&mut self, connection: &mut Connection, _: Instant) -> Result<(StatusCode, u64)> {
        connection.call(Method::GET, &self.path, Bytes::new()).await
    }
}

pub async fn page(setup: Setup) -> Result<Outcome> {
    let setup = Setup { objects: PAGE * 2, ..setup };
    writes::fill(&setup).await?;
    let path = format!("{}?limit={PAGE}", setup.collection());
    let clients = (0..setup.clients).map(|_| Pager { path: path.clone() }).collect();
    let (_, tally) = load::closed(&setup.target, clients, setup.length).await?;
    let mean = tally.bytes as f64 / (tally.done.max(1)) as f64 / 1e6;
    Ok(Outcome::of("lists", &tally).figure("size", mean, "MB"))
}

pub async fn whole(setup: Setup) -> Result<Outcome> {
    writes::fill(&setup).await?;
    let mut connection = Connection::open(&setup.target).await?;
    let begun = Instant::now();
    let (mut first, mut tally) = (Latencies::default(), Tally::default());
    // At least three, however long one takes.
    while begun.elapsed() < setup.length || tally.done < 3 {
        let started = Instant::now();
        let response = connection.send(Method::GET, &setup.collection(), Bytes::new()).await?;
        let status = response.status();
        let (mut body, mut bytes, mut items) = (response.into_body(), 0, 0);
        let marker = Finder::new(b"\"seq\":\"");
        let mut carry: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame?;
            let Some(data) = frame.data_ref() else { continue };
            if bytes == 0 {
                first.record(started.elapsed());
            }
            bytes += data.len() as u64;
            if tally.done == 0 {
                items += count(&marker, &mut carry, data);
            }
        }
        tally.answer(started.elapsed(), &Ok((status, bytes)));
        ensure!(status.is_success(), "{}: {status}", setup.collection());
        if tally.done == 1 {
            ensure!(items == setup.objects, "the list has {items} objects, not {}", setup.objects);
        }
    }
    tally.elapsed = begun.elapsed();
    let mean = tally.bytes as f64 / (tally.done.max(1)) as f64 / 1e6;
    Ok(Outcome::of("lists", &tally).latency("first byte", &first).figure("size", mean, "MB"))
}

/// Counts a marker in a body that arrives in pieces.
fn count(marker: &Finder<'_>, carry: &mut Vec<u8>, piece: &[u8]) -> usize {
    let keep = marker.needle().len() - 1;
    // One that lies across the border is in the carried end and the piece's beginning.
    carry.extend_from_slice(&piece[..piece.len().min(keep)]);
    let mut found = marker.find_iter(carry).count();
    if piece.len() <= keep {
        let cut = carry.len().saturating_sub(keep);
        carry.drain(..cut);
        return found;
    }
    found += marker.find_iter(piece).count();
    carry.clear();
    carry.extend_from_slice(&piece[piece.len() - keep..]);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_counted_once_wherever_they_are_cut() {
        let text = br#"{"seq":"1"},{"seq":"2"},"seq":"","seq":"x"#;
        let marker = Finder::new(b"\"seq\":\"");
        for size in 1..text.len() {
            let (mut carry, mut found) = (Vec::new(), 0);
            for piece in text.chunks(size) {
                found += count(&marker, &mut carry, piece);
            }
            assert_eq!(found, 4, "pieces of {size}");
        }
    }
}
