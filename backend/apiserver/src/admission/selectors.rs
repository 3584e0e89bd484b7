//! Selectors of webhooks and policies: by the labels of the object's namespace, and by the object's own.

use pilothouse_access::Reader;
use pilothouse_access::admission::{Operation, Request};
use pilothouse_api::Status;
use pilothouse_api::selector::LabelSelector;
use serde_json::Value;

pub struct Selectors {
    namespaces: Result<LabelSelector, String>,
    objects: Result<LabelSelector, String>,
}

/// An absent selector selects everything.
fn parse(selector: &Value) -> Result<LabelSelector, String> {
    if selector.is_null() { Ok(LabelSelector::everything()) } else { LabelSelector::from_json(selector) }
}

impl Selectors {
    /// Of an object with `namespaceSelector` and `objectSelector`.
    pub fn of(object: &Value) -> Self {
        Self { namespaces: parse(&object["namespaceSelector"]), objects: parse(&object["objectSelector"]) }
    }

    /// # Errors
    /// 404 when the request's namespace is not there, 500 for a selector that cannot be read.
    pub fn match_request(&self, reader: &dyn Reader, request: &Request) -> Result<bool, Status> {
        let objects = self.objects.as_ref().map_err(Status::internal)?;
        if !objects.is_everything() && !matches_either(objects, request) {
            return Ok(false);
        }
        let namespaces = self.namespaces.as_ref().map_err(Status::internal)?;
        let is_namespace = request.group.is_empty() && request.resource == "namespaces";
        if namespaces.is_everything() || (request.namespace.is_empty() && !is_namespace) {
            return Ok(true);
        }
        // A namespace that is being written is judged by what it will be.
        let written = matches!(request.operation, Operation::Create | Operation::Update);
        if is_namespace && request.subresource.is_empty() && written {
            let labels = request.object.as_ref().map_or(&Value::Null, |object| &object["metadata"]["labels"]);
            return Ok(namespaces.matches_json(labels));
        }
        match reader.get("namespaces", "", &request.namespace) {
            Some(namespace) => Ok(namespaces.matches_json(&namespace["metadata"]["labels"])),
            None => Err(Status::not_found("", "namespaces", &request.namespace)),
        }
    }
}

fn matches_either(selector: &LabelSelector, request: &Request) -> bool {
    let matches =
        |object: &Value| object["metadata"].is_object() && selector.matches_json(&object["metadata"]["labels"]);
    request.object.as_ref().is_some_and(matches) || request.old.as_deref().is_some_and(matches)
}
