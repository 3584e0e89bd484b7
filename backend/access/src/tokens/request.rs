//! `POST …/serviceaccounts/NAME/token`.
//! Source: <https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/>

use std::sync::Arc;

use jiff::Timestamp;
use pilothouse_api::Status;
use pilothouse_api::field::{Error as FieldError, Path};
use serde_json::{Value, json};

use super::{Bound, Mint, ServiceAccountTokens};
use crate::{Reader, name_of, namespace_of, text, uid_of};

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";
const DEFAULT_SECONDS: i64 = 60 * 60;
const MIN_SECONDS: i64 = 10 * 60;
/// Most audiences of a token; more would only make it long.
const MAX_AUDIENCES: usize = 64;

fn invalid(name: &str, error: FieldError) -> Status {
    Status::invalid(GROUP, KIND, name, &vec![error])
}

impl ServiceAccountTokens {
    /// Takes the `TokenRequest` and gives it back with its `status`. Errors: 404 for a missing account or bound
    /// object, 409 for another uid than asked, 400 for an object tokens cannot be bound to, 422 for bad spec fields.
    pub fn request(
        &self,
        reader: &dyn Reader,
        namespace: &str,
        name: &str,
        mut request: Value,
        now: Timestamp,
    ) -> Result<Value, Status> {
        check_metadata(&request, namespace, name)?;
        let account = reader
            .get("serviceaccounts", namespace, name)
            .ok_or_else(|| Status::not_found("", "serviceaccounts", name))?;
        let asked_uid = uid_of(&request);
        if !asked_uid.is_empty() && asked_uid != uid_of(&account) {
            let why = format!(
                "the UID in the token request ({asked_uid}) does not match the UID of the service account ({})",
                uid_of(&account)
            );
            return Err(Status::conflict(GROUP, KIND, name, &why));
        }
        let audiences = self.audiences(&request)?;
        let seconds = seconds(&request)?.min(self.config.max_expiration_seconds);

        let reference = request.pointer("/spec/boundObjectRef").filter(|r| !r.is_null()).cloned();
        let found = match &reference {
            Some(reference) => Some(find(reader, reference, namespace, name)?),
            None => None,
        };
        let (bound, node) = match &found {
            None => (None, None),
            Some(Found::Pod(pod, node)) => (Some(Bound::Pod { name: name_of(pod), uid: uid_of(pod) }), node.as_deref()),
            Some(Found::Secret(secret)) => (Some(Bound::Secret { name: name_of(secret), uid: uid_of(secret) }), None),
            Some(Found::Node(node)) => (Some(Bound::Node { name: name_of(node), uid: uid_of(node) }), None),
        };
        let token = self
            .mint(
                &Mint {
                    namespace,
                    name,
                    uid: uid_of(&account),
                    audiences: &audiences,
                    seconds,
                    bound,
                    node: node.map(|node| (name_of(node), uid_of(node))),
                },
                now,
            )
            .map_err(Status::internal)?;

        let expires = Timestamp::from_second(now.as_second().saturating_add(seconds)).map_err(Status::internal)?;
        let Some(fields) = request.as_object_mut() else {
            return Err(Status::bad_request("the body is not a TokenRequest"));
        };
        fields.insert("apiVersion".into(), json!(format!("{GROUP}/v1")));
        fields.insert("kind".into(), json!(KIND));
        fields.insert(
            "metadata".into(),
            json!({
                "name": name, "namespace": namespace, "uid": uid_of(&account),
                "creationTimestamp": seconds_only(now),
            }),
        );
        let spec = fields.entry("spec").or_insert_with(|| json!({}));
        if let Some(spec) = spec.as_object_mut() {
            spec.insert("audiences".into(), json!(audiences));
            spec.insert("expirationSeconds".into(), json!(seconds));
            spec.entry("boundObjectRef").or_insert(Value::Null);
        }
        fields.insert("status".into(), json!({"token": token, "expirationTimestamp": seconds_only(expires)}));
        Ok(request)
    }

    fn audiences(&self, request: &Value) -> Result<Vec<String>, Status> {
        let asked = request.pointer("/spec/audiences").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if asked.len() > MAX_AUDIENCES {
            let field = Path::new("spec").child("audiences");
            return Err(invalid("", FieldError::too_many(field, asked.len(), MAX_AUDIENCES)));
        }
        let asked: Vec<String> = asked.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Ok(if asked.is_empty() { self.config.audiences.clone() } else { asked })
    }
}

/// RFC 3339 in whole seconds, as `metav1.Time` is written.
fn seconds_only(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A name or namespace in the body must be the one in the URL.
fn check_metadata(request: &Value, namespace: &str, name: &str) -> Result<(), Status> {
    for (field, given, wanted) in [("name", name_of(request), name), ("namespace", namespace_of(request), namespace)] {
        if !given.is_empty() && given != wanted {
            let path = Path::new("metadata").child(field);
            let detail = format!("must match the service account {field} if specified");
            return Err(invalid(name, FieldError::invalid(path, given, detail)));
        }
    }
    Ok(())
}

fn seconds(request: &Value) -> Result<i64, Status> {
    let path = || Path::new("spec").child("expirationSeconds");
    let asked = match request.pointer("/spec/expirationSeconds") {
        None | Some(Value::Null) => DEFAULT_SECONDS,
        Some(value) => value.as_i64().ok_or_else(|| {
            invalid("", FieldError::type_invalid(path(), value.clone(), "must be a whole number of seconds"))
        })?,
    };
    if asked < MIN_SECONDS {
        let error = FieldError::invalid(path(), asked, "may not specify a duration less than 10 minutes");
        return Err(invalid("", error));
    }
    if asked > 1 << 32 {
        let error = FieldError::invalid(path(), asked, "may not specify a duration larger than 2^32 seconds");
        return Err(invalid("", error));
    }
    Ok(asked)
}

/// The object a token is to be bound to.
enum Found {
    /// With the node it runs on, as far as it is known.
    Pod(Arc<Value>, Option<Arc<Value>>),
    Secret(Arc<Value>),
    Node(Arc<Value>),
}

fn find(reader: &dyn Reader, reference: &Value, namespace: &str, account: &str) -> Result<Found, Status> {
    let (version, kind, name) = (text(reference, "/apiVersion"), text(reference, "/kind"), text(reference, "/name"));
    let get = |resource: &str, namespace: &str| {
        let found = reader.get(resource, namespace, name).ok_or_else(|| Status::not_found("", resource, name))?;
        let (asked, actual) = (text(reference, "/uid"), uid_of(&found));
        if !asked.is_empty() && asked != actual {
            let why = format!(
                "the UID in the bound object reference ({asked}) does not match the UID in record. The object might \
                 have been deleted and then recreated"
            );
            return Err(Status::conflict("", kind, name, &why));
        }
        Ok(found)
    };
    if name.is_empty() && matches!((version, kind), ("v1" | "", "Pod" | "Secret" | "Node")) {
        return Err(Status::bad_request("Name parameter required."));
    }
    match (version, kind) {
        ("v1" | "", "Pod") => {
            let pod = get("pods", namespace)?;
            if text(&pod, "/spec/serviceAccountName") != account {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                )));
            }
            let node = match text(&pod, "/spec/nodeName") {
                "" => None,
                node => {
                    Some(reader.get("nodes", "", node).unwrap_or_else(|| Arc::new(json!({"metadata": {"name": node}}))))
                }
            };
            Ok(Found::Pod(pod, node))
        }
        ("v1" | "", "Secret") => Ok(Found::Secret(get("secrets", namespace)?)),
        ("v1" | "", "Node") => Ok(Found::Node(get("nodes", "")?)),
        _ => {
            let group = if version.contains('/') { "" } else { "/" };
            Err(Status::bad_request(format!("cannot bind token to object of type {group}{version}, Kind={kind}")))
        }
    }
}
