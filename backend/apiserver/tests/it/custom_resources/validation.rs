//! What is refused: definitions that make no sense, objects that break their schema or its rules.

use serde_json::json;

use super::*;

const ALL: &str = "/apis/shop.example.com/v1/namespaces/a/shops";

fn shops(spec: Value) -> Value {
    definition("shops", "shop.example.com", "Shop", with_spec(spec))
}

fn shop(spec: Value) -> Value {
    object("Shop", "x", spec)
}

/// What the object's spec is told, without the words before it.
async fn judged(admin: &Caller, spec: Value) -> String {
    let reply = admin.post(&format!("{ALL}?dryRun=All"), &shop(spec)).await;
    told(&reply).replace("Shop.shop.example.com \"x\" is invalid: ", "")
}

#[tokio::test]
async fn schemas_are_kept() {
    let (c, admin) = cluster().await;
    c.define(&shops(json!({"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
        "mode": {"type": "string", "enum": ["on", "off"]},
        "when": {"type": "string", "format": "date-time"},
        "port": {"x-kubernetes-int-or-string": true},
        "nothing": {"type": "string", "nullable": true},
        "template": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}})))
    .await;
    for (spec, expected) in [
        (json!({}), "422 spec.name: Required value"),
        (
            json!({"name": 1}),
            "422 spec.name: Invalid value: \"integer\": spec.name in body must be of type string: \"integer\"",
        ),
        (json!({"name": "A"}), "422 spec.name: Invalid value: \"A\": spec.name in body should match '^[a-z]+$'"),
        (json!({"name": "abcdef"}), "422 spec.name: Too long: may not be more than 5 bytes"),
        (
            json!({"name": "a", "size": 0}),
            "422 spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
        ),
        (
            json!({"name": "a", "mode": "x"}),
            "422 spec.mode: Unsupported value: \"x\": supported values: \"on\", \"off\"",
        ),
        (
            json!({"name": "a", "when": "now"}),
            "422 spec.when: Invalid value: \"now\": spec.when in body must be of type date-time: \"now\"",
        ),
        (
            json!({"name": "a", "port": true}),
            "422 spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
        ),
        (
            json!({"name": "a", "template": {"kind": "X"}}),
            "422 spec.template.apiVersion: Required value: must not be empty",
        ),
        (json!({"name": "a", "port": "http", "nothing": null}), "201 "),
    ] {
        assert_eq!(judged(&admin, spec).await, expected);
    }
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_of_or_dropped() {
    let (c, admin) = cluster().await;
    c.define(&shops(json!({"type": "object", "properties": {"a": {"type": "string"}}}))).await;
    let sent = shop(json!({"a": "b", "c": 1}));
    let strict = admin.post(&format!("{ALL}?fieldValidation=Strict"), &sent).await;
    assert_eq!(
        told(&strict),
        "400 Shop in version \"v1\" cannot be handled as a Shop: strict decoding error: unknown field \"spec.c\""
    );
    let warned = admin.post(&format!("{ALL}?fieldValidation=Warn&dryRun=All"), &sent).await;
    assert_eq!((warned.status, warned.warnings()), (201, vec!["299 - \"unknown field \\\"spec.c\\\"\"".to_owned()]));
    let ignored = admin.post(&format!("{ALL}?fieldValidation=Ignore"), &sent).await;
    assert!(ignored.warnings().is_empty());
    assert_eq!(ignored.expect(201)["spec"], json!({"a": "b"}));
    let twice = r#"{"apiVersion": "shop.example.com/v1", "kind": "Shop", "metadata": {"name": "y"}, "spec": {"a": "b", "a": "c"}}"#;
    let twice = admin.send("POST", &format!("{ALL}?fieldValidation=Strict"), &[], twice).await;
    assert!(told(&twice).ends_with("strict decoding error: duplicate field \"spec.a\""), "{}", told(&twice));
    let patched = admin.patch(&format!("{ALL}/x?fieldValidation=Strict"), "merge", &json!({"spec": {"z": 1}})).await;
    assert!(told(&patched).contains("unknown field \"spec.z\""), "{}", told(&patched));
    let applied = admin.patch(&format!("{ALL}/x?fieldValidation=Strict&fieldManager=m"), "apply", &sent).await;
    assert!(told(&applied).contains("field not declared in schema"), "{}", told(&applied));
}

#[tokio::test]
async fn rules_are_kept() {
    let (c, admin) = cluster().await;
    c.define(&shops(json!({"type": "object",
        "x-kubernetes-validations": [
            {"rule": "self.min <= self.max", "message": "min must not be above max"},
            {"rule": "!has(self.name) || self.name != 'root'", "reason": "FieldValueForbidden", "fieldPath": ".name", "message": "nobody is root"},
            {"rule": "self.max < 100", "messageExpression": "'max is ' + string(self.max)"}],
        "properties": {
            "min": {"type": "integer", "default": 0}, "max": {"type": "integer", "default": 1},
            "name": {"type": "string", "maxLength": 20},
            "fixed": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "Value is immutable"}]},
            "ports": {"type": "array", "maxItems": 8, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "required": ["name"],
                    "x-kubernetes-validations": [{"rule": "self.port > 0"}],
                    "properties": {"name": {"type": "string", "maxLength": 9}, "port": {"type": "integer", "default": 1}}}}}})))
    .await;
    for (spec, expected) in [
        (json!({"min": 5}), "422 spec: Invalid value: min must not be above max"),
        (json!({"name": "root"}), "422 spec.name: Forbidden: nobody is root"),
        (json!({"max": 200}), "422 spec: Invalid value: max is 200"),
        (
            json!({"ports": [{"name": "a"}, {"name": "b", "port": 0}]}),
            "422 spec.ports[1]: Invalid value: failed rule: self.port > 0",
        ),
        (json!({"fixed": "a"}), "201 "),
    ] {
        assert_eq!(judged(&admin, spec).await, expected);
    }
    admin.create(ALL, &shop(json!({"fixed": "a"}))).await;
    let moved = admin.patch(&format!("{ALL}/x"), "merge", &json!({"spec": {"fixed": "b"}})).await;
    assert!(told(&moved).ends_with("spec.fixed: Invalid value: \"b\": Value is immutable"), "{}", told(&moved));
}

#[tokio::test]
async fn what_was_wrong_before_may_stay() {
    let (c, admin) = cluster().await;
    c.define(&shops(json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}))).await;
    admin.create(ALL, &shop(json!({"a": "old", "b": "x"}))).await;
    c.redefine("shops.shop.example.com", |definition| {
        let a = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["a"];
        *a = json!({"type": "string", "enum": ["new"], "maxLength": 9, "x-kubernetes-validations": [{"rule": "self.startsWith('n')"}]});
    })
    .await;
    let path = format!("{ALL}/x");
    admin.patch(&path, "merge", &json!({"spec": {"b": "y"}})).await.expect(200);
    let changed = admin.patch(&path, "merge", &json!({"spec": {"a": "older"}})).await;
    assert!(told(&changed).contains("spec.a: Unsupported value: \"older\""), "{}", told(&changed));
    admin.patch(&path, "merge", &json!({"spec": {"a": "new"}})).await.expect(200);
}

#[tokio::test]
async fn definitions_that_make_no_sense_are_refused() {
    let (_c, admin) = cluster().await;
    let refused = async |spec: Value| {
        let reply = admin.post(DEFINITIONS, &shops(spec)).await;
        told(&reply).replace(
            "CustomResourceDefinition.apiextensions.k8s.io \"shops.shop.example.com\" is invalid: spec.validation.openAPIV3Schema",
            "…",
        )
    };
    let rule = |rule: &str| json!({"type": "object", "properties": {"a": {"type": "string"}}, "x-kubernetes-validations": [{"rule": rule}]});
    for (spec, expected) in [
        (
            json!({"type": "object", "properties": {"a": {}}}),
            "422 ….properties[spec].properties[a].type: Required value: must not be empty for specified object fields",
        ),
        (
            json!({"type": "array", "items": {}}),
            "422 ….properties[spec].items.type: Required value: must not be empty for specified array items",
        ),
        (
            json!({"type": "string", "pattern": "("}),
            "422 ….properties[spec].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: regex parse error:\n    (\n    ^\nerror: unclosed group",
        ),
        (
            json!({"type": "integer", "default": "x"}),
            "422 ….properties[spec].default: Invalid value: \"string\": default in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "object", "anyOf": [{"properties": {"a": {"type": "string"}}}]}),
            "422 ….properties[spec].properties[a]: Required value: because it is defined in spec.validation.openAPIV3Schema.properties[spec].anyOf[0].properties[a]",
        ),
    ] {
        assert_eq!(refused(spec).await, expected);
    }
    let undefined = refused(rule("self.b == 'x'")).await;
    assert!(undefined.starts_with("422 ….properties[spec].x-kubernetes-validations[0].rule: Invalid value: apiextensions.ValidationRule{Rule:\"self.b == 'x'\""), "{undefined}");
    assert!(undefined.contains("compilation failed: ERROR: <input>:1:"), "{undefined}");
    assert!(undefined.contains("undefined field 'b'\n | self.b == 'x'\n | "), "{undefined}");
    let types = refused(rule("self.a + 1 == 2")).await;
    assert!(types.contains("found no matching overload for '_+_' applied to '(string, int)'"), "{types}");
    let no_bool = refused(rule("self.a")).await;
    assert!(no_bool.contains("cel expression must evaluate to a bool"), "{no_bool}");
    let dear = refused(json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}},
        "x-kubernetes-validations": [{"rule": "self.a.all(x, self.a.all(y, x != y))"}]}))
    .await;
    assert!(
        dear.contains(".rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x"),
        "{dear}"
    );
    let uncorrelated = refused(json!({"type": "object", "properties": {"a": {"type": "array", "maxItems": 3,
        "items": {"type": "string", "maxLength": 3, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}}}))
    .await;
    assert!(uncorrelated.contains("oldSelf cannot be used on the uncorrelatable portion of the schema within spec.validation.openAPIV3Schema.properties[spec].properties[a]"), "{uncorrelated}");
    let protected = definition("shops", "shop.k8s.io", "Shop", with_spec(json!({"type": "object"})));
    let reply = admin.post(DEFINITIONS, &protected).await;
    assert!(
        told(&reply).contains("metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation"),
        "{}",
        told(&reply)
    );
}
