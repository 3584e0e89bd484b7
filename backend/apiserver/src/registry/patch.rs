//! The four ways to patch: JSON patch, merge patch, strategic merge patch, server-side apply.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use pilothouse_api::field::{Error as FieldError, Path};
use pilothouse_api::{Status, limits};
use pilothouse_kinds::Kind;
use pilothouse_schema::decode::{FieldValidation, Format, check_patched, decode_apply, parse};
use pilothouse_schema::managed::{self, Manager, Operation};
use pilothouse_schema::patch::{json_patch, merge_patch, strategic_merge};
use serde_json::{Value, json};

use super::create::{reset_fields, store_new};
use super::update::{Ownership, Written, may_create, replace};
use super::{metadata, options, render, schema};
use crate::body::{self, Body};
use crate::cbor;
use crate::negotiate;
use crate::server::{Answer, Call, Server};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PatchType {
    Json,
    Merge,
    Strategic,
    Apply,
}

fn patch_type(call: &Call, kind: &Kind) -> Result<PatchType, Status> {
    let refused = |media: &str| {
        Err(Status::unsupported_media_type(format!(
            "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, \
             application/merge-patch+json, {}application/apply-patch+yaml, application/apply-patch+cbor (got {media:?})",
            if kind.is_custom() { "" } else { "application/strategic-merge-patch+json, " }
        )))
    };
    match &*negotiate::content_type(&call.parts.headers) {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        // Custom resources have no merge keys.
        "application/strategic-merge-patch+json" if !kind.is_custom() => Ok(PatchType::Strategic),
        "application/apply-patch+yaml" | cbor::APPLY => Ok(PatchType::Apply),
        other => refused(other),
    }
}

pub async fn patch(server: &Arc<Server>, call: &mut Call, kind: &Arc<Kind>, body: Body, subresource: &str) -> Answer {
    let wanted = negotiate::accept(&call.parts)?;
    let patch_type = patch_type(call, kind)?;
    let bytes = body::collect(body, limits::MAX_BODY_BYTES).await?;
    let written = apply(server, call, kind, patch_type, &bytes, subresource).await?;
    let status = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    render::with(kind, &written.object, wanted, &call.query, status)
}

async fn apply(
    server: &Arc<Server>,
    call: &mut Call,
    kind: &Arc<Kind>,
    patch_type: PatchType,
    bytes: &Bytes,
    subresource: &str,
) -> Result<Written, Status> {
    if patch_type == PatchType::Apply {
        options::applier(call)?;
    }
    if patch_type != PatchType::Apply && call.query.get("force").is_some() {
        let error = FieldError::forbidden(Path::new("force"), "may not be specified for non-apply patch");
        return Err(options::invalid(call, error));
    }
    options::check(call)?;
    let validation = options::field_validation(call)?;
    if patch_type == PatchType::Apply {
        return server_side(server, call, kind, bytes, subresource, validation).await;
    }
    let parsed = parse(bytes, Format::Json, validation).map_err(|status| match patch_type {
        // Upstream reads this one with fewer words.
        PatchType::Strategic => Status::bad_request(status.message.trim_start_matches("error decoding patch: ")),
        _ => status,
    })?;
    let schema = schema(kind);
    let name = call.info.name.clone();
    let mut warnings = Vec::new();
    let found = parsed.warnings;
    let written = replace(server, call, kind, &name, subresource, Ownership::Update, |old| {
        let mut new = old.clone();
        // The stored revision must not make the write conditional; only one that the patch brings does.
        metadata::map(&mut new).remove("resourceVersion");
        match patch_type {
            PatchType::Json => {
                // A `test` of the revision has to find it.
                metadata::map(&mut new).insert("resourceVersion".into(), old["metadata"]["resourceVersion"].clone());
                json_patch(&mut new, &parsed.object)?;
                if new["metadata"]["resourceVersion"] == old["metadata"]["resourceVersion"] {
                    metadata::map(&mut new).remove("resourceVersion");
                }
            }
            PatchType::Merge if parsed.object.is_null() => return Err(Status::bad_request("Invalid JSON Patch")),
            PatchType::Merge => {
                object_or_refused(&parsed.object, "error decoding patch: ")?;
                merge_patch(&mut new, &parsed.object);
            }
            PatchType::Strategic if parsed.object.is_null() => {}
            PatchType::Strategic => {
                object_or_refused(&parsed.object, "")?;
                strategic_merge(&schema, &mut new, &parsed.object)?;
                // What is patched is of its type already.
                for key in ["kind", "apiVersion"] {
                    new[key] = old[key].clone();
                }
            }
            PatchType::Apply => {}
        }
        // Upstream shows a strategic patch itself, and of the others what came of them.
        let shown = (patch_type == PatchType::Strategic).then_some(&parsed.object);
        let mut checked = check_patched(&schema, &new, shown, found.clone(), validation)?;
        warnings = checked.warnings;
        metadata::same_name(&checked.object, metadata::text(old, "name"))?;
        metadata::place(kind, &mut checked.object, metadata::text(old, "namespace"))?;
        Ok(checked.object)
    })
    .await;
    // Whatever comes of the patch.
    call.warnings.extend(warnings);
    written
}

fn object_or_refused(patch: &Value, what: &str) -> Result<(), Status> {
    let shown = match patch {
        Value::Object(_) => return Ok(()),
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        _ => "number",
    };
    let why = format!("{what}json: cannot unmarshal {shown} into Go value of type map[string]interface {{}}");
    Err(Status::bad_request(why))
}

async fn server_side(
    server: &Arc<Server>,
    call: &mut Call,
    kind: &Arc<Kind>,
    bytes: &Bytes,
    subresource: &str,
    validation: FieldValidation,
) -> Result<Written, Status> {
    let schema = schema(kind);
    let decoded = if negotiate::content_type(&call.parts.headers) == cbor::APPLY {
        decode_apply(&schema, cbor::decode(bytes)?.to_string().as_bytes(), validation)?
    } else {
        decode_apply(&schema, bytes, validation)?
    };
    call.warnings.extend(decoded.warnings);
    let mut config = decoded.object;
    metadata::place(kind, &mut config, &call.info.namespace)?;
    let name = call.info.name.clone();
    // Who creates has to say the name too.
    let named = metadata::same_name(&config, &name);
    if metadata::text(&config, "name").is_empty() {
        metadata::map(&mut config).insert("name".into(), json!(name));
    } else {
        named.clone()?;
    }
    let (manager_name, force) = (options::manager(call)?, call.query.flag("force"));
    let api_version = kind.api_version();
    let manager = Manager {
        name: &manager_name,
        operation: Operation::Apply,
        api_version: &api_version,
        subresource,
        time: Timestamp::now(),
        reset_fields: reset_fields(kind, subresource),
    };
    let written = replace(server, call, kind, &name, subresource, Ownership::Applied, |old| {
        let sent_version = config["metadata"].get("resourceVersion").cloned();
        let mut new = managed::apply(&schema, Some(old), &config, &manager, force)?;
        match sent_version {
            Some(version) => metadata::map(&mut new).insert("resourceVersion".into(), version),
            None => metadata::map(&mut new).remove("resourceVersion"),
        };
        Ok(new)
    })
    .await;
    match written {
        Err(status) if status.code == 404 && status.reason == "NotFound" && subresource.is_empty() => {
            let uid = metadata::text(&config, "uid");
            if !uid.is_empty() {
                let why =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(Status::conflict(&kind.group, &kind.plural, &name, &why));
            }
            named?;
            create_applied(server, call, kind, &config, &manager, force).await
        }
        other => other,
    }
}

/// Server-side apply of what does not exist creates it, which needs the right to create.
async fn create_applied(
    server: &Arc<Server>,
    call: &mut Call,
    kind: &Arc<Kind>,
    config: &Value,
    manager: &Manager<'_>,
    force: bool,
) -> Result<Written, Status> {
    may_create(server, call, kind)?;
    let mut object = managed::apply(&schema(kind), None, config, manager, force)?;
    metadata::map(&mut object).remove("resourceVersion");
    let object = store_new(server, call, kind, object).await?;
    Ok(Written { object, created: true })
}
