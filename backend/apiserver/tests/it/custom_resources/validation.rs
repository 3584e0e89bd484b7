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
        (json!({"name": "a", "template": {"kind": "X"}}), "422 spec.template.apiVersion: Required value"),
        (
            json!({"name": "a", "template": {"apiVersion": "a/b/c", "kind": ""}}),
            "422 [spec.template.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c, spec.template.kind: Invalid value: \"\": must not be empty]",
        ),
        (
            json!({"name": "a", "template": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "a/b"}}}),
            "422 spec.template.metadata.name: Invalid value: \"a/b\": may not contain '/'",
        ),
        // Null where none is allowed is nothing.
        (json!({"name": null}), "422 spec.name: Required value"),
        (json!({"name": "a", "mode": null, "size": null, "template": null}), "201 "),
        (json!({"name": "a", "port": "http", "nothing": null}), "201 "),
    ] {
        assert_eq!(judged(&admin, spec).await, expected);
    }
}

/// Conditions are told without a field, what breaks them with one.
#[tokio::test]
async fn conditions_are_kept() {
    let (c, admin) = cluster().await;
    let (x, y) = (json!({"required": ["x"]}), json!({"required": ["y"]}));
    let place = |conditions: Value| {
        let mut place = json!({"type": "object", "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}}});
        place.as_object_mut().unwrap().extend(conditions.as_object().unwrap().clone());
        place
    };
    c.define(&shops(json!({"type": "object", "properties": {
        "any": place(json!({"anyOf": [x, y]})), "one": place(json!({"oneOf": [x, y]})),
        "all": place(json!({"allOf": [x, y]})), "no": place(json!({"not": x})),
        "list": {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "string", "maxLength": 1}},
        "step": {"type": "number", "multipleOf": 0.1},
        "third": {"type": "integer", "multipleOf": 3},
        "pick": {"type": "integer", "enum": [1, 2]},
        "card": {"type": "string", "format": "creditcard"}}})))
        .await;
    for (spec, expected) in [
        (
            json!({"any": {}}),
            r#"422 [<nil>: Invalid value: "": "spec.any" must validate at least one schema (anyOf), spec.any.x: Required value]"#,
        ),
        (
            json!({"one": {}}),
            r#"422 [<nil>: Invalid value: "": "spec.one" must validate one and only one schema (oneOf). Found none valid, spec.one.x: Required value]"#,
        ),
        (
            json!({"one": {"x": 1, "y": 1}}),
            r#"422 <nil>: Invalid value: "": "spec.one" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
        ),
        (
            json!({"all": {"x": 1}}),
            r#"422 [<nil>: Invalid value: "": "spec.all" must validate all the schemas (allOf), spec.all.y: Required value]"#,
        ),
        (json!({"no": {"x": 1}}), r#"422 <nil>: Invalid value: "": "spec.no" must not validate the schema (not)"#),
        (json!({"list": []}), "422 spec.list: Invalid value: 0: spec.list in body should have at least 1 items"),
        (json!({"list": ["a", "b"]}), "422 spec.list: Too many: 2: must have at most 1 item"),
        (json!({"list": ["ab"]}), "422 spec.list[0]: Too long: may not be more than 1 byte"),
        (json!({"step": 0.3, "pick": 2.0, "card": "4111111111111111"}), "201 "),
        (
            json!({"third": 2_147_483_648_u64}),
            "422 spec.third: Invalid value: 2147483648: spec.third in body should be a multiple of 3",
        ),
        (
            json!({"third": 9_223_372_036_854_775_808_u64}),
            "422 [spec.third: Invalid value: \"number\": spec.third in body must be of type integer: \"number\", <nil>: Invalid value: \"\": Checked value must be of type integer (default format) in spec.third]",
        ),
        (json!({"step": 0.35}), "422 spec.step: Invalid value: 0.35: spec.step in body should be a multiple of 0.1"),
        (
            json!({"card": "4111111111111112"}),
            r#"422 spec.card: Invalid value: "4111111111111112": spec.card in body must be of type creditcard: "4111111111111112""#,
        ),
    ] {
        assert_eq!(judged(&admin, spec).await, expected);
    }
    let broken = admin.post(&format!("{ALL}?dryRun=All"), &shop(json!({"any": {}}))).await.json();
    assert_eq!(broken["details"]["causes"][0]["field"], "<nil>");
    // What is applied is of its type before anything else is asked of it.
    let applied = admin.patch(&format!("{ALL}/x?fieldManager=m"), "apply", &shop(json!({"pick": "1"}))).await;
    assert_eq!(applied.status, 500);
    assert!(told(&applied).ends_with(".spec.pick: expected numeric (int or float), got string"), "{}", told(&applied));
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
        told(&reply)
            .replace("CustomResourceDefinition.apiextensions.k8s.io \"shops.shop.example.com\" is invalid: ", "")
            .replace("spec.validation.openAPIV3Schema", "…")
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
            "422 ….properties[spec].default: Invalid value: \"string\":  in body must be of type integer: \"string\"",
        ),
        (
            json!({"type": "object", "anyOf": [{"properties": {"a": {"type": "string"}}}]}),
            "422 ….properties[spec].anyOf[0].properties[a].type: Forbidden: must be empty to be structural",
        ),
        (
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}]}),
            "422 ….properties[spec].anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "null"}),
            "422 [….properties[spec].type: Unsupported value: \"null\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\", ….properties[spec].type: Forbidden: type cannot be set to null, use nullable as an alternative]",
        ),
        (json!({"$ref": "#/x"}), "422 ….properties[spec].$ref: Forbidden: $ref is not supported"),
        (
            json!({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": ""}),
            "422 ….properties[spec].x-kubernetes-list-type: Unsupported value: \"\": supported values: \"atomic\", \"set\", \"map\"",
        ),
        (
            json!({"type": "array", "items": {"type": "string", "nullable": true}, "x-kubernetes-list-type": "set"}),
            "422 ….properties[spec].items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is set",
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"]}),
            "422 [….properties[spec].items: Required value: must be specified, ….properties[spec].items: Required value: must have a schema if x-kubernetes-list-type is map]",
        ),
        (
            json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string", "default": "x"}}, "default": {}}),
            "422 ….properties[spec].default.a: Required value",
        ),
        (
            json!({"type": "string", "default": "a", "x-kubernetes-validations": [{"rule": "self == 'b'"}]}),
            "422 ….properties[spec].default: Invalid value: \"a\": failed rule: self == 'b'",
        ),
        (
            json!({"type": "string", "x-kubernetes-validations": [{"rule": "self == 'b'", "messageExpression": " "}]}),
            "422 ….properties[spec].x-kubernetes-validations[0].messageExpression: Required value: messageExpression must be non-empty if specified",
        ),
        (
            json!({"x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}),
            "422 ….properties[spec].type: Required value: must be object if x-kubernetes-embedded-resource is true",
        ),
    ] {
        assert_eq!(refused(spec).await, expected);
    }
    let undefined = refused(rule("self.b == 'x'")).await;
    assert!(
        undefined.starts_with(
            "422 ….properties[spec].x-kubernetes-validations[0].rule: Invalid value: {\"Rule\":\"self.b == 'x'\""
        ),
        "{undefined}"
    );
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
    assert!(
        uncorrelated.contains(
            "oldSelf cannot be used on the uncorrelatable portion of the schema within ….properties[spec].properties[a]"
        ),
        "{uncorrelated}"
    );
    // What upstream takes is taken.
    for spec in [
        json!({"type": "object", "additionalProperties": false}),
        json!({"type": "string", "x-kubernetes-int-or-string": true}),
        json!({"type": "object", "properties": {"a": {"type": "string"}}, "allOf": [{"properties": {"b": {"minLength": 1}}}]}),
        json!({"type": "array", "items": {"type": "array", "items": {"type": "string"}}, "x-kubernetes-list-type": "set"}),
    ] {
        let taken = admin.post(&format!("{DEFINITIONS}?dryRun=All"), &shops(spec.clone())).await;
        assert_eq!(taken.status, 201, "{spec}: {}", taken.text());
    }
    let change = |change: &dyn Fn(&mut Value)| {
        let mut changed =
            shops(json!({"type": "object", "properties": {"l": {"type": "array", "items": {"type": "string"}}}}));
        change(&mut changed["spec"]["versions"][0]);
        changed
    };
    let selects = |path: &str| change(&|version| version["selectableFields"] = json!([{ "jsonPath": path }]));
    let top = |name: &str, schema: Value| {
        change(&|version| version["schema"]["openAPIV3Schema"]["properties"][name] = schema.clone())
    };
    for (wrong, why) in [
        (selects(".spec.l"), "must point to a field of type string, boolean or integer"),
        (selects(".spec.z"), "is an invalid path: does not refer to a valid field"),
        (selects(".kind"), "is an invalid path: does not refer to a valid field"),
        (selects("spec.l"), "is an invalid path: expected [ or . but got: spec"),
        (top("kind", json!({"type": "integer"})), ".properties[kind].type: Invalid value: \"integer\": must be string"),
        (
            top("metadata", json!({"type": "string"})),
            ".properties[metadata].type: Invalid value: \"string\": must be object",
        ),
        (
            top("metadata", json!({"type": "object", "properties": {"name": {"type": "string", "default": "x"}}})),
            ".properties[metadata].properties[name].default: Forbidden: must not be set in top-level metadata",
        ),
        (
            change(&|version| {
                version["deprecated"] = json!(true);
                version["deprecationWarning"] = json!("a\nb");
            }),
            "must only contain printable UTF-8 characters; non-printable character found at index 1",
        ),
    ] {
        let reply = admin.post(DEFINITIONS, &wrong).await;
        assert_eq!(reply.status, 422, "{why}: {}", reply.text());
        assert!(told(&reply).contains(why), "{why}: {}", told(&reply));
    }
    let protected = definition("shops", "shop.k8s.io", "Shop", with_spec(json!({"type": "object"})));
    let reply = admin.post(DEFINITIONS, &protected).await;
    assert!(
        told(&reply).contains("metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups must have approval annotation"),
        "{}",
        told(&reply)
    );
}

/// Numbers that their types cannot hold, and those that only look different.
#[tokio::test]
async fn numbers_fit_their_types() {
    let (c, admin) = cluster().await;
    c.define(&shops(json!({"type": "object", "properties": {
        "i": {"type": "integer"}, "i32": {"type": "integer", "format": "int32"}, "f": {"type": "number", "format": "float"},
        "s": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}}})))
    .await;
    for (spec, expected) in [
        (
            json!({"i32": 2_147_483_648_i64}),
            "422 <nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in spec.i32",
        ),
        (
            json!({"i32": 1.5}),
            "422 [spec.i32: Invalid value: \"float64\": spec.i32 in body must be of type int32: \"float64\", <nil>: Invalid value: \"\": Checked value must be of type integer with format int32 in spec.i32]",
        ),
        (json!({"i32": true}), "422 spec.i32: Invalid value: \"\": spec.i32 in body must be of type int32: \"\""),
        (
            json!({"i": 1.5}),
            "422 [spec.i: Invalid value: \"number\": spec.i in body must be of type integer: \"number\", <nil>: Invalid value: \"\": Checked value must be of type integer (default format) in spec.i]",
        ),
        (
            json!({"f": 1e300}),
            "422 <nil>: Invalid value: \"\": Checked value must be of type number with format float in spec.f",
        ),
        (json!({"f": 1e30}), "201 "),
        (json!({"s": ["a", "a", "a"]}), "422 spec.s[1]: Duplicate value: \"a\""),
    ] {
        assert_eq!(judged(&admin, spec).await, expected);
    }
    // Who reads it next may read whole numbers only.
    let body = r#"{"apiVersion":"shop.example.com/v1","kind":"Shop","metadata":{"name":"x"},"spec":{"i":1.0}}"#;
    let made = admin.send("POST", &format!("{ALL}?dryRun=All"), &[], body).await;
    assert!(made.text().contains("\"i\":1}"), "{}", made.text());
}

/// What is wrong and was so before is let be, and told.
#[tokio::test]
async fn unchanged_wrongs_are_warned_of() {
    let (c, admin) = cluster().await;
    let spec = |rules: serde_json::Value| json!({"type": "object", "properties": {"c": {"type": "string", "maxLength": 9, "x-kubernetes-validations": rules}, "d": {"type": "string"}}});
    c.define(&shops(spec(json!([])))).await;
    admin.create(ALL, &shop(json!({"c": "old"}))).await;
    c.redefine("shops.shop.example.com", |definition| {
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] =
            spec(json!([{"rule": "self == 'new'", "message": "must be new"}]));
    })
    .await;
    let path = format!("{ALL}/x?dryRun=All");
    let other = json!({"spec": {"c": "other"}});
    c.eventually(|| admin.patch(&path, "merge", &other), |reply| reply.status == 422).await;
    let reply = admin.patch(&path, "merge", &json!({"spec": {"d": "x"}})).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.warnings(), ["299 - \"spec.c: Invalid value: \\\"old\\\": must be new\""]);
}

/// Definitions that upstream takes or refuses in its own ways.
#[tokio::test]
async fn definitions_as_upstream_judges_them() {
    let (_c, admin) = cluster().await;
    let dry = format!("{DEFINITIONS}?dryRun=All");
    let root = |schema: serde_json::Value| definition("shops", "shop.example.com", "Shop", schema);
    for (definition, code, message, warnings) in [
        (root(json!({"type": "object", "default": {}})), 422, "default.apiVersion: Required value", 0),
        (shops(json!({"type": "object", "additionalProperties": {"type": "integer", "default": "x"}})), 201, "", 0),
        (shops(json!({"x-kubernetes-int-or-string": true, "default": true})), 201, "", 0),
        (shops(json!({"type": "string", "format": "bogus"})), 201, "", 1),
        (shops(json!({"type": "string", "format": "int32"})), 201, "", 1),
        (shops(json!({"type": "integer", "format": "int32"})), 201, "", 0),
        (
            shops(json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self in [1, 'a']"}]})),
            422,
            "expected type 'int' but found 'string'",
            0,
        ),
        (
            shops(
                json!({"type": "string", "x-kubernetes-validations": [{"rule": "!format.dns1123Label().validate(self).hasValue()"}]}),
            ),
            422,
            "estimated rule cost exceeds budget by factor of 1.006634x",
            0,
        ),
    ] {
        let reply = admin.post(&dry, &definition).await;
        assert_eq!(reply.status, code, "{}", reply.text());
        assert!(reply.text().contains(message), "{message}: {}", reply.text());
        assert_eq!(reply.warnings().len(), warnings, "{:?}", reply.warnings());
    }
}

/// Objects within objects say what they are in text, and have metadata if they say so.
#[tokio::test]
async fn objects_within_objects() {
    let (c, admin) = cluster().await;
    let inner =
        json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true});
    c.define(&shops(
        json!({"type": "object", "properties": {"t": inner, "l": {"type": "array", "items": {"type": "string"}}}}),
    ))
    .await;
    let reply = admin.post(&format!("{ALL}?dryRun=All"), &shop(json!({"t": {"apiVersion": 7, "kind": "K"}}))).await;
    assert_eq!(
        told(&reply),
        "400 Shop in version \"v1\" cannot be handled as a Shop: spec.t.apiVersion: Invalid value: 7: must be a string"
    );
    let named = shop(json!({"t": {"apiVersion": "v1", "kind": "K", "metadata": null}}));
    let made = admin.post(&format!("{ALL}?dryRun=All"), &named).await.expect(201);
    assert_eq!(made["spec"]["t"]["metadata"], json!({}));
    // Fields where none can be are unknown ones.
    let strange = shop(json!({"l": {"a": 1}}));
    let reply = admin.post(&format!("{ALL}?dryRun=All&fieldValidation=Strict"), &strange).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(reply.message().contains("unknown field \"spec.l.a\""), "{}", reply.message());
}
