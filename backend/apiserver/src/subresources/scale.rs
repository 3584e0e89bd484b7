//! `scale`: the replicas of any workload in one shape (`autoscaling/v1 Scale`).

use std::sync::Arc;

use http::StatusCode;
use pilothouse_api::field::{Error, Path};
use pilothouse_api::{Status, limits};
use pilothouse_kinds::{Kind, ScalePaths};
use pilothouse_schema::builtin;
use pilothouse_schema::decode::{FieldValidation, Format, check_patched, decode_apply, parse};
use pilothouse_schema::patch::{json_patch, merge_patch, strategic_merge};
use serde_json::{Value, json};

use crate::body::{self, Body};
use crate::negotiate::{self, Media};
use crate::registry::render::{self, document};
use crate::registry::update::{Ownership, replace};
use crate::registry::{metadata, options, read};
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

/// The Scale that a request asks for, given the present one.
async fn asked(call: &mut Call, body: Body, present: &Value) -> Result<Value, Status> {
    let schema = builtin().gvk("autoscaling", "v1", "Scale").ok_or_else(|| Status::internal("no schema of Scale"))?;
    let validation = options::field_validation(call)?;
    let bytes = body::collect(body, limits::MAX_BODY_BYTES).await?;
    if call.info.verb == "update" {
        let decoded = negotiate::decode(&call.parts.headers, &bytes, schema, validation)?;
        call.warnings.extend(decoded.warnings);
        metadata::same_name(&decoded.object, &call.info.name)?;
        return Ok(decoded.object);
    }
    let mut scale = present.clone();
    metadata::map(&mut scale).remove("resourceVersion");
    let mut shown = None;
    match negotiate::content_type(&call.parts.headers) {
        "application/json-patch+json" => json_patch(&mut scale, &parse(&bytes, Format::Json, validation)?.object)?,
        "application/merge-patch+json" => merge_patch(&mut scale, &parse(&bytes, Format::Json, validation)?.object),
        "application/strategic-merge-patch+json" => {
            let patch = parse(&bytes, Format::Json, validation)?.object;
            strategic_merge(schema, &mut scale, &patch)?;
            shown = Some(patch);
        }
        "application/apply-patch+yaml" => {
            let applied = decode_apply(schema, &bytes, validation)?.object;
            merge_patch(&mut scale, &json!({"spec": applied["spec"]}));
        }
        other => return Err(Status::unsupported_media_type(format!("{other:?} is not a patch format"))),
    }
    let scale = check_patched(schema, &scale, shown.as_ref(), Vec::new(), FieldValidation::Ignore)?.object;
    metadata::same_name(&scale, &call.info.name)?;
    Ok(scale)
}

pub async fn answer(server: &Arc<Server>, call: &mut Call, kind: &Arc<Kind>, body: Body) -> Answer {
    let mut wanted = negotiate::accept(&call.parts)?;
    if wanted.media == Media::Json {
        wanted.shape = negotiate::Shape::Object;
    }
    let Some(paths) = kind.scale() else { return Err(Status::unknown_path()) };
    let name = call.info.name.clone();
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
    let scale = asked(call, body, &present).await?;
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    // Of a custom resource, its own validation says so.
    if replicas < 0 && !kind.is_custom() {
        let error = Error::invalid(Path::new("spec").child("replicas"), replicas, "must be greater than or equal to 0");
        return Err(Status::invalid("autoscaling", "Scale", &name, &vec![error]));
    }
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
