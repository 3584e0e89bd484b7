//! Questions about access that are answered and not stored: who am I, may I, may they.

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use pilothouse_access::UserInfo;
use pilothouse_access::authz::Attributes;
use pilothouse_api::Status;
use pilothouse_kinds::Kind;
use serde_json::{Value, json};

use crate::admission;
use crate::body::Body;
use crate::server::{Answer, Call, Server};

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// The `status` of an access review of `user` for the attributes in `spec`.
fn judge(server: &Server, user: &UserInfo, spec: &Value, namespace: Option<&str>) -> Result<Value, Status> {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let attributes = match (resource.is_object(), path.is_object()) {
        (true, false) => {
            let within = text(resource, "namespace");
            if namespace.is_some_and(|namespace| namespace != within) {
                return Err(Status::bad_request("spec.resourceAttributes.namespace must match metadata.namespace"));
            }
            Attributes::resource(
                user,
                text(resource, "verb"),
                text(resource, "group"),
                text(resource, "version"),
                text(resource, "resource"),
            )
            .subresource(text(resource, "subresource"))
            .namespace(within)
            .name(text(resource, "name"))
        }
        (false, true) => Attributes::path(user, text(path, "verb"), text(path, "path")),
        _ => {
            return Err(Status::failure(
                422,
                "Invalid",
                "spec.resourceAttributes: Invalid value: exactly one of nonResourceAttributes or resourceAttributes must be specified",
            ));
        }
    };
    let decision = server.authorizer.authorize(&attributes);
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = json!(decision.reason);
    }
    Ok(status)
}

/// The user that a SubjectAccessReview asks about.
fn subject(spec: &Value) -> Result<UserInfo, Status> {
    let user = text(spec, "user");
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let groups = strings(&spec["groups"]);
    if user.is_empty() && groups.is_empty() {
        return Err(Status::failure(
            422,
            "Invalid",
            "spec.user: Invalid value: \"\": at least one of user or group must be specified",
        ));
    }
    let mut info = UserInfo::new(user, &[]);
    info.groups = groups;
    text(spec, "uid").clone_into(&mut info.uid);
    info.extra =
        spec["extra"].as_object().into_iter().flatten().map(|(key, value)| (key.clone(), strings(value))).collect();
    Ok(info)
}

/// Answers a create of one of the review kinds; none for every other kind.
pub async fn answer(server: &Arc<Server>, call: &mut Call, kind: &Arc<Kind>, body: Body) -> Answer {
    let review = super::decoded(call, body, &kind.group, &kind.version, &kind.kind).await?;
    let name = review["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let mut review = admission::create(server, call, kind, "", &name, review).await?;
    let spec = review["spec"].clone();
    review["status"] = match &*kind.plural {
        "selfsubjectreviews" => json!({"userInfo": &*call.user}),
        "tokenreviews" => server.authenticator.review(&spec, Timestamp::now()),
        "selfsubjectaccessreviews" => judge(server, &call.user, &spec, None)?,
        "subjectaccessreviews" => judge(server, &subject(&spec)?, &spec, None)?,
        "localsubjectaccessreviews" => judge(server, &subject(&spec)?, &spec, Some(&call.info.namespace))?,
        "selfsubjectrulesreviews" => {
            let namespace = text(&spec, "namespace");
            if namespace.is_empty() {
                return Err(Status::bad_request("no namespace on request"));
            }
            json!(server.authorizer.rules_for(&call.user, namespace))
        }
        "bindings" => {
            let pods = server.kinds.get("", "v1", "pods").ok_or_else(Status::unknown_path)?;
            return super::binding::apply(server, call, &pods, &name, &review).await;
        }
        _ => return Err(Status::method_not_supported(&kind.group, &kind.plural, "create")),
    };
    super::shown(call, kind, review, StatusCode::CREATED)
}
