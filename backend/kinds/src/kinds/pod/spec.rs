//! Validation of a pod's spec and of the pod template of a workload.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
    quantity::Quantity,
};
use serde_json::Value;

use super::{affinity, containers, requirements, security, volumes};
use crate::{
    checks::{one_of, one_of_if_set, push_all},
    meta,
    value::{Look, bare},
};

pub(super) const RESTART_POLICIES: &[&str] = &["Always", "OnFailure", "Never"];
const DNS_POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;
const MAX_HOSTNAME: usize = 64;

/// What the checks of one pod's parts need to know of the whole.
pub(super) struct Context<'a> {
    pub spec: &'a Value,
    /// The names of the volumes that are fine.
    pub volumes: Vec<&'a str>,
    pub grace: Option<i64>,
    pub host_users: bool,
    /// A pod, not a template.
    pub is_pod: bool,
}

/// A pod: its spec, and what is asked of pods only.
pub(super) fn pod(pod: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = pod.at("spec");
    validate(spec, pod.at("metadata"), &path, true, errors);
    if spec.text("serviceAccountName").is_empty() {
        for (index, volume) in spec.list("volumes").iter().enumerate() {
            for (source, value) in volume.list("projected.sources").iter().enumerate() {
                if value.has("serviceAccountToken") {
                    let path = path.child("volumes").index(index).child("projected").child("sources").index(source);
                    let detail = "must not be specified when serviceAccountName is not set";
                    errors.push(Error::forbidden(path.child("serviceAccountToken"), detail));
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for (index, container) in spec.list(list).iter().enumerate() {
            containers::image_without_spaces(container, &path.child(list).index(index), errors);
        }
    }
}

/// The pod template of a workload: labels, annotations, spec.
pub(crate) fn template(template: &Value, path: &Path, errors: &mut ErrorList) {
    // Upstream's paths of a template's labels lack the metadata.
    meta::validate_labels(template.at("metadata.labels"), &path.child("labels"), errors);
    meta::validate_annotations(template.at("metadata.annotations"), &path.child("annotations"), errors);
    let spec = template.at("spec");
    validate(spec, &Value::Null, &path.child("spec"), false, errors);
    if !spec.list("ephemeralContainers").is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(Error::forbidden(path.child("spec").child("ephemeralContainers"), detail));
    }
}

fn validate(spec: &Value, metadata: &Value, path: &Path, is_pod: bool, errors: &mut ErrorList) {
    let grace = spec.int("terminationGracePeriodSeconds");
    if grace.is_none() {
        errors.push(Error::required(path.child("terminationGracePeriodSeconds"), ""));
    }
    let host_users = spec.at("hostUsers").as_bool().unwrap_or(true);
    let volumes = volumes::validate(spec, metadata, &path.child("volumes"), errors);
    let context = Context { spec, volumes, grace, host_users, is_pod };
    resource_claims(spec, &path.child("resourceClaims"), errors);
    containers::validate(&context, path, errors);
    pod_resources(spec, path, errors);
    host_ports(&context, &path.child("containers"), errors);
    one_of(spec, path, "restartPolicy", RESTART_POLICIES, errors);
    one_of(spec, path, "dnsPolicy", DNS_POLICIES, errors);
    meta::validate_labels(spec.at("nodeSelector"), &path.child("nodeSelector"), errors);
    security::pod(&context, path, errors);
    affinity::validate(spec.at("affinity"), &path.child("affinity"), errors);
    dns_config(spec, &path.child("dnsConfig"), errors);
    gates(spec, path, errors);
    affinity::spread_constraints(spec, &path.child("topologySpreadConstraints"), errors);
    host_names(spec, path, errors);
    references(spec, path, errors);
    if let Some(seconds) = spec.int("activeDeadlineSeconds").filter(|s| *s < 1 || *s > i64::from(i32::MAX)) {
        let detail = names::range_error(1, i32::MAX.into());
        errors.push(Error::invalid(path.child("activeDeadlineSeconds"), seconds, detail));
    }
    affinity::tolerations(spec.list("tolerations"), &path.child("tolerations"), errors);
    one_of_if_set(spec, path, "preemptionPolicy", &["PreemptLowerPriority", "Never"], errors);
    requirements::resource_list(
        spec.at("overhead"),
        &path.child("overhead"),
        requirements::container_resource_name,
        errors,
    );
    if spec.has("os") {
        let (name, at) = (spec.text("os.name"), path.child("os"));
        if name.is_empty() {
            errors.push(Error::required(at.child("name"), ""));
        } else if !matches!(name, "linux" | "windows") {
            errors.push(Error::not_supported(at, name, &["linux", "windows"]));
        }
    }
}

/// Names of other objects.
fn references(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for key in ["serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"] {
        let name = spec.text(key);
        if !name.is_empty() {
            push_all(names::is_dns1123_subdomain(name), name, &path.child(key), errors);
        }
    }
}

fn resource_claims(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen = Vec::new();
    for (index, claim) in spec.list("resourceClaims").iter().enumerate() {
        let path = path.index(index);
        match claim.text("name") {
            "" => errors.push(Error::required(path.child("name"), "")),
            name if seen.contains(&name) => errors.push(Error::duplicate(path.child("name"), name)),
            name => {
                push_all(names::is_dns1123_label(name), name, &path.child("name"), errors);
                seen.push(name);
            }
        }
        let (one, two) = (claim.has("resourceClaimName"), claim.has("resourceClaimTemplateName"));
        if one && two {
            let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
            errors.push(Error::invalid(path.clone(), claim.clone(), detail));
        } else if !one && !two {
            let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
            errors.push(Error::invalid(path.clone(), claim.clone(), detail));
        }
        for key in ["resourceClaimName", "resourceClaimTemplateName"] {
            if let Some(name) = claim.at(key).as_str() {
                push_all(names::is_dns1123_subdomain(name), name, &path.child(key), errors);
            }
        }
    }
}

/// Requests and limits of the pod as a whole.
fn pod_resources(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let resources = spec.at("resources");
    if !resources.is_object() {
        return;
    }
    let path = path.child("resources");
    if resources.has("claims") {
        errors.push(Error::forbidden(path.child("claims"), "claims may not be set for Resources at pod-level"));
    }
    requirements::validate(resources, spec, &path, requirements::pod_resource_name, errors);
    let Some(map) = spec.as_object() else { return };
    for (name, sum) in super::resources::container_requests(map) {
        let Some(asked) = resources.at("requests").get(&name) else { continue };
        if Quantity::parse(&bare(asked)).is_ok_and(|asked| sum > asked) {
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.push(Error::invalid(path.child("requests").key(&name), bare(asked).as_ref(), detail));
        }
    }
    for (index, container) in spec.list("containers").iter().enumerate() {
        for (name, limit) in container.entries("resources.limits") {
            let Some(most) = resources.at("limits").get(name) else { continue };
            let (Ok(have), Ok(most)) = (Quantity::parse(&bare(limit)), Quantity::parse(&bare(most))) else { continue };
            if have > most {
                let path = path.child("containers").index(index).key(name).child("limits");
                let detail = format!("must be less than or equal to pod limits of {most}");
                errors.push(Error::invalid(path, bare(limit).as_ref(), detail));
            }
        }
    }
}

/// On the host's network a container's ports are the host's.
fn host_ports(context: &Context<'_>, path: &Path, errors: &mut ErrorList) {
    if !context.spec.flag("hostNetwork") {
        return;
    }
    for (index, container) in context.spec.list("containers").iter().enumerate() {
        for (port_index, port) in container.list("ports").iter().enumerate() {
            let host = port.int("hostPort").unwrap_or_default();
            if (context.is_pod || host != 0) && host != port.int("containerPort").unwrap_or_default() {
                let path = path.index(index).child("ports").index(port_index).child("hostPort");
                errors.push(Error::invalid(path, host, "must match `containerPort` when `hostNetwork` is true"));
            }
        }
    }
}

fn dns_config(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let config = spec.at("dnsConfig");
    let servers = config.list("nameservers");
    if spec.text("dnsPolicy") == "None" {
        if config.is_null() {
            let detail = "must provide `dnsConfig` when `dnsPolicy` is None";
            return errors.push(Error::required(path.clone(), detail));
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return errors.push(Error::required(path.child("nameservers"), detail));
        }
    }
    if servers.len() > MAX_NAMESERVERS {
        let detail = format!("must not have more than {MAX_NAMESERVERS} nameservers");
        errors.push(Error::invalid(path.child("nameservers"), config.at("nameservers").clone(), detail));
    }
    for (index, server) in config.texts("nameservers").enumerate() {
        push_all(names::is_ip(server), server, &path.child("nameservers").index(index), errors);
    }
    let searches: Vec<&str> = config.texts("searches").collect();
    if searches.len() > MAX_SEARCHES {
        let detail = format!("must not have more than {MAX_SEARCHES} search paths");
        errors.push(Error::invalid(path.child("searches"), config.at("searches").clone(), detail));
    }
    if searches.join(" ").len() > MAX_SEARCH_CHARS {
        let detail =
            format!("must not have more than {MAX_SEARCH_CHARS} characters (including spaces) in the search list");
        errors.push(Error::invalid(path.child("searches"), config.at("searches").clone(), detail));
    }
    for (index, search) in searches.iter().enumerate().filter(|(_, search)| **search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        let wrong = names::is_dns1123_subdomain_with_underscore(search);
        push_all(wrong, search, &path.child("searches").index(index), errors);
    }
    for (index, option) in config.list("options").iter().enumerate() {
        if option.text("name").is_empty() {
            errors.push(Error::required(path.child("options").index(index), "must not be empty"));
        }
    }
}

fn gates(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for (index, gate) in spec.list("readinessGates").iter().enumerate() {
        let kind = gate.text("conditionType");
        let path = path.child("readinessGates").index(index).child("conditionType");
        push_all(names::is_qualified_name(kind), kind, &path, errors);
    }
    let mut seen = Vec::new();
    for (index, gate) in spec.list("schedulingGates").iter().enumerate() {
        let (name, path) = (gate.text("name"), path.child("schedulingGates").index(index));
        push_all(names::is_qualified_name(name), name, &path, errors);
        if seen.contains(&name) {
            errors.push(Error::duplicate(path, name));
        }
        seen.push(name);
    }
}

fn host_names(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for key in ["hostname", "subdomain"] {
        let name = spec.text(key);
        if !name.is_empty() {
            push_all(names::is_dns1123_label(name), name, &path.child(key), errors);
        }
    }
    if let Some(name) = spec.at("hostnameOverride").as_str() {
        let path = path.child("hostnameOverride");
        if spec.flag("setHostnameAsFQDN") {
            errors.push(Error::forbidden(path.clone(), "may not be specified when setHostnameAsFQDN is true"));
        }
        if spec.flag("hostNetwork") {
            errors.push(Error::forbidden(path.clone(), "may not be specified when hostNetwork is true"));
        }
        if name.len() > MAX_HOSTNAME {
            errors.push(Error::too_long(path.clone(), MAX_HOSTNAME));
        }
        push_all(names::is_dns1123_subdomain(name), name, &path, errors);
    }
    for (index, alias) in spec.list("hostAliases").iter().enumerate() {
        let path = path.child("hostAliases").index(index);
        push_all(names::is_ip(alias.text("ip")), alias.text("ip"), &path.child("ip"), errors);
        for (index, name) in alias.texts("hostnames").enumerate() {
            push_all(names::is_dns1123_subdomain(name), name, &path.child("hostnames").index(index), errors);
        }
    }
}
