//! `NamespaceLifecycle`: nothing is created where there is no namespace or where it is ending, and the namespaces the
//! cluster itself needs cannot be deleted.

use pilothouse_api::Status;

use super::{Context, Operation, Plugin, Request};
use crate::text;

pub(super) const PLUGIN: Plugin = Plugin { name: "NamespaceLifecycle", admit: Some(admit), validate: None };

const IMMORTAL: &[&str] = &["default", "kube-public", "kube-system"];

fn admit(context: &Context<'_>, request: &mut Request) -> Result<(), Status> {
    let of_namespace = request.group.is_empty() && request.resource == "namespaces";
    if of_namespace {
        let ends = request.operation == Operation::Delete && IMMORTAL.contains(&request.name.as_str());
        return if ends { Err(request.forbidden("this namespace may not be deleted")) } else { Ok(()) };
    }
    // Deleting must work to the end, and asking what one may do creates nothing.
    let asks = request.group == "authorization.k8s.io" && request.resource == "localsubjectaccessreviews";
    if request.namespace.is_empty() || asks || !matches!(request.operation, Operation::Create | Operation::Update) {
        return Ok(());
    }
    let Some(namespace) = context.reader.get("namespaces", "", &request.namespace) else {
        return Err(Status::not_found("", "namespaces", &request.namespace));
    };
    let ending = text(&namespace, "/status/phase") == "Terminating"
        || !text(&namespace, "/metadata/deletionTimestamp").is_empty();
    if request.operation == Operation::Create && ending {
        let name = &request.namespace;
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        return Err(request.forbidden(&why).cause(
            "NamespaceTerminating",
            format!("namespace {name} is being terminated"),
            "metadata.namespace",
        ));
    }
    Ok(())
}
