//! What objects cost: pods that nobody schedules, in steps up to so many, and what one server does with them: at rest,
//! pages and whole lists, and their removal.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use http::Method;

use crate::client::Connection;
use crate::runner::{make_namespace, remove_namespace, target};
use crate::steps::{Measured, Steps};
use crate::target::{Protocol, Target};
use crate::{object, report};

/// Enough to keep any server busy.
const CLIENTS: usize = 32;
const PAGE: usize = 500;

#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The cluster: [NAME=]KUBECONFIG.
    #[arg(long)]
    pub target: String,
    /// Pods after each step, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,50000,150000")]
    pub pods: Vec<u64>,
    /// Bytes of annotations in each.
    #[arg(long, default_value_t = 2048)]
    pub size: usize,
    /// Seconds of each measure at rest.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    #[command(flatten)]
    pub measured: Measured,
}

fn body(number: u64, size: usize) -> Bytes {
    let payload = object::payload(size);
    format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"name\":\"p-{number}\",\"labels\":{{\"app\":\"a-{}\"}},\
         \"annotations\":{{\"payload\":\"{payload}\"}}}},\"spec\":{{\"schedulerName\":\"nobody\",\"containers\":[{{\
         \"name\":\"main\",\"image\":\"hollow:1\",\"ports\":[{{\"containerPort\":8080}}],\
         \"resources\":{{\"requests\":{{\"cpu\":\"1m\",\"memory\":\"1Mi\"}}}}}}]}}}}",
        number / 50
    )
    .into()
}

async fn fill(target: &Target, path: &str, next: &AtomicU64, to: u64, size: usize) -> Result<()> {
    let mut connection = Connection::open(target).await?;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= to {
            return Ok(());
        }
        connection.expect(Method::POST, path, body(number, size)).await?;
    }
}

/// Pages through everything, one page after the other.
async fn pages(connection: &mut Connection, path: &str, until: Instant) -> Result<u64> {
    #[derive(serde::Deserialize)]
    struct List {
        metadata: Meta,
        items: Vec<serde::de::IgnoredAny>,
    }
    #[derive(serde::Deserialize)]
    struct Meta {
        #[serde(default, rename = "continue")]
        more: String,
    }
    let (mut more, mut read) = (String::new(), 0);
    while Instant::now() < until {
        let page = format!("{path}?limit={PAGE}&continue={more}");
        let list: List = serde_json::from_slice(&connection.expect(Method::GET, &page, Bytes::new()).await?)?;
        read += list.items.len() as u64;
        more = list.metadata.more;
    }
    Ok(read)
}

/// # Errors
/// When the server refuses something.
pub async fn run(args: Args) -> Result<()> {
    let target = target(&args.target, Protocol::H1)?;
    let namespace = format!("objects-{:08x}", rand::random::<u32>());
    make_namespace(&target, &namespace).await?;
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let mut connection = Connection::open(&target).await?;
    let probed = format!("/api/v1/namespaces/{namespace}");
    let mut steps = Steps::new(target.clone(), probed, "/api/v1/pods", args.measured).await?;
    let length = Duration::from_secs_f64(args.seconds);
    let mut had = 0;
    for to in args.pods {
        let next = AtomicU64::new(had);
        let filling = (0..CLIENTS).map(|_| fill(&target, &path, &next, to, args.size));
        let filling = futures::future::try_join_all(filling);
        steps.step("create", to.saturating_sub(had), async { filling.await.map(drop) }).await?;
        had = had.max(to);
        let rest = async {
            tokio::time::sleep(length).await;
            Ok(())
        };
        steps.step("rest", 0, rest).await?;
        let mut read = 0;
        let paging = async {
            read = pages(&mut connection, &path, Instant::now() + length).await?;
            Ok(())
        };
        steps.step("pages of 500", 0, paging).await?;
        report::line(&format!("      {:.0} objects/s read", read as f64 / args.seconds));
        let (mut took, mut bytes) = (Duration::ZERO, 0);
        let whole = async {
            let begun = Instant::now();
            (_, bytes) = connection.call(Method::GET, &path, Bytes::new()).await?;
            took = begun.elapsed();
            Ok(())
        };
        steps.step("whole list", 0, whole).await?;
        report::line(&format!("      {:.1} MB in {:.0} ms", bytes as f64 / 1e6, took.as_secs_f64() * 1e3));
    }
    let removal = async { connection.expect(Method::DELETE, &path, Bytes::new()).await.map(drop) };
    steps.step("remove", had, removal).await?;
    remove_namespace(&target, &namespace).await?;
    steps.write()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_json() {
        let value: serde_json::Value = serde_json::from_slice(&body(120, 100)).unwrap();
        assert_eq!(value["metadata"]["labels"]["app"], "a-2");
        assert_eq!(value["metadata"]["annotations"]["payload"].as_str().unwrap().len(), 100);
        assert_eq!(value["spec"]["schedulerName"], "nobody");
    }
}
