//! A storm of informers: what happens when every client of a cluster comes back at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use memchr::memmem::Finder;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{Outcome, Setup, writes};
use crate::client::{Connection, Lines};
use crate::load::Tally;

/// Storms in one case; more if they are short.
const STORMS: u32 = 3;
/// An informer that is not in sync by then has failed.
const PATIENCE: Duration = Duration::from_secs(120);

pub async fn list_watch(setup: Setup) -> Result<Outcome> {
    storms(setup, false).await
}

pub async fn streaming(setup: Setup) -> Result<Outcome> {
    storms(setup, true).await
}

async fn storms(setup: Setup, streaming: bool) -> Result<Outcome> {
    writes::fill(&setup).await?;
    let mut all = Tally::default();
    let begun = Instant::now();
    let mut number = 0;
    while number < STORMS || begun.elapsed() < setup.length {
        number += 1;
        let barrier = Arc::new(Barrier::new(setup.clients));
        let mut tasks = JoinSet::new();
        for _ in 0..setup.clients {
            let connection = Connection::open(&setup.target).await?;
            let (barrier, path) = (Arc::clone(&barrier), setup.collection());
            tasks.spawn(async move {
                barrier.wait().await;
                let started = Instant::now();
                let sync =
                    async { if streaming { stream(connection, &path).await } else { list(connection, &path).await } };
                let bytes = tokio::time::timeout(PATIENCE, sync).await??;
                anyhow::Ok((started.elapsed(), bytes))
            });
        }
        // They wait for the last one; connecting is not part of it.
        let storm = Instant::now();
        while let Some(synced) = tasks.join_next().await {
            let (took, bytes) = synced??;
            all.answer(took, &Ok((http::StatusCode::OK, bytes)));
        }
        all.elapsed += storm.elapsed();
    }
    let rate = all.bytes as f64 / all.elapsed.as_secs_f64() / 1e6;
    Ok(Outcome::of("syncs", &all).figure("throughput", rate, "MB/s"))
}

/// LIST from the cache, then a watch from there: in sync when the watch is accepted.
async fn list(mut connection: Connection, path: &str) -> Result<u64> {
    let response = connection.send(Method::GET, &format!("{path}?resourceVersion=0"), Bytes::new()).await?;
    ensure!(response.status().is_success(), "{path}: {}", response.status());
    let (mut body, mut bytes, mut head) = (response.into_body(), 0, Vec::new());
    while let Some(frame) = body.frame().await {
        let frame = frame?;
        let Some(data) = frame.data_ref() else { continue };
        bytes += data.len() as u64;
        if head.len() < 512 {
            head.extend_from_slice(&data[..data.len().min(512)]);
        }
    }
    // The list's own version comes before its items.
    let marker = Finder::new(b"\"resourceVersion\":\"");
    let from = crate::object::number_after(&marker, &head);
    ensure!(from.is_some(), "{path}: the list begins without a resourceVersion");
    let watch = format!("{path}?watch=1&resourceVersion={}&allowWatchBookmarks=true", from.unwrap_or_default());
    let response = connection.send(Method::GET, &watch, Bytes::new()).await?;
    ensure!(response.status().is_success(), "{watch}: {}", response.status());
    Ok(bytes)
}

/// One watch that begins with everything: in sync at its bookmark.
async fn stream(mut connection: Connection, path: &str) -> Result<u64> {
    let path = format!(
        "{path}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=0&allowWatchBookmarks=true"
    );
    let response = connection.send(Method::GET, &path, Bytes::new()).await?;
    ensure!(response.status().is_success(), "{path}: {}", response.status());
    let (mut body, mut bytes, mut lines, mut ended) = (response.into_body(), 0, Lines::default(), false);
    let marker = Finder::new(b"k8s.io/initial-events-end");
    while !ended {
        let Some(frame) = body.frame().await else { anyhow::bail!("{path}: the stream ended before its bookmark") };
        let frame = frame?;
        let Some(data) = frame.data_ref() else { continue };
        bytes += data.len() as u64;
        lines.feed(data, |line| ended |= line.starts_with(b"{\"type\":\"BOOKMARK\"") && marker.find(line).is_some());
    }
    Ok(bytes)
}
