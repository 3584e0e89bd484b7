//! `AdmissionReview`: the question to a webhook, and its answer judged.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#request>

use base64::Engine;
use pilothouse_access::admission::Request;
use pilothouse_api::Status;
use serde_json::{Value, json};

use crate::admission::forms::Form;
use crate::admission::rules::operation_name;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V1,
    V1Beta1,
}

impl Version {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "v1" => Some(Self::V1),
            "v1beta1" => Some(Self::V1Beta1),
            _ => None,
        }
    }
    fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "admission.k8s.io/v1",
            Self::V1Beta1 => "admission.k8s.io/v1beta1",
        }
    }
}

/// Also what CEL sees as `request`, but for the objects and the uid.
pub fn request(request: &Request, own: &Form, form: &Form, options: &Value) -> Value {
    let kind = |form: &Form| json!({"group": form.kind_group, "version": form.kind_version, "kind": form.kind});
    let resource = |form: &Form| json!({"group": form.group, "version": form.version, "resource": request.resource});
    let mut value = json!({
        "kind": kind(form), "resource": resource(form), "requestKind": kind(own), "requestResource": resource(own),
        "operation": operation_name(request.operation), "userInfo": request.user, "dryRun": request.dry_run,
        "options": options,
    });
    for (field, text) in [
        ("name", &request.name),
        ("namespace", &request.namespace),
        ("subResource", &request.subresource),
        ("requestSubResource", &request.subresource),
    ] {
        if !text.is_empty() {
            value[field] = json!(text);
        }
    }
    value
}

/// The whole review.
pub fn question(version: Version, uid: &str, mut request: Value, object: Value, old: Value) -> Value {
    request["uid"] = json!(uid);
    request["object"] = object;
    request["oldObject"] = old;
    json!({"kind": "AdmissionReview", "apiVersion": version.api_version(), "request": request})
}

/// What a webhook says.
#[derive(Debug)]
pub struct Verdict {
    pub allowed: bool,
    pub patch: Option<Value>,
    pub result: Option<Value>,
    pub warnings: Vec<String>,
    pub audit: Vec<(String, String)>,
}

/// Reads an answer.
///
/// # Errors
/// What is wrong with it, in upstream's words.
pub fn verdict(version: Version, uid: &str, mutating: bool, answer: &Value) -> Result<Verdict, String> {
    let response = &answer["response"];
    if !response.is_object() {
        return Err("webhook response was absent".into());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if version == Version::V1 {
        if response["uid"] != uid {
            return Err(format!("expected response.uid={uid:?}, got {:?}", text(&response["uid"])));
        }
        let (api_version, kind) = (text(&answer["apiVersion"]), text(&answer["kind"]));
        if api_version != version.api_version() || kind != "AdmissionReview" {
            let wanted = version.api_version();
            return Err(format!(
                "expected webhook response of {wanted}, Kind=AdmissionReview, got {api_version}, Kind={kind}"
            ));
        }
    }
    let (patch, patch_type) = (text(&response["patch"]), response["patchType"].as_str());
    let patch = match (mutating, patch.is_empty(), patch_type) {
        (false, false, _) if version == Version::V1 => {
            return Err("validating webhook may not return response.patch".into());
        }
        (false, true, Some(_)) if version == Version::V1 => {
            return Err("validating webhook may not return response.patchType".into());
        }
        (true, false, None) if version == Version::V1 => {
            return Err("webhook returned response.patch but not response.patchType".into());
        }
        (true, true, Some(_)) if version == Version::V1 => {
            return Err("webhook returned response.patchType but not response.patch".into());
        }
        (true, false, Some(other)) if version == Version::V1 && other != "JSONPatch" => {
            return Err(format!("unsupported patch type {other:?}"));
        }
        (true, false, _) => Some(decoded(&patch)?),
        _ => None,
    };
    let pairs = response["auditAnnotations"].as_object().into_iter().flatten();
    Ok(Verdict {
        allowed: response["allowed"] == true,
        patch: patch.filter(|patch| patch.as_array().is_none_or(|operations| !operations.is_empty())),
        result: response.get("status").filter(|status| status.is_object()).cloned(),
        warnings: response["warnings"].as_array().into_iter().flatten().map(text).collect(),
        audit: pairs.map(|(key, value)| (key.clone(), text(value))).collect(),
    })
}

fn decoded(patch: &str) -> Result<Value, String> {
    let failed = |why: String| format!("received undecodable patch in webhook response: {why}");
    let bytes = base64::engine::general_purpose::STANDARD.decode(patch).map_err(|error| failed(error.to_string()))?;
    let patch: Value = serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
    if patch.is_array() { Ok(patch) } else { Err(failed("a JSON patch is an array".into())) }
}

/// The refusal that a webhook spoke, as its client gets it.
pub fn denial(webhook: &str, result: Option<Value>) -> Status {
    let denied = format!("admission webhook {webhook:?} denied the request");
    let mut status: Status =
        result.and_then(|result| serde_json::from_value(result).ok()).unwrap_or_else(|| Status::failure(0, "", ""));
    status.message = match (status.message.as_str(), status.reason.as_str()) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    status.code = status.code.max(400);
    status.status = "Failure".into();
    (status.kind, status.api_version) = ("Status".into(), "v1".into());
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(response: Value) -> Value {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }

    fn refused(mutating: bool, response: Value) -> String {
        verdict(Version::V1, "u", mutating, &answer(response)).unwrap_err()
    }

    #[test]
    fn answers_are_judged() {
        let patch = base64::engine::general_purpose::STANDARD.encode(r#"[{"op":"add","path":"/a","value":1}]"#);
        let good = json!({"uid": "u", "allowed": true, "patch": patch, "patchType": "JSONPatch", "warnings": ["w"],
            "auditAnnotations": {"k": "v"}});
        let verdict_of = verdict(Version::V1, "u", true, &answer(good.clone())).unwrap();
        assert!(verdict_of.allowed && verdict_of.patch.is_some());
        assert_eq!((verdict_of.warnings, verdict_of.audit), (vec!["w".to_owned()], vec![("k".into(), "v".into())]));
        assert_eq!(refused(true, json!(null)), "webhook response was absent");
        assert_eq!(refused(true, json!({"uid": "x"})), "expected response.uid=\"u\", got \"x\"");
        assert_eq!(refused(false, good), "validating webhook may not return response.patch");
        assert_eq!(
            refused(false, json!({"uid": "u", "patchType": "JSONPatch"})),
            "validating webhook may not return response.patchType"
        );
        assert_eq!(
            refused(true, json!({"uid": "u", "patch": patch})),
            "webhook returned response.patch but not response.patchType"
        );
        assert_eq!(
            refused(true, json!({"uid": "u", "patchType": "JSONPatch"})),
            "webhook returned response.patchType but not response.patch"
        );
        assert_eq!(
            refused(true, json!({"uid": "u", "patch": patch, "patchType": "X"})),
            "unsupported patch type \"X\""
        );
        let broken = json!({"uid": "u", "patch": "!", "patchType": "JSONPatch"});
        assert!(refused(true, broken).starts_with("received undecodable patch in webhook response: "));
        let wrong =
            json!({"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "response": {"uid": "u"}});
        assert_eq!(
            verdict(Version::V1, "u", true, &wrong).unwrap_err(),
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got admission.k8s.io/v1beta1, Kind=AdmissionReview"
        );
        // The old version checks nothing of that.
        let old =
            verdict(Version::V1Beta1, "u", true, &json!({"response": {"allowed": true, "patch": patch}})).unwrap();
        assert!(old.patch.is_some());
    }

    #[test]
    fn denials() {
        let said = |result: Value| {
            let status = denial("a.b.c", Some(result));
            (status.code, status.reason, status.message)
        };
        let prefix = "admission webhook \"a.b.c\" denied the request";
        assert_eq!(said(json!({})), (400, String::new(), format!("{prefix} without explanation")));
        assert_eq!(said(json!({"reason": "bad"})), (400, "bad".into(), format!("{prefix}: bad")));
        assert_eq!(
            said(json!({"code": 409, "message": "no", "reason": "Conflict"})),
            (409, "Conflict".into(), format!("{prefix}: no"))
        );
        assert_eq!(said(json!({"code": 200, "status": "Success", "message": "no"})).0, 400);
        assert_eq!(denial("a.b.c", None).message, format!("{prefix} without explanation"));
    }
}
