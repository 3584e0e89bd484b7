//! `pods/eviction`: a delete that asks the disruption budgets first.
//! Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/>

use std::sync::Arc;

use pilothouse_api::Status;
use pilothouse_api::selector::LabelSelector;
use pilothouse_kinds::Kind;
use serde_json::{Value, json};

use crate::admission;
use crate::body::Body;
use crate::registry::delete::{self, Options};
use crate::registry::update::{Ownership, replace};
use crate::registry::{metadata, options, read, render};
use crate::server::{Answer, Call, Server};

const BUDGETS: &str = "poddisruptionbudgets.policy";
/// Evictions of one budget that the controller has not confirmed yet.
const MAX_DISRUPTED: usize = 2000;

fn is_finished(pod: &Value) -> bool {
    matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed" | "Pending"))
}

fn matching_budgets(server: &Server, pod: &Value, namespace: &str) -> Vec<Value> {
    let labels = &pod["metadata"]["labels"];
    let list = server.store.list(BUDGETS, Some(namespace));
    let budgets = list.items.iter().map(|entry| entry.value());
    budgets
        .filter(|budget| {
            LabelSelector::from_json(&budget["spec"]["selector"])
                .is_ok_and(|selector| selector.matches(|name| labels[name].as_str()))
        })
        .collect()
}

/// The controller has not seen the budget's last change: what it allowed may not hold any more.
fn unobserved(budget: &str) -> Status {
    Status::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 10).cause(
        "DisruptionBudget",
        format!("The disruption budget {budget} is still being processed by the server."),
        "",
    )
}

fn refused(budget: &str, status: &Value) -> Status {
    let (healthy, desired) =
        (status["currentHealthy"].as_i64().unwrap_or(0), status["desiredHealthy"].as_i64().unwrap_or(0));
    Status::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 0).cause(
        "DisruptionBudget",
        format!("The disruption budget {budget} needs {desired} healthy pods and has {healthy} currently"),
        "",
    )
}

pub async fn evict(server: &Arc<Server>, call: &mut Call, kind: &Arc<Kind>, body: Body) -> Answer {
    let eviction = super::decoded(call, body, "policy", "v1", "Eviction").await?;
    let (namespace, name) = (call.info.namespace.clone(), call.info.name.clone());
    if metadata::text(&eviction, "name") != name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let dry_run = Options::checked(&eviction["deleteOptions"])?.is_dry_run() || options::dry_run(call)?;
    let eviction = admission::create(server, call, kind, "eviction", &name, eviction).await?;
    let options = Options::checked(&eviction["deleteOptions"])?.trial(dry_run);
    let pod = render::value(kind, &*read::newest(server, kind, &namespace, &name).await?);
    if is_finished(&pod) || metadata::is_deleting(&pod) {
        if !metadata::is_deleting(&pod) {
            mark(server, call, kind, dry_run).await?;
        }
        return delete::evict(server, call, kind, options).await;
    }
    let budgets = matching_budgets(server, &pod, &namespace);
    if budgets.len() > 1 {
        return Err(Status::internal(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ));
    }
    if let Some(budget) = budgets.first().filter(|budget| !goes_anyway(budget, &pod)) {
        spend(server, call, &namespace, metadata::text(budget, "name"), &name, dry_run).await?;
    }
    mark(server, call, kind, dry_run).await?;
    delete::evict(server, call, kind, options).await
}

/// A pod that is of no use now need not be counted, as far as the budget's policy goes.
fn goes_anyway(budget: &Value, pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    if conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True") {
        return false;
    }
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let (healthy, desired) = (number("currentHealthy"), number("desiredHealthy"));
    budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow" || (healthy >= desired && desired > 0)
}

/// Writes on the pod why it is about to go.
async fn mark(server: &Arc<Server>, call: &Call, kind: &Arc<Kind>, dry_run: bool) -> Result<(), Status> {
    let (namespace, name) = (call.info.namespace.clone(), call.info.name.clone());
    let mut own = internal(call, &namespace, &name, dry_run);
    let marked = replace(server, &mut own, kind, &name, "status", Ownership::Update, |old| {
        let mut new = old.clone();
        metadata::map(&mut new).remove("resourceVersion");
        let conditions = &mut new["status"]["conditions"];
        if !conditions.is_array() {
            *conditions = json!([]);
        }
        if let Some(list) = conditions.as_array_mut() {
            list.retain(|condition| condition["type"] != "DisruptionTarget");
            list.push(json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting", "lastTransitionTime": metadata::now()}));
        }
        Ok(new)
    });
    marked.await.map(drop)
}

/// A write that follows from the call.
fn internal(call: &Call, namespace: &str, name: &str, dry_run: bool) -> Call {
    Call {
        info: crate::request::RequestInfo {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..call.info.clone()
        },
        user: Arc::clone(&call.user),
        parts: call.parts.clone(),
        query: if dry_run { crate::server::Query::parse("dryRun=All") } else { crate::server::Query::default() },
        warnings: Vec::new(),
    }
}

/// Takes one disruption off the budget, exactly once however many evict at the same time.
async fn spend(
    server: &Arc<Server>,
    call: &Call,
    namespace: &str,
    budget: &str,
    pod: &str,
    dry_run: bool,
) -> Result<(), Status> {
    let kind = server
        .kinds
        .get("policy", "v1", "poddisruptionbudgets")
        .ok_or_else(|| Status::internal("disruption budgets are not served"))?;
    let mut refusal = None;
    let mut own = internal(call, namespace, budget, dry_run);
    let outcome = replace(server, &mut own, &kind, budget, "status", Ownership::Update, |old| {
        let status = &old["status"];
        let allowed = status["disruptionsAllowed"].as_i64().unwrap_or(0);
        let observed =
            status["observedGeneration"].as_i64().unwrap_or(0) >= old["metadata"]["generation"].as_i64().unwrap_or(0);
        if allowed <= 0 || !observed {
            let status = if observed { refused(budget, status) } else { unobserved(budget) };
            refusal = Some(status.clone());
            return Err(status);
        }
        if status["disruptedPods"].as_object().is_some_and(|pods| pods.len() > MAX_DISRUPTED) {
            let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
            let status = Status::forbidden("policy", "poddisruptionbudgets", budget, why);
            refusal = Some(status.clone());
            return Err(status);
        }
        let mut new = old.clone();
        metadata::map(&mut new).remove("resourceVersion");
        new["status"]["disruptionsAllowed"] = json!(allowed - 1);
        new["status"]["disruptedPods"][pod] = json!(metadata::now());
        Ok(new)
    })
    .await;
    match (outcome, refusal) {
        (Err(_), Some(refusal)) => Err(refusal),
        (outcome, _) => outcome.map(drop),
    }
}
