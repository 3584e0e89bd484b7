//! CertificateSigningRequest. Who asks is written by the registry, from the request's user.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/>

use base64::{Engine, prelude::BASE64_STANDARD as BASE64};
use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use crate::{
    columns::{AGE, Column, NAME, age, name},
    human::human_duration,
    strategy::{Field, Strategy, path_segment_name},
    value::{Look, MapExt, dig, now, object, semantic_eq},
};

pub(crate) static STRATEGY: Strategy = Strategy {
    // Bootstrap clients of old used names such as system:node:x.
    name: path_segment_name,
    prepare_update: |new, old| new.keep(old, "spec"),
    prepare_status_update: |new, old| {
        keep_conditions(new, old, &["Approved", "Denied"]);
        times(new, old);
    },
    prepare_subresource_update: |new, old, _| {
        // Approval writes conditions only.
        new.keep(old, "spec");
        let certificate = old.at("status").get("certificate").cloned();
        let status = object(new, "status");
        status.remove("certificate");
        if let Some(certificate) = certificate {
            status.insert("certificate".into(), certificate);
        }
        keep_conditions(new, old, &["Failed"]);
        times(new, old);
    },
    validate,
    validate_update: |new, _, errors| conditions(new, errors),
    validate_status_update: |new, old, errors| {
        conditions(new, errors);
        unchanged(new, old, &["Approved", "Denied"], errors);
        let (have, had) = (new.text("status.certificate"), old.text("status.certificate"));
        if !had.is_empty() && have != had {
            let detail = "updates may not modify existing certificate content";
            errors.push(Error::forbidden(Path::new("status").child("certificate"), detail));
        }
    },
    validate_subresource_update: |new, old, _, errors| {
        conditions(new, errors);
        unchanged(new, old, &["Failed"], errors);
        removed(new, old, &["Approved", "Denied"], errors);
    },
    columns: &[
        NAME,
        AGE,
        Column::text("SignerName"),
        Column::text("Requestor"),
        Column::text("RequestedDuration"),
        Column::text("Condition"),
    ],
    row,
    fields: &[Field::path("spec.signerName")],
    ..Strategy::PLAIN
};

/// A subdomain; and one with a label of a namespace before it.
const MAX_SIGNER_DOMAIN: usize = 253;
const MAX_SIGNER_PATH: usize = 253 + 1 + 63;
const MIN_SECONDS: i64 = 600;
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

fn row(request: &Value, now: Timestamp) -> Vec<Value> {
    let has = |kind: &str| request.list("status.conditions").iter().any(|c| c.text("type") == kind);
    let mut status = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        status.push_str(",Failed");
    }
    if !request.text("status.certificate").is_empty() {
        status.push_str(",Issued");
    }
    vec![
        name(request),
        age(request, now),
        crate::columns::or_none(request.text("spec.signerName")),
        request.text("spec.username").into(),
        request.int("spec.expirationSeconds").map_or_else(|| "<none>".to_owned(), human_duration).into(),
        status.into(),
    ]
}

/// Conditions of these types are as they were, if there are as many.
fn keep_conditions(new: &mut Value, old: &Value, kinds: &[&str]) {
    for kind in kinds {
        let had: Vec<Value> = conditions_of(old, kind);
        let Some(list) = dig(new, "status.conditions").and_then(Value::as_array_mut) else { continue };
        let have: Vec<&mut Value> = list.iter_mut().filter(|c| c.text("type") == *kind).collect();
        if have.len() == had.len() {
            have.into_iter().zip(had).for_each(|(new, old)| *new = old);
        }
    }
}

fn conditions_of(request: &Value, kind: &str) -> Vec<Value> {
    request.list("status.conditions").iter().filter(|c| c.text("type") == kind).cloned().collect()
}

/// A condition keeps the time of its last change while its status is the same, and else was changed now; so it was when
/// nobody says when it was last looked at.
fn times(new: &mut Value, old: &Value) {
    let now = now();
    for condition in dig(new, "status.conditions").and_then(Value::as_array_mut).into_iter().flatten() {
        let (kind, status) = (condition.text("type"), condition.text("status"));
        let before =
            old.list("status.conditions").iter().find(|c| c.text("type") == kind && c.text("status") == status);
        if let Some(before) = before.filter(|_| !condition.has("lastTransitionTime")) {
            condition.keep(before, "lastTransitionTime");
        }
        for key in ["lastTransitionTime", "lastUpdateTime"] {
            condition.or_set(key, now.as_str());
        }
    }
}

fn validate(request: &Value, errors: &mut ErrorList) {
    let (spec, path) = (request.at("spec"), Path::new("spec"));
    if !is_request(spec.text("request")) {
        let detail = "PEM block type must be CERTIFICATE REQUEST";
        let shown = Some(spec.text("request")).filter(|request| !request.is_empty());
        errors.push(Error::invalid(path.child("request"), shown.map_or(Value::Null, Value::from), detail));
    }
    let usages: Vec<&str> = spec.texts("usages").collect();
    if usages.is_empty() {
        errors.push(Error::required(path.child("usages"), ""));
    }
    for (index, usage) in usages.iter().enumerate() {
        let path = path.child("usages").index(index);
        if !USAGES.contains(usage) {
            errors.push(Error::not_supported(path.clone(), *usage, USAGES));
        }
        if usages[..index].contains(usage) {
            errors.push(Error::duplicate(path, *usage));
        }
    }
    let signer = spec.text("signerName");
    let at = path.child("signerName");
    if signer == "kubernetes.io/legacy-unknown" {
        errors.push(Error::invalid(at, signer, "the legacy signerName is not allowed via this API version"));
    } else {
        signer_name(signer, &at, errors);
    }
    if let Some(seconds) = spec.int("expirationSeconds").filter(|s| *s < MIN_SECONDS) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(Error::invalid(path.child("expirationSeconds"), seconds, detail));
    }
    conditions(request, errors);
}

/// `domain.example/path`.
fn signer_name(signer: &str, path: &Path, errors: &mut ErrorList) {
    if signer.is_empty() {
        return errors.push(Error::required(path.clone(), ""));
    }
    let [domain, rest] = signer.split('/').collect::<Vec<_>>()[..] else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.push(Error::invalid(path.clone(), signer, detail));
    };
    if domain.len() > MAX_SIGNER_DOMAIN {
        errors.push(Error::too_long(path.clone(), MAX_SIGNER_DOMAIN));
    }
    labels(domain, names::is_dns1123_label, path, errors);
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        errors.push(Error::invalid(path.clone(), domain, detail));
    }
    labels(rest, names::is_dns1123_subdomain, path, errors);
    if rest.len() > MAX_SIGNER_PATH {
        errors.push(Error::too_long(path.clone(), MAX_SIGNER_PATH));
    }
}

/// What is wrong with the first part of a dotted name in which something is.
fn labels(name: &str, rule: fn(&str) -> Vec<String>, path: &Path, errors: &mut ErrorList) {
    let first = name.split('.').map(|label| (label, rule(label))).find(|(_, wrong)| !wrong.is_empty());
    for (label, wrong) in first.into_iter().flat_map(|(label, wrong)| wrong.into_iter().map(move |w| (label, w))) {
        errors.push(Error::invalid(path.clone(), name, format!("validating label {label:?}: {wrong}")));
    }
}

/// Is the first PEM block in these bytes, which are in Base64, a request for a certificate? What the request says is
/// the signers' business.
fn is_request(base64: &str) -> bool {
    let Ok(bytes) = BASE64.decode(base64) else { return false };
    let text = String::from_utf8_lossy(&bytes);
    let begin = text.find("-----BEGIN ").map(|at| &text[at + "-----BEGIN ".len()..]);
    let Some((kind, rest)) = begin.and_then(|rest| rest.split_once("-----")) else { return false };
    let Some((body, _)) = rest.split_once("-----END ") else { return false };
    kind == "CERTIFICATE REQUEST"
        && !body.trim().is_empty()
        && BASE64.decode(body.split_whitespace().collect::<String>()).is_ok()
}

fn conditions(request: &Value, errors: &mut ErrorList) {
    let path = Path::new("status").child("conditions");
    let list = request.list("status.conditions");
    for (index, condition) in list.iter().enumerate() {
        let (kind, item) = (condition.text("type"), path.index(index));
        if kind.is_empty() {
            errors.push(Error::required(item.child("type"), ""));
        }
        let fixed = matches!(kind, "Approved" | "Denied" | "Failed");
        let allowed: &[&str] = if fixed { &["True"] } else { &["False", "True", "Unknown"] };
        crate::checks::one_of(condition, &item, "status", allowed, errors);
        let other = if kind == "Approved" { "Denied" } else { "Approved" };
        if matches!(kind, "Approved" | "Denied") && list[..index].iter().any(|c| c.text("type") == other) {
            let detail = "Approved and Denied conditions are mutually exclusive";
            errors.push(Error::invalid(path.clone(), kind, detail));
        }
        if list[..index].iter().any(|c| c.text("type") == kind) {
            errors.push(Error::duplicate(item.child("type"), kind));
        }
    }
}

fn removed(new: &Value, old: &Value, kinds: &[&str], errors: &mut ErrorList) {
    for kind in kinds {
        if conditions_of(new, kind).len() < conditions_of(old, kind).len() {
            let path = Path::new("status").child("conditions");
            errors.push(Error::forbidden(path, format!("updates may not remove a condition of type {kind:?}")));
        }
    }
}

fn unchanged(new: &Value, old: &Value, kinds: &[&str], errors: &mut ErrorList) {
    removed(new, old, kinds, errors);
    let path = Path::new("status").child("conditions");
    for kind in kinds {
        let (have, had) = (conditions_of(new, kind), conditions_of(old, kind));
        if have.len() > had.len() {
            errors.push(Error::forbidden(path.clone(), format!("updates may not add a condition of type {kind:?}")));
        } else if have.len() == had.len() && !have.iter().zip(&had).all(|(a, b)| semantic_eq(a, b)) {
            let detail = format!("updates may not modify a condition of type {kind:?}\n");
            errors.push(Error::forbidden(path.clone(), detail));
        }
    }
}
