//! `scale`: the replicas of any workload in one shape (`autoscaling/v1 Scale`).

use std::sync::Arc;

use http::StatusCode;
use jiff::Timestamp;
use pilothouse_api::field::{Error, Path};
use pilothouse_api::{Status, limits};
use pilothouse_kinds::{Kind, ScalePaths};
use pilothouse_schema::decode::{FieldValidation, Format, check_patched, decode_apply, parse};
use pilothouse_schema::managed::{self, Manager, Operation};
use pilothouse_schema::patch::{json_patch, merge_patch, strategic_merge};
use pilothouse_schema::{Schema, builtin};
use serde_json::{Value, json};

use crate::body::{self, Body};
use crate::negotiate::{self, Media};
use crate::registry::render::{self, document};
use crate::registry::update::{Ownership, Written, replace};
use crate::registry::{self, metadata, options, read};
use crate::server::{Answer, Call, Server};

fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(object, |value, part| &value[part])
}

pub fn set(object: &mut Value, path: &str, value: Value) {
    let target = path.split('.').fold(object, |object, part| &mut object[part]);
    *target = value;
}

/// A workload as a Scale.
pub fn of(paths: &ScalePaths, object: &Value) -> Value {
    let meta = &object["metadata"];
    let number = |path: &str| at(object, path).as_i64().unwrap_or(0);
    let mut status = json!({"replicas": number(&paths.status_replicas)});
    let selector = paths.selector_text(object);
    if !selector.is_empty() {
        status["selector"] = json!(selector);
    }
    // Zero goes without saying, as in Go.
    let replicas = number(&paths.spec_replicas);
    let spec = if replicas == 0 { json!({}) } else { json!({"replicas": replicas}) };
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"],
                     "resourceVersion": meta["resourceVersion"], "creationTimestamp": meta["creationTimestamp"]},
        "spec": spec, "status": status,
    })
}

/// The Scale that an update brings.
async fn sent(call: &mut Call, body: Body) -> Result<Value, Status> {
    let bytes = body::collect(body, limits::MAX_BODY_BYTES).await?;
    options::check(call)?;
    let validation = options::field_validation(call)?;
    let decoded = negotiate::decode(&call.parts.headers, &bytes, schema()?, validation)?;
    call.warnings.extend(decoded.warnings);
    super::placed(call, &decoded.object)?;
    metadata::same_name(&decoded.object, &call.info.name)?;
    Ok(decoded.object)
}

fn schema() -> Result<&'static Arc<Schema>, Status> {
    builtin().gvk("autoscaling", "v1", "Scale").ok_or_else(|| Status::internal("no schema of Scale"))
}

/// The Scale that a patch makes of the present one.
async fn patched(call: &Call, body: Body, present: &Value) -> Result<Value, Status> {
    let bytes = body::collect(body, limits::MAX_BODY_BYTES).await?;
    options::check(call)?;
    let validation = options::field_validation(call)?;
    let schema = schema()?;
    let mut scale = present.clone();
    metadata::map(&mut scale).remove("resourceVersion");
    let mut shown = None;
    match &*negotiate::content_type(&call.parts.headers) {
        "application/json-patch+json" => json_patch(&mut scale, &parse(&bytes, Format::Json, validation)?.object)?,
        "application/merge-patch+json" => merge_patch(&mut scale, &parse(&bytes, Format::Json, validation)?.object),
        "application/strategic-merge-patch+json" => {
            let patch = parse(&bytes, Format::Json, validation)?.object;
            strategic_merge(schema, &mut scale, &patch)?;
            shown = Some(patch);
        }
        other => return Err(Status::unsupported_media_type(format!("{other:?} is not a patch format"))),
    }
    let scale = check_patched(schema, &scale, shown.as_ref(), Vec::new(), FieldValidation::Ignore)?.object;
    metadata::same_name(&scale, &call.info.name)?;
    super::placed(call, &scale)?;
    Ok(scale)
}

/// Server-side apply of a Scale is one of the workload's replicas, and conflicts with who else says how many.
async fn apply(
    server: &Arc<Server>,
    call: &mut Call,
    kind: &Arc<Kind>,
    body: Body,
    paths: &ScalePaths,
) -> Result<Written, Status> {
    options::applier(call)?;
    let bytes = body::collect(body, limits::MAX_BODY_BYTES).await?;
    options::check(call)?;
    let decoded = decode_apply(schema()?, &bytes, options::field_validation(call)?)?;
    call.warnings.extend(decoded.warnings);
    let scale = decoded.object;
    super::placed(call, &scale)?;
    let name = call.info.name.clone();
    metadata::same_name(&scale, &name)?;
    let (api_version, manager_name) = (kind.api_version(), options::manager(call)?);
    let mut config = json!({"apiVersion": api_version, "kind": kind.kind, "metadata": {"name": name}});
    if let Some(replicas) = scale["spec"]["replicas"].as_i64() {
        refuse_negative(kind, &name, replicas)?;
        set(&mut config, &paths.spec_replicas, json!(replicas));
    }
    let manager = Manager {
        name: &manager_name,
        operation: Operation::Apply,
        api_version: &api_version,
        subresource: "scale",
        time: Timestamp::now(),
        reset_fields: &[],
    };
    let (of_kind, force) = (registry::schema(kind), call.query.flag("force"));
    let version = scale["metadata"].get("resourceVersion").cloned();
    let written = replace(server, call, kind, &name, "scale", Ownership::Applied, |old| {
        let mut new = managed::apply(&of_kind, Some(old), &config, &manager, force)?;
        match &version {
            Some(version) => metadata::map(&mut new).insert("resourceVersion".into(), version.clone()),
            None => metadata::map(&mut new).remove("resourceVersion"),
        };
        Ok(new)
    });
    written.await.map_err(|status| of_scale(status, &api_version, &paths.spec_replicas))
}

/// A conflict of the workload's in a Scale's terms.
fn of_scale(mut status: Status, api_version: &str, replicas: &str) -> Status {
    if status.code != 409 {
        return status;
    }
    let terms = |text: &str| {
        let text = text.replace(&format!("using {api_version}"), "using autoscaling/v1");
        text.replace(&format!(".{replicas}"), ".spec.replicas")
    };
    status.message = terms(&status.message);
    for cause in status.details.iter_mut().flat_map(|details| &mut details.causes) {
        (cause.message, cause.field) = (terms(&cause.message), terms(&cause.field));
    }
    status
}

/// Of a custom resource, its own validation says so.
fn refuse_negative(kind: &Kind, name: &str, replicas: i64) -> Result<(), Status> {
    if replicas >= 0 || kind.is_custom() {
        return Ok(());
    }
    let error = Error::invalid(Path::new("spec").child("replicas"), replicas, "must be greater than or equal to 0");
    Err(Status::invalid("autoscaling", "Scale", name, &vec![error]))
}

pub async fn answer(server: &Arc<Server>, call: &mut Call, kind: &Arc<Kind>, body: Body) -> Answer {
    let mut wanted = negotiate::accept(&call.parts)?;
    if wanted.media == Media::Json {
        wanted.shape = negotiate::Shape::Object;
    }
    let Some(paths) = kind.scale() else { return Err(Status::unknown_path()) };
    let name = call.info.name.clone();
    // What an update says is looked at before whether there is anything to update.
    let (mut body, mut scale) = (Some(body), None);
    if call.info.verb == "update" {
        scale = Some(sent(call, body.take().unwrap_or_else(body::empty)).await?);
    }
    let stored = read::newest(server, kind, &call.info.namespace, &name).await?;
    let object = render::value(kind, &stored);
    // What an update brings need not have been there.
    if kind.is_custom() && call.info.verb != "update" && at(&object, &paths.spec_replicas).is_null() {
        let why = format!("the spec replicas field \".{}\" does not exist", paths.spec_replicas);
        return Err(Status::internal(why));
    }
    let present = of(&paths, &object);
    if call.info.verb == "get" {
        return Ok(document(&present, wanted, StatusCode::OK));
    }
    let is_apply = negotiate::content_type(&call.parts.headers) == "application/apply-patch+yaml";
    if is_apply && call.info.verb == "patch" {
        let written = apply(server, call, kind, body.unwrap_or_else(body::empty), &paths).await?;
        return Ok(document(&of(&paths, &render::value(kind, &written.object)), wanted, StatusCode::OK));
    }
    let scale = match scale {
        Some(scale) => scale,
        None => patched(call, body.unwrap_or_else(body::empty), &present).await?,
    };
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    refuse_negative(kind, &name, replicas)?;
    let version = scale["metadata"]["resourceVersion"].clone();
    let uid = scale["metadata"]["uid"].clone();
    let written = replace(server, call, kind, &name, "scale", Ownership::Update, |old| {
        let mut new = old.clone();
        set(&mut new, &paths.spec_replicas, json!(replicas));
        let fields = metadata::map(&mut new);
        match version.as_str().filter(|version| !version.is_empty()) {
            Some(version) => fields.insert("resourceVersion".into(), json!(version)),
            None => fields.remove("resourceVersion"),
        };
        if uid.is_string() {
            fields.insert("uid".into(), uid.clone());
        }
        Ok(new)
    })
    .await?;
    Ok(document(&of(&paths, &render::value(kind, &written.object)), wanted, StatusCode::OK))
}
