//! IngressClass. Source: <https://kubernetes.io/docs/concepts/services-networking/ingress/#ingress-class>

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use crate::{
    checks::{immutable, name_if_there, one_of_if_there, push_all, required},
    columns::{AGE, Column, NAME, age},
    strategy::{Generation, Strategy},
    value::{Look, MapExt, dig},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    generation: Generation::Spec,
    default: |class| {
        if let Some(parameters) = dig(class, "spec.parameters") {
            parameters.or_set("scope", "Cluster");
        }
    },
    validate,
    validate_update: |new, old, errors| {
        let controller = |class: &Value| Value::from(class.text("spec.controller"));
        immutable(&controller(new), &controller(old), &Path::new("spec").child("controller"), errors);
        validate(new, errors);
    },
    columns: &[NAME, Column::text("Controller"), Column::text("Parameters"), AGE],
    row,
    ..Strategy::PLAIN
};

const DEFAULT_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";
const CONTROLLER_MAX: usize = 250;

fn row(class: &Value, now: Timestamp) -> Vec<Value> {
    let default = class.at("metadata.annotations").get(DEFAULT_ANNOTATION).and_then(Value::as_str) == Some("true");
    let name = format!("{}{}", class.text("metadata.name"), if default { " (default)" } else { "" });
    let parameters = class.at("spec.parameters");
    let text = if parameters.is_object() {
        let group = parameters.at("apiGroup").as_str().map(|group| format!(".{group}")).unwrap_or_default();
        format!("{}{group}/{}", parameters.text("kind"), parameters.text("name"))
    } else {
        "<none>".to_owned()
    };
    vec![name.into(), class.text("spec.controller").into(), text.into(), age(class, now)]
}

fn validate(class: &Value, errors: &mut ErrorList) {
    let (spec, path) = (class.at("spec"), Path::new("spec"));
    let controller = spec.text("controller");
    if controller.len() > CONTROLLER_MAX {
        errors.push(Error::too_long(path.child("controller"), CONTROLLER_MAX));
    }
    domain_prefixed_path(controller, &path.child("controller"), errors);
    let (parameters, path) = (spec.at("parameters"), path.child("parameters"));
    if !parameters.is_object() {
        return;
    }
    name_if_there(parameters, &path, "apiGroup", names::is_dns1123_subdomain, errors);
    for key in ["kind", "name"] {
        if required(parameters, &path, key, errors) {
            push_all(names::is_path_segment_name(parameters.text(key)), parameters.text(key), &path.child(key), errors);
        }
    }
    one_of_if_there(parameters, &path, "scope", &["Cluster", "Namespace"], errors);
    let namespace = parameters.at("namespace").as_str();
    match (parameters.text("scope"), namespace) {
        ("Namespace", None) => {
            errors.push(Error::required(path.child("namespace"), "`parameters.scope` is set to 'Namespace'"));
        }
        ("Namespace", Some(namespace)) => {
            push_all(names::is_dns1123_label(namespace), namespace, &path.child("namespace"), errors);
        }
        ("Cluster", Some(_)) => {
            errors.push(Error::forbidden(path.child("namespace"), "`parameters.scope` is set to 'Cluster'"));
        }
        _ => {}
    }
}

/// `acme.io/foo`: a domain, a slash, characters of an HTTP path.
pub(super) fn domain_prefixed_path(text: &str, path: &Path, errors: &mut ErrorList) {
    if text.is_empty() {
        return errors.push(Error::required(path.clone(), ""));
    }
    let Some((host, rest)) = text.split_once('/').filter(|(host, rest)| !host.is_empty() && !rest.is_empty()) else {
        let detail = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        return errors.push(Error::invalid(path.clone(), text, detail));
    };
    push_all(names::is_dns1123_subdomain(host), host, path, errors);
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !rest.bytes().all(fine) {
        let detail = names::regex_error("Invalid path", "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+", &[]);
        errors.push(Error::invalid(path.clone(), rest, detail));
    }
}
