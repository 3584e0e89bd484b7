//! Updates of a pod's status.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::{Map, Value, json};

use crate::{
    checks::{name_if_there, push_all},
    value::{Look, MapExt, dig, object},
};

const MAX_ID: i64 = i32::MAX as i64;

pub(super) fn prepare(new: &mut Value, old: &Value) {
    object(new, "metadata").keep(old.at("metadata"), "ownerReferences");
    let status = object(new, "status");
    if status.get("qosClass").and_then(Value::as_str).unwrap_or_default().is_empty() {
        status.keep(old.at("status"), "qosClass");
    }
    if !status.contains_key("observedGeneration") {
        status.keep(old.at("status"), "observedGeneration");
    }
    same_address(status);
    keep_observed_generations(new, old);
}

/// The first of the pod's addresses and the single address of old always say the same; of two, the single one has the
/// word, for whoever is so old knows no other.
fn same_address(status: &mut Map<String, Value>) {
    let single = status.get("podIP").and_then(Value::as_str).unwrap_or_default().to_owned();
    let first = status.get("podIPs").and_then(|list| list.get(0)).map(|first| first.text("ip").to_owned());
    if single.is_empty() {
        if let Some(first) = first {
            status.insert("podIP".into(), first.into());
        }
    } else if first.as_ref() != Some(&single) {
        status.insert("podIPs".into(), json!([{"ip": single}]));
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
        generation(condition, &path, errors);
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            push_all(names::is_qualified_name(kind), kind, &path.child("Type"), errors);
        }
    }
    let nominated = new.text("status.nominatedNodeName");
    if !nominated.is_empty() && nominated != old.text("status.nominatedNodeName") {
        push_all(names::is_dns1123_subdomain(nominated), nominated, &path.child("nominatedNodeName"), errors);
    }
    generation(new.at("status"), &path, errors);
    let (qos, had) = (new.text("status.qosClass"), old.text("status.qosClass"));
    if !had.is_empty() && qos != had {
        errors.push(Error::invalid(path.child("qosClass"), qos, "field is immutable"));
    }
    for (list, specs) in [("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")] {
        transitions(new, old, list, specs, &path.child(list), errors);
    }
    claims(new, &path.child("resourceClaimStatuses"), errors);
    addresses(new.list("status.podIPs"), &path.child("podIPs"), errors);
    let hosts = new.list("status.hostIPs");
    if let Some(first) = hosts.first().filter(|first| first.text("ip") != new.text("status.hostIP")) {
        let at = path.child("hostIPs").index(0).child("ip");
        errors.push(Error::invalid(at, first.text("ip"), "must be equal to `hostIP`"));
    }
    addresses(hosts, &path.child("hostIPs"), errors);
    for list in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        for (index, status) in new.at("status").list(list).iter().enumerate() {
            user(status.at("user.linux"), &path.child(list).index(index).child("user").child("linux"), errors);
        }
    }
}

fn generation(of: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(generation) = of.int("observedGeneration").filter(|generation| *generation < 0) {
        let detail = "must be a non-negative integer";
        errors.push(Error::invalid(path.child("observedGeneration"), generation, detail));
    }
}

/// One address, or one of each family.
fn addresses(list: &[Value], path: &Path, errors: &mut ErrorList) {
    for (index, ip) in list.iter().enumerate() {
        push_all(names::is_ip(ip.text("ip")), ip.text("ip"), &path.index(index), errors);
    }
    let unread = list.iter().position(|ip| names::parse_ip(ip.text("ip")).is_none()).filter(|_| list.len() > 1);
    if let Some(index) = unread {
        let why = format!("invalid IP[{index}]: {}", list[index].text("ip"));
        errors.push(Error::internal(path.clone(), format!("failed to check for dual stack with error:{why}")));
    }
    let v6 = |ip: &Value| names::parse_ip(ip.text("ip")).is_some_and(|ip| ip.is_ipv6());
    if list.len() > 2 || (list.len() == 2 && v6(&list[0]) == v6(&list[1])) {
        let detail = "may specify no more than one IP for each IP family";
        errors.push(Error::invalid(path.clone(), list.to_vec(), detail));
    }
}

/// The claims that were made for the pod, by the names that it gave them.
fn claims(pod: &Value, path: &Path, errors: &mut ErrorList) {
    let statuses = pod.list("status.resourceClaimStatuses");
    for (index, status) in statuses.iter().enumerate() {
        let (name, path) = (status.text("name"), path.index(index));
        if !pod.list("spec.resourceClaims").iter().any(|claim| claim.text("name") == name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(Error::invalid(path.child("name"), name, detail));
        }
        if statuses[..index].iter().any(|other| other.text("name") == name) {
            errors.push(Error::duplicate(path.child("name"), name));
        }
        name_if_there(status, &path, "resourceClaimName", names::is_dns1123_subdomain, errors);
    }
}

/// Who runs a container.
fn user(user: &Value, path: &Path, errors: &mut ErrorList) {
    let mut id = |value: &Value, path: Path| {
        if let Some(id) = value.as_i64().filter(|id| !(0..=MAX_ID).contains(id)) {
            errors.push(Error::invalid(path, id, names::range_error(0, MAX_ID)));
        }
    };
    for key in ["uid", "gid"] {
        id(user.at(key), path.child(key));
    }
    for (index, group) in user.list("supplementalGroups").iter().enumerate() {
        id(group, path.child("supplementalGroups").index(index));
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
