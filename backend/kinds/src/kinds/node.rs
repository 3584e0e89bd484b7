//! Node. Source: <https://kubernetes.io/docs/concepts/architecture/nodes/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::{Value, json};

use super::pod;
use crate::{
    checks::{canonical_quantities, push_all},
    columns::{AGE, Column, NAME, age, name},
    strategy::{Field, Strategy},
    value::{Look, dig, object, semantic_eq},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    keeps_status_on_create: true,
    default,
    prepare_create: |node| {
        drop_configuration(node, &Value::Null);
        sync_pod_cidr(node);
    },
    prepare_update: |new, old| {
        drop_configuration(new, old);
        sync_pod_cidr(new);
    },
    prepare_status_update: drop_configuration,
    validate,
    validate_update,
    warn: |node, _, warnings| {
        if node.has("spec.configSource") {
            warnings.push("spec.configSource: the feature is removed".into());
        }
        if !node.text("spec.externalID").is_empty() {
            warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".into());
        }
        for (index, range) in node.texts("spec.podCIDRs").enumerate() {
            crate::warnings::cidr(range, &Path::new("spec").child("podCIDRs").index(index), warnings);
        }
    },
    validate_status_update: |new, _, errors| status(new, errors),
    columns: COLUMNS,
    row,
    fields: &[Field::flag("spec.unschedulable")],
    ..Strategy::PLAIN
};

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";

const COLUMNS: &[Column] = &[
    NAME,
    Column::text("Status"),
    Column::text("Roles"),
    AGE,
    Column::text("Version"),
    Column::wide("Internal-IP"),
    Column::wide("External-IP"),
    Column::wide("OS-Image"),
    Column::wide("Kernel-Version"),
    Column::wide("Container-Runtime"),
];

fn row(node: &Value, now: Timestamp) -> Vec<Value> {
    let ready = node.list("status.conditions").iter().find(|c| c.text("type") == "Ready");
    let mut status = match ready {
        Some(condition) if condition.text("status") == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node.flag("spec.unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    let address = |kind: &str| {
        let found = node.list("status.addresses").iter().find(|a| a.text("type") == kind);
        Value::from(found.map_or("<none>", |a| a.text("address")))
    };
    let info = |key: &str| match node.at("status.nodeInfo").text(key) {
        "" => "<unknown>",
        text => text,
    };
    let mut kernel = info("kernelVersion").to_owned();
    let architecture = node.text("status.nodeInfo.architecture");
    if !architecture.is_empty() {
        kernel = format!("{kernel} ({architecture})");
    }
    vec![
        name(node),
        status.into(),
        roles(node).into(),
        age(node, now),
        node.text("status.nodeInfo.kubeletVersion").into(),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage").into(),
        kernel.into(),
        info("containerRuntimeVersion").into(),
    ]
}

/// The roles its labels name, sorted.
fn roles(node: &Value) -> String {
    let mut roles: Vec<&str> = node
        .entries("metadata.labels")
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None if key == ROLE_LABEL => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

fn default(node: &mut Value) {
    sync_pod_cidr(node);
    if node.has("status.capacity") && !node.has("status.allocatable") {
        let capacity = node.at("status.capacity").clone();
        object(node, "status").insert("allocatable".into(), capacity);
    }
    for key in ["status.capacity", "status.allocatable"] {
        canonical_quantities(dig(node, key));
    }
}

/// Kubelets are not configured through the API any more: what says so is left to those who have it.
fn drop_configuration(new: &mut Value, old: &Value) {
    for (part, key) in [("spec", "configSource"), ("status", "config")] {
        if !old.at(part).has(key)
            && let Some(part) = dig(new, part).and_then(Value::as_object_mut)
        {
            part.remove(key);
        }
    }
}

/// `podCIDR` is the first of `podCIDRs`.
fn sync_pod_cidr(node: &mut Value) {
    let first = node.texts("spec.podCIDRs").next().map(str::to_owned);
    let one = node.text("spec.podCIDR").to_owned();
    match first {
        Some(first) if one.is_empty() => {
            object(node, "spec").insert("podCIDR".into(), first.into());
        }
        // A client that knows only the one has the word.
        Some(first) if first != one => {
            object(node, "spec").insert("podCIDRs".into(), json!([one]));
        }
        None if !one.is_empty() => {
            object(node, "spec").insert("podCIDRs".into(), json!([one]));
        }
        _ => {}
    }
}

fn validate(node: &Value, errors: &mut ErrorList) {
    taints(node, errors);
    status(node, errors);
    let path = Path::new("spec").child("podCIDRs");
    for (index, cidr) in node.texts("spec.podCIDRs").enumerate() {
        push_all(names::is_cidr(cidr), cidr, &path.index(index), errors);
    }
    let cidrs: Vec<&str> = node.texts("spec.podCIDRs").collect();
    if let Some(index) = cidrs.iter().position(|cidr| names::parse_cidr(cidr).is_none()).filter(|_| cidrs.len() > 1) {
        let cidr = cidrs[index];
        let why = format!("invalid CIDR[{index}]: <nil> (invalid CIDR address: {cidr})");
        let detail = format!("invalid PodCIDRs. failed to check with dual stack with error:{why}");
        errors.push(Error::internal(path.clone(), detail));
    }
    let v6 = |cidr: &str| cidr.contains(':');
    if cidrs.len() > 2 || (cidrs.len() == 2 && v6(cidrs[0]) == v6(cidrs[1])) {
        let detail = "may specify no more than one CIDR for each IP family";
        errors.push(Error::invalid(path, node.at("spec.podCIDRs").clone(), detail));
    }
}

fn taints(node: &Value, errors: &mut ErrorList) {
    // Upstream's path: taints once were an annotation.
    let path = Path::new("metadata").child("taints");
    let taints = node.list("spec.taints");
    for (index, taint) in taints.iter().enumerate() {
        let path = path.index(index);
        let (key, value, effect) = (taint.text("key"), taint.text("value"), taint.text("effect"));
        push_all(names::is_qualified_name(key), key, &path.child("key"), errors);
        let wrong = names::is_label_value(value);
        if !wrong.is_empty() {
            errors.push(Error::invalid(path.child("value"), value, wrong.join(";")));
        }
        crate::checks::one_of(taint, &path, "effect", &["NoSchedule", "PreferNoSchedule", "NoExecute"], errors);
        if taints[..index].iter().any(|t| t.text("key") == key && t.text("effect") == effect) {
            let mut error = Error::duplicate(path, taint.clone());
            error.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(error);
        }
    }
}

fn status(node: &Value, errors: &mut ErrorList) {
    for key in ["capacity", "allocatable"] {
        let path = Path::new("status").child(key);
        for (name, value) in node.at("status").entries(key) {
            pod::resource_amount(name, value, &path.child(name), errors);
        }
    }
    let addresses = node.list("status.addresses");
    for (index, address) in addresses.iter().enumerate().filter(|(index, a)| addresses[..*index].contains(a)) {
        let path = Path::new("status").child("addresses").index(index);
        errors.push(Error::duplicate(path, address.clone()));
    }
}

fn validate_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    validate(new, errors);
    // Upstream looks at these twice, when it judges the new node and when it judges the change.
    taints(new, errors);
    let path = Path::new("spec");
    if !old.list("spec.podCIDRs").is_empty() && !semantic_eq(new.at("spec.podCIDRs"), old.at("spec.podCIDRs")) {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(Error::forbidden(path.child("podCIDRs"), detail));
    }
    let provider = old.text("spec.providerID");
    if !provider.is_empty() && provider != new.text("spec.providerID") {
        let detail = "node updates may not change providerID except from \"\" to valid";
        errors.push(Error::forbidden(path.child("providerID"), detail));
    }
}
