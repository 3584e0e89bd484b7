//! Writes per second and latency of the store alone, on a private, durable PostgreSQL.
//!
//! `cargo run --release -p pilothouse-storage --features testing --example throughput [seconds per step] [setting=value …]`

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use pilothouse_storage::testing::TestPostgres;
use pilothouse_storage::{Config, Expect, Key, Mutation, Store, WatchItem, encode, no_fields};
use serde_json::json;
use tokio::task::JoinSet;

/// About 1 KB that does not compress.
fn object(name: &str, mut seed: u64) -> Vec<u8> {
    let mut data = String::new();
    while data.len() < 800 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        data.push_str(&format!("{seed:016x}"));
    }
    let metadata = json!({"name": name, "namespace": "default", "uid": "2c8b1f9e-5a39-4b62-8a2e-0f8a0b7c1d2e",
        "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "bench"}});
    encode(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"key": data}})).unwrap()
}

async fn step(store: &Store, what: &str, writers: usize, length: Duration, create: bool) {
    let until = Instant::now() + length;
    let mut tasks = JoinSet::new();
    for writer in 0..writers {
        let store = store.clone();
        let prefix = format!("{what}-{writers}-{writer}");
        tasks.spawn(async move {
            let mut times = Histogram::<u64>::new(3).unwrap();
            let key = |at: u64| Key::new("configmaps", "default", format!("{prefix}-{at}"));
            if !create {
                store.write(Mutation::create(key(0), object(&prefix, 0), "bench")).await.unwrap();
            }
            let mut at = 0;
            while Instant::now() < until {
                at += 1;
                let bytes = object(&prefix, at);
                let mutation = if create {
                    Mutation::create(key(at), bytes, "bench")
                } else {
                    Mutation::update(key(0), Expect::Any, bytes, "bench")
                };
                let started = Instant::now();
                store.write(mutation).await.unwrap();
                times.record(u64::try_from(started.elapsed().as_micros()).unwrap()).unwrap();
            }
            times
        });
    }
    let mut times = Histogram::<u64>::new(3).unwrap();
    while let Some(done) = tasks.join_next().await {
        times.add(done.unwrap()).unwrap();
    }
    let quantile = |q| times.value_at_quantile(q) as f64 / 1000.0;
    println!(
        "{what} {writers:>4} writers: {:>7.0}/s  p50 {:.2} ms  p95 {:.2} ms  p99 {:.2} ms",
        times.len() as f64 / length.as_secs_f64(),
        quantile(0.5),
        quantile(0.95),
        quantile(0.99)
    );
}

/// One writer, many watchers: deliveries per second.
async fn fan_out(store: &Store, watchers: usize, writes: u64) {
    let start = store.revision();
    let mut tasks = JoinSet::new();
    for _ in 0..watchers {
        let mut watcher = store.watch("configmaps", None, None, start).unwrap();
        tasks.spawn(async move {
            let mut seen = 0;
            while seen < writes {
                match watcher.next().await {
                    WatchItem::Event(event) => seen += u64::from(!event.json_line().is_empty()),
                    WatchItem::Progress(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    let started = Instant::now();
    for at in 0..writes {
        let name = format!("fan-{start}-{at}");
        let key = Key::new("configmaps", "default", name.clone());
        store.write(Mutation::create(key, object(&name, at), "bench")).await.unwrap();
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let rate = (watchers as u64 * writes) as f64 / started.elapsed().as_secs_f64();
    println!("fan-out {watchers:>5} watchers: {rate:>9.0} deliveries/s");
}

#[tokio::main]
async fn main() {
    let seconds = std::env::args().nth(1).map_or(5, |text| text.parse().unwrap());
    let length = Duration::from_secs(seconds);
    let mut settings = vec!["shared_buffers=256MB".to_owned(), "max_wal_size=4GB".to_owned()];
    settings.extend(std::env::args().skip(2));
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let postgres = TestPostgres::start_with(&settings).await;
    let url = postgres.database().await;
    let store = Store::open(Config::new(&url), no_fields()).await.unwrap();
    for writers in [1, 10, 64, 256] {
        step(&store, "create", writers, length, true).await;
    }
    for writers in [1, 64] {
        step(&store, "update", writers, length, false).await;
    }
    fan_out(&store, 1000, 2000).await;

    let count = store.status().objects;
    let key = store.list("configmaps", None).items[count / 2].key.clone();
    let started = Instant::now();
    for _ in 0..1_000_000 {
        std::hint::black_box(store.get(&key));
    }
    println!("get, one of {count}: {} ns", started.elapsed().as_nanos() / 1_000_000);
    let started = Instant::now();
    std::hint::black_box(store.list("configmaps", None));
    println!("list of {count}: {:?}", started.elapsed());
    let started = Instant::now();
    for _ in 0..1000 {
        store.fresh().await.unwrap();
    }
    println!("fresh: {:?}", started.elapsed() / 1000);
    store.close().await;
    let started = Instant::now();
    let store = Store::open(Config::new(&url), no_fields()).await.unwrap();
    println!("open with {count} objects: {:?}", started.elapsed());
    println!("{:?}", store.status());
}
