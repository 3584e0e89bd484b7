//! `pods/binding`: the scheduler's word on where a pod runs; said once, never changed.

use std::sync::Arc;

use http::StatusCode;
use pilothouse_api::Status;
use pilothouse_api::field::{Error, Path};
use pilothouse_kinds::Kind;
use serde_json::{Value, json};

use crate::admission;
use crate::body::{Body, full};
use crate::registry::update::{Ownership, replace};
use crate::registry::{metadata, read};
use crate::server::{Answer, Call, Server, with_status};

/// Labels that a binding hands to its pod.
const TOPOLOGY: &str = "topology.kubernetes.io/";

fn conflict(name: &str, why: &str) -> Status {
    Status::conflict("", "pods/binding", name, why)
}

pub async fn bind(server: &Arc<Server>, call: &mut Call, kind: &Arc<Kind>, body: Body) -> Answer {
    let binding = super::decoded(call, body, "", "v1", "Binding").await?;
    let name = match (call.info.name.as_str(), metadata::text(&binding, "name")) {
        ("", own) => own.to_owned(),
        (name, own) if own == name => name.to_owned(),
        _ => return Err(Status::bad_request("name in URL does not match name in Binding object")),
    };
    check(&binding)?;
    let binding = admission::create(server, call, kind, "binding", &name, binding).await?;
    apply(server, call, kind, &name, &binding).await
}

/// What is wrong with a binding's target is told as upstream tells it: with 500, as the errors alone.
///
/// # Errors
/// The errors.
pub fn check(binding: &Value) -> Result<(), Status> {
    let (target, at) = (&binding["target"], Path::new("target"));
    let text = |field: &str| target[field].as_str().unwrap_or_default();
    let mut errors = Vec::new();
    if !matches!(text("kind"), "" | "Node") {
        errors.push(Error::not_supported(at.child("kind"), text("kind"), &["Node", "<empty>"]).to_string());
    }
    if text("name").is_empty() {
        errors.push(Error::required(at.child("name"), "").to_string());
    }
    match errors.as_slice() {
        [] => Ok(()),
        [one] => Err(Status::failure(500, "", one.clone())),
        many => Err(Status::failure(500, "", format!("[{}]", many.join(", ")))),
    }
}

pub async fn apply(server: &Arc<Server>, call: &mut Call, kind: &Arc<Kind>, name: &str, binding: &Value) -> Answer {
    let target = &binding["target"];
    let node = target["name"].as_str().unwrap_or_default().to_owned();
    let uid = metadata::text(binding, "uid").to_owned();
    let version = binding["metadata"]["resourceVersion"].clone();
    let annotations = binding["metadata"]["annotations"].clone();
    let labels = binding["metadata"]["labels"].clone();
    read::newest(server, kind, &call.info.namespace, name).await?;
    replace(server, call, kind, name, "binding", Ownership::Update, |old| {
        if metadata::is_deleting(old) {
            return Err(conflict(name, &format!("pod {name} is being deleted, cannot be assigned to a host")));
        }
        if let Some(already) = old["spec"]["nodeName"].as_str().filter(|already| !already.is_empty()) {
            return Err(conflict(name, &format!("pod {name} is already assigned to node {already:?}")));
        }
        if old["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
            return Err(conflict(name, &format!("pod {name} has non-empty .spec.schedulingGates")));
        }
        let mut new = old.clone();
        new["spec"]["nodeName"] = json!(node);
        let fields = metadata::map(&mut new);
        // The binding may be of one state of the pod only.
        match version.as_str().filter(|version| !version.is_empty()) {
            Some(version) => fields.insert("resourceVersion".into(), json!(version)),
            None => fields.remove("resourceVersion"),
        };
        if !uid.is_empty() {
            fields.insert("uid".into(), json!(uid));
        }
        for (key, value) in annotations.as_object().into_iter().flatten() {
            new["metadata"]["annotations"][key] = value.clone();
        }
        // Where the node is: what the pod says itself stays.
        for (key, value) in labels.as_object().into_iter().flatten().filter(|(key, _)| key.starts_with(TOPOLOGY)) {
            if new["metadata"]["labels"].get(key).is_none() {
                new["metadata"]["labels"][key] = value.clone();
            }
        }
        set_scheduled(&mut new);
        Ok(new)
    })
    .await?;
    let mut status = Status::success("", "", "", "");
    (status.details, status.code) = (None, 201);
    Ok(with_status(StatusCode::CREATED, "application/json", full(json!(status).to_string())))
}

fn set_scheduled(pod: &mut Value) {
    let condition =
        json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": metadata::now()});
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    if let Some(conditions) = pod["status"]["conditions"].as_array_mut() {
        conditions.retain(|condition| condition["type"] != "PodScheduled");
        conditions.push(condition);
    }
}
