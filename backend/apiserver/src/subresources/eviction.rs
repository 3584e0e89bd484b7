//! `pods/eviction`: a delete that asks the disruption budgets first.
//! Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/>

use std::sync::Arc;

use pilothouse_api::Status;
use pilothouse_api::selector::LabelSelector;
use pilothouse_kinds::Kind;
use serde_json::{Value, json};

use crate::body::Body;
use crate::registry::delete::{self, eviction_options};
use crate::registry::update::{Ownership, replace};
use crate::registry::{metadata, options, read, render};
use crate::server::{Answer, Call, Server};

const BUDGETS: &str = "poddisruptionbudgets.policy";

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
    let dry_run = options::dry_run(call)?;
    let (namespace, name) = (call.info.namespace.clone(), call.info.name.clone());
    let own = metadata::text(&eviction, "name");
    if !own.is_empty() && own != name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let options = eviction_options(&eviction, dry_run);
    let pod = render::value(kind, &*read::newest(server, kind, &namespace, &name).await?);
    if is_finished(&pod) || metadata::is_deleting(&pod) {
        return delete::evict(server, call, kind, options).await;
    }
    let budgets = matching_budgets(server, &pod, &namespace);
    if budgets.len() > 1 {
        return Err(Status::internal(
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        ));
    }
    if let Some(budget) = budgets.first() {
        spend(server, call, &namespace, metadata::text(budget, "name"), &name, dry_run).await?;
    }
    delete::evict(server, call, kind, options).await
}

/// Takes one disruption off the budget, exactly once however many evict at the same time.
async fn spend(
    server: &Arc<Server>,
    call: &mut Call,
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
    let mut own = Call {
        info: crate::request::RequestInfo {
            namespace: namespace.to_owned(),
            name: budget.to_owned(),
            ..call.info.clone()
        },
        user: Arc::clone(&call.user),
        parts: call.parts.clone(),
        query: if dry_run { crate::server::Query::parse("dryRun=All") } else { crate::server::Query::default() },
        warnings: Vec::new(),
    };
    let outcome = replace(server, &mut own, &kind, budget, "status", Ownership::Update, |old| {
        let status = &old["status"];
        let allowed = status["disruptionsAllowed"].as_i64().unwrap_or(0);
        let observed =
            status["observedGeneration"].as_i64().unwrap_or(0) >= old["metadata"]["generation"].as_i64().unwrap_or(0);
        if allowed <= 0 || !observed {
            let status = refused(budget, status);
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
