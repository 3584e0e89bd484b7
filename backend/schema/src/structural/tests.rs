use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;
use crate::decode::{self, FieldValidation, Format};
use crate::managed::{self, Manager, Operation};
use crate::schema::Gvk;

fn schema(spec: Value) -> Arc<Schema> {
    let root = json!({"type": "object", "properties": {"spec": spec}});
    Schema::from_structural(Gvk::new("shop.example.com", "v1", "Widget"), &root).expect("a structural schema")
}

/// Decodes a spec as the server does, then defaults and validates it.
fn check(schema: &Schema, spec: Value, expect: Expect) {
    let body = json!({"metadata": {"name": "w"}, "spec": spec}).to_string();
    let shown = match decode::decode(schema, body.as_bytes(), Format::Json, FieldValidation::Warn) {
        Ok(mut decoded) => {
            apply_defaults(schema, &mut decoded.object);
            let errors = validate(schema, &decoded.object);
            let lines = decoded.warnings.into_iter().chain(errors.iter().map(ToString::to_string));
            std::iter::once(decoded.object["spec"].to_string()).chain(lines).collect::<Vec<_>>().join("\n")
        }
        Err(status) => status.to_string(),
    };
    expect.assert_eq(&shown);
}

#[test]
fn pruning_and_preserving() {
    let of = schema(json!({"type": "object", "properties": {
        "known": {"type": "string"},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"closed": {"type": "object", "properties": {"a": {"type": "string"}}}}},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": {"type": "integer"}}}},
        "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}},
        "any": {"x-kubernetes-preserve-unknown-fields": true}
    }}));
    let spec = json!({"known": "k", "x": 1, "open": {"free": {"deep": [1]}, "closed": {"a": "b", "x": 1}},
        "map": {"m": {"a": 1, "x": 2}}, "list": [{"a": 1, "x": 2}], "any": [{"x": null}]});
    check(
        &of,
        spec.clone(),
        expect![[r#"
        {"any":[{"x":null}],"known":"k","list":[{"a":1}],"map":{"m":{"a":1}},"open":{"closed":{"a":"b"},"free":{"deep":[1]}}}
        unknown field "spec.list[0].x"
        unknown field "spec.map.m.x"
        unknown field "spec.open.closed.x"
        unknown field "spec.x""#]],
    );
    // What was stored before the schema became stricter is cut when it is read.
    let mut stored = json!({"apiVersion": "shop.example.com/v1", "kind": "Widget", "metadata": {"name": "w", "bogus": 1}, "spec": spec, "x": 1});
    prune(&of, &mut stored);
    assert_eq!(
        stored,
        json!({"apiVersion": "shop.example.com/v1", "kind": "Widget", "metadata": {"name": "w"},
        "spec": {"any": [{"x": null}], "known": "k", "list": [{"a": 1}], "map": {"m": {"a": 1}}, "open": {"closed": {"a": "b"}, "free": {"deep": [1]}}}})
    );
}

#[test]
fn without_a_schema_everything_is_kept() {
    let of = Schema::from_structural(Gvk::new("g", "v1", "K"), &Value::Null).expect("none is fine");
    check(&of, json!({"a": {"b": null}}), expect![[r#"{"a":{"b":null}}"#]]);
}

#[test]
fn defaults() {
    let of = schema(json!({"type": "object", "default": {}, "properties": {
        "size": {"type": "integer", "default": 3},
        "name": {"type": "string", "nullable": true, "default": "n"},
        "deep": {"type": "object", "default": {"a": 1}, "properties": {"a": {"type": "integer"}, "b": {"type": "integer", "default": 2}}},
        "ports": {"type": "array", "items": {"type": "object", "properties": {"protocol": {"type": "string", "default": "TCP"}}}},
        "map": {"type": "object", "additionalProperties": {"type": "integer", "default": 7}}
    }}));
    check(&of, json!({}), expect![[r#"{"deep":{"a":1,"b":2},"name":"n","size":3}"#]]);
    check(
        &of,
        json!({"size": null, "name": null, "deep": {}, "ports": [{}, {"protocol": "UDP"}], "map": {"x": null}}),
        expect![[
            r#"{"deep":{"b":2},"map":{"x":7},"name":null,"ports":[{"protocol":"TCP"},{"protocol":"UDP"}],"size":3}"#
        ]],
    );
}

#[test]
fn validation() {
    let of = schema(json!({"type": "object", "required": ["must"], "properties": {
        "must": {"type": "string"},
        "size": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 9, "multipleOf": 2},
        "ratio": {"type": "number", "minimum": 0, "exclusiveMinimum": true},
        "cron": {"type": "string", "pattern": "^[0-9]+$", "minLength": 2, "maxLength": 3},
        "mode": {"type": "string", "enum": ["a", "b"]},
        "when": {"type": "string", "format": "date-time"},
        "list": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string"}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}}}},
        "port": {"x-kubernetes-int-or-string": true},
        "map": {"type": "object", "minProperties": 1, "maxProperties": 2, "additionalProperties": {"type": "boolean"}},
        "embedded": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}
    }}));
    let spec = |field: &str, value: Value| json!({"must": "", field: value});
    check(
        &of,
        json!({}),
        expect![[r#"
        {}
        spec.must: Required value"#]],
    );
    check(
        &of,
        json!("x"),
        expect![[r#"
        "x"
        spec: Invalid value: "string": spec in body must be of type object: "string""#]],
    );
    check(
        &of,
        spec("size", json!("3")),
        expect![[r#"
        {"must":"","size":"3"}
        spec.size: Invalid value: "string": spec.size in body must be of type integer: "string""#]],
    );
    check(
        &of,
        spec("size", json!(null)),
        expect![[r#"
        {"must":"","size":null}
        spec.size: Invalid value: "null": spec.size in body must be of type integer: "null""#]],
    );
    check(
        &of,
        spec("size", json!(11)),
        expect![[r#"
        {"must":"","size":11}
        spec.size: Invalid value: 11: spec.size in body should be a multiple of 2
        spec.size: Invalid value: 11: spec.size in body should be less than or equal to 9"#]],
    );
    check(
        &of,
        spec("size", json!(-4_000_000_000i64)),
        expect![[r#"
            {"must":"","size":-4000000000}
            <nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.size
            spec.size: Invalid value: -4000000000: spec.size in body should be greater than or equal to 1"#]],
    );
    check(
        &of,
        spec("ratio", json!(0)),
        expect![[r#"
        {"must":"","ratio":0}
        spec.ratio: Invalid value: 0: spec.ratio in body should be greater than 0"#]],
    );
    check(
        &of,
        spec("cron", json!("x")),
        expect![[r#"
            {"cron":"x","must":""}
            spec.cron: Invalid value: "x": spec.cron in body should be at least 2 chars long"#]],
    );
    check(
        &of,
        spec("cron", json!("1234")),
        expect![[r#"
        {"cron":"1234","must":""}
        spec.cron: Too long: may not be more than 3 bytes"#]],
    );
    check(
        &of,
        spec("mode", json!("c")),
        expect![[r#"
        {"mode":"c","must":""}
        spec.mode: Unsupported value: "c": supported values: "a", "b""#]],
    );
    check(
        &of,
        spec("when", json!("now")),
        expect![[r#"
        {"must":"","when":"now"}
        spec.when: Invalid value: "now": spec.when in body must be of type date-time: "now""#]],
    );
    check(
        &of,
        spec("list", json!([])),
        expect![[r#"
            {"list":[],"must":""}
            spec.list: Invalid value: 0: spec.list in body should have at least 1 items"#]],
    );
    check(
        &of,
        spec("list", json!(["a", "b", 3])),
        expect![[r#"
            {"list":["a","b",3],"must":""}
            spec.list: Too many: 3: must have at most 2 items
            spec.list[2]: Invalid value: "integer": spec.list[2] in body must be of type string: "integer""#]],
    );
    check(
        &of,
        spec("list", json!(["a", 3])),
        expect![[r#"
        {"list":["a",3],"must":""}
        spec.list[1]: Invalid value: "integer": spec.list[1] in body must be of type string: "integer""#]],
    );
    check(
        &of,
        spec("set", json!(["a", "a"])),
        expect![[r#"
        {"must":"","set":["a","a"]}
        spec.set[1]: Duplicate value: "a""#]],
    );
    check(
        &of,
        spec("keyed", json!([{"k": "a"}, {"k": "a"}, {}])),
        expect![[r#"
        {"keyed":[{"k":"a"},{"k":"a"},{}],"must":""}
        spec.keyed[2].k: Required value
        spec.keyed[1]: Duplicate value: {"k":"a"}"#]],
    );
    check(
        &of,
        spec("port", json!(true)),
        expect![[r#"
        {"must":"","port":true}
        spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean""#]],
    );
    check(
        &of,
        spec("map", json!({"a": 1})),
        expect![[r#"
        {"map":{"a":1},"must":""}
        spec.map.a: Invalid value: "integer": spec.map.a in body must be of type boolean: "integer""#]],
    );
    check(
        &of,
        spec("embedded", json!({"kind": "Pod", "metadata": {"name": "x"}, "spec": {}})),
        expect![[r#"
            {"embedded":{"kind":"Pod","metadata":{"name":"x"},"spec":{}},"must":""}
            spec.embedded.apiVersion: Required value"#]],
    );
    check(
        &of,
        json!({"must": "m", "size": 4, "ratio": 0.5, "cron": "12", "mode": "a", "when": "2026-01-02T03:04:05Z", "list": ["a"],
        "set": ["a", "b"], "keyed": [{"k": "a"}, {"k": "b"}], "port": "http", "map": {"a": true}}),
        expect![[
            r#"{"cron":"12","keyed":[{"k":"a"},{"k":"b"}],"list":["a"],"map":{"a":true},"mode":"a","must":"m","port":"http","ratio":0.5,"set":["a","b"],"size":4,"when":"2026-01-02T03:04:05Z"}"#
        ]],
    );
}

#[test]
fn branches() {
    let of = schema(
        json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}, "c": {"type": "string"}, "n": {"type": "integer"}},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}],
        "not": {"required": ["c"]},
        "anyOf": [{"properties": {"n": {"minimum": 5}}}, {"properties": {"n": {"maximum": 1}}}]}),
    );
    check(&of, json!({"a": ""}), expect![[r#"{"a":""}"#]]);
    check(
        &of,
        json!({}),
        expect![[r#"
            {}
            <nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found none valid
            spec.a: Required value"#]],
    );
    check(
        &of,
        json!({"a": "", "b": ""}),
        expect![[r#"
            {"a":"","b":""}
            <nil>: Invalid value: "": "spec" must validate one and only one schema (oneOf). Found 2 valid alternatives"#]],
    );
    check(
        &of,
        json!({"a": "", "c": "", "n": 3}),
        expect![[r#"
            {"a":"","c":"","n":3}
            <nil>: Invalid value: "": "spec" must validate at least one schema (anyOf)
            spec.n: Invalid value: 3: spec.n in body should be greater than or equal to 5
            <nil>: Invalid value: "": "spec" must not validate the schema (not)"#]],
    );
}

#[test]
fn metadata_and_patterns() {
    let root = json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 3}}}}});
    let of = Schema::from_structural(Gvk::new("g", "v1", "K"), &root).expect("a structural schema");
    let errors = validate(&of, &json!({"metadata": {"name": "long"}}));
    assert_eq!(
        errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["metadata.name: Too long: may not be more than 3 bytes"]
    );
    let wrong = json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}});
    assert!(Schema::from_structural(Gvk::new("g", "v1", "K"), &wrong).is_err());
}

#[test]
fn ownership_follows_the_structure() {
    let of = schema(json!({"type": "object", "properties": {
        "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}}},
        "atomic": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
        "list": {"type": "array", "items": {"type": "string"}},
        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
    }}));
    let manager = |name| Manager {
        name,
        operation: Operation::Apply,
        api_version: "shop.example.com/v1",
        subresource: "",
        time: jiff::Timestamp::UNIX_EPOCH,
        reset_fields: &[],
    };
    let config = |spec: Value| json!({"apiVersion": "shop.example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec});
    let first = managed::apply(
        &of,
        None,
        &config(
            json!({"keyed": [{"k": "a", "v": 1}], "atomic": {"x": "y"}, "list": ["l"], "open": {"deep": {"er": 1}}}),
        ),
        &manager("one"),
        false,
    )
    .expect("applies");
    let second = managed::apply(
        &of,
        Some(&first),
        &config(json!({"keyed": [{"k": "b", "v": 2}], "open": {"other": [1]}})),
        &manager("two"),
        false,
    )
    .expect("applies");
    assert_eq!(
        second["spec"],
        json!({"keyed": [{"k": "a", "v": 1}, {"k": "b", "v": 2}], "atomic": {"x": "y"}, "list": ["l"], "open": {"deep": {"er": 1}, "other": [1]}})
    );
    let fields: Vec<&Value> = second["metadata"]["managedFields"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|e| &e["fieldsV1"]["f:spec"])
        .collect();
    assert_eq!(
        fields,
        [
            &json!({"f:atomic": {}, "f:keyed": {"k:{\"k\":\"a\"}": {".": {}, "f:k": {}, "f:v": {}}}, "f:list": {}, "f:open": {"f:deep": {".": {}, "f:er": {}}}}),
            &json!({"f:keyed": {"k:{\"k\":\"b\"}": {".": {}, "f:k": {}, "f:v": {}}}, "f:open": {"f:other": {}}}),
        ]
    );
    let conflict = managed::apply(&of, Some(&second), &config(json!({"list": ["m"]})), &manager("two"), false)
        .expect_err("a conflict");
    assert_eq!(conflict.message, "Apply failed with 1 conflict: conflict with \"one\": .spec.list");
}
