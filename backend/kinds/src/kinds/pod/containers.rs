//! Validation of containers, init containers and ephemeral containers.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
    quantity::Quantity,
};
use serde_json::Value;

use super::{security, spec::Context};
use crate::{
    checks::{NEGATIVE, non_negative, one_of, port_number_or_name, push_all, required},
    value::{Look, bare},
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
const FIELD_PATHS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCE_FIELDS: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
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
        hooks_and_probes(context, container, &path, errors);
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
            hooks_and_probes(context, container, &path, errors);
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
    env(context, container, &path.child("env"), errors);
    env_from(container, &path.child("envFrom"), errors);
    mounts(context, container, &path.child("volumeMounts"), errors);
    devices(context, container, &path.child("volumeDevices"), errors);
    one_of(container, path, "imagePullPolicy", PULL_POLICIES, errors);
    let resources = container.at("resources");
    requirements(resources, context.spec, &path.child("resources"), container_resource_name, errors);
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

fn env(context: &Context<'_>, container: &Value, path: &Path, errors: &mut ErrorList) {
    for (index, variable) in container.list("env").iter().enumerate() {
        let path = path.index(index);
        if required(variable, &path, "name", errors) {
            let name = variable.text("name");
            push_all(names::is_relaxed_env_var_name(name), name, &path.child("name"), errors);
        }
        if variable.has("valueFrom") {
            value_from(context, variable, &path.child("valueFrom"), errors);
        }
    }
}

fn value_from(context: &Context<'_>, variable: &Value, path: &Path, errors: &mut ErrorList) {
    let from = variable.at("valueFrom");
    let mut sources = 0;
    if from.has("fieldRef") {
        sources += 1;
        field_ref(from.at("fieldRef"), FIELD_PATHS, &path.child("fieldRef"), errors);
    }
    if from.has("resourceFieldRef") {
        sources += 1;
        resource_field_ref(from.at("resourceFieldRef"), false, &path.child("resourceFieldRef"), errors);
    }
    for key in ["configMapKeyRef", "secretKeyRef"] {
        if from.has(key) {
            sources += 1;
            let (reference, path) = (from.at(key), path.child(key));
            push_all(
                names::is_dns1123_subdomain(reference.text("name")),
                reference.text("name"),
                &path.child("name"),
                errors,
            );
            if required(reference, &path, "key", errors) {
                push_all(
                    names::is_config_map_key(reference.text("key")),
                    reference.text("key"),
                    &path.child("key"),
                    errors,
                );
            }
        }
    }
    if from.has("fileKeyRef") {
        sources += 1;
        file_key_ref(context, from.at("fileKeyRef"), &path.child("fileKeyRef"), errors);
    }
    if sources == 0 {
        let detail =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.push(Error::invalid(path.clone(), "", detail));
    } else if !variable.text("value").is_empty() {
        errors.push(Error::invalid(path.clone(), "", "may not be specified when `value` is not empty"));
    } else if sources > 1 {
        errors.push(Error::invalid(path.clone(), "", "may not have more than one field specified at a time"));
    }
}

fn file_key_ref(context: &Context<'_>, reference: &Value, path: &Path, errors: &mut ErrorList) {
    if required(reference, path, "key", errors) {
        push_all(
            names::is_relaxed_env_var_name(reference.text("key")),
            reference.text("key"),
            &path.child("key"),
            errors,
        );
    }
    required(reference, path, "path", errors);
    if required(reference, path, "volumeName", errors) {
        let name = reference.text("volumeName");
        match context.spec.list("volumes").iter().find(|v| v.text("name") == name) {
            None => errors.push(Error::not_found(path.child("volumeName"), name)),
            Some(volume) if !volume.has("emptyDir") => {
                let detail = "referenced volume must be of type emptyDir";
                errors.push(Error::invalid(path.child("volumeName"), name, detail));
            }
            Some(_) => {}
        }
    }
}

/// A reference to a field of the pod, by the downward API.
pub(super) fn field_ref(reference: &Value, allowed: &[&str], path: &Path, errors: &mut ErrorList) {
    if !required(reference, path, "apiVersion", errors) || !required(reference, path, "fieldPath", errors) {
        return;
    }
    let field = reference.text("fieldPath");
    if reference.text("apiVersion") != "v1" {
        let detail = format!("error converting fieldPath: unsupported pod version: {}", reference.text("apiVersion"));
        return errors.push(Error::invalid(path.child("fieldPath"), field, detail));
    }
    if let Some((base, key)) = field.strip_suffix("']").and_then(|f| f.split_once("['")) {
        match base {
            "metadata.annotations" => push_all(names::is_qualified_name(&key.to_lowercase()), key, path, errors),
            "metadata.labels" => push_all(names::is_qualified_name(key), key, path, errors),
            _ => {
                let detail = format!("error converting fieldPath: field label does not support subscript: {field}");
                errors.push(Error::invalid(path.child("fieldPath"), field, detail));
            }
        }
    } else if !allowed.contains(&field) {
        let known =
            ["metadata.annotations", "metadata.labels", "spec.restartPolicy", "spec.schedulerName", "status.phase"];
        if known.contains(&field) || FIELD_PATHS.contains(&field) {
            errors.push(Error::not_supported(path.child("fieldPath"), field, allowed));
        } else {
            let detail = format!("error converting fieldPath: field label not supported: {field}");
            errors.push(Error::invalid(path.child("fieldPath"), field, detail));
        }
    }
}

/// A reference to a request or limit of a container.
pub(super) fn resource_field_ref(reference: &Value, in_volume: bool, path: &Path, errors: &mut ErrorList) {
    let resource = reference.text("resource");
    let huge = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if in_volume && reference.text("containerName").is_empty() {
        errors.push(Error::required(path.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(Error::required(path.child("resource"), ""));
    } else if !RESOURCE_FIELDS.contains(&resource) && !huge {
        errors.push(Error::not_supported(path.child("resource"), resource, RESOURCE_FIELDS));
    }
    let divisor = bare(reference.at("divisor"));
    let Ok(divisor) = Quantity::parse(&divisor) else { return };
    if divisor.is_zero() {
        return;
    }
    let text = divisor.to_string();
    const SIZES: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let (what, fine) = match resource.split_once('.').map_or("", |(_, name)| name) {
        "cpu" => ("cpu resource", ["1m", "1"].contains(&text.as_str())),
        "memory" => ("memory resource", SIZES.contains(&text.as_str())),
        "ephemeral-storage" => ("local ephemeral storage resource", SIZES.contains(&text.as_str())),
        _ if huge => ("hugepages resource", SIZES.contains(&text.as_str())),
        _ => return,
    };
    if !fine {
        let values = if what == "cpu resource" { "1m and 1".to_owned() } else { SIZES.join(", ") };
        let detail = format!("only divisor's values {values} are supported with the {what}");
        errors.push(Error::invalid(path.child("divisor"), resource, detail));
    }
}

fn env_from(container: &Value, path: &Path, errors: &mut ErrorList) {
    for (index, from) in container.list("envFrom").iter().enumerate() {
        let item = path.index(index);
        let prefix = from.text("prefix");
        if !prefix.is_empty() {
            push_all(names::is_relaxed_env_var_name(prefix), prefix, &item.child("prefix"), errors);
        }
        let mut sources = 0;
        for key in ["configMapRef", "secretRef"] {
            if from.has(key) {
                sources += 1;
                if required(from.at(key), &item.child(key), "name", errors) {
                    let name = from.at(key).text("name");
                    push_all(names::is_dns1123_subdomain(name), name, &item.child(key).child("name"), errors);
                }
            }
        }
        match sources {
            0 => errors.push(Error::invalid(path.clone(), "", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errors.push(Error::invalid(path.clone(), "", "may not have more than one field specified at a time")),
        }
    }
}

fn mounts(context: &Context<'_>, container: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen = Vec::new();
    let volumes = context.spec.list("volumes");
    let devices = container.list("volumeDevices");
    for (index, mount) in container.list("volumeMounts").iter().enumerate() {
        let item = path.index(index);
        let (name, at) = (mount.text("name"), mount.text("mountPath"));
        required(mount, &item, "name", errors);
        if !volumes.iter().any(|v| v.text("name") == name) {
            errors.push(Error::not_found(item.child("name"), name));
        }
        required(mount, &item, "mountPath", errors);
        if seen.contains(&at) {
            errors.push(Error::invalid(item.child("mountPath"), at, "must be unique"));
        }
        seen.push(at);
        if devices.iter().any(|d| d.text("name") == name) {
            errors.push(Error::invalid(item.child("name"), name, "must not already exist in volumeDevices"));
        }
        if devices.iter().any(|d| d.text("devicePath") == at) {
            errors.push(Error::invalid(
                item.child("mountPath"),
                at,
                "must not already exist as a path in volumeDevices",
            ));
        }
        for key in ["subPath", "subPathExpr"] {
            super::access_paths_ok(mount.text(key), &path.child(key), errors);
        }
        if !mount.text("subPath").is_empty() && !mount.text("subPathExpr").is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.push(Error::invalid(item.child("subPathExpr"), mount.text("subPathExpr"), detail));
        }
        propagation(container, mount, path, errors);
    }
}

fn propagation(container: &Value, mount: &Value, path: &Path, errors: &mut ErrorList) {
    let mode = mount.text("mountPropagation");
    if !matches!(mode, "" | "Bidirectional" | "HostToContainer" | "None") {
        let allowed = &["Bidirectional", "HostToContainer", "None"];
        errors.push(Error::not_supported(path.child("mountPropagation"), mode, allowed));
    }
    if mode == "Bidirectional" && !container.flag("securityContext.privileged") {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(Error::forbidden(path.child("mountPropagation"), detail));
    }
    let path = path.child("recursiveReadOnly");
    match mount.text("recursiveReadOnly") {
        "" | "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.flag("readOnly") {
                errors.push(Error::forbidden(path.clone(), "may only be specified when readOnly is true"));
            }
            if !matches!(mode, "" | "None") {
                let detail = "may only be specified when mountPropagation is None or not specified";
                errors.push(Error::forbidden(path, detail));
            }
        }
        other => errors.push(Error::not_supported(path, other, &["Disabled", "Enabled", "IfPossible"])),
    }
}

fn devices(context: &Context<'_>, container: &Value, path: &Path, errors: &mut ErrorList) {
    let (mut names_seen, mut paths_seen) = (Vec::new(), Vec::new());
    for (index, device) in container.list("volumeDevices").iter().enumerate() {
        let path = path.index(index);
        let (name, at) = (device.text("name"), device.text("devicePath"));
        required(device, &path, "name", errors);
        if names_seen.contains(&name) {
            errors.push(Error::invalid(path.child("name"), name, "must be unique"));
        }
        match context.spec.list("volumes").iter().find(|v| v.text("name") == name) {
            None => errors.push(Error::not_found(path.child("name"), name)),
            Some(volume) if !volume.has("persistentVolumeClaim") && !volume.has("ephemeral") => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(Error::invalid(path.child("name"), name, detail));
            }
            Some(_) => {}
        }
        required(device, &path, "devicePath", errors);
        if paths_seen.contains(&at) {
            errors.push(Error::invalid(path.child("devicePath"), at, "must be unique"));
        }
        if at.split('/').any(|part| part == "..") {
            errors.push(Error::invalid(path.child("devicePath"), at, "can not contain backsteps ('..')"));
        }
        names_seen.push(name);
        paths_seen.push(at);
    }
}

fn hooks_and_probes(context: &Context<'_>, container: &Value, path: &Path, errors: &mut ErrorList) {
    for hook in ["postStart", "preStop"] {
        let action = container.at("lifecycle").at(hook);
        if action.is_object() {
            handler(
                context,
                action,
                &["exec", "httpGet", "tcpSocket", "sleep"],
                &path.child("lifecycle").child(hook),
                errors,
            );
        }
    }
    if container.has("lifecycle.stopSignal") && !context.spec.has("os") {
        let path = path.child("lifecycle").child("stopSignal");
        errors.push(Error::forbidden(path, "may not be set for containers with empty `spec.os.name`"));
    }
    for key in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.at(key);
        if !probe.is_object() {
            continue;
        }
        let path = path.child(key);
        handler(context, probe, &["exec", "httpGet", "tcpSocket", "grpc"], &path, errors);
        for number in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
        {
            non_negative(probe, &path, number, errors);
        }
        let grace = probe.int("terminationGracePeriodSeconds");
        if let Some(seconds) = grace.filter(|s| *s <= 0) {
            errors.push(Error::invalid(path.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0"));
        }
        if key == "readinessProbe" {
            if let Some(seconds) = grace {
                let detail = "must not be set for readinessProbes";
                errors.push(Error::invalid(path.child("terminationGracePeriodSeconds"), seconds, detail));
            }
        } else if probe.int("successThreshold") != Some(1) {
            let have = probe.int("successThreshold").unwrap_or_default();
            errors.push(Error::invalid(path.child("successThreshold"), have, "must be 1"));
        }
    }
}

/// Exactly one of the known handlers.
fn handler(context: &Context<'_>, action: &Value, known: &[&str], path: &Path, errors: &mut ErrorList) {
    let mut found = 0;
    for kind in known.iter().filter(|kind| action.has(kind)) {
        let (value, path) = (action.at(kind), path.child(kind));
        found += 1;
        if found > 1 {
            errors.push(Error::forbidden(path, "may not specify more than 1 handler type"));
            continue;
        }
        match *kind {
            "exec" => {
                if value.list("command").is_empty() {
                    errors.push(Error::required(path.child("command"), ""));
                }
            }
            "httpGet" => {
                required(value, &path, "path", errors);
                port_number_or_name(value.at("port"), &path.child("port"), errors);
                let scheme = value.text("scheme");
                if !matches!(scheme, "HTTP" | "HTTPS") {
                    errors.push(Error::not_supported(path.child("scheme"), scheme, &["HTTP", "HTTPS"]));
                }
                for header in value.list("httpHeaders") {
                    let name = header.text("name");
                    push_all(names::is_http_header_name(name), name, &path.child("httpHeaders"), errors);
                }
            }
            "sleep" => {
                let seconds = value.int("seconds").unwrap_or_default();
                if let Some(grace) = context.grace.filter(|grace| seconds < 0 || seconds > *grace) {
                    let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                    errors.push(Error::invalid(path, seconds, detail));
                }
            }
            _ => port_number_or_name(value.at("port"), &path.child("port"), errors),
        }
    }
    if found == 0 {
        errors.push(Error::required(path.clone(), "must specify a handler type"));
    }
}

fn restart_policy(container: &Value, path: &Path, errors: &mut ErrorList) {
    let rules = container.list("restartPolicyRules");
    match container.text("restartPolicy") {
        "" if rules.is_empty() => return,
        "" => {
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

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// A resource a container may request.
pub(crate) fn container_resource_name(name: &str, path: &Path, errors: &mut ErrorList) {
    let wrong = names::is_qualified_name(name);
    if !wrong.is_empty() {
        return push_all(wrong, name, path, errors);
    }
    let fine = if name.contains('/') {
        let quota = format!("requests.{name}");
        is_native(name) || (!name.starts_with("requests.") && names::is_qualified_name(&quota).is_empty())
    } else {
        matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge_page(name)
    };
    if fine {
        return;
    }
    let detail = if name.contains('/') {
        "doesn't follow extended resource name standard"
    } else {
        let known = ["storage", "pods", "services", "secrets", "configmaps", "requests.cpu", "limits.cpu"];
        if !known.contains(&name) {
            errors.push(Error::invalid(path.clone(), name, "must be a standard resource type or fully qualified"));
        }
        "must be a standard resource for containers"
    };
    errors.push(Error::invalid(path.clone(), name, detail));
}

/// A resource a pod as a whole may request.
pub(super) fn pod_resource_name(name: &str, path: &Path, errors: &mut ErrorList) {
    if !matches!(name, "cpu" | "memory") && !is_huge_page(name) {
        errors.push(Error::not_supported(path.clone(), name, &["cpu", "hugepages-", "memory"]));
    }
}

/// Names and quantities of a resource list.
pub(crate) fn resource_list(
    list: &Value,
    path: &Path,
    name_rule: fn(&str, &Path, &mut ErrorList),
    errors: &mut ErrorList,
) {
    for (name, value) in list.as_object().into_iter().flatten() {
        let path = path.key(name);
        name_rule(name, &path, errors);
        if let Some(quantity) = crate::checks::quantity(value, &path, errors)
            && quantity.is_negative()
        {
            errors.push(Error::invalid(path, bare(value).as_ref(), NEGATIVE));
        }
    }
}

/// Limits, requests, and requests against limits.
pub(super) fn requirements(
    resources: &Value,
    spec: &Value,
    path: &Path,
    name_rule: fn(&str, &Path, &mut ErrorList),
    errors: &mut ErrorList,
) {
    let (limits, requests) = (resources.at("limits"), resources.at("requests"));
    resource_list(limits, &path.child("limits"), name_rule, errors);
    resource_list(requests, &path.child("requests"), name_rule, errors);
    let parse = |value: &Value| Quantity::parse(&bare(value)).ok();
    for (name, value) in requests.as_object().into_iter().flatten() {
        let Some(request) = parse(value) else { continue };
        let overcommit = is_native(name) && !is_huge_page(name);
        match limits.get(name).and_then(parse) {
            Some(limit) if request != limit && !overcommit => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.push(Error::invalid(path.child("requests"), request.to_string(), detail));
            }
            Some(limit) if request > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(Error::invalid(path.child("requests"), request.to_string(), detail));
            }
            None if !overcommit => {
                errors
                    .push(Error::required(path.child("limits"), "Limit must be set for non overcommitable resources"));
            }
            _ => {}
        }
    }
    let names_used = || limits.as_object().into_iter().chain(requests.as_object()).flat_map(serde_json::Map::keys);
    if names_used().any(|n| is_huge_page(n)) && !names_used().any(|n| matches!(n.as_str(), "cpu" | "memory")) {
        errors.push(Error::forbidden(path.clone(), "HugePages require cpu or memory"));
    }
    claims(resources, spec, &path.child("claims"), errors);
}

fn claims(resources: &Value, spec: &Value, path: &Path, errors: &mut ErrorList) {
    let known: Vec<&str> = spec.list("resourceClaims").iter().map(|c| c.text("name")).collect();
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (index, claim) in resources.list("claims").iter().enumerate() {
        let (name, request) = (claim.text("name"), claim.text("request"));
        if name.is_empty() {
            errors.push(Error::required(path.index(index), ""));
            continue;
        }
        let overlaps = |(n, r): &(&str, &str)| *n == name && (r.is_empty() || request.is_empty() || *r == request);
        if seen.iter().any(overlaps) {
            errors.push(Error::duplicate(path.index(index), name));
        }
        seen.push((name, request));
        if !known.contains(&name) {
            let mut error = Error::not_found(path.index(index), name);
            error.detail = "must be one of the names in pod.spec.resourceClaims".to_owned();
            if known.is_empty() {
                error.detail.push_str(" which is empty");
            } else {
                error.detail.push_str(": ");
                error.detail.push_str(&known.join(", "));
            }
            errors.push(error);
        }
    }
}
