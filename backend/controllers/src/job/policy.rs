//! Pod failure policies and success policies. Pure.
//! Source: <https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy>

use k8s_openapi::api::batch::v1::{
    PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicy,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::indexes::{self, Indexes};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Count,
    Ignore,
    FailIndex,
    /// With the message for the Job's condition.
    FailJob(String),
}

/// What a failed pod means: the first rule that matches decides.
pub fn on_failure(policy: Option<&PodFailurePolicy>, pod: &Pod) -> Action {
    for (at, rule) in policy.into_iter().flat_map(|p| p.rules.iter().enumerate()) {
        let Some(cause) = matches(rule, pod) else { continue };
        return match rule.action.as_str() {
            "FailJob" => Action::FailJob(format!("{cause} matching FailJob rule at index {at}")),
            "FailIndex" => Action::FailIndex,
            "Ignore" => Action::Ignore,
            _ => Action::Count,
        };
    }
    Action::Count
}

fn matches(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let meta = &pod.metadata;
    let name =
        format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
    let status = pod.status.as_ref()?;
    if let Some(codes) = &rule.on_exit_codes {
        let containers = status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let (container, code) = containers.filter_map(exit).find(|(c, code)| matches_exit(codes, c, *code))?;
        return Some(format!("Container {container} for pod {name} failed with exit code {code}"));
    }
    for pattern in rule.on_pod_conditions.iter().flatten() {
        let wanted = serde_json::to_value(pattern).ok()?;
        // The status in a pattern is True unless it says otherwise.
        let wanted = wanted.get("status").and_then(|s| s.as_str()).unwrap_or("True").to_owned();
        if status.conditions.iter().flatten().any(|c| c.type_ == pattern.type_ && c.status == wanted) {
            return Some(format!("Pod {name} has condition {}", pattern.type_));
        }
    }
    None
}

fn exit(container: &ContainerStatus) -> Option<(&str, i32)> {
    let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
    // A container that did its work never matches.
    (code != 0).then_some((&*container.name, code))
}

fn matches_exit(rule: &PodFailurePolicyOnExitCodesRequirement, container: &str, code: i32) -> bool {
    if rule.container_name.as_deref().is_some_and(|name| name != container) {
        return false;
    }
    rule.values.contains(&code) == (rule.operator == "In")
}

/// The first rule the succeeded indexes satisfy.
pub fn on_success(policy: Option<&SuccessPolicy>, succeeded: &Indexes, completions: i32) -> Option<usize> {
    policy?.rules.iter().position(|rule| {
        let of = rule.succeeded_indexes.as_deref().map(|text| indexes::parse(text, completions));
        let have = match &of {
            Some(of) => of.intersection(succeeded).count(),
            None => succeeded.len(),
        };
        match (rule.succeeded_count, &of) {
            (Some(count), _) => usize::try_from(count).is_ok_and(|count| have >= count),
            (None, Some(of)) => !of.is_empty() && have == of.len(),
            (None, None) => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_first_matching_rule_decides() {
        let policy: PodFailurePolicy = serde_json::from_value(json!({"rules": [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [42]}},
            {"action": "FailIndex", "onExitCodes": {"operator": "NotIn", "values": [1, 42]}},
        ]}))
        .unwrap();
        let pod = |container: &str, code: i32, conditions: Value| -> Pod {
            let container = json!({"name": container, "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": code}}});
            let status = json!({"containerStatuses": [container], "conditions": conditions});
            serde_json::from_value(json!({"metadata": {"name": "p", "namespace": "ns"}, "status": status})).unwrap()
        };
        let failed = "Container main for pod ns/p failed with exit code 42 matching FailJob rule at index 1";
        for (pod, expect) in [
            (pod("main", 42, json!([])), Action::FailJob(failed.into())),
            (pod("main", 42, json!([{"type": "DisruptionTarget", "status": "True"}])), Action::Ignore),
            (pod("main", 42, json!([{"type": "DisruptionTarget", "status": "False"}])), Action::FailJob(failed.into())),
            (pod("side", 42, json!([])), Action::Count),
            (pod("main", 3, json!([])), Action::FailIndex),
            (pod("main", 1, json!([])), Action::Count),
            (pod("main", 0, json!([])), Action::Count),
        ] {
            assert_eq!(on_failure(Some(&policy), &pod), expect);
        }
    }

    #[test]
    fn success_by_indexes_and_counts() {
        let policy = |rules: Value| -> SuccessPolicy { serde_json::from_value(json!({"rules": rules})).unwrap() };
        for (rules, succeeded, expect) in [
            (json!([{"succeededIndexes": "0,2"}]), "0,1", None),
            (json!([{"succeededIndexes": "0,2"}]), "0-2", Some(0)),
            (json!([{"succeededCount": 2}]), "4,5", Some(0)),
            (json!([{"succeededIndexes": "0-2", "succeededCount": 2}]), "0,5", None),
            (json!([{"succeededIndexes": "9"}, {"succeededIndexes": "0-2", "succeededCount": 1}]), "1", Some(1)),
        ] {
            assert_eq!(on_success(Some(&policy(rules.clone())), &indexes::parse(succeeded, 10), 10), expect, "{rules}");
        }
    }
}
