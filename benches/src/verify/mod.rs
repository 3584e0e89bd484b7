//! Checks the guarantees of writes and watches on a running cluster, with or without faults.
//!
//! Writers contend for a few objects by compare-and-set through every server given; watches follow through every server
//! given, resume, go back, read slowly; a judge holds all that they say against each other ([`history`]).

mod faults;
mod history;
mod watchers;
mod wire;
mod writers;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Method;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::Connection;
use crate::report;
use crate::runner::{make_namespace, remove_namespace, target};
use crate::target::{Protocol, Target};

pub use faults::Fault;
use history::{End, Fact, Id, Judge, View};
use watchers::{Temper, Watch};
use writers::{Beliefs, Writer};

/// After the last write, the watches get this long to catch up.
const SETTLE: Duration = Duration::from_secs(60);
const PROGRESS: Duration = Duration::from_secs(10);
/// Messages under way to the judge.
const QUEUE: usize = 65_536;

#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// A server: [NAME=]KUBECONFIG. Several are taken to be backends of one cluster.
    #[arg(long = "target", required = true)]
    pub targets: Vec<String>,
    #[arg(long, default_value_t = 30.0)]
    pub seconds: f64,
    /// Stops earlier once so many events have been delivered.
    #[arg(long)]
    pub deliveries: Option<u64>,
    #[arg(long, default_value_t = 16)]
    pub writers: usize,
    /// Watches: a quarter goes back now and then, one in eight reads slowly. At most 64.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub watchers: u8,
    /// Objects that the writers contend for.
    #[arg(long, default_value_t = 50)]
    pub objects: usize,
    /// The home of the `pilothouse up` whose processes are killed.
    #[arg(long)]
    pub home: Option<PathBuf>,
    /// What goes wrong, separated by commas [default with --home: all of it].
    #[arg(long, value_enum, value_delimiter = ',')]
    pub faults: Vec<Fault>,
    /// Seconds between faults, on average.
    #[arg(long, default_value_t = 8.0)]
    pub every: f64,
}

/// What writers and watches tell the judge.
pub enum Message {
    Wrote(Id, End),
    Seen(usize, Fact),
    Skipped(usize, u64),
    Wrong(String),
}

/// What happened besides events.
#[derive(Default)]
pub struct Counters {
    pub reconnects: AtomicU64,
    pub relists: AtomicU64,
    pub rewinds: AtomicU64,
    pub bookmarks: AtomicU64,
}

/// Works through the messages until all senders are gone.
async fn judge(mut judge: Judge, mut messages: mpsc::Receiver<Message>, deliveries: Arc<AtomicU64>) -> Judge {
    let mut batch = Vec::new();
    while messages.recv_many(&mut batch, 1024).await > 0 {
        for message in batch.drain(..) {
            match message {
                Message::Wrote(id, end) => judge.write(id, end),
                Message::Seen(watch, fact) => judge.seen(watch, fact),
                Message::Skipped(watch, to) => judge.skipped(watch, to),
                Message::Wrong(what) => judge.violation(what),
            }
        }
        deliveries.store(judge.counts().deliveries, Ordering::Relaxed);
    }
    judge
}

/// The list of the collection, from whichever server answers within the time.
async fn list(targets: &[Target], collection: &str) -> Result<wire::List> {
    let deadline = Instant::now() + SETTLE;
    for target in targets.iter().cycle() {
        let attempt = async {
            let mut connection = Connection::open(target).await?;
            wire::List::read(&connection.expect(Method::GET, collection, Bytes::new()).await?)
        };
        match attempt.await {
            Ok(list) => return Ok(list),
            Err(error) if Instant::now() > deadline => return Err(error.context("the cluster does not come back")),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    bail!("no servers")
}

fn temper(number: usize) -> Temper {
    match number % 8 {
        3 | 7 => Temper::Rewinding,
        5 => Temper::Slow,
        _ => Temper::Steady,
    }
}

/// # Errors
/// When a guarantee was violated, or the cluster did not come back.
pub async fn run(args: Args) -> Result<()> {
    let targets: Vec<Target> = args.targets.iter().map(|text| target(text, Protocol::H1)).collect::<Result<_>>()?;
    let namespace = format!("verify-{:08x}", rand::random::<u32>());
    let collection = format!("/api/v1/namespaces/{namespace}/configmaps");
    make_namespace(&targets[0], &namespace).await?;
    let first = list(&targets, &collection).await?;
    let (start, watches) = (first.revision()?, usize::from(args.watchers));

    let (send, receive) = mpsc::channel(QUEUE);
    let deliveries = Arc::new(AtomicU64::new(0));
    let judging = tokio::spawn(judge(Judge::new(watches, start), receive, Arc::clone(&deliveries)));
    let counters = Arc::new(Counters::default());
    let (stop_writers, stop_watches, stop_faults) =
        (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
    let mut following = JoinSet::new();
    let mut positions = Vec::new();
    for number in 0..watches {
        let mut view = View::default();
        view.reset(first.objects()?, start);
        let position = Arc::new(AtomicU64::new(start));
        positions.push(Arc::clone(&position));
        let watch = Watch {
            number,
            targets: targets.clone(),
            collection: collection.clone(),
            temper: temper(number),
            view,
            judge: send.clone(),
            counters: Arc::clone(&counters),
            position,
            stop: stop_watches.clone(),
            hurry: stop_writers.clone(),
            past: VecDeque::new(),
        };
        following.spawn(watch.run());
    }
    let (ids, beliefs) = (Arc::new(AtomicU64::new(1)), Arc::new(Beliefs::default()));
    let mut writing = JoinSet::new();
    for index in 0..args.writers {
        let writer = Writer {
            targets: targets.clone(),
            index,
            collection: collection.clone(),
            objects: args.objects,
            ids: Arc::clone(&ids),
            beliefs: Arc::clone(&beliefs),
            judge: send.clone(),
            stop: stop_writers.clone(),
        };
        writing.spawn(writer.run());
    }
    drop(send);
    let failing = args.home.clone().map(|home| {
        let all =
            vec![Fault::KillServer, Fault::KillPostgres, Fault::KillBoth, Fault::PauseServer, Fault::PausePostgres];
        let faults = if args.faults.is_empty() { all } else { args.faults.clone() };
        tokio::spawn(faults::run(home, faults, Duration::from_secs_f64(args.every), stop_faults.clone()))
    });

    let begun = Instant::now();
    let mut told_at = begun;
    while begun.elapsed().as_secs_f64() < args.seconds {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let delivered = deliveries.load(Ordering::Relaxed);
        if args.deliveries.is_some_and(|enough| delivered >= enough) {
            break;
        }
        if told_at.elapsed() > PROGRESS {
            told_at = Instant::now();
            report::line(&format!("{:>5.0} s: {delivered} deliveries", begun.elapsed().as_secs_f64()));
        }
    }
    stop_faults.cancel();
    let injected = match failing {
        Some(task) => task.await??,
        None => 0,
    };
    stop_writers.cancel();
    while writing.join_next().await.is_some() {}
    let elapsed = begun.elapsed();

    // The newest state of any object is what every watch has to reach.
    let last = list(&targets, &collection).await?;
    let (objects, revision) = (last.objects()?, last.revision()?);
    let newest = objects.values().map(|(revision, _)| *revision).max().unwrap_or(start);
    let deadline = Instant::now() + SETTLE;
    while positions.iter().any(|position| position.load(Ordering::Relaxed) < newest) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A deletion may be newer than every object that is left.
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop_watches.cancel();
    let mut views = Vec::new();
    while let Some(view) = following.join_next().await {
        views.push(view?);
    }
    let mut judge = judging.await.context("the judge")?;
    for view in &views {
        if view.objects() != &objects {
            judge.violation(format!("a watch ends with other objects than the list at {revision}"));
        }
    }
    let relists = counters.relists.load(Ordering::Relaxed);
    judge.close(relists >= watches as u64);
    // The last fault may have been a moment ago; and what was found is told, whether or not anyone tidies up.
    for target in &targets {
        if remove_namespace(target, &namespace).await.is_ok() {
            break;
        }
    }

    let counts = judge.counts();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    report::line(&format!(
        "{:.0} s, {} faults: {} events, {} deliveries to {watches} watches; {} writes acknowledged, {} refused, {} \
         unanswered ({} of them done); {} reconnects, {relists} new lists, {} rewinds, {} bookmarks",
        elapsed.as_secs_f64(),
        injected,
        counts.events,
        counts.deliveries,
        counts.acknowledged,
        counts.refused,
        counts.unknown,
        counts.resolved,
        count(&counters.reconnects),
        count(&counters.rewinds),
        count(&counters.bookmarks),
    ));
    for violation in judge.violations() {
        report::line(&format!("VIOLATION: {violation}"));
    }
    if counts.violations > 0 {
        bail!("{} violations", counts.violations);
    }
    report::line("no event lost, doubled or out of order; no acknowledged write lost, no refused one done");
    Ok(())
}
