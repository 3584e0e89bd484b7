//! `TaintNodesByCondition`: a new node takes no pods until it has said that it is ready.

use pilothouse_api::Status;
use serde_json::json;

use super::object::{items, list_at};
use super::{Context, Plugin, Request};
use crate::text;

pub(super) const PLUGIN: Plugin = Plugin { name: "TaintNodesByCondition", admit: Some(admit), validate: None };

const NOT_READY: &str = "node.kubernetes.io/not-ready";

fn admit(_: &Context<'_>, request: &mut Request) -> Result<(), Status> {
    let creates = request.creates("", "nodes");
    let Some(node) = request.object.as_mut().filter(|_| creates) else { return Ok(()) };
    let tainted = items(node, "/spec/taints")
        .any(|taint| text(taint, "/key") == NOT_READY && text(taint, "/effect") == "NoSchedule");
    if !tainted {
        list_at(node, &["spec", "taints"]).push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    }
    Ok(())
}
