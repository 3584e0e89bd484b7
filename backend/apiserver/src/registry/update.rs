//! Updating an object, through itself or through a subresource: the one way for PUT, PATCH and the server's own
//! changes.
//!
//! Invariant: a write carries the revision it was computed from; whoever was faster makes it fail, never disappear.

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use pilothouse_access::admission::Operation as AdmissionOperation;
use pilothouse_api::{Status, limits};
use pilothouse_kinds::Kind;
use pilothouse_schema::managed::{self, Manager, Operation};
use pilothouse_storage::{Error as StoreError, Expect, Mutation, Obj};
use serde_json::{Value, json};

use super::create::{admission_request, durability, encoded, pretend, reset_fields, store_new};
use super::read::{key, newest, subject};
use super::{devices, metadata, options, render, schema, services};
use crate::admission;
use crate::body::{self, Body};
use crate::custom;
use crate::error::from_store;
use crate::negotiate;
use crate::server::{Answer, Call, Server};

/// A change that does not depend on a revision is computed anew this often.
const ATTEMPTS: usize = 6;

/// How the managed fields come about.
pub enum Ownership {
    /// From what the write changed.
    Update,
    /// Server-side apply has written them.
    Applied,
}

/// What a write leads to.
pub struct Written {
    pub object: Obj,
    pub created: bool,
}

pub async fn update(server: &Arc<Server>, call: &mut Call, kind: &Arc<Kind>, body: Body, subresource: &str) -> Answer {
    let wanted = negotiate::accept(&call.parts)?;
    options::check(call)?;
    let validation = options::field_validation(call)?;
    let bytes = body::collect(body, limits::MAX_BODY_BYTES).await?;
    let decoded = negotiate::decode(&call.parts.headers, &bytes, &schema(kind), validation)?;
    call.warnings.extend(decoded.warnings);
    let mut sent = decoded.object;
    metadata::place(kind, &mut sent, &call.info.namespace)?;
    let name = call.info.name.clone();
    metadata::same_name(&sent, &name)?;
    let written = replace(server, call, kind, &name, subresource, Ownership::Update, |_| Ok(sent.clone())).await;
    let written = match written {
        Err(status) if status.code == 404 && subresource.is_empty() && kind.allows_create_on_update() => {
            let uid = metadata::text(&sent, "uid");
            if status.reason != "NotFound" {
                return Err(status);
            }
            if !uid.is_empty() {
                let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: ");
                return Err(Status::conflict(&kind.group, &kind.plural, &name, &why));
            }
            may_create(server, call, kind)?;
            metadata::map(&mut sent).remove("resourceVersion");
            Written { object: store_new(server, call, kind, sent).await?, created: true }
        }
        other => other?,
    };
    let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    render::with(kind, &written.object, wanted, &call.query, status)
}

/// Creating by an update or a patch needs the right to create.
///
/// # Errors
/// 403 without it.
pub fn may_create(server: &Server, call: &Call, kind: &Kind) -> Result<(), Status> {
    let attributes =
        pilothouse_access::authz::Attributes::resource(&call.user, "create", &kind.group, &kind.version, &kind.plural)
            .namespace(&call.info.namespace)
            .name(&call.info.name);
    server.authorizer.check(&attributes)
}

/// Computes the new state from the stored one and writes it. The new state's own resourceVersion and uid, if it
/// carries them, must be the stored ones'; without a resourceVersion it is computed anew when somebody was faster.
pub async fn replace(
    server: &Arc<Server>,
    call: &mut Call,
    kind: &Arc<Kind>,
    name: &str,
    subresource: &str,
    ownership: Ownership,
    mut compute: impl FnMut(&Value) -> Result<Value, Status> + Send,
) -> Result<Written, Status> {
    let dry_run = options::dry_run(call)?;
    let mut stored = newest(server, kind, &call.info.namespace, name).await?;
    for attempt in 1.. {
        let old = render::value(kind, &stored);
        let new = compute(&old)?;
        let version = metadata::text(&new, "resourceVersion").to_owned();
        let conditional = !version.is_empty() && version != "0";
        if conditional && version.parse::<u64>().is_err() {
            let why = format!("strconv.ParseUint: parsing {version:?}: invalid syntax");
            return Err(Status::failure(500, "", why));
        }
        if conditional && version != stored.revision.to_string() {
            return Err(Status::modified(&kind.group, &kind.plural, name));
        }
        if !conditional
            && call.info.verb == "update"
            && subresource.is_empty()
            && !kind.allows_unconditional_update()
            && version.is_empty()
        {
            let error = pilothouse_api::field::Error::invalid(
                pilothouse_api::field::Path::new("metadata.resourceVersion"),
                0,
                "must be specified for an update",
            );
            // Upstream names the resource here, not the kind.
            return Err(Status::invalid(&kind.group, &kind.plural, name, &vec![error]));
        }
        // A patch says with it what the object shall be, and is refused for that; an update, which one it means.
        let uid = metadata::text(&new, "uid");
        if call.info.verb != "patch" && !uid.is_empty() && uid != metadata::text(&old, "uid") {
            let why = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                metadata::text(&old, "uid")
            );
            return Err(Status::conflict(&kind.group, &kind.plural, name, &why));
        }
        match write(server, call, kind, &stored, (&old, new), subresource, &ownership, dry_run).await {
            Err(StoreOr::Store(StoreError::Conflict { .. })) if !conditional && attempt < ATTEMPTS => {
                stored = newest(server, kind, &call.info.namespace, name).await?;
            }
            // Another backend was faster with the address or port that was chosen for a Service: choose again.
            Err(StoreOr::Store(StoreError::AlreadyExists)) if attempt < ATTEMPTS => {}
            Err(StoreOr::Store(error)) => return Err(from_store(error, subject(kind, name))),
            Err(StoreOr::Status(status)) => return Err(status),
            Ok(object) => return Ok(Written { object, created: false }),
        }
    }
    unreachable!("the loop ends with its last attempt")
}

enum StoreOr {
    Store(StoreError),
    Status(Status),
}

impl From<Status> for StoreOr {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

/// Prepares an update, but leaves alone who owns what.
fn prepare(kind: &Kind, new: &mut Value, old: &Value, subresource: &str) {
    let managed = metadata::map(new).get("managedFields").cloned();
    kind.prepare_update(new, old, subresource);
    if let Some(managed) = managed {
        metadata::map(new).insert("managedFields".into(), managed);
    }
}

async fn write(
    server: &Arc<Server>,
    call: &mut Call,
    kind: &Arc<Kind>,
    stored: &Obj,
    (old, mut new): (&Value, Value),
    subresource: &str,
    ownership: &Ownership,
    dry_run: bool,
) -> Result<Obj, StoreOr> {
    let name = stored.key.name.to_string();
    kind.default(&mut new);
    // PATCH, as upstream, is looked at after admission only.
    if call.info.verb == "update" {
        call.warnings.extend(metadata::dedup_owners(&mut new, false));
    }
    // What was sent is its sender's; what the kind puts right and admission adds is nobody's. Of what is sent through a
    // subresource, only what the subresource may change counts.
    let updates = matches!(ownership, Ownership::Update);
    let manager_name = if updates { options::manager(call)? } else { String::new() };
    let own = |new: &mut Value| {
        let manager = Manager {
            name: &manager_name,
            operation: Operation::Update,
            api_version: &kind.api_version(),
            subresource,
            time: Timestamp::now(),
            reset_fields: reset_fields(kind, subresource),
        };
        if updates {
            managed::update(&schema(kind), Some(old), new, &manager);
        }
    };
    let whole = subresource.is_empty();
    if whole {
        own(&mut new);
    }
    prepare(kind, &mut new, old, subresource);
    metadata::map(&mut new).insert("resourceVersion".into(), json!(stored.revision.to_string()));
    if !whole {
        own(&mut new);
    }
    let mut request = admission_request(call, kind, AdmissionOperation::Update, subresource, &name);
    request.dry_run = dry_run;
    request.old = Some(Arc::new(old.clone()));
    request.object = Some(new);
    let sent = admission::options(call, AdmissionOperation::Update);
    admission::admit(server, call, kind, &mut request, &sent).await?;
    let mut new = request.object.take().unwrap_or_default();
    call.warnings.extend(metadata::dedup_owners(&mut new, true));
    kind.default(&mut new);
    prepare(kind, &mut new, old, subresource);
    let companions = if subresource.is_empty() {
        services::allocate(server, kind, &mut new, Some(old), dry_run)?
    } else {
        Vec::new()
    };
    let mut errors = match subresource {
        "status" => devices::given(server, kind, &new, old),
        _ => Vec::new(),
    };
    errors.extend(kind.validate_update(&new, old, subresource));
    if !errors.is_empty() {
        return Err(Status::invalid(kind.stored_group(), &kind.kind, &name, &errors).into());
    }
    if subresource.is_empty() {
        call.warnings.extend(kind.warnings(&new, Some(old)));
    }
    request.object = Some(new);
    admission::validate(server, call, kind, &mut request, &sent).await?;
    let new = request.object.take().unwrap_or_default();
    // A write that changes nothing is none: no revision, no event. One that only moves the object to the version that
    // is stored now is one.
    if managed::same_but_times(old, &new) && !custom::is_of_old(server, kind, &stored.key) {
        return Ok(Arc::clone(stored));
    }
    let key = key(kind, &call.info.namespace, &name);
    let ended = metadata::is_deleting(&new) && super::delete::may_go(kind, &new);
    let new = custom::to_storage(server, kind, new).await?;
    let bytes = encoded(kind, new)?;
    if dry_run {
        return Ok(custom::serve_one(server, kind, pretend(key, &bytes, stored.revision)?).await?);
    }
    let expect = Expect::Revision(stored.revision);
    let mut mutation = if ended {
        Mutation::delete(key, expect, bytes, call.user.name.as_str())
    } else {
        Mutation::update(key, expect, bytes, call.user.name.as_str())
    };
    mutation.durability = durability(kind);
    let mut unit = companions;
    if ended {
        unit.extend(services::release(server, kind, old));
    }
    if unit.is_empty() {
        let written = server.store.write(mutation).await.map_err(StoreOr::Store)?;
        return Ok(custom::serve_one(server, kind, written).await?);
    }
    unit.insert(0, mutation);
    let all = server.store.write_all(unit).await.map_err(StoreOr::Store)?;
    all.into_iter().next().ok_or_else(|| StoreOr::Status(Status::internal("a unit came back empty")))
}
