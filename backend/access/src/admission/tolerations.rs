//! `DefaultTolerationSeconds`: pods stay five minutes on a node that stopped answering. `ExtendedResourceToleration`:
//! pods that ask for a special device may run on the nodes kept free for it.

use std::collections::BTreeSet;

use pilothouse_api::Status;
use pilothouse_api::resources::is_extended;
use serde_json::{Value, json};

use super::object::{containers, items, list_at};
use super::{Context, Plugin, Request};
use crate::text;

pub(super) const DEFAULT_SECONDS: Plugin =
    Plugin { name: "DefaultTolerationSeconds", admit: Some(default_seconds), validate: None };
pub(super) const EXTENDED_RESOURCES: Plugin =
    Plugin { name: "ExtendedResourceToleration", admit: Some(extended_resources), validate: None };

const SECONDS: i64 = 300;

fn default_seconds(_: &Context<'_>, request: &mut Request) -> Result<(), Status> {
    let about_pod = request.creates("", "pods") || request.updates("", "pods");
    let Some(pod) = request.object.as_mut().filter(|_| about_pod) else { return Ok(()) };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = items(pod, "/spec/tolerations").any(|toleration| {
            let same =
                |field: &str, wanted: &str| matches!(text(toleration, field), "") || text(toleration, field) == wanted;
            same("/key", key) && same("/effect", "NoExecute")
        });
        if !tolerated {
            list_at(pod, &["spec", "tolerations"]).push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
            }));
        }
    }
    Ok(())
}

fn extended_resources(_: &Context<'_>, request: &mut Request) -> Result<(), Status> {
    let about_pod = request.creates("", "pods") || request.updates("", "pods");
    let Some(pod) = request.object.as_mut().filter(|_| about_pod) else { return Ok(()) };
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let requests = containers(spec).filter_map(|c| c.pointer("/resources/requests").and_then(Value::as_object));
    let wanted: BTreeSet<String> = requests.flat_map(|r| r.keys()).filter(|name| is_extended(name)).cloned().collect();
    for name in wanted {
        let toleration = json!({"key": name, "operator": "Exists", "effect": "NoSchedule"});
        let list = list_at(pod, &["spec", "tolerations"]);
        if !list.contains(&toleration) {
            list.push(toleration);
        }
    }
    Ok(())
}
