//! `UserGroups`, our own: whoever writes a dashboard user hands out its groups, so nobody hands out a group they could
//! not act as. The right is `impersonate` on that group, the one Kubernetes already has for it.

use pilothouse_api::Status;

use super::object::items;
use super::{Context, Notes, Operation, Plugin, Request};
use crate::authz::Attributes;

pub(super) const PLUGIN: Plugin = Plugin { name: "UserGroups", admit: None, validate: Some(validate) };

fn validate(context: &Context<'_>, request: &Request, _: &mut Notes) -> Result<(), Status> {
    let writes = matches!(request.operation, Operation::Create | Operation::Update);
    let about = writes && request.group == "pilothouse.io" && request.resource == "users";
    let Some(user) = request.object.as_ref().filter(|_| about) else { return Ok(()) };
    for group in items(user, "/spec/groups").filter_map(|group| group.as_str()) {
        let held = request.old.as_ref().is_some_and(|old| items(old, "/spec/groups").any(|known| known == group));
        if held {
            continue;
        }
        let asked = Attributes::resource(&request.user, "impersonate", "", "v1", "groups").name(group);
        if !context.authorizer.authorize(&asked).allowed {
            return Err(request.forbidden(&format!(
                "user {:?} may not hand out the group {group:?}: it needs the verb \"impersonate\" on that group",
                request.user.name
            )));
        }
    }
    Ok(())
}
