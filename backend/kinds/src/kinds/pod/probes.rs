//! Validation of probes and life cycle hooks.

use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use super::spec::Context;
use crate::{
    checks::{non_negative, port_number_or_name, push_all, required},
    value::Look,
};

pub(super) fn validate(context: &Context<'_>, container: &Value, path: &Path, errors: &mut ErrorList) {
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
                // What is negative will be the shortest there is.
                let grace = context.grace.map(|grace| if grace < 0 { 1 } else { grace });
                if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
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
