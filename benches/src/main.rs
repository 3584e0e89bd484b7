//! `pilothouse-bench`: load, checks and hollow nodes for anything that speaks the Kubernetes API.
//!
//! Invariant: it knows nothing of the server but its API, so one run measures any two of them alike.

mod cases;
mod chart;
mod check;
mod client;
mod follow;
mod histogram;
#[cfg(feature = "hollow")]
mod hollow;
mod load;
mod machine;
mod object;
mod objects;
mod report;
mod runner;
mod scale;
mod steps;
mod target;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Load, checks and hollow nodes for anything that speaks the Kubernetes API.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Threads of the load generator; it shares the machine with the server.
    #[arg(long, global = true, default_value_t = 2)]
    threads: usize,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures servers.
    Run(Box<runner::Args>),
    /// Lists what `run` can measure.
    Cases,
    /// Puts the targets of result files side by side.
    Compare(report::CompareArgs),
    /// Loads a cluster with Deployments, rolls them out, removes them: how it behaves as it grows.
    Scale(Box<scale::Args>),
    /// Fills a server with pods that nobody schedules: what objects cost.
    Objects(objects::Args),
    /// Checks the guarantees of writes and watches while faults happen.
    Verify(Box<verify::Args>),
    /// Follows a churn with kube's runtime, and says what it missed.
    Follow(Box<follow::Args>),
    #[cfg(feature = "hollow")]
    /// Runs nodes without containers: real agents on a runtime that lives in memory.
    Hollow(Box<hollow::Args>),
}

async fn dispatch(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Run(args) => runner::run(*args).await,
        Command::Cases => {
            cases::ALL.iter().for_each(|case| report::line(&format!("{:<17} {}", case.name, case.about)));
            Ok(())
        }
        Command::Compare(args) => report::compare(&args),
        Command::Scale(args) => scale::run(*args).await,
        Command::Objects(args) => objects::run(args).await,
        Command::Verify(args) => verify::run(*args).await,
        Command::Follow(args) => follow::run(*args).await,
        #[cfg(feature = "hollow")]
        Command::Hollow(args) => hollow::run(*args).await,
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("PILOTHOUSE_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    // The provider is the same everywhere; a second installation cannot happen in one process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    object::clock();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(cli.threads.max(1)).enable_all().build();
    let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(dispatch(cli.command)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
