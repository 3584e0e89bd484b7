//! `pilothouse image import`: sends an archive to every node through the API's node proxy, so it works from anywhere
//! a kubeconfig does.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use tokio_util::io::ReaderStream;
use tower::{ServiceBuilder, ServiceExt};

use crate::up::Home;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    home: Home,
    /// The kubeconfig to use instead of the local cluster's.
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: Option<PathBuf>,
    /// The archive: OCI or Docker, uncompressed or gzip.
    file: PathBuf,
}

/// The longest answer that is read: a line per image, or a Status.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

async fn config(args: &Args) -> Result<Config> {
    let path = match &args.kubeconfig {
        Some(path) => path.clone(),
        None => args.home.kubeconfig()?,
    };
    let kubeconfig = Kubeconfig::read_from(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

/// Streams the archive: `kube::Client` takes only bodies held in memory, and images can be large.
async fn send(config: &Config, node: &str, file: &PathBuf) -> Result<String> {
    let archive = tokio::fs::File::open(file).await.with_context(|| format!("opening {}", file.display()))?;
    let frames = ReaderStream::with_capacity(archive, 256 * 1024).map_ok(hyper::body::Frame::data);
    let client = HttpClient::builder(TokioExecutor::new()).build(config.rustls_https_connector()?);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .map_err(tower::BoxError::from)
        .service(client);
    let request = Request::post(format!("/api/v1/nodes/{node}/proxy/images/import"))
        .header(CONTENT_TYPE, "application/x-tar")
        .body(BodyExt::boxed_unsync(StreamBody::new(frames)))?;
    let response = service.oneshot(request).await.map_err(|error| anyhow::anyhow!(error))?;
    let status = response.status();
    let body =
        Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await.map_err(|error| anyhow::anyhow!(error))?;
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    if status.is_success() { Ok(text) } else { bail!("{status}: {text}") }
}

/// The images' names out of a node's answer.
fn names(answer: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(answer).unwrap_or_default();
    let names: Vec<&str> = value["images"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
    if names.is_empty() { "nothing new".to_owned() } else { names.join(", ") }
}

pub async fn run(args: Args) -> Result<()> {
    let config = config(&args).await?;
    let nodes = Api::<Node>::all(Client::try_from(config.clone())?)
        .list(&ListParams::default())
        .await
        .context("listing the nodes")?;
    if nodes.items.is_empty() {
        bail!("the cluster has no nodes");
    }
    let mut failed = Vec::new();
    for node in nodes {
        let name = node.name_any();
        match send(&config, &name, &args.file).await {
            Ok(said) => writeln!(std::io::stdout(), "{name}: {}", names(&said))?,
            Err(error) => {
                tracing::error!(node = name, "{error:#}");
                failed.push(name);
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("not imported on {}", failed.join(", ")) }
}
