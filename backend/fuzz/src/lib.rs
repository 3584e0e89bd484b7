//! What holds whatever a client sends. See README.md.
//!
//! Invariant: a target panics when, and only when, something is broken.

#![allow(clippy::expect_used)]

mod damage;
mod good;
mod whole;

use std::sync::Arc;

use jiff::Timestamp;
use pilothouse_api::Status;
use pilothouse_api::field::Path;
use pilothouse_api::quantity::Quantity;
use pilothouse_api::selector::{FieldSelector, LabelSelector};
use pilothouse_cel::{Budget, Env, PER_EXPRESSION, Type, Value as CelValue};
use pilothouse_kinds::{Kind, builtin};
use pilothouse_schema::decode::{self, FieldValidation, Format};
use pilothouse_schema::managed::{self, Manager, Operation};
use pilothouse_schema::patch::{json_patch, merge_patch, strategic_merge};
use pilothouse_schema::{Gvk, Schema, structural};
use serde_json::Value;

use damage::Program;
pub use whole::request;

/// A refusal is the client's fault, and says so; upstream's 500s for such faults have no reason.
fn refusal(status: &Status) {
    let upstreams = status.code == 500 && status.reason.is_empty();
    assert!((400..500).contains(&status.code) || upstreams, "{status:?}");
    assert!(!status.message.is_empty(), "{status:?}");
}

/// The schema of the kind that a document says it is of.
fn schema_of(object: &Value) -> Option<&'static Arc<Schema>> {
    let (version, kind) = (object["apiVersion"].as_str()?, object["kind"].as_str()?);
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    pilothouse_schema::builtin().gvk(group, version, kind)
}

fn kind_of(object: &Value) -> Option<&'static Arc<Kind>> {
    let (version, kind) = (object["apiVersion"].as_str()?, object["kind"].as_str()?);
    builtin().iter().find(|one| one.api_version() == version && *one.kind == *kind)
}

/// A good object of a built-in kind.
fn good_object(program: &mut Program<'_>) -> (&'static Arc<Schema>, Value) {
    let text = program.choose(&good::OBJECTS[..10]);
    let object: Value = serde_json::from_str(text).expect("a good document");
    (schema_of(&object).expect("a known kind"), object)
}

/// Bodies: what is decoded fits its schema, and is decoded to itself.
pub fn decode(input: &[u8]) {
    let mut program = Program::new(input);
    let (schema, _) = good_object(&mut program);
    let validation = *program.choose(&[FieldValidation::Strict, FieldValidation::Warn, FieldValidation::Ignore]);
    let format = *program.choose(&[Format::Json, Format::Yaml]);
    let body = program.document(good::OBJECTS);
    match decode::decode(schema, &body, format, validation) {
        Err(status) => refusal(&status),
        Ok(decoded) => {
            let text = decoded.object.to_string();
            let again = decode::decode(schema, text.as_bytes(), Format::Json, FieldValidation::Strict);
            assert_eq!(again.expect("what was accepted is accepted").object, decoded.object);
            if let Some(kind) = kind_of(&decoded.object) {
                judged(kind, decoded.object);
            }
        }
    }
}

/// What happens to an object before it is stored: it may be refused, it may not break anything.
fn judged(kind: &Kind, mut object: Value) {
    kind.default(&mut object);
    let defaulted = object.clone();
    kind.default(&mut object);
    assert_eq!(object, defaulted, "defaulting twice is defaulting once");
    let old = object.clone();
    kind.prepare_create(&mut object);
    kind.validate(&object);
    kind.prepare_update(&mut object, &old, "");
    kind.validate_update(&object, &old, "");
    kind.warnings(&object, Some(&old));
    kind.row(&object, Timestamp::UNIX_EPOCH);
    kind.selectable(&object);
}

/// The three patches that are no apply.
pub fn patch(input: &[u8]) {
    let mut program = Program::new(input);
    let (schema, object) = good_object(&mut program);
    let is_json = program.byte().is_multiple_of(3);
    let text = program.document(if is_json { good::JSON_PATCHES } else { good::MERGE_PATCHES });
    let Ok(parsed) = decode::parse(&text, Format::Json, FieldValidation::Warn) else { return };
    let mut patched = object.clone();
    let outcome = if is_json {
        json_patch(&mut patched, &parsed.object)
    } else {
        let mut merged = object.clone();
        merge_patch(&mut merged, &parsed.object);
        strategic_merge(schema, &mut patched, &parsed.object)
    };
    let checked = outcome.and_then(|()| {
        assert!(patched.to_string().len() < 8 * 1024 * 1024, "a patch does not make much out of little");
        let shown = (!is_json).then_some(&parsed.object);
        decode::check_patched(schema, &patched, shown, parsed.warnings, FieldValidation::Warn)
    });
    if let Err(status) = checked {
        refusal(&status);
    }
}

/// Server-side apply: applying the same again changes nothing, and two managers agree or conflict.
pub fn apply(input: &[u8]) {
    let mut program = Program::new(input);
    let (schema, live) = good_object(&mut program);
    let body = program.document(good::OBJECTS);
    let config = match decode::decode_apply(schema, &body, FieldValidation::Warn) {
        Ok(decoded) => decoded.object,
        Err(status) => {
            assert!((400..=500).contains(&status.code) && !status.message.is_empty(), "{status:?}");
            return;
        }
    };
    let version = live["apiVersion"].as_str().unwrap_or_default().to_owned();
    let manager = |name: &'static str, operation| Manager {
        name,
        operation,
        api_version: &version,
        subresource: "",
        time: Timestamp::UNIX_EPOCH,
        reset_fields: &["status"],
    };
    let mut live = live;
    managed::update(schema, None, &mut live, &manager("other", Operation::Update));
    let one = manager("one", Operation::Apply);
    if let Err(status) = managed::apply(schema, Some(&live), &config, &one, false) {
        assert!((400..=500).contains(&status.code), "{status:?}");
    }
    let Ok(first) = managed::apply(schema, Some(&live), &config, &one, true) else { return };
    let second =
        managed::apply(schema, Some(&first), &config, &one, false).expect("what is owned can be applied again");
    assert!(managed::same_but_times(&first, &second), "applied twice:\n{first}\n{second}");
    if let Err(status) = managed::apply(schema, Some(&first), &live, &manager("two", Operation::Apply), false) {
        assert!((400..=500).contains(&status.code), "{status:?}");
    }
}

/// CEL: whatever is written, it ends within its budget.
pub fn expression(input: &[u8]) {
    let mut program = Program::new(input);
    let source = program.text(good::EXPRESSIONS);
    let instance: Value = serde_json::from_str(good::INSTANCE).expect("a good document");
    let env = Env::new().with("self", Type::Dyn).with("oldSelf", Type::Dyn).with("variables", Type::Dyn);
    let Ok(compiled) = pilothouse_cel::compile(&source, &env) else { return };
    let budget = Budget::new(PER_EXPRESSION);
    let variables = [
        ("self", CelValue::json(&instance)),
        ("oldSelf", CelValue::json(&instance)),
        ("variables", CelValue::json(&instance)),
    ];
    if let Ok(value) = compiled.eval(&variables, &budget) {
        value.to_json();
    }
}

/// Custom resources: a definition that is accepted can be used.
pub fn definition(input: &[u8]) {
    let mut program = Program::new(input);
    let text = program.document(good::DEFINITIONS);
    let instance = program.document(&[good::INSTANCE]);
    let head = serde_json::json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"});
    let (known, kind) = (schema_of(&head).expect("a known kind"), kind_of(&head).expect("a built-in kind"));
    let Ok(decoded) = decode::decode(known, &text, Format::Json, FieldValidation::Warn) else { return };
    let mut crd = decoded.object;
    kind.default(&mut crd);
    kind.prepare_create(&mut crd);
    let sound = kind.validate(&crd).is_empty();
    let gvk = || Gvk::new("example.com", "v1", "Thing");
    let written = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    structural::lint(gvk(), written, &Path::new("schema"));
    let schema = Schema::from_structural(gvk(), written);
    assert!(!sound || schema.is_ok(), "an accepted schema can be read: {:?}", schema.err());
    if sound {
        Kind::from_crd(&crd).expect("an accepted definition can be served");
    }
    let (Ok(schema), Ok(mut object)) = (schema, serde_json::from_slice::<Value>(&instance)) else { return };
    structural::prune(&schema, &mut object);
    structural::apply_defaults(&schema, &mut object);
    structural::validate(&schema, &object);
    structural::validate_update(&schema, &object, &object);
}

/// The small languages of parameters and fields: what is read is written as what is read.
pub fn text(input: &[u8]) {
    let text = Program::new(input).text(good::TEXTS);
    if let Ok(selector) = LabelSelector::parse(&text) {
        selector.matches(|_| Some("b"));
    }
    if let Ok(selector) = FieldSelector::parse(&text) {
        selector.matches(|_| None);
    }
    if let Ok(quantity) = Quantity::parse(&text) {
        let written = quantity.to_string();
        let again = Quantity::parse(&written).expect("what is written can be read");
        assert_eq!(again.to_string(), written, "{text}");
        // Parts of a byte are rounded up, as upstream.
        let more = again.nano().abs() - quantity.nano().abs();
        assert!((0..1_000_000_000).contains(&more), "{text}: {written}");
    }
    pilothouse_api::names::is_qualified_name(&text);
    pilothouse_api::names::is_dns1123_subdomain(&text);
}
