//! What a real API server of this version says to one wrong field in an object that is fine otherwise.
//!
//! `answers.yaml` has, kind by kind, an object and what becomes wrong when one value in it is put or taken away: the
//! causes it was answered with, in their order. `through` says what was sent: a new object unless it is an `update` or a
//! `status`.

use std::collections::BTreeSet;
use std::sync::Arc;

use pilothouse_api::field::Error;
use pilothouse_kinds::Kind;
use pilothouse_schema::builtin;
use pilothouse_schema::decode::{FieldValidation, Format, decode};
use serde_json::Value;

use crate::common::{created, parse};

/// Puts or takes away what is at a path.
fn changed(object: &Value, path: &[Value], put: Option<&Value>) -> Value {
    let mut object = object.clone();
    let (last, parents) = path.split_last().expect("a path");
    let mut place = &mut object;
    for step in parents {
        place = match step {
            Value::String(key) => &mut place[key],
            index => &mut place[usize::try_from(index.as_u64().expect("an index")).expect("an index")],
        };
    }
    match (place, last, put) {
        (Value::Object(map), Value::String(key), Some(value)) => drop(map.insert(key.clone(), value.clone())),
        (Value::Object(map), Value::String(key), None) => drop(map.remove(key)),
        (Value::Array(items), index, put) => {
            let index = usize::try_from(index.as_u64().expect("an index")).expect("an index");
            match put {
                Some(value) => items[index] = value.clone(),
                None => drop(items.remove(index)),
            }
        }
        (place, step, _) => panic!("{step} of {place}"),
    }
    object
}

/// As a request's body is read.
fn decoded(object: &Value) -> Value {
    let (group, version) =
        object["apiVersion"].as_str().map_or(("", ""), |text| text.split_once('/').unwrap_or(("", text)));
    let schema = builtin().gvk(group, version, object["kind"].as_str().unwrap_or_default()).expect("a built-in kind");
    let body = object.to_string();
    decode(schema, body.as_bytes(), Format::Json, FieldValidation::Ignore)
        .expect("the field is wrong, not its form")
        .object
}

/// What is wrong with the changed object when it is sent as a new one, as an update of `base` or as its status.
fn causes(base: &Value, object: &Value, through: &str) -> (Arc<Kind>, Vec<String>) {
    let texts = |errors: Vec<Error>| errors.iter().map(ToString::to_string).collect();
    if through == "create" {
        let (kind, object) = created(&object.to_string());
        let errors = kind.validate(&object);
        return (kind, texts(errors));
    }
    let mut before = base.clone();
    before.as_object_mut().expect("an object").remove("status");
    let (kind, old) = created(&decoded(&before).to_string());
    let mut new = object.clone();
    if kind.namespaced {
        new["metadata"]["namespace"] = old["metadata"]["namespace"].clone();
    }
    let subresource = if through == "status" { "status" } else { "" };
    kind.default(&mut new);
    kind.prepare_update(&mut new, &old, subresource);
    let errors = kind.validate_update(&new, &old, subresource);
    (kind, texts(errors))
}

#[test]
fn one_wrong_field() {
    let all = parse(include_str!("answers.yaml"));
    let mut kinds = BTreeSet::new();
    let mut cases = 0;
    let mut differ = Vec::new();
    for entry in all.as_array().expect("a list") {
        let base = &entry["object"];
        kinds.insert(format!("{} {}", base["apiVersion"], base["kind"]));
        for case in entry["cases"].as_array().expect("cases") {
            let at = case["at"].as_array().expect("a path");
            let object = decoded(&changed(base, at, case.get("put")));
            let through = case.get("through").and_then(Value::as_str).unwrap_or("create");
            let (kind, said) = causes(base, &object, through);
            let want: Vec<&str> = case["wrong"].as_array().expect("causes").iter().filter_map(Value::as_str).collect();
            if said != want {
                let put = case.get("put").map_or_else(|| "nothing".to_owned(), Value::to_string);
                differ.push(format!("{} {through} {at:?} = {put}\n  want {want:#?}\n  said {said:#?}", kind.kind));
            }
            cases += 1;
        }
    }
    assert!(differ.is_empty(), "{} of {cases} differ:\n{}", differ.len(), differ.join("\n"));
    assert!(kinds.len() > 30, "{kinds:?}");
}
