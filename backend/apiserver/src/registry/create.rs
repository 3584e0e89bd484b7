//! Creating an object.

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use pilothouse_access::admission::{Operation as AdmissionOperation, Request as AdmissionRequest};
use pilothouse_api::{Status, limits};
use pilothouse_kinds::Kind;
use pilothouse_schema::managed::{self, Manager, Operation};
use pilothouse_storage::{Durability, Entry, Error as StoreError, Mutation, Obj, encode};
use serde_json::{Value, json};

use super::read::{key, subject};
use super::{devices, metadata, options, render, schema, services};
use crate::admission;
use crate::body::{self, Body};
use crate::custom;
use crate::error::from_store;
use crate::negotiate;
use crate::server::{Answer, Call, Server};

/// A generated name, or an address chosen for a Service, that is taken is chosen anew this often.
const NAME_ATTEMPTS: usize = 8;

pub fn durability(kind: &Kind) -> Durability {
    match &*kind.storage {
        "leases.coordination.k8s.io" | "events" => Durability::Relaxed,
        _ => Durability::Synced,
    }
}

/// Fields that a write through `subresource` cannot own.
pub fn reset_fields(kind: &Kind, subresource: &str) -> &'static [&'static str] {
    match subresource {
        // Nobody owns what a request for a certificate says: it never changes.
        "" if kind.group == "certificates.k8s.io" => &["spec", "status"],
        "" if kind.subresource("status").is_some() => &["status"],
        "status" => &["spec", "metadata"],
        _ => &[],
    }
}

/// Encodes for the store, in the stored version, and checks the size.
pub fn encoded(kind: &Kind, object: Value) -> Result<Vec<u8>, Status> {
    let bytes = encode(&kind.to_storage(object)).map_err(|error| from_store(error, subject(kind, "")))?;
    if bytes.len() > limits::MAX_OBJECT_BYTES {
        return Err(Status::too_large(format!(
            "the object is {} bytes long; the limit is {}",
            bytes.len(),
            limits::MAX_OBJECT_BYTES
        )));
    }
    Ok(bytes)
}

/// A certificate is requested by whoever asks, not by whom the object names.
fn record_requester(call: &Call, kind: &Kind, object: &mut Value) {
    if kind.group != "certificates.k8s.io" || kind.plural != "certificatesigningrequests" {
        return;
    }
    let Ok(Value::Object(user)) = serde_json::to_value(&*call.user) else { return };
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for field in ["username", "uid", "groups", "extra"] {
        spec.remove(field);
    }
    spec.extend(user);
}

pub fn admission_request(
    call: &Call,
    kind: &Kind,
    operation: AdmissionOperation,
    subresource: &str,
    name: &str,
) -> AdmissionRequest {
    let mut request =
        AdmissionRequest::new(operation, (*call.user).clone(), &kind.group, &kind.version, &kind.plural, &kind.kind);
    subresource.clone_into(&mut request.subresource);
    let is_namespace = kind.group.is_empty() && kind.plural == "namespaces";
    if is_namespace { name } else { &call.info.namespace }.clone_into(&mut request.namespace);
    name.clone_into(&mut request.name);
    request
}

pub async fn create(server: &Arc<Server>, call: &mut Call, kind: &Arc<Kind>, body: Body) -> Answer {
    let wanted = negotiate::accept(&call.parts)?;
    options::check(call)?;
    let validation = options::field_validation(call)?;
    let bytes = body::collect(body, limits::MAX_BODY_BYTES).await?;
    let decoded = negotiate::decode(&call.parts.headers, &bytes, &schema(kind), validation)?;
    call.warnings.extend(decoded.warnings);
    let object = store_new(server, call, kind, decoded.object).await?;
    render::with(kind, &object, wanted, &call.query, StatusCode::CREATED)
}

/// Admits, prepares, validates and stores a new object; with `dryRun` everything but the storing.
pub async fn store_new(
    server: &Arc<Server>,
    call: &mut Call,
    kind: &Arc<Kind>,
    mut object: Value,
) -> Result<Obj, Status> {
    let dry_run = options::dry_run(call)?;
    custom::accepts_new(server, kind, "create")?;
    metadata::place(kind, &mut object, &call.info.namespace)?;
    metadata::wipe_system_fields(&mut object);
    call.warnings.extend(metadata::dedup_owners(&mut object, false));
    let now = Timestamp::now();
    kind.default(&mut object);
    // What was sent is its sender's; what admission and the kind add is nobody's.
    own(call, kind, &mut object, now)?;
    let name = metadata::text(&object, "name").to_owned();
    let mut request = admission_request(call, kind, AdmissionOperation::Create, "", &name);
    request.dry_run = dry_run;
    request.object = Some(object);
    server.admission.settle(&request).await;
    let sent = admission::options(call, AdmissionOperation::Create);
    admission::admit(server, call, kind, &mut request, &sent).await?;
    let mut object = request.object.take().unwrap_or_default();
    call.warnings.extend(metadata::dedup_owners(&mut object, true));
    kind.default(&mut object);
    // What is no version at all is none, as upstream reads it.
    if metadata::text(&object, "resourceVersion").parse::<u64>().is_ok_and(|version| version != 0) {
        return Err(Status::failure(500, "", "resourceVersion should not be set on objects to be created"));
    }
    metadata::map(&mut object).remove("resourceVersion");
    let base = metadata::text(&object, "generateName").to_owned();
    let generated = metadata::text(&object, "name").is_empty() && !base.is_empty();
    let again = generated || services::is_service(kind);
    for attempt in 1.. {
        // Only what may have to be chosen anew needs the object once more.
        let mut candidate = if again { object.clone() } else { std::mem::take(&mut object) };
        let fields = metadata::map(&mut candidate);
        fields.insert("uid".into(), json!(uuid::Uuid::new_v4().to_string()));
        fields.insert("creationTimestamp".into(), json!(metadata::stamp(now)));
        if generated {
            fields.insert("name".into(), json!(metadata::generate_name(&base)));
        }
        match store_candidate(server, call, kind, &mut request, candidate).await {
            Err(status) if generated && status.reason == "AlreadyExists" => {
                if attempt == NAME_ATTEMPTS {
                    return Err(no_name_left(status));
                }
            }
            // Not the name, but an address or port that was chosen for a Service, is another backend's: choose again.
            Err(status)
                if again
                    && attempt < NAME_ATTEMPTS
                    && status.reason == "AlreadyExists"
                    && !is_held(server, call, kind, &name) => {}
            outcome => return outcome,
        }
    }
    unreachable!("the loop ends with its last attempt")
}

fn is_held(server: &Server, call: &Call, kind: &Kind, name: &str) -> bool {
    server.store.get(&key(kind, &call.info.namespace, name)).is_some()
}

/// Every name that was tried was taken; the client may try again.
fn no_name_left(mut status: Status) -> Status {
    status.message.push_str(", the server was not able to generate a unique name for the object");
    status.retry_after(1)
}

/// Writes down who sent which field, unless server-side apply has done so.
fn own(call: &Call, kind: &Kind, object: &mut Value, time: Timestamp) -> Result<(), Status> {
    if is_applied(&object["metadata"]["managedFields"]) {
        return Ok(());
    }
    let name = options::manager(call)?;
    let manager = Manager {
        name: &name,
        operation: Operation::Update,
        api_version: &kind.api_version(),
        subresource: "",
        time,
        reset_fields: reset_fields(kind, ""),
    };
    managed::update(&schema(kind), None, object, &manager);
    Ok(())
}

async fn store_candidate(
    server: &Arc<Server>,
    call: &mut Call,
    kind: &Arc<Kind>,
    request: &mut AdmissionRequest,
    mut object: Value,
) -> Result<Obj, Status> {
    record_requester(call, kind, &mut object);
    let companions = services::allocate(server, kind, &mut object, None, request.dry_run)?;
    kind.prepare_create(&mut object);
    let name = metadata::text(&object, "name").to_owned();
    let mut errors = devices::asked(server, kind, &object);
    errors.extend(kind.validate(&object));
    if !errors.is_empty() {
        return Err(Status::invalid(kind.stored_group(), &kind.kind, &name, &errors));
    }
    call.warnings.extend(kind.warnings(&object, None));
    request.name.clone_from(&name);
    request.object = Some(object);
    let sent = admission::options(call, AdmissionOperation::Create);
    admission::validate(server, call, kind, request, &sent).await?;
    let object = request.object.take().unwrap_or_default();
    store(server, call, kind, &name, object, companions, request.dry_run).await
}

/// Whether server-side apply has written the owners already.
fn is_applied(managed: &Value) -> bool {
    managed.as_array().into_iter().flatten().any(|entry| entry["operation"] == "Apply")
}

async fn store(
    server: &Arc<Server>,
    call: &Call,
    kind: &Arc<Kind>,
    name: &str,
    object: Value,
    companions: Vec<Mutation>,
    dry_run: bool,
) -> Result<Obj, Status> {
    let key = key(kind, &call.info.namespace, name);
    let object = custom::to_storage(server, kind, object).await?;
    let bytes = encoded(kind, object)?;
    if dry_run {
        if server.store.get(&key).is_some() {
            return Err(taken(server, kind, call, name, Status::already_exists(&kind.group, &kind.plural, name)));
        }
        return custom::serve_one(server, kind, pretend(key, &bytes, 0)?).await;
    }
    let mut mutation = Mutation::create(key, bytes, call.user.name.as_str());
    mutation.durability = durability(kind);
    let outcome =
        if companions.is_empty() {
            server.store.write(mutation).await
        } else {
            let mut unit = companions;
            unit.insert(0, mutation);
            server.store.write_all(unit).await.and_then(|all| {
                all.into_iter().next().ok_or_else(|| StoreError::Internal("a unit came back empty".into()))
            })
        };
    let object = outcome.map_err(|error| taken(server, kind, call, name, from_store(error, subject(kind, name))))?;
    custom::serve_one(server, kind, object).await
}

/// Says of a name that is taken whether it will soon be free.
fn taken(server: &Server, kind: &Kind, call: &Call, name: &str, mut status: Status) -> Status {
    let holder = server.store.get(&key(kind, &call.info.namespace, name));
    if status.reason == "AlreadyExists" && holder.is_some_and(|holder| metadata::is_deleting(&holder.value())) {
        status.message.insert_str(0, "object is being deleted: ");
    }
    status
}

/// What a dry run answers: the object as it would be, at the revision it has now.
pub fn pretend(key: pilothouse_storage::Key, bytes: &[u8], revision: u64) -> Result<Obj, Status> {
    let mut value: Value = serde_json::from_slice(bytes).map_err(Status::internal)?;
    if revision > 0 {
        metadata::map(&mut value).insert("resourceVersion".into(), json!(revision.to_string()));
    }
    let uid = metadata::text(&value, "uid").into();
    let bytes = value.to_string().into();
    Ok(Arc::new(Entry { key, revision, bytes, uid, labels: Arc::new([]), fields: Arc::new([]) }))
}
