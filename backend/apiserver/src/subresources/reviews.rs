//! Questions about access that are answered and not stored: who am I, may I, may they.

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use pilothouse_access::UserInfo;
use pilothouse_access::authz::Attributes;
use pilothouse_api::Status;
use pilothouse_api::field::{Error, ErrorList, Path};
use pilothouse_kinds::Kind;
use serde_json::{Value, json};

use crate::admission;
use crate::body::Body;
use crate::registry::metadata;
use crate::server::{Answer, Call, Server};

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// What is wrong with a question about access, as upstream tells it: of no kind, but of its group.
fn check(review: &Value, whose: Whose) -> Result<(), Status> {
    let (spec, at) = (&review["spec"], Path::new("spec"));
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let mut errors = ErrorList::new();
    let shown = || json!({"Path": text(path, "path"), "Verb": text(path, "verb")});
    if resource.is_object() && path.is_object() {
        let why = "cannot be specified in combination with resourceAttributes";
        errors.push(Error::invalid(at.child("nonResourceAttributes"), shown(), why));
    }
    if !resource.is_object() && !path.is_object() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        errors.push(Error::invalid(at.child("resourceAttributes"), Value::Null, why));
    }
    let nobody = text(spec, "user").is_empty() && spec["groups"].as_array().is_none_or(Vec::is_empty);
    if whose != Whose::Own && nobody {
        errors.push(Error::invalid(at.child("user"), "", "at least one of user or group must be specified"));
    }
    let named = review["metadata"].as_object().into_iter().flatten();
    let mut named = named.filter(|(name, value)| *name != "managedFields" && !value.is_null());
    if named.any(|(name, _)| whose != Whose::OfNamespace || name != "namespace") {
        let why = if whose == Whose::OfNamespace { "must be empty except for namespace" } else { "must be empty" };
        errors.push(Error::invalid(Path::new("metadata"), review["metadata"].clone(), why));
    }
    if whose == Whose::OfNamespace {
        let (asked, own) = (text(resource, "namespace"), text(&review["metadata"], "namespace"));
        if resource.is_object() && asked != own {
            let at = Path::new("spec.resourceAttributes.namespace");
            errors.push(Error::invalid(at, asked, "must match metadata.namespace"));
        }
        if path.is_object() {
            let why = "disallowed on this kind of request";
            errors.push(Error::invalid(at.child("nonResourceAttributes"), shown(), why));
        }
    }
    for field in ["fieldSelector", "labelSelector"] {
        check_selector(&resource[field], &at.child("resourceAttributes").child(field), &mut errors);
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("authorization.k8s.io", "", "", &errors)) }
}

/// A selector that a question is narrowed by.
fn check_selector(selector: &Value, at: &Path, errors: &mut ErrorList) {
    if !selector.is_object() {
        return;
    }
    let raw = text(selector, "rawSelector");
    let requirements = selector["requirements"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !raw.is_empty() && !requirements.is_empty() {
        let why = "may not specified at the same time as requirements";
        errors.push(Error::invalid(at.child("rawSelector"), raw, why));
    }
    if raw.is_empty() && requirements.is_empty() {
        let why = format!("when {at} is specified, requirements or rawSelector is required");
        errors.push(Error::required(at.child("requirements"), why));
    }
    for (index, requirement) in requirements.iter().enumerate() {
        let at = at.child("requirements").index(index);
        if text(requirement, "key").is_empty() {
            errors.push(Error::required(at.child("key"), "must be specified"));
        }
        let valued = requirement["values"].as_array().is_some_and(|values| !values.is_empty());
        match (text(requirement, "operator"), valued) {
            ("In" | "NotIn", false) => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(Error::required(at.child("values"), why));
            }
            ("Exists" | "DoesNotExist", true) => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(Error::forbidden(at.child("values"), why));
            }
            // Operators that are to come are for the authorizer to know.
            _ => {}
        }
    }
}

/// Whom a question about access is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Own,
    Anyones,
    OfNamespace,
}

/// The `status` of an access review of `user` for the attributes in `spec`.
fn judge(server: &Server, user: &UserInfo, spec: &Value) -> Value {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let attributes = if resource.is_object() {
        let [verb, group, version, kind] = ["verb", "group", "version", "resource"].map(|field| text(resource, field));
        Attributes::resource(user, verb, group, version, kind)
            .subresource(text(resource, "subresource"))
            .namespace(text(resource, "namespace"))
            .name(text(resource, "name"))
    } else {
        Attributes::path(user, text(path, "verb"), text(path, "path"))
    };
    let decision = server.authorizer.authorize(&attributes);
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = json!(decision.reason);
    }
    status
}

/// The user that a SubjectAccessReview asks about.
fn subject(spec: &Value) -> UserInfo {
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let mut info = UserInfo::new(text(spec, "user"), &[]);
    info.groups = strings(&spec["groups"]);
    text(spec, "uid").clone_into(&mut info.uid);
    info.extra =
        spec["extra"].as_object().into_iter().flatten().map(|(key, value)| (key.clone(), strings(value))).collect();
    info
}

/// Answers a create of one of the review kinds; none for every other kind.
pub async fn answer(server: &Arc<Server>, call: &mut Call, kind: &Arc<Kind>, body: Body) -> Answer {
    let review = super::decoded(call, body, &kind.group, &kind.version, &kind.kind).await?;
    match &*kind.plural {
        "selfsubjectaccessreviews" => check(&review, Whose::Own)?,
        "subjectaccessreviews" => check(&review, Whose::Anyones)?,
        "localsubjectaccessreviews" => {
            let mut placed = review.clone();
            metadata::place(kind, &mut placed, &call.info.namespace)?;
            check(&placed, Whose::OfNamespace)?;
        }
        "tokenreviews" if text(&review["spec"], "token").is_empty() => {
            return Err(Status::bad_request("token is required for TokenReview in authentication"));
        }
        _ => {}
    }
    let name = review["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut review = admission::create(server, call, kind, "", &name, review).await?;
    let spec = review["spec"].clone();
    review["status"] = match &*kind.plural {
        "selfsubjectreviews" => {
            review["metadata"] = json!({});
            json!({"userInfo": &*call.user})
        }
        "tokenreviews" => server.authenticator.review(&spec, Timestamp::now()),
        "selfsubjectaccessreviews" => judge(server, &call.user, &spec),
        "subjectaccessreviews" | "localsubjectaccessreviews" => judge(server, &subject(&spec), &spec),
        "selfsubjectrulesreviews" => {
            let namespace = text(&spec, "namespace");
            if namespace.is_empty() {
                return Err(Status::bad_request("no namespace on request"));
            }
            json!(server.authorizer.rules_for(&call.user, namespace))
        }
        "bindings" => {
            super::binding::check(&review)?;
            let pods = server.kinds.get("", "v1", "pods").ok_or_else(Status::unknown_path)?;
            return super::binding::apply(server, call, &pods, &name, &review).await;
        }
        _ => return Err(Status::method_not_supported(&kind.group, &kind.plural, "create")),
    };
    super::shown(call, kind, review, StatusCode::CREATED)
}
