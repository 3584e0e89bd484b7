//! Checks the guarantees of writes and watches on a running cluster, with or without faults.
//!
//! Writers contend for a few objects by compare-and-set through every server given; watches follow through every server
//! given, resume, go back, read slowly; readers ask every server for the present; a judge holds all that they say against
//! each other ([`history`]).

mod arena;
mod faults;
mod fullness;
mod history;
mod readers;
mod sentinel;
mod watchers;
mod wire;
mod writers;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::ValueEnum;
use http::Method;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::Connection;
use crate::report;
use crate::runner::{make_namespace, remove_namespace, target};
use crate::target::{Protocol, Target};

use arena::Arena;
pub use faults::Fault;
use faults::{Breaker, Ground, Injected};
use history::{End, Fact, Id, Judge, View};
use readers::{Newest, Reader};
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
    #[arg(long = "target", required_unless_present = "arena")]
    pub targets: Vec<String>,
    #[command(flatten)]
    pub arena: arena::Plan,
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
    #[arg(long, conflicts_with = "arena")]
    pub home: Option<PathBuf>,
    /// What goes wrong, separated by commas [default with --home or --arena: all that can].
    #[arg(long, value_enum, value_delimiter = ',')]
    pub faults: Vec<Fault>,
    /// Seconds between faults, on average.
    #[arg(long, default_value_t = 8.0)]
    pub every: f64,
    /// Milliseconds that each writer rests after each write.
    #[arg(long, default_value_t = 0)]
    pub rest: u64,
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
    pub reads: AtomicU64,
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

/// What is broken, how, and through which servers it is looked at.
struct Stage {
    targets: Vec<Target>,
    arena: Option<Arc<Arena>>,
    faults: Vec<Fault>,
}

impl Stage {
    async fn set(args: &Args) -> Result<Self> {
        let breaks = args.home.is_some() || args.arena.arena.is_some();
        let wanted = if args.faults.is_empty() && breaks { Fault::value_variants() } else { args.faults.as_slice() };
        if args.arena.arena.is_none() {
            if let Some(fault) = args.faults.iter().find(|fault| fault.needs_arena()) {
                bail!("{fault:?} needs an --arena");
            }
            let targets = args.targets.iter().map(|text| target(text, Protocol::H1)).collect::<Result<_>>()?;
            let faults = wanted.iter().copied().filter(|fault| !fault.needs_arena()).collect();
            return Ok(Self { targets, arena: None, faults });
        }
        let arena = Arena::build(&args.arena, wanted.contains(&Fault::Clock)).await?;
        let load = |(index, path): (usize, &Path)| {
            Ok(Target::load(&format!("backend-{index}"), path)?.with_protocol(Protocol::H1))
        };
        let targets = arena.kubeconfigs().into_iter().enumerate().map(load).collect::<Result<_>>()?;
        Ok(Self { targets, arena: Some(Arc::new(arena)), faults: wanted.to_vec() })
    }

    fn breaker(&self, args: &Args, judge: &mpsc::Sender<Message>, stop: &CancellationToken) -> Result<Option<Breaker>> {
        let ground = match (&self.arena, &args.home) {
            _ if self.faults.is_empty() => return Ok(None),
            (Some(arena), _) => Ground::Arena(Arc::clone(arena)),
            (None, Some(home)) => Ground::Home(faults::run_dir(home)?),
            (None, None) => return Ok(None),
        };
        Ok(Some(Breaker {
            ground,
            faults: self.faults.clone(),
            every: Duration::from_secs_f64(args.every),
            targets: self.targets.clone(),
            judge: judge.clone(),
            stop: stop.clone(),
        }))
    }
}

/// # Errors
/// When a guarantee was violated, or the cluster did not come back.
pub async fn run(args: Args) -> Result<()> {
    let stage = Stage::set(&args).await?;
    let outcome = check(&args, &stage).await;
    if let Some(arena) = stage.arena.and_then(Arc::into_inner) {
        arena.end().await;
    }
    outcome
}

/// Those who follow, and how far they are.
struct Followers {
    views: JoinSet<View>,
    positions: Vec<Arc<AtomicU64>>,
}

/// The tokens that end things, in this order.
#[derive(Default)]
struct Ends {
    faults: CancellationToken,
    writers: CancellationToken,
    watches: CancellationToken,
}

async fn check(args: &Args, stage: &Stage) -> Result<()> {
    let targets = &stage.targets;
    let namespace = format!("verify-{:08x}", rand::random::<u32>());
    let collection = format!("/api/v1/namespaces/{namespace}/configmaps");
    make_namespace(&targets[0], &namespace).await?;
    let first = list(targets, &collection).await?;
    let (start, watches) = (first.revision()?, usize::from(args.watchers));

    let (send, receive) = mpsc::channel(QUEUE);
    let deliveries = Arc::new(AtomicU64::new(0));
    let judging = tokio::spawn(judge(Judge::new(watches, start), receive, Arc::clone(&deliveries)));
    let (counters, ends) = (Arc::new(Counters::default()), Ends::default());
    let mut followers = follow(args, targets, &collection, &first, &send, &counters, &ends)?;
    let newest = Arc::new(Newest::default());
    let mut writing = write(args, targets, &collection, &newest, &send, &ends);
    read(&mut writing, targets, &collection, &newest, &counters, &send, &ends);
    let breaker = stage.breaker(args, &send, &ends.faults)?;
    drop(send);
    let path = "/api/v1/namespaces/default/configmaps/sentinel".to_owned();
    let sentinel = tokio::spawn(sentinel::run(targets.clone(), path, ends.writers.clone()));
    let failing = breaker.map(|breaker| tokio::spawn(breaker.run()));

    let begun = Instant::now();
    until_done(args, begun, &deliveries).await;
    ends.faults.cancel();
    let injected = match failing {
        Some(task) => task.await??,
        None => Vec::new(),
    };
    ends.writers.cancel();
    while writing.join_next().await.is_some() {}
    let (elapsed, gaps) = (begun.elapsed(), sentinel.await?);

    // The newest state of any object is what every watch has to reach.
    let last = list(targets, &collection).await?;
    let (objects, revision) = (last.objects()?, last.revision()?);
    let newest = objects.values().map(|(revision, _)| *revision).max().unwrap_or(start);
    let deadline = Instant::now() + SETTLE;
    let behind = |position: &Arc<AtomicU64>| position.load(Ordering::Relaxed) < newest;
    while followers.positions.iter().any(behind) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // A deletion may be newer than every object that is left.
    tokio::time::sleep(Duration::from_secs(1)).await;
    ends.watches.cancel();
    let mut views = Vec::new();
    while let Some(view) = followers.views.join_next().await {
        views.push(view?);
    }
    let mut judge = judging.await.context("the judge")?;
    for view in &views {
        if view.objects() != &objects {
            judge.violation(format!("a watch ends with other objects than the list at {revision}"));
        }
    }
    judge.close();
    // The last fault may have been a moment ago; and what was found is told, whether or not anyone tidies up.
    for target in targets {
        if remove_namespace(target, &namespace).await.is_ok() {
            break;
        }
    }
    tell(elapsed, &injected, &gaps, watches, &judge, &counters)
}

/// Waits for the end, and tells meanwhile how far it is.
async fn until_done(args: &Args, begun: Instant, deliveries: &AtomicU64) {
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
}

fn follow(
    args: &Args,
    targets: &[Target],
    collection: &str,
    first: &wire::List,
    judge: &mpsc::Sender<Message>,
    counters: &Arc<Counters>,
    ends: &Ends,
) -> Result<Followers> {
    let mut followers = Followers { views: JoinSet::new(), positions: Vec::new() };
    let start = first.revision()?;
    for number in 0..usize::from(args.watchers) {
        let mut view = View::default();
        view.reset(first.objects()?, start);
        let position = Arc::new(AtomicU64::new(start));
        followers.positions.push(Arc::clone(&position));
        let watch = Watch {
            number,
            targets: targets.to_vec(),
            collection: collection.to_owned(),
            temper: temper(number),
            view,
            judge: judge.clone(),
            counters: Arc::clone(counters),
            position,
            stop: ends.watches.clone(),
            hurry: ends.writers.clone(),
            past: VecDeque::new(),
        };
        followers.views.spawn(watch.run());
    }
    Ok(followers)
}

fn write(
    args: &Args,
    targets: &[Target],
    collection: &str,
    newest: &Arc<Newest>,
    judge: &mpsc::Sender<Message>,
    ends: &Ends,
) -> JoinSet<()> {
    let (ids, beliefs) = (Arc::new(AtomicU64::new(1)), Arc::new(Beliefs::default()));
    let mut writing = JoinSet::new();
    for index in 0..args.writers {
        let writer = Writer {
            targets: targets.to_vec(),
            index,
            collection: collection.to_owned(),
            objects: args.objects,
            rest: Duration::from_millis(args.rest),
            ids: Arc::clone(&ids),
            beliefs: Arc::clone(&beliefs),
            newest: Arc::clone(newest),
            judge: judge.clone(),
            stop: ends.writers.clone(),
        };
        writing.spawn(writer.run());
    }
    writing
}

/// One reader a backend.
fn read(
    working: &mut JoinSet<()>,
    targets: &[Target],
    collection: &str,
    newest: &Arc<Newest>,
    counters: &Arc<Counters>,
    judge: &mpsc::Sender<Message>,
    ends: &Ends,
) {
    for target in targets {
        let reader = Reader {
            target: target.clone(),
            collection: collection.to_owned(),
            newest: Arc::clone(newest),
            counters: Arc::clone(counters),
            judge: judge.clone(),
            stop: ends.writers.clone(),
        };
        working.spawn(reader.run());
    }
}

/// # Errors
/// When there was any violation.
fn tell(
    elapsed: Duration,
    injected: &[Injected],
    gaps: &[sentinel::Gap],
    watches: usize,
    judge: &Judge,
    counters: &Counters,
) -> Result<()> {
    let counts = judge.counts();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    report::line(&format!(
        "{:.0} s, {} faults: {} events, {} deliveries to {watches} watches; {} writes acknowledged, {} refused, {} \
         unanswered ({} of them done); {} reconnects, {} new lists, {} rewinds, {} bookmarks, {} reads",
        elapsed.as_secs_f64(),
        injected.len(),
        counts.events,
        counts.deliveries,
        counts.acknowledged,
        counts.refused,
        counts.unknown,
        counts.resolved,
        count(&counters.reconnects),
        count(&counters.relists),
        count(&counters.rewinds),
        count(&counters.bookmarks),
        count(&counters.reads),
    ));
    for (fault, times) in sentinel::outages(injected, gaps) {
        let felt: Vec<&Duration> = times.iter().filter(|time| !time.is_zero()).collect();
        let of = |share: usize| {
            let at = felt.len().saturating_sub(1) * share / 100;
            felt.get(at).map_or(0.0, |time| time.as_secs_f64())
        };
        report::line(&format!(
            "{:<14} {:>4} times, felt {:>4} times by a client that knows every server: no write for {:.2} s (median), \
             {:.2} s (longest)",
            format!("{fault:?}"),
            times.len(),
            felt.len(),
            of(50),
            of(100)
        ));
    }
    for violation in judge.violations() {
        report::line(&format!("VIOLATION: {violation}"));
    }
    if counts.violations > 0 {
        bail!("{} violations", counts.violations);
    }
    report::line(
        "no event lost, doubled or out of order; no acknowledged write lost, no refused one done, no read stale",
    );
    Ok(())
}
