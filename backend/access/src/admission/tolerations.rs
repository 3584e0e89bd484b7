//! `DefaultTolerationSeconds`: pods stay five minutes on a node that stopped answering.

use pilothouse_api::Status;
use serde_json::json;

use super::object::{items, list_at};
use super::{Context, Plugin, Request};
use crate::text;

pub(super) const DEFAULT_SECONDS: Plugin =
    Plugin { name: "DefaultTolerationSeconds", admit: Some(default_seconds), validate: None };

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
