//! `PodTopologyLabels`: a pod carries the zone and region of its node, for the downward API.

use pilothouse_api::Status;
use serde_json::Value;

use super::object::map_at;
use super::{Context, Operation, Plugin, Request};
use crate::text;

pub(super) const PLUGIN: Plugin = Plugin { name: "PodTopologyLabels", admit: Some(admit), validate: None };

const LABELS: &[&str] = &["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

fn admit(context: &Context<'_>, request: &mut Request) -> Result<(), Status> {
    if !request.group.is_empty() || request.resource != "pods" || request.operation != Operation::Create {
        return Ok(());
    }
    let Some(object) = &mut request.object else { return Ok(()) };
    // A binding carries the labels to the pod.
    let node = match request.subresource.as_str() {
        "" => text(object, "/spec/nodeName"),
        "binding" if text(object, "/target/kind") == "Node" => text(object, "/target/name"),
        _ => "",
    };
    if node.is_empty() {
        return Ok(());
    }
    let Some(node) = context.reader.get("nodes", "", node) else { return Ok(()) };
    for label in LABELS {
        if let Some(value) = node.pointer("/metadata/labels").and_then(|labels| labels.get(*label)) {
            map_at(object, &["metadata", "labels"]).insert((*label).to_owned(), Value::clone(value));
        }
    }
    Ok(())
}
