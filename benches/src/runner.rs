//! Runs cases against targets, turn by turn, so that what else happens on the machine hits all of them alike.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};

use crate::cases::{self, Case, Outcome, Setup};
use crate::client::Connection;
use crate::machine::{self, Process, Usage};
use crate::report;
use crate::target::{Protocol, Target};

/// How often the processes' memory is looked at for its peak.
const SAMPLE: Duration = Duration::from_millis(250);
/// The machine counts as quiet when it was less busy than this for so long, in cores.
const QUIET: (f64, Duration) = (0.35, Duration::from_millis(1500));
/// A round in which others used up to so much more than in the quietest one counts as just as quiet.
const ALIKE: f64 = 0.1;

#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// A server to measure: NAME=KUBECONFIG, or KUBECONFIG. May be repeated: the cases then alternate between them.
    #[arg(long = "target", required = true)]
    pub targets: Vec<String>,
    /// Another backend of the cluster, NAME=KUBECONFIG: watches go there, writes to the target.
    #[arg(long)]
    pub watch_target: Option<String>,
    /// A process of a target whose memory and CPU time are reported: TARGET:LABEL=PID. May be repeated.
    #[arg(long = "process", value_parser = Process::parse)]
    pub processes: Vec<Process>,
    /// Cases to run, separated by commas [default: all]. See `pilothouse-bench cases`.
    #[arg(long, value_delimiter = ',')]
    pub cases: Vec<String>,
    /// Seconds of load per case.
    #[arg(long, default_value_t = 8.0)]
    pub seconds: f64,
    /// How often each case is run on each target. Of the rounds in which the rest of the machine was quietest, the
    /// median by throughput is reported.
    #[arg(long, default_value_t = 1)]
    pub rounds: usize,
    /// Before each round, waits up to so many seconds until the machine is quiet.
    #[arg(long, default_value_t = 0.0)]
    pub wait_quiet: f64,
    /// Clients instead of each case's own number.
    #[arg(long)]
    pub clients: Option<usize>,
    /// Bytes of payload in each object.
    #[arg(long, default_value_t = 1024)]
    pub size: usize,
    /// Objects for the cases that list everything.
    #[arg(long, default_value_t = 20_900)]
    pub objects: usize,
    /// Watchers of the cases that have many.
    #[arg(long, default_value_t = 200)]
    pub watchers: usize,
    /// Requests a second of open loops.
    #[arg(long, default_value_t = 200.0)]
    pub rate: f64,
    #[arg(long, value_enum, default_value_t = Protocol::H1)]
    pub protocol: Protocol,
    /// Where the results are written as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Where a chart is written as SVG.
    #[arg(long)]
    pub svg: Option<PathBuf>,
}

/// What a run writes to its JSON file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    pub time: String,
    pub cores: usize,
    pub size: usize,
    pub measured: Vec<Measured>,
}

/// One case on one target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    pub target: String,
    pub case: String,
    pub clients: usize,
    #[serde(flatten)]
    pub outcome: Outcome,
    pub processes: Vec<Cost>,
    /// CPU time of the load generator, and of everything else on the machine, per second.
    pub own_cores: f64,
    pub other_cores: f64,
}

/// What a process cost during a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cost {
    pub label: String,
    pub before: Usage,
    pub after: Usage,
    pub peak_bytes: u64,
    /// CPU seconds per second.
    pub cores: f64,
}

/// Reads `NAME=KUBECONFIG`.
pub fn target(text: &str, protocol: Protocol) -> Result<Target> {
    let (name, path) = match text.split_once('=') {
        Some((name, path)) => (name.to_owned(), PathBuf::from(path)),
        None => ("server".to_owned(), PathBuf::from(text)),
    };
    Ok(Target::load(&name, &path)?.with_protocol(protocol))
}

fn selected(names: &[String]) -> Result<Vec<&'static Case>> {
    if names.is_empty() {
        return Ok(cases::ALL.iter().collect());
    }
    let find = |name: &String| {
        let found = cases::ALL.iter().find(|case| case.name == name);
        found.with_context(|| format!("there is no case {name:?}; `pilothouse-bench cases` lists them"))
    };
    names.iter().map(find).collect()
}

/// A namespace for one case.
pub async fn make_namespace(target: &Target, name: &str) -> Result<()> {
    let body = format!("{{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{{\"name\":\"{name}\"}}}}");
    let mut connection = Connection::open(target).await?;
    connection.expect(Method::POST, "/api/v1/namespaces", body.into()).await?;
    Ok(())
}

/// Removes the objects, and the namespace (where a controller finishes that).
pub async fn remove_namespace(target: &Target, name: &str) -> Result<()> {
    let mut connection = Connection::open(target).await?;
    let objects = format!("/api/v1/namespaces/{name}/configmaps");
    connection.expect(Method::DELETE, &objects, Bytes::new()).await?;
    connection.expect(Method::DELETE, &format!("/api/v1/namespaces/{name}"), Bytes::new()).await?;
    Ok(())
}

/// Follows the memory of processes until it is dropped.
struct Peaks {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Vec<u64>>>,
}

impl Peaks {
    fn start(processes: Vec<Process>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut peaks = vec![0; processes.len()];
            while !flag.load(Ordering::Relaxed) {
                for (peak, process) in peaks.iter_mut().zip(&processes) {
                    *peak = process.resident_bytes().max(*peak);
                }
                std::thread::sleep(SAMPLE);
            }
            peaks
        });
        Self { stop, thread: Some(thread) }
    }

    fn end(mut self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

/// Waits until nothing else happens on the machine, or the time is over.
async fn quiet(patience: Duration) {
    let (limit, length) = QUIET;
    let begun = Instant::now();
    while begun.elapsed() < patience {
        let (busy, from) = (machine::busy_seconds(), Instant::now());
        tokio::time::sleep(length).await;
        if (machine::busy_seconds() - busy) / from.elapsed().as_secs_f64() < limit {
            return;
        }
    }
}

/// The round to report: the median by throughput of those that others disturbed least.
fn typical(mut rounds: Vec<Measured>) -> Option<Measured> {
    let least = rounds.iter().map(|one| one.other_cores).fold(f64::INFINITY, f64::min);
    rounds.retain(|one| one.other_cores <= least + ALIKE);
    rounds.sort_by(|a, b| a.outcome.per_second.total_cmp(&b.outcome.per_second));
    (!rounds.is_empty()).then(|| rounds.swap_remove(rounds.len() / 2))
}

async fn one(args: &Args, target: &Target, case: &Case, run: u32, round: usize) -> Result<Measured> {
    let watched = args.watch_target.as_ref().map(|text| self::target(text, args.protocol)).transpose()?;
    let setup = Setup {
        target: target.clone(),
        watched: watched.unwrap_or_else(|| target.clone()),
        namespace: format!("bench-{run:08x}-{round}-{}", case.name),
        length: Duration::from_secs_f64(args.seconds),
        clients: args.clients.filter(|_| case.clients > 0).unwrap_or(case.clients),
        size: args.size,
        objects: args.objects,
        watchers: args.watchers,
        rate: args.rate,
    };
    let clients = setup.clients;
    let namespace = setup.namespace.clone();
    make_namespace(target, &namespace).await?;
    quiet(Duration::from_secs_f64(args.wait_quiet)).await;
    let processes: Vec<Process> = args.processes.iter().filter(|one| one.target == target.name).cloned().collect();
    let before: Vec<Usage> = processes.iter().map(Process::usage).collect();
    let (busy, own, begun) = (machine::busy_seconds(), machine::own_cpu_seconds(), Instant::now());
    let peaks = Peaks::start(processes.clone());
    let outcome = (case.run)(setup).await.with_context(|| format!("{} on {}", case.name, target.name));
    let peaks = peaks.end();
    let (busy, own) = (machine::busy_seconds() - busy, machine::own_cpu_seconds() - own);
    let elapsed = begun.elapsed().as_secs_f64();
    let costs: Vec<Cost> = processes
        .iter()
        .zip(before)
        .zip(peaks)
        .map(|((process, before), peak_bytes)| {
            let after = process.usage();
            let cores = (after.cpu_seconds - before.cpu_seconds) / elapsed;
            Cost { label: process.label.clone(), before, after, peak_bytes, cores }
        })
        .collect();
    remove_namespace(target, &namespace).await?;
    let measured: f64 = costs.iter().map(|cost| cost.cores).sum();
    let own_cores = own / elapsed;
    Ok(Measured {
        target: target.name.clone(),
        case: case.name.to_owned(),
        clients,
        outcome: outcome?,
        processes: costs,
        own_cores,
        other_cores: (busy / elapsed - measured - own_cores).max(0.0),
    })
}

/// Runs everything, prints a table, writes the files.
///
/// # Errors
/// When a case cannot be run, or a server's answers were not what it had acknowledged.
pub async fn run(args: Args) -> Result<()> {
    let cases = selected(&args.cases)?;
    let targets: Vec<Target> = args.targets.iter().map(|text| target(text, args.protocol)).collect::<Result<_>>()?;
    let mut results = Results {
        time: jiff::Timestamp::now().to_string(),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        size: args.size,
        measured: Vec::new(),
    };
    let number = rand::random::<u32>();
    let mut sound = true;
    for case in cases {
        let mut rounds: Vec<Vec<Measured>> = vec![Vec::new(); targets.len()];
        for round in 0..args.rounds.max(1) {
            for (target, of) in targets.iter().zip(&mut rounds) {
                let measured = one(&args, target, case, number, round).await?;
                if !measured.outcome.is_sound() {
                    sound = false;
                    report::line(&format!(
                        "{} on {}: failed {:?}, check {:?}",
                        case.name, target.name, measured.outcome.failed, measured.outcome.check
                    ));
                }
                of.push(measured);
            }
        }
        for measured in rounds.into_iter().filter_map(typical) {
            report::line(&report::row(&measured));
            results.measured.push(measured);
        }
    }
    if targets.len() > 1 {
        report::line("");
        report::line(&report::comparison(&results.measured, &targets[0].name, &targets[1].name));
    }
    report::write(&results, args.json.as_deref(), args.svg.as_deref())?;
    if !sound {
        bail!("a server failed requests, or does not have what it acknowledged");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quietest_rounds_count() {
        let round = |per_second, other_cores| Measured {
            target: "a".into(),
            case: "c".into(),
            clients: 1,
            outcome: Outcome { per_second, ..Outcome::default() },
            processes: Vec::new(),
            own_cores: 0.0,
            other_cores,
        };
        let all = vec![round(9.0, 1.5), round(5.0, 0.02), round(3.0, 0.0), round(4.0, 0.05), round(1.0, 0.9)];
        assert_eq!(typical(all).map(|one| one.outcome.per_second), Some(4.0));
        assert!(typical(Vec::new()).is_none());
    }
}
