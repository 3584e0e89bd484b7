use expect_test::{Expect, expect};
use pilothouse_api::limits::MAX_JSON_DEPTH;
use serde_json::json;

use super::*;
use crate::builtin;

fn schema(api_version: &str, kind: &str) -> &'static Schema {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    builtin().gvk(group, version, kind).expect("a built-in kind")
}

/// Decodes and shows the outcome: the object, the warnings, or the error with its code.
fn check(kind: &str, body: &str, validation: FieldValidation, expect: Expect) {
    let format = if body.starts_with(['{', '[']) { Format::Json } else { Format::Yaml };
    let (api_version, kind) = kind.rsplit_once(' ').unwrap_or(("v1", kind));
    let shown = match decode(schema(api_version, kind), body.as_bytes(), format, validation) {
        Ok(decoded) => format!("{}\n{}", decoded.object, decoded.warnings.join("\n")),
        Err(status) => status.to_string(),
    };
    expect.assert_eq(shown.trim_end());
}

#[test]
fn completes_and_normalizes() {
    check(
        "Pod",
        r#"{"metadata":{"name":"a","creationTimestamp":null,"labels":{},"annotations":{"x":null}},
            "spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":0.5,"memory":"1024Mi"},"requests":{"cpu":2}},
              "ports":[{"containerPort":80}],"command":[]}],"tolerations":null,"activeDeadlineSeconds":5},"status":{}}"#,
        FieldValidation::Strict,
        expect![[r#"
            {"apiVersion":"v1","kind":"Pod","metadata":{"annotations":{"x":""},"name":"a"},"spec":{"activeDeadlineSeconds":5,"containers":[{"image":"i","name":"c","ports":[{"containerPort":80}],"resources":{"limits":{"cpu":"500m","memory":"1Gi"},"requests":{"cpu":"2"}}}]},"status":{}}"#]],
    );
}

#[test]
fn strictness() {
    let body = r#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"a","name":"b","unknownMeta":1},
        "spec":{"unknown1":{"a":[{}]},"paused":true,"paused":false,"template":{"spec":{"containers":[{"name":"x","unknownNested":"v","image":"i","image":"j"}]}}}}"#;
    check(
        "apps/v1 Deployment",
        body,
        FieldValidation::Strict,
        expect![[
            r#"Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: duplicate field "metadata.name", unknown field "metadata.unknownMeta", unknown field "spec.unknown1", duplicate field "spec.paused", unknown field "spec.template.spec.containers[0].unknownNested", duplicate field "spec.template.spec.containers[0].image" (400 BadRequest)"#
        ]],
    );
    check(
        "apps/v1 Deployment",
        body,
        FieldValidation::Warn,
        expect![[r#"
            {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"b"},"spec":{"template":{"spec":{"containers":[{"image":"j","name":"x"}]}}}}
            duplicate field "metadata.name"
            unknown field "metadata.unknownMeta"
            unknown field "spec.unknown1"
            duplicate field "spec.paused"
            unknown field "spec.template.spec.containers[0].unknownNested"
            duplicate field "spec.template.spec.containers[0].image""#]],
    );
    check(
        "apps/v1 Deployment",
        body,
        FieldValidation::Ignore,
        expect![[
            r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"b"},"spec":{"template":{"spec":{"containers":[{"image":"j","name":"x"}]}}}}"#
        ]],
    );
}

#[test]
fn yaml_tells_lines() {
    let body =
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  name: b\n  zzz: 1\nfoo: 1\ndata:\n  k: v\n  k: w\n";
    check(
        "ConfigMap",
        body,
        FieldValidation::Strict,
        expect![[r#"
            ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal errors:
              line 5: key "name" already set in map
              line 10: key "k" already set in map, unknown field "foo", unknown field "metadata.zzz" (400 BadRequest)"#]],
    );
    check(
        "ConfigMap",
        "data:\n  a: b\n",
        FieldValidation::Strict,
        expect![[r#"{"apiVersion":"v1","data":{"a":"b"},"kind":"ConfigMap"}"#]],
    );
}

#[test]
fn type_errors() {
    let strict = FieldValidation::Strict;
    check(
        "apps/v1 Deployment",
        r#"{"spec":{"replicas":"3"}}"#,
        strict,
        expect![[
            r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32 (400 BadRequest)"#
        ]],
    );
    check(
        "apps/v1 Deployment",
        r#"{"spec":{"replicas":5000000000}}"#,
        strict,
        expect![[
            r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number 5000000000 into Go struct field DeploymentSpec.spec.replicas of type int32 (400 BadRequest)"#
        ]],
    );
    check(
        "apps/v1 Deployment",
        r#"{"spec":{"replicas":1.5}}"#,
        strict,
        expect![[
            r#"Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32 (400 BadRequest)"#
        ]],
    );
    check(
        "Pod",
        r#"{"spec":{"containers":{}}}"#,
        strict,
        expect![[
            r#"Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container (400 BadRequest)"#
        ]],
    );
    check(
        "Pod",
        r#"{"spec":{"containers":[{"env":[{"name":"a","value":1}]}]}}"#,
        strict,
        expect![[
            r#"Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string (400 BadRequest)"#
        ]],
    );
    check(
        "Pod",
        r#"{"metadata":{"labels":{"a":true}}}"#,
        strict,
        expect![[
            r#"Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string (400 BadRequest)"#
        ]],
    );
    check(
        "Pod",
        r#"{"metadata":{"creationTimestamp":"yesterday"}}"#,
        strict,
        expect![[
            r#"Pod in version "v1" cannot be handled as a Pod: parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006" (400 BadRequest)"#
        ]],
    );
    check(
        "Pod",
        r#"{"spec":{"overhead":{"cpu":"a lot"}}}"#,
        strict,
        expect![[
            r#"Pod in version "v1" cannot be handled as a Pod: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$' (400 BadRequest)"#
        ]],
    );
    check(
        "Secret",
        r#"{"data":{"a":"b!"}}"#,
        strict,
        expect![[
            r#"Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte 1 (400 BadRequest)"#
        ]],
    );
    check(
        "Service",
        r#"{"spec":{"ports":[{"targetPort":true}]}}"#,
        strict,
        expect![[
            r#"Service in version "v1" cannot be handled as a Service: json: cannot unmarshal bool into Go struct field ServicePort.spec.ports.targetPort of type int32 (400 BadRequest)"#
        ]],
    );
    check(
        "Pod",
        r#"[]"#,
        strict,
        expect![[
            r#"Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal array into Go value of type v1.Pod (400 BadRequest)"#
        ]],
    );
}

#[test]
fn other_kinds_and_no_json() {
    let strict = FieldValidation::Strict;
    check(
        "Pod",
        r#"{"kind":"Service","apiVersion":"v1","spec":{"containers":1}}"#,
        strict,
        expect![[
            r#"Service in version "v1" cannot be handled as a Pod: converting (v1.Service) to (core.Pod): unknown conversion (400 BadRequest)"#
        ]],
    );
    check(
        "Pod",
        r#"{"kind":"Foo","apiVersion":"a/v9"}"#,
        strict,
        expect![[
            r#"Foo in version "v9" cannot be handled as a Pod: no kind "Foo" is registered for version "a/v9" in scheme "pkg/api/legacyscheme/scheme.go:30" (400 BadRequest)"#
        ]],
    );
    check(
        "Pod",
        r#"{"kind":"Pod","apiVersion":"v2"}"#,
        strict,
        expect![[
            r#"Pod in version "v2" cannot be handled as a Pod: no kind "Pod" is registered for version "v2" in scheme "pkg/api/legacyscheme/scheme.go:30" (400 BadRequest)"#
        ]],
    );
    check(
        "Pod",
        r#"{"kind":"Pod""#,
        strict,
        expect![[
            r#"the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: unexpected end of JSON input ({"kind":"Pod") (400 BadRequest)"#
        ]],
    );
    check(
        "Pod",
        r#"{"kind":"Pod"} x"#,
        strict,
        expect![[
            r#"the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: invalid character 'x' after top-level value ({"kind":"Pod"} x) (400 BadRequest)"#
        ]],
    );
}

#[test]
fn depth_is_limited() {
    let deep = |n: usize| format!("{{\"spec\":{}{}}}", "[".repeat(n), "]".repeat(n));
    let error = parse(deep(MAX_JSON_DEPTH + 1).as_bytes(), Format::Json, FieldValidation::Ignore).unwrap_err();
    assert_eq!(error.code, 400);
    assert!(parse(deep(MAX_JSON_DEPTH - 2).as_bytes(), Format::Json, FieldValidation::Ignore).is_ok());
    let error = parse(deep(100_000).as_bytes(), Format::Yaml, FieldValidation::Ignore).unwrap_err();
    assert_eq!(error.code, 400);
    for nested in ["- ", "? ", "a: [", "[a,", "{a: "] {
        let error = parse(nested.repeat(50_000).as_bytes(), Format::Yaml, FieldValidation::Ignore).unwrap_err();
        assert_eq!(error.code, 400);
    }
}

#[test]
fn choices_and_free_form() {
    check(
        "apiextensions.k8s.io/v1 CustomResourceDefinition",
        r#"{"spec":{"group":"g","names":{"kind":"K","plural":"ks"},"scope":"Cluster","versions":[{"name":"v1","served":true,"storage":true,
            "schema":{"openAPIV3Schema":{"type":"object","additionalProperties":true,"default":{"a":null},"properties":{"x":{"type":"array","items":{"type":"string","bogus":1}}}}}}]}}"#,
        FieldValidation::Warn,
        expect![[r#"
            {"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","spec":{"group":"g","names":{"kind":"K","plural":"ks"},"scope":"Cluster","versions":[{"name":"v1","schema":{"openAPIV3Schema":{"additionalProperties":true,"default":{"a":null},"properties":{"x":{"items":{"type":"string"},"type":"array"}},"type":"object"}},"served":true,"storage":true}]}}
            unknown field "spec.versions[0].schema.openAPIV3Schema.properties.x.items.bogus""#]],
    );
}

#[test]
fn apply_configurations() {
    let pod = schema("v1", "Pod");
    let of = |text: &str, validation| match decode_apply(pod, text.as_bytes(), validation) {
        Ok(decoded) => format!("{} {:?}", decoded.object, decoded.warnings),
        Err(status) => status.to_string(),
    };
    let yaml = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  foo: 1\n";
    expect!["failed to create typed patch object (/a; /v1, Kind=Pod): .spec.foo: field not declared in schema (500 )"]
        .assert_eq(&of(yaml, FieldValidation::Ignore));
    for (text, stated) in [
        ("kind: Pod\n", "/, Kind=Pod"),
        ("apiVersion: v1\n", "/v1, Kind="),
        ("", "/, Kind="),
        ("apiVersion: apps/v1\nkind: Deployment\n", "apps/v1, Kind=Deployment"),
    ] {
        let want = format!("invalid object type: {stated} (400 BadRequest)");
        assert_eq!(of(text, FieldValidation::Warn), want, "{text}");
    }
    let twice = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  name: b\n";
    expect![[r#"
        error strict decoding YAML: yaml: unmarshal errors:
          line 5: key "name" already set in map (400 BadRequest)"#]]
    .assert_eq(&of(twice, FieldValidation::Strict));
    expect![[r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"b"}} ["yaml: unmarshal errors:\n  line 5: key \"name\" already set in map"]"#]].assert_eq(&of(twice, FieldValidation::Warn));
    expect![[r#"error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type map[string]interface {} (400 BadRequest)"#]]
        .assert_eq(&of("- a", FieldValidation::Warn));
}

#[test]
fn patched_objects() {
    let deployment = schema("apps/v1", "Deployment");
    let patch =
        parse(br#"{"spec":{"paused":true,"paused":false,"x":1}}"#, Format::Json, FieldValidation::Strict).unwrap();
    assert_eq!(patch.warnings, [r#"duplicate field "spec.paused""#]);
    let error = check_patched(deployment, &patch.object, None, patch.warnings, FieldValidation::Strict).unwrap_err();
    expect![[r#" "" is invalid: patch: Invalid value: "{\"spec\":{\"paused\":false,\"x\":1}}": strict decoding error: duplicate field "spec.paused", unknown field "spec.x" (422 Invalid)"#]].assert_eq(&error.to_string());
    let checked =
        super::check(deployment, json!({"metadata":{"name":"a","labels":null}}), FieldValidation::Strict).unwrap();
    assert_eq!(checked.object, json!({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"a"}}));
}

#[test]
fn times_and_bytes() {
    use super::scalars::{Precision, bytes, time};
    for (given, precision, written) in [
        ("2026-01-02T03:04:05Z", Precision::Seconds, "2026-01-02T03:04:05Z"),
        ("2026-01-31T03:04:05.123456789+02:00", Precision::Seconds, "2026-01-31T01:04:05Z"),
        ("2026-01-31T03:04:05.123456+02:00", Precision::Micros, "2026-01-31T01:04:05.123456Z"),
    ] {
        assert_eq!(time(given, precision).as_deref(), Ok(written));
    }
    // What Go takes for no time at all is none.
    let event = builtin().gvk("", "v1", "Event").expect("a built-in kind");
    let body = br#"{"metadata":{"name":"a"},"firstTimestamp":"0001-01-01T00:00:00Z","eventTime":"0001-01-01T00:00:00.000000Z"}"#;
    let read = decode(event, body, Format::Json, FieldValidation::Strict).expect("an event").object;
    assert!(read.get("firstTimestamp").is_none() && read.get("eventTime").is_none(), "{read}");
    for wrong in [
        "",
        "2026-01-02",
        "2026-02-31T00:00:00Z",
        "2026-01-02 03:04:05Z",
        "2026-13-02T03:04:05Z",
        "2026-01-02T03:04:05",
    ] {
        assert!(time(wrong, Precision::Seconds).is_err(), "{wrong}");
    }
    for (given, want) in [
        ("", Ok("")),
        ("YQ==", Ok("YQ==")),
        ("YW\nI=", Ok("YWI=")),
        ("YQ", Err(())),
        ("YQ=", Err(())),
        ("=", Err(())),
        ("Y===", Err(())),
        ("YQ==YQ==", Err(())),
    ] {
        assert_eq!(bytes(given).as_deref().map_err(|_| ()), want, "{given}");
    }
}

#[test]
fn quantities_are_canonical() {
    for (given, want) in [
        ("0", "0"),
        ("5", "5"),
        ("100", "100"),
        ("1000", "1k"),
        ("007", "7"),
        ("100m", "100m"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("1024Mi", "1Gi"),
        ("1500Mi", "1500Mi"),
        ("0Mi", "0"),
        ("0.5", "500m"),
        ("1e3", "1e3"),
        ("2048Ki", "2Mi"),
        ("12345678", "12345678"),
    ] {
        assert_eq!(super::scalars::quantity(given).as_deref(), Ok(want), "{given}");
    }
    // The short cut says what the long way says.
    for value in (0..3000).chain([4096, 100_000, 999_999, 1_024_000]) {
        for suffix in ["", "m", "k", "M", "G", "Ki", "Mi", "Gi"] {
            let text = format!("{value}{suffix}");
            let long = pilothouse_api::quantity::Quantity::parse(&text).expect("a quantity").to_string();
            assert_eq!(super::scalars::quantity(&text), Ok(long), "{text}");
        }
    }
}
