//! `RoleEscalation`: nobody grants more than they hold. Upstream checks this in the storage of roles and bindings; here
//! it is a plugin, so that every way of writing them passes it.

use pilothouse_api::Status;
use serde_json::json;

use super::object::map_at;
use super::{Context, Notes, Operation, Plugin, Request};
use crate::namespace_of;

pub(super) const PLUGIN: Plugin = Plugin { name: "RoleEscalation", admit: None, validate: Some(validate) };

const GROUP: &str = "rbac.authorization.k8s.io";

fn validate(context: &Context<'_>, request: &Request, _: &mut Notes) -> Result<(), Status> {
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    let Some(object) = request.object.as_ref().filter(|_| writes && request.group == GROUP) else { return Ok(()) };
    let resource = format!("{}.{GROUP}", request.resource);
    let (user, old) = (&request.user, request.old.as_deref());
    if namespace_of(object) == request.namespace {
        return context.authorizer.escalation_check(user, &resource, object, old);
    }
    // The namespace is the address's, whatever the body says or leaves out.
    let mut placed = object.clone();
    map_at(&mut placed, &["metadata"]).insert("namespace".into(), json!(request.namespace));
    context.authorizer.escalation_check(user, &resource, &placed, old)
}
