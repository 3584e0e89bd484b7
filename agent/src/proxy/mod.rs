//! Services as one nftables table of this node.
//!
//! Invariants: the table is programmed only from a whole picture (both watches listed), so a restart of the agent or
//! of the backend never takes a working Service away; changes are programmed by increments, and whatever fails is
//! followed by a programming of the whole; a UDP flow never outlives its endpoint.

pub mod conntrack;
pub mod nftables;
pub mod rules;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::rules::{Model, Node};
use crate::network::Context;
use crate::network::index::Services;
use crate::network::routes::PodNetworks;

/// Changes that come within this time are programmed together.
const GATHER: Duration = Duration::from_millis(10);
/// The table is programmed anew after a failure, at this pace.
const RETRY: Duration = Duration::from_secs(2);
/// Somebody may have flushed the ruleset; it is looked after at this pace.
const CHECK: Duration = Duration::from_secs(60);

async fn table_exists() -> bool {
    let list =
        tokio::process::Command::new("nft").args(["list", "chain", "ip", "pilothouse", "services"]).output().await;
    list.is_ok_and(|output| output.status.success())
}

async fn program(former: Option<&Model>, model: &Model) -> std::io::Result<()> {
    let script = match former {
        Some(former) => nftables::difference(former, model),
        None => nftables::whole(model),
    };
    if !script.is_empty() {
        nftables::apply(&script).await?;
    }
    if former.is_none() {
        info!(elements = model.elements.len(), "services programmed");
    }
    if former.is_none_or(|former| former.udp != model.udp)
        && let Err(error) = conntrack::forget_stale(model).await
    {
        // The table is right: nothing is gained by programming it again.
        warn!(%error, "flows to endpoints that are gone were not forgotten");
    }
    Ok(())
}

pub async fn run(context: &Context, services: Arc<Services>, networks: Arc<PodNetworks>, shutdown: CancellationToken) {
    let (mut changed, mut host_ports) = (services.version.subscribe(), context.host_ports.version.subscribe());
    changed.mark_changed();
    let mut programmed: Option<Model> = None;
    loop {
        let mut wait = CHECK;
        if services.state.read().is_synced() {
            let model = {
                let (networks, ports) = (networks.all(), context.host_ports.all());
                let node = Node { cluster_dns: context.cluster_dns, pod_networks: &networks, host_ports: &ports };
                Model::new(&services.state.read(), &node)
            };
            if programmed.as_ref() != Some(&model) {
                match program(programmed.as_ref(), &model).await {
                    Ok(()) => programmed = Some(model),
                    Err(error) => {
                        warn!(%error, "services were not programmed");
                        (programmed, wait) = (None, RETRY);
                    }
                }
            }
        }
        tokio::select! {
            _ = changed.changed() => sleep(GATHER).await,
            _ = host_ports.changed() => sleep(GATHER).await,
            () = networks.changed.notified() => sleep(GATHER).await,
            () = sleep(wait) => if programmed.is_some() && !table_exists().await { programmed = None },
            () = shutdown.cancelled() => return,
        }
        changed.mark_unchanged();
        host_ports.mark_unchanged();
    }
}
