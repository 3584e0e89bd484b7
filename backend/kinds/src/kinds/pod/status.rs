//! Updates of a pod's status.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::{Map, Value, json};

use crate::{
    checks::push_all,
    value::{Look, MapExt, dig, object},
};

pub(super) fn prepare(new: &mut Value, old: &Value) {
    object(new, "metadata").keep(old.at("metadata"), "ownerReferences");
    let status = object(new, "status");
    if status.get("qosClass").and_then(Value::as_str).unwrap_or_default().is_empty() {
        status.keep(old.at("status"), "qosClass");
    }
    if !status.contains_key("observedGeneration") {
        status.keep(old.at("status"), "observedGeneration");
    }
    same_address(status, "podIP", "podIPs");
    same_address(status, "hostIP", "hostIPs");
    keep_observed_generations(new, old);
}

/// The first of the addresses and the single address of old always say the same.
fn same_address(status: &mut Map<String, Value>, one: &str, many: &str) {
    let first = status.get(many).and_then(|list| list.get(0)).map(|first| first.text("ip").to_owned());
    match first {
        Some(first) => {
            status.insert(one.into(), first.into());
        }
        None => {
            let single = status.get(one).and_then(Value::as_str).unwrap_or_default().to_owned();
            if !single.is_empty() {
                status.insert(many.into(), json!([{"ip": single}]));
            }
        }
    }
}

/// A condition written without a generation keeps the one it had.
fn keep_observed_generations(new: &mut Value, old: &Value) {
    let Some(conditions) = dig(new, "status.conditions").and_then(Value::as_array_mut) else { return };
    for condition in conditions {
        if condition.has("observedGeneration") {
            continue;
        }
        let kind = condition.text("type");
        let same = old.list("status.conditions").iter().find(|c| c.text("type") == kind);
        if let Some(same) = same.filter(|c| c.has("observedGeneration")) {
            condition.keep(same, "observedGeneration");
        }
    }
}

pub(super) fn validate(new: &Value, old: &Value, errors: &mut ErrorList) {
    let path = Path::new("status");
    for (index, condition) in new.list("status.conditions").iter().enumerate() {
        let path = path.child("conditions").index(index);
        let kind = condition.text("type");
        if kind.contains('/') {
            push_all(names::is_qualified_name(kind), kind, &path.child("Type"), errors);
        }
    }
    let nominated = new.text("status.nominatedNodeName");
    if !nominated.is_empty() && nominated != old.text("status.nominatedNodeName") {
        push_all(names::is_dns1123_subdomain(nominated), nominated, &path.child("nominatedNodeName"), errors);
    }
    let (qos, had) = (new.text("status.qosClass"), old.text("status.qosClass"));
    if !had.is_empty() && qos != had {
        errors.push(Error::invalid(path.child("qosClass"), qos, "field is immutable"));
    }
    for (list, specs) in [("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")] {
        transitions(new, old, list, specs, &path.child(list), errors);
    }
    for (index, ip) in new.list("status.podIPs").iter().enumerate() {
        push_all(names::is_ip(ip.text("ip")), ip.text("ip"), &path.child("podIPs").index(index), errors);
    }
    for (index, ip) in new.list("status.hostIPs").iter().enumerate() {
        push_all(names::is_ip(ip.text("ip")), ip.text("ip"), &path.child("hostIPs").index(index), errors);
    }
}

/// What has ended for good does not run again.
fn transitions(new: &Value, old: &Value, list: &str, specs: &str, path: &Path, errors: &mut ErrorList) {
    let policy = old.text("spec.restartPolicy");
    let specs = old.at("spec").list(specs);
    // A rule that restarts all containers can bring back any of them.
    let all = |c: &Value| c.list("restartPolicyRules").iter().any(|rule| rule.text("action") == "RestartAllContainers");
    if specs.iter().any(all) {
        return;
    }
    for (index, before) in old.at("status").list(list).iter().enumerate() {
        let ended = before.at("state.terminated");
        let name = before.text("name");
        let after = new.at("status").list(list).iter().find(|s| s.text("name") == name);
        if !ended.is_object() || after.is_none_or(|after| after.has("state.terminated")) {
            continue;
        }
        let own = specs.iter().find(|c| c.text("name") == name);
        if may_restart(own, policy, ended.int("exitCode").unwrap_or_default()) {
            continue;
        }
        let path = path.index(index).child("state");
        errors.push(Error::forbidden(path, "may not be transitioned to non-terminated state"));
    }
}

fn may_restart(container: Option<&Value>, pod_policy: &str, exit_code: i64) -> bool {
    let own = container.map(|c| c.text("restartPolicy")).unwrap_or_default();
    for rule in container.map(|c| c.list("restartPolicyRules")).unwrap_or_default() {
        let listed = rule.list("exitCodes.values").iter().any(|code| code.as_i64() == Some(exit_code));
        if listed == (rule.text("exitCodes.operator") == "In") {
            return rule.text("action") == "Restart";
        }
    }
    match if own.is_empty() { pod_policy } else { own } {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}
