//! Ingress. Source: <https://kubernetes.io/docs/concepts/services-networking/ingress/>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use super::service::{addresses, load_balancer_addresses};
use crate::{
    checks::{push_all, required},
    columns::{AGE, Column, NAME, age, name},
    strategy::{Generation, Strategy},
    value::Look,
};

pub(crate) static STRATEGY: Strategy = Strategy {
    generation: Generation::Spec,
    prepare_create: |ingress| {
        crate::value::child(crate::value::object(ingress, "status"), "loadBalancer");
    },
    validate: |ingress, errors| {
        validate(ingress, errors);
        class_annotation(ingress, errors);
    },
    validate_update: |new, _, errors| validate(new, errors),
    warn: |ingress, old, warnings| {
        let annotated = !ingress.at("metadata.annotations")[CLASS_ANNOTATION].is_null();
        if old.is_none() && annotated && !ingress.has("spec.ingressClassName") {
            warnings.push(format!(
                "annotation {CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead"
            ));
        }
    },
    validate_status_update: |new, _, errors| {
        let path = Path::new("status").child("loadBalancer").child("ingress");
        addresses(new.list("status.loadBalancer.ingress"), &path, errors);
    },
    columns: COLUMNS,
    row,
    ..Strategy::PLAIN
};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// How many hosts are shown.
const SHOWN: usize = 3;
const BAD_SEQUENCES: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const BAD_SUFFIXES: [&str; 2] = ["/..", "/."];

const COLUMNS: &[Column] =
    &[NAME, Column::text("Class"), Column::text("Hosts"), Column::text("Address"), Column::text("Ports"), AGE];

fn row(ingress: &Value, now: Timestamp) -> Vec<Value> {
    let ports = if ingress.list("spec.tls").is_empty() { "80" } else { "80, 443" };
    vec![
        name(ingress),
        ingress.at("spec.ingressClassName").as_str().unwrap_or("<none>").into(),
        hosts(ingress.list("spec.rules")).into(),
        load_balancer_addresses(ingress.at("status.loadBalancer"), true).into(),
        ports.into(),
        age(ingress, now),
    ]
}

fn hosts(rules: &[Value]) -> String {
    let all: Vec<&str> = rules.iter().map(|rule| rule.text("host")).filter(|host| !host.is_empty()).collect();
    match all.len() {
        0 => "*".to_owned(),
        count if count > SHOWN => format!("{} + {} more...", all[..SHOWN].join(","), rules.len() - SHOWN),
        _ => all.join(","),
    }
}

fn class_annotation(ingress: &Value, errors: &mut ErrorList) {
    let annotation = ingress.at("metadata.annotations").get(CLASS_ANNOTATION).and_then(Value::as_str);
    if let (Some(annotation), Some(class)) = (annotation, ingress.at("spec.ingressClassName").as_str())
        && annotation != class
    {
        let path = Path::new("annotations").child(CLASS_ANNOTATION);
        errors.push(Error::invalid(path, annotation, "must match `ingressClassName` when both are specified"));
    }
}

fn validate(ingress: &Value, errors: &mut ErrorList) {
    let (spec, path) = (ingress.at("spec"), Path::new("spec"));
    if spec.list("rules").is_empty() && !spec.has("defaultBackend") {
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.push(Error::invalid(path.clone(), spec.at("rules").clone(), detail));
    }
    if spec.has("defaultBackend") {
        backend(spec.at("defaultBackend"), &path.child("defaultBackend"), errors);
    }
    for (index, rule) in spec.list("rules").iter().enumerate() {
        self::rule(rule, &path.child("rules").index(index), errors);
    }
    for (index, tls) in spec.list("tls").iter().enumerate() {
        let path = path.child("tls").index(index);
        for (index, host) in tls.texts("hosts").enumerate() {
            push_all(host_errors(host), host, &path.child("hosts").index(index), errors);
        }
        let secret = tls.text("secretName");
        if !secret.is_empty() {
            push_all(names::is_dns1123_subdomain(secret), secret, &path.child("secretName"), errors);
        }
    }
    if let Some(class) = spec.at("ingressClassName").as_str() {
        push_all(names::is_dns1123_subdomain(class), class, &path.child("ingressClassName"), errors);
    }
}

fn host_errors(host: &str) -> Vec<String> {
    if host.contains('*') { names::is_wildcard_dns1123_subdomain(host) } else { names::is_dns1123_subdomain(host) }
}

fn rule(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let host = rule.text("host");
    if !host.is_empty() {
        if names::parse_ip(host).is_some() {
            errors.push(Error::invalid(path.child("host"), host, "must be a DNS name, not an IP address"));
        }
        push_all(host_errors(host), host, &path.child("host"), errors);
    }
    if !rule.has("http") {
        return;
    }
    let path = path.child("http").child("paths");
    let paths = rule.list("http.paths");
    if paths.is_empty() {
        errors.push(Error::required(path.clone(), ""));
    }
    for (index, entry) in paths.iter().enumerate() {
        http_path(entry, &path.index(index), errors);
    }
}

fn http_path(entry: &Value, path: &Path, errors: &mut ErrorList) {
    let (text, at) = (entry.text("path"), path.child("path"));
    match entry.text("pathType") {
        "" if !entry.has("pathType") => {
            return errors.push(Error::required(path.child("pathType"), "pathType must be specified"));
        }
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                errors.push(Error::invalid(at.clone(), text, "must be an absolute path"));
            }
            for sequence in BAD_SEQUENCES.iter().filter(|sequence| text.contains(**sequence)) {
                errors.push(Error::invalid(at.clone(), text, format!("must not contain '{sequence}'")));
            }
            for suffix in BAD_SUFFIXES.iter().filter(|suffix| text.ends_with(**suffix)) {
                errors.push(Error::invalid(at.clone(), text, format!("cannot end with '{suffix}'")));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                errors.push(Error::invalid(at, text, "must be an absolute path"));
            }
        }
        other => {
            let allowed = &["Exact", "ImplementationSpecific", "Prefix"];
            errors.push(Error::not_supported(path.child("pathType"), other, allowed));
        }
    }
    backend(entry.at("backend"), &path.child("backend"), errors);
}

fn backend(backend: &Value, path: &Path, errors: &mut ErrorList) {
    match (backend.has("resource"), backend.has("service")) {
        (true, true) => errors.push(Error::invalid(path.clone(), "", "cannot set both resource and service backends")),
        (false, false) => errors.push(Error::invalid(path.clone(), "", "resource or service backend is required")),
        (true, false) => {
            let (resource, path) = (backend.at("resource"), path.child("resource"));
            crate::checks::name_if_there(resource, &path, "apiGroup", names::is_dns1123_subdomain, errors);
            for key in ["kind", "name"] {
                if required(resource, &path, key, errors) {
                    let text = resource.text(key);
                    push_all(names::is_path_segment_name(text), text, &path.child(key), errors);
                }
            }
        }
        (false, true) => {
            let (service, at) = (backend.at("service"), path.child("service"));
            if required(service, &at, "name", errors) {
                let name = service.text("name");
                push_all(names::is_dns1123_label(name), name, &at.child("name"), errors);
            }
            let (name, number) = (service.text("port.name"), service.int("port.number").unwrap_or_default());
            match (name.is_empty(), number) {
                (false, 0) => push_all(names::is_port_name(name), name, &at.child("port").child("name"), errors),
                (false, _) => {
                    errors.push(Error::invalid(path.clone(), "", "cannot set both port name & port number"));
                }
                (true, 0) => errors.push(Error::required(path.clone(), "port name or number is required")),
                (true, number) => {
                    let at = at.child("port").child("number");
                    let wrong = names::is_port_number(number);
                    errors.extend(wrong.into_iter().map(|e| Error::invalid(at.clone(), number, e)));
                }
            }
        }
    }
}
