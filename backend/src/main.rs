//! `pilothouse`: every role of the product in one binary.

mod addons;
mod admin;
mod config;
mod doctor;
mod image;
mod kubeconfig;
mod server;
mod status;
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pilothouse_apiserver::traces::{self, Exporter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Kubernetes around a web dashboard: the API is the contract, PostgreSQL is the only state.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    /// How logs are written.
    #[arg(long, global = true, env = "PILOTHOUSE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Brings up a whole cluster on this machine and supervises it.
    Up(up::Args),
    /// Stops the cluster of this machine.
    Down(up::DownArgs),
    /// Says whether the cluster of this machine is ready, and how to reach it.
    Status(status::Args),
    /// Says what is wrong with the cluster, or soon will be, and what to do about it.
    Doctor(doctor::Args),
    /// Runs the control plane: API, dashboard, controllers, scheduler.
    Server(Box<config::Server>),
    /// Runs a node's agent.
    Agent(Box<config::Agent>),
    /// Runs a node made of namespaces (started by `up`).
    #[command(hide = true)]
    Node(up::node::Args),
    /// Prints the administrator's kubeconfig.
    Kubeconfig(kubeconfig::Args),
    /// Packs and imports images without a registry.
    #[command(subcommand)]
    Image(Image),
    /// Prints the version.
    Version,
}

#[derive(Subcommand)]
enum Image {
    /// Packs files into an OCI archive.
    Pack(image::pack::Spec),
    /// Imports an OCI or Docker archive on every node.
    Import(image::import::Args),
}

/// What is logged unless PILOTHOUSE_LOG says otherwise: a role tells what it does; a command of a person's tells only,
/// in its own words, why it failed.
fn default_filter(command: &Command) -> &'static str {
    match command {
        Command::Up(_) | Command::Server(_) | Command::Agent(_) | Command::Node(_) => {
            "info,sqlx=warn,hickory_server=warn,kube_runtime=warn,kube_client=warn,hyper=warn,tonic=warn,h2=warn"
        }
        _ => "off,pilothouse=warn",
    }
}

/// Where traces go, if they do.
fn traces(command: &Command) -> anyhow::Result<Option<Exporter>> {
    let Command::Server(config) = command else { return Ok(None) };
    let settings = traces::Settings {
        endpoint: config.tracing_endpoint.clone(),
        sampling_rate_per_million: config.tracing_sampling_rate_per_million,
    };
    Ok(Exporter::new(&settings)?)
}

/// Logs, and traces beside them.
fn observe(format: LogFormat, command: &Command, exporter: Option<&Exporter>) {
    let filter = EnvFilter::try_from_env("PILOTHOUSE_LOG").unwrap_or_else(|_| EnvFilter::new(default_filter(command)));
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = match format {
        LogFormat::Text => logs.with_ansi(false).boxed(),
        LogFormat::Json => logs.json().boxed(),
    };
    let all = tracing_subscriber::registry().with(logs.with_filter(filter));
    match exporter {
        Some(exporter) => all.with(exporter.layer()).init(),
        None => all.init(),
    }
}

async fn dispatch(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(args) => up::run(args).await,
        Command::Down(args) => up::down(args).await,
        Command::Status(args) => status::run(args).await,
        Command::Doctor(args) => doctor::run(args).await,
        Command::Server(config) => server::run(*config).await,
        Command::Agent(config) => config.run().await,
        Command::Node(args) => up::node::run(args).await,
        Command::Kubeconfig(args) => kubeconfig::run(&args),
        Command::Image(Image::Pack(spec)) => image::pack::run(&spec),
        Command::Image(Image::Import(args)) => image::import::run(args).await,
        Command::Version => {
            use std::io::Write;
            writeln!(std::io::stdout(), "pilothouse {} (Kubernetes API v1.36)", env!("CARGO_PKG_VERSION"))?;
            Ok(())
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exporter = {
        let _entered = runtime.enter();
        traces(&cli.command)
    };
    observe(cli.log_format, &cli.command, exporter.as_ref().ok().and_then(Option::as_ref));
    let exporter = exporter?;
    allow_many_files();
    let outcome = runtime.block_on(dispatch(cli.command));
    if let Some(exporter) = exporter {
        exporter.shutdown();
    }
    outcome
}

/// A connection is a file, and a backend has tens of thousands of them; the limit that a process starts with is often
/// 1,024, for the sake of programs that use `select`.
fn allow_many_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(soft, hard)| if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) });
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The provider is the same everywhere; a second installation cannot happen in one process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = run(cli);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
