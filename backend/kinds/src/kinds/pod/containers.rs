//! Validation of containers, init containers and ephemeral containers.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use super::{
    environment, mounts, probes, requirements, requirements::container_resource_name, security, spec::Context,
};
use crate::{
    checks::{one_of, push_all, required},
    value::Look,
};

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const MESSAGE_POLICIES: &[&str] = &["File", "FallbackToLogsOnError"];
const INIT_ONLY: &str = "may not be set for init containers without restartPolicy=Always";
const MAX_RESTART_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;
/// What an ephemeral container may have.
const EPHEMERAL_FIELDS: &[&str] = &[
    "name",
    "image",
    "command",
    "args",
    "workingDir",
    "env",
    "envFrom",
    "volumeMounts",
    "volumeDevices",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "imagePullPolicy",
    "securityContext",
    "stdin",
    "stdinOnce",
    "tty",
    "targetContainerName",
    "resources",
];

pub(super) fn validate(context: &Context<'_>, path: &Path, errors: &mut ErrorList) {
    let spec = context.spec;
    let (regular, init) = (spec.list("containers"), spec.list("initContainers"));
    let mut seen: Vec<&str> = Vec::new();
    if regular.is_empty() {
        errors.push(Error::required(path.child("containers"), ""));
    }
    for (index, container) in regular.iter().enumerate() {
        let path = path.child("containers").index(index);
        common(context, container, &path, errors);
        unique_name(container, &mut seen, &path, errors);
        probes::validate(context, container, &path, errors);
        restart_policy(container, &path, errors);
    }
    host_port_conflicts(regular, &path.child("containers"), errors);
    for (index, container) in init.iter().enumerate() {
        let list = path.child("initContainers");
        let path = list.index(index);
        common(context, container, &path, errors);
        restart_policy(container, &path, errors);
        unique_name(container, &mut seen, &path, errors);
        host_port_conflicts(std::slice::from_ref(container), &list, errors);
        if container.text("restartPolicy") == "Always" {
            probes::validate(context, container, &path, errors);
        } else {
            for key in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                if container.has(key) {
                    errors.push(Error::forbidden(path.child(key), INIT_ONLY));
                }
            }
        }
    }
    ephemeral(context, &mut seen, &path.child("ephemeralContainers"), errors);
}

fn unique_name<'a>(container: &'a Value, seen: &mut Vec<&'a str>, path: &Path, errors: &mut ErrorList) {
    let name = container.text("name");
    if seen.contains(&name) {
        errors.push(Error::duplicate(path.child("name"), name));
    } else if !name.is_empty() {
        seen.push(name);
    }
}

fn ephemeral<'a>(context: &Context<'a>, seen: &mut Vec<&'a str>, path: &Path, errors: &mut ErrorList) {
    let others = seen.clone();
    for (index, container) in context.spec.list("ephemeralContainers").iter().enumerate() {
        let path = path.index(index);
        common(context, container, &path, errors);
        image_without_spaces(container, &path, errors);
        unique_name(container, seen, &path, errors);
        let target = container.text("targetContainerName");
        if !target.is_empty() && !others.contains(&target) {
            errors.push(Error::not_found(path.child("targetContainerName"), target));
        }
        for (key, value) in container.as_object().into_iter().flatten() {
            let empty = value.as_object().is_some_and(serde_json::Map::is_empty);
            if !EPHEMERAL_FIELDS.contains(&key.as_str()) || (key == "resources" && !empty) {
                errors.push(Error::forbidden(path.child(key), "cannot be set for an Ephemeral Container"));
            }
        }
        for (index, mount) in container.list("volumeMounts").iter().enumerate() {
            for key in ["subPath", "subPathExpr"] {
                if !mount.text(key).is_empty() {
                    let path = path.child("volumeMounts").index(index).child(key);
                    errors.push(Error::forbidden(path, "cannot be set for an Ephemeral Container"));
                }
            }
        }
    }
}

pub(super) fn image_without_spaces(container: &Value, path: &Path, errors: &mut ErrorList) {
    let image = container.text("image");
    if image.trim() != image {
        errors.push(Error::invalid(path.child("image"), image, "must not have leading or trailing whitespace"));
    }
}

fn common(context: &Context<'_>, container: &Value, path: &Path, errors: &mut ErrorList) {
    if required(container, path, "name", errors) {
        push_all(names::is_dns1123_label(container.text("name")), container.text("name"), &path.child("name"), errors);
    }
    required(container, path, "image", errors);
    one_of(container, path, "terminationMessagePolicy", MESSAGE_POLICIES, errors);
    ports(container, &path.child("ports"), errors);
    environment::env(context, container, &path.child("env"), errors);
    environment::env_from(container, &path.child("envFrom"), errors);
    mounts::mounts(context, container, &path.child("volumeMounts"), errors);
    mounts::devices(context, container, &path.child("volumeDevices"), errors);
    one_of(container, path, "imagePullPolicy", PULL_POLICIES, errors);
    let resources = container.at("resources");
    requirements::validate(resources, context.spec, &path.child("resources"), container_resource_name, errors);
    resize_policy(context, container, &path.child("resizePolicy"), errors);
    security::container(container.at("securityContext"), context.host_users, &path.child("securityContext"), errors);
}

fn ports(container: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen = Vec::new();
    for (index, port) in container.list("ports").iter().enumerate() {
        let path = path.index(index);
        let name = port.text("name");
        if !name.is_empty() {
            let wrong = names::is_port_name(name);
            if wrong.is_empty() && seen.contains(&name) {
                errors.push(Error::duplicate(path.child("name"), name));
            }
            push_all(wrong, name, &path.child("name"), errors);
            seen.push(name);
        }
        match port.int("containerPort").unwrap_or_default() {
            0 => errors.push(Error::required(path.child("containerPort"), "")),
            number => port_number(number, &path.child("containerPort"), errors),
        }
        match port.int("hostPort").unwrap_or_default() {
            0 => {}
            number => port_number(number, &path.child("hostPort"), errors),
        }
        one_of(port, &path, "protocol", PROTOCOLS, errors);
    }
}

fn port_number(number: i64, path: &Path, errors: &mut ErrorList) {
    errors.extend(names::is_port_number(number).into_iter().map(|e| Error::invalid(path.clone(), number, e)));
}

fn host_port_conflicts(containers: &[Value], path: &Path, errors: &mut ErrorList) {
    let mut seen = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        for (port_index, port) in container.list("ports").iter().enumerate() {
            let number = port.int("hostPort").unwrap_or_default();
            if number == 0 {
                continue;
            }
            let key = format!("{}/{}/{number}", port.text("protocol"), port.text("hostIP"));
            if seen.contains(&key) {
                let path = path.index(index).child("ports").index(port_index).child("hostPort");
                errors.push(Error::duplicate(path, key));
            } else {
                seen.push(key);
            }
        }
    }
}

fn restart_policy(container: &Value, path: &Path, errors: &mut ErrorList) {
    let rules = container.list("restartPolicyRules");
    match container.text("restartPolicy") {
        "" if !container.has("restartPolicy") && rules.is_empty() => return,
        "" if !container.has("restartPolicy") => {
            let detail = "must specify restartPolicy when restart rules are used";
            errors.push(Error::required(path.child("restartPolicy"), detail));
        }
        "Always" | "Never" | "OnFailure" => {}
        other => {
            errors.push(Error::not_supported(path.child("restartPolicy"), other, &["Always", "Never", "OnFailure"]));
        }
    }
    if rules.len() > MAX_RESTART_RULES {
        errors.push(Error::too_many(path.child("restartPolicyRules"), rules.len(), MAX_RESTART_RULES));
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path.child("restartPolicyRules").index(index);
        let action = rule.text("action");
        if !matches!(action, "Restart" | "RestartAllContainers") {
            errors.push(Error::not_supported(path.child("action"), action, &["Restart", "RestartAllContainers"]));
        }
        let codes = rule.at("exitCodes");
        if codes.is_null() {
            errors.push(Error::required(path.child("exitCodes"), "must be specified"));
            continue;
        }
        let operator = codes.text("operator");
        if !matches!(operator, "In" | "NotIn") {
            errors.push(Error::not_supported(path.child("exitCodes").child("operator"), operator, &["In", "NotIn"]));
        }
        let count = codes.list("values").len();
        if count > MAX_EXIT_CODES {
            errors.push(Error::too_many(path.child("exitCodes").child("values"), count, MAX_EXIT_CODES));
        }
    }
}

fn resize_policy(context: &Context<'_>, container: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen = Vec::new();
    for (index, policy) in container.list("resizePolicy").iter().enumerate() {
        let (resource, restart) = (policy.text("resourceName"), policy.text("restartPolicy"));
        if seen.contains(&resource) {
            errors.push(Error::duplicate(path.index(index), resource));
        }
        seen.push(resource);
        match resource {
            "cpu" | "memory" => {}
            "" => errors.push(Error::required(path.clone(), "")),
            other => errors.push(Error::not_supported(path.clone(), other, &["cpu", "memory"])),
        }
        match restart {
            "NotRequired" | "RestartContainer" => {}
            "" => errors.push(Error::required(path.clone(), "")),
            other => errors.push(Error::not_supported(path.clone(), other, &["NotRequired", "RestartContainer"])),
        }
        if context.spec.text("restartPolicy") == "Never" && restart != "NotRequired" {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(Error::invalid(path.clone(), restart, detail));
        }
    }
}
