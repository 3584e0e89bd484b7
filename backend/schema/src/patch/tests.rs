use pilothouse_api::limits::{MAX_JSON_DEPTH, MAX_JSON_PATCH_OPERATIONS};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::builtin;

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn merge_patch_examples_of_the_rfc() {
    for (object, patch, want) in [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, r"{}"),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
        (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
        (r#"{"a":"foo"}"#, "null", "null"),
        (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
        ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
        ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ] {
        let mut have = parsed(object);
        merge_patch(&mut have, &parsed(patch));
        assert_eq!(have, parsed(want), "{object} {patch}");
    }
}

/// The outcome of a JSON patch: the object, or the code of the error.
fn patched(object: &str, patch: &str) -> Result<Value, u16> {
    let mut have = parsed(object);
    json_patch(&mut have, &parsed(patch)).map(|()| have).map_err(|status| status.code)
}

#[test]
fn json_patch_examples_of_the_rfc() {
    for (object, patch, want) in [
        (r#"{"foo":"bar"}"#, r#"[{"op":"add","path":"/baz","value":"qux"}]"#, Ok(r#"{"baz":"qux","foo":"bar"}"#)),
        (
            r#"{"foo":["bar","baz"]}"#,
            r#"[{"op":"add","path":"/foo/1","value":"qux"}]"#,
            Ok(r#"{"foo":["bar","qux","baz"]}"#),
        ),
        (r#"{"baz":"qux","foo":"bar"}"#, r#"[{"op":"remove","path":"/baz"}]"#, Ok(r#"{"foo":"bar"}"#)),
        (r#"{"foo":["bar","qux","baz"]}"#, r#"[{"op":"remove","path":"/foo/1"}]"#, Ok(r#"{"foo":["bar","baz"]}"#)),
        (
            r#"{"baz":"qux","foo":"bar"}"#,
            r#"[{"op":"replace","path":"/baz","value":"boo"}]"#,
            Ok(r#"{"baz":"boo","foo":"bar"}"#),
        ),
        (
            r#"{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}"#,
            r#"[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]"#,
            Ok(r#"{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}"#),
        ),
        (
            r#"{"foo":["all","grass","cows","eat"]}"#,
            r#"[{"op":"move","from":"/foo/1","path":"/foo/3"}]"#,
            Ok(r#"{"foo":["all","cows","eat","grass"]}"#),
        ),
        (
            r#"{"baz":"qux","foo":["a",2,"c"]}"#,
            r#"[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2.0}]"#,
            Ok(r#"{"baz":"qux","foo":["a",2,"c"]}"#),
        ),
        (r#"{"baz":"qux"}"#, r#"[{"op":"test","path":"/baz","value":"bar"}]"#, Err(422)),
        (
            r#"{"foo":"bar"}"#,
            r#"[{"op":"add","path":"/child","value":{"grandchild":{}}}]"#,
            Ok(r#"{"foo":"bar","child":{"grandchild":{}}}"#),
        ),
        (
            r#"{"foo":"bar"}"#,
            r#"[{"op":"add","path":"/baz","value":"qux","xyz":123}]"#,
            Ok(r#"{"foo":"bar","baz":"qux"}"#),
        ),
        (r#"{"foo":"bar"}"#, r#"[{"op":"add","path":"/baz/bat","value":"qux"}]"#, Err(422)),
        (r#"{"/":9,"~1":10}"#, r#"[{"op":"test","path":"/~01","value":10}]"#, Ok(r#"{"/":9,"~1":10}"#)),
        (r#"{"/":9,"~1":10}"#, r#"[{"op":"test","path":"/~01","value":"10"}]"#, Err(422)),
        (
            r#"{"foo":["bar"]}"#,
            r#"[{"op":"add","path":"/foo/-","value":["abc","def"]}]"#,
            Ok(r#"{"foo":["bar",["abc","def"]]}"#),
        ),
        // Beyond the examples.
        (
            r#"{"a":[1,2,3]}"#,
            r#"[{"op":"remove","path":"/a/-1"},{"op":"add","path":"/a/-1","value":9}]"#,
            Ok(r#"{"a":[1,2,9]}"#),
        ),
        (r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/2","value":9}]"#, Err(422)),
        (r#"{"a":[1,2]}"#, r#"[{"op":"remove","path":"/a/01"}]"#, Ok(r#"{"a":[1]}"#)),
        (r#"{"a":1}"#, r#"[{"op":"test","path":"/b","value":null}]"#, Ok(r#"{"a":1}"#)),
        (r#"{"a":{"b":1}}"#, r#"[{"op":"copy","from":"/a","path":"/c"}]"#, Ok(r#"{"a":{"b":1},"c":{"b":1}}"#)),
        (r#"{"a":{"b":1}}"#, r#"[{"op":"move","from":"/a","path":"/a/b"}]"#, Err(422)),
        (r#"{"a":1}"#, r#"[{"op":"replace","path":"/b","value":1}]"#, Ok(r#"{"a":1,"b":1}"#)),
        (r#"{"a":1}"#, r#"[{"op":"replace","path":"/b/c","value":1}]"#, Err(422)),
        (r#"{"a":[1]}"#, r#"[{"op":"replace","path":"/a/1","value":1}]"#, Err(422)),
        (r#"{"a":1}"#, r#"[{"op":"copy","from":"/b","path":"/c"}]"#, Ok(r#"{"a":1,"c":null}"#)),
        (r#"{"a":1}"#, r#"[{"op":"copy","from":"/b/c","path":"/c"}]"#, Err(422)),
        (r#"{"a":1}"#, r#"[{"op":"add","path":"b","value":1}]"#, Err(422)),
        (r#"{"a":1}"#, r#"[{"op":"add","path":"x/b","value":1}]"#, Ok(r#"{"a":1,"b":1}"#)),
        (r#"{"a":1}"#, r#"[{"op":"add","path":"/b"}]"#, Ok(r#"{"a":1,"b":null}"#)),
        (r#"{"a":1}"#, "null", Ok(r#"{"a":1}"#)),
        (r#"{"a":1}"#, r#"[{"path":"/b"}]"#, Err(422)),
        (r#"{"a":1}"#, r#"[{"op":"add"}]"#, Err(422)),
        (r#"{"a":1}"#, r#"[{"op":"remove","path":""}]"#, Err(422)),
        (r#"{"a":1}"#, r#"{"op":"add"}"#, Err(400)),
        (r#"{"a":1}"#, r#"[1]"#, Err(400)),
    ] {
        assert_eq!(patched(object, patch), want.map(parsed), "{object} {patch}");
    }
}

#[test]
fn json_patch_limits() {
    let operation = json!({"op": "test", "path": "/a", "value": 1});
    let mut object = json!({"a": 1});
    let patch = Value::Array(vec![operation; MAX_JSON_PATCH_OPERATIONS + 1]);
    assert_eq!(json_patch(&mut object, &patch).unwrap_err().code, 413);

    // Doubling by copying stops long before memory does.
    let mut doubling = vec![json!({"op": "add", "path": "/a", "value": "x".repeat(1024)})];
    doubling.extend((0..100).map(|_| json!({"op": "copy", "from": "/a", "path": "/b"})));
    let grow: Vec<Value> = (0..100)
        .flat_map(|_| {
            [json!({"op": "copy", "from": "", "path": "/b"}), json!({"op": "copy", "from": "", "path": "/c"})]
        })
        .collect();
    doubling.extend(grow);
    let code = json_patch(&mut json!({}), &Value::Array(doubling)).unwrap_err().code;
    assert!(code == 413 || code == 422, "{code}");

    // Depth cannot be grown beyond what decoding allows.
    let deeper = Value::Array(vec![json!({"op": "copy", "from": "", "path": "/a"}); MAX_JSON_DEPTH + 1]);
    assert_eq!(json_patch(&mut json!({}), &deeper).unwrap_err().code, 422);
}

/// Applies a strategic merge patch to an object of a built-in kind.
fn strategic(kind: &str, object: &Value, patch: &Value) -> Result<Value, String> {
    let (group, kind) = kind.split_once('/').unwrap_or(("", kind));
    let schema = builtin().gvk(group, "v1", kind).expect("a built-in kind");
    let mut have = object.clone();
    strategic_merge(schema, &mut have, patch).map(|()| have).map_err(|s| {
        assert!(s.details.is_none_or(|details| details.causes.is_empty()), "upstream names no cause");
        format!("{} {}", s.code, s.message)
    })
}

fn pod(spec: Value) -> Value {
    json!({ "spec": spec })
}

#[test]
fn strategic_merges() {
    let containers = |items: Value| pod(json!({ "containers": items }));
    for (what, have, patch, want) in [
        (
            "items merge by key, others stay, new ones join",
            containers(json!([{"name":"a","image":"a:1","args":["x"]},{"name":"b","image":"b:1"}])),
            containers(json!([{"name":"b","image":"b:2"},{"name":"c","image":"c:1"}])),
            containers(
                json!([{"name":"a","image":"a:1","args":["x"]},{"name":"b","image":"b:2"},{"name":"c","image":"c:1"}]),
            ),
        ),
        (
            "atomic lists are replaced",
            containers(json!([{"name":"a","args":["x","y"]}])),
            containers(json!([{"name":"a","args":["z"]}])),
            containers(json!([{"name":"a","args":["z"]}])),
        ),
        (
            "an item is deleted",
            containers(json!([{"name":"a"},{"name":"b"}])),
            containers(json!([{"name":"a","$patch":"delete"}])),
            containers(json!([{"name":"b"}])),
        ),
        (
            "a list is replaced",
            containers(json!([{"name":"a"},{"name":"b"}])),
            containers(json!([{"name":"c"},{"$patch":"replace"}])),
            containers(json!([{"name":"c"}])),
        ),
        (
            "a map is replaced",
            pod(json!({"nodeSelector":{"a":"1"}})),
            pod(json!({"nodeSelector":{"$patch":"replace","b":"2"}})),
            pod(json!({"nodeSelector":{"b":"2"}})),
        ),
        (
            "a map is emptied",
            pod(json!({"securityContext":{"runAsUser":1}})),
            pod(json!({"securityContext":{"$patch":"delete"}})),
            pod(json!({"securityContext":{}})),
        ),
        (
            "null removes, also where nothing is",
            pod(json!({"hostNetwork":true,"a":{}})),
            pod(json!({"hostNetwork":null,"hostPID":null,"affinity":{"nodeAffinity":null}})),
            pod(json!({"a":{},"affinity":{}})),
        ),
        (
            "retained keys drop the others of a union",
            pod(json!({"volumes":[{"name":"v","emptyDir":{"medium":"Memory"}}]})),
            pod(json!({"volumes":[{"name":"v","$retainKeys":["name","hostPath"],"hostPath":{"path":"/x"}}]})),
            pod(json!({"volumes":[{"name":"v","hostPath":{"path":"/x"}}]})),
        ),
        (
            "an order is set",
            containers(json!([{"name":"a"},{"name":"b"},{"name":"c"}])),
            pod(
                json!({"$setElementOrder/containers":[{"name":"c"},{"name":"d"},{"name":"a"}],"containers":[{"name":"d","image":"d"}]}),
            ),
            containers(json!([{"name":"b"},{"name":"c"},{"name":"d","image":"d"},{"name":"a"}])),
        ),
        (
            "an order alone",
            containers(json!([{"name":"a"},{"name":"b"}])),
            pod(json!({"$setElementOrder/containers":[{"name":"b"},{"name":"a"}]})),
            containers(json!([{"name":"b"},{"name":"a"}])),
        ),
        (
            "an order with a delete",
            containers(json!([{"name":"a"},{"name":"b"}])),
            pod(json!({"$setElementOrder/containers":[{"name":"b"}],"containers":[{"name":"a","$patch":"delete"}]})),
            containers(json!([{"name":"b"}])),
        ),
        (
            "scalars merge as a set",
            json!({"metadata":{"finalizers":["a/b"]}}),
            json!({"metadata":{"finalizers":["c/d","a/b"]}}),
            json!({"metadata":{"finalizers":["c/d","a/b"]}}),
        ),
        (
            "scalars are deleted",
            json!({"metadata":{"finalizers":["a/b","c/d"]}}),
            json!({"metadata":{"$deleteFromPrimitiveList/finalizers":["a/b"],"$setElementOrder/finalizers":["c/d"]}}),
            json!({"metadata":{"finalizers":["c/d"]}}),
        ),
        (
            "ports merge by their merge key, not by their map keys",
            containers(json!([{"name":"a","ports":[{"containerPort":80,"protocol":"TCP","name":"x"}]}])),
            containers(json!([{"name":"a","ports":[{"containerPort":80,"name":"y"},{"containerPort":443}]}])),
            containers(
                json!([{"name":"a","ports":[{"containerPort":80,"protocol":"TCP","name":"y"},{"containerPort":443}]}]),
            ),
        ),
        (
            "tolerations are atomic",
            pod(json!({"tolerations":[{"key":"a"}]})),
            pod(json!({"tolerations":[{"key":"b"}]})),
            pod(json!({"tolerations":[{"key":"b"}]})),
        ),
        (
            "new values come without directives",
            pod(json!({})),
            pod(
                json!({"$setElementOrder/containers":[{"name":"a"}],"containers":[{"name":"a","env":null},{"name":"b","$patch":"delete"}],"volumes":[{"name":"v","$retainKeys":["name"]}]}),
            ),
            pod(json!({"containers":[{"name":"a"}],"volumes":[{"name":"v"}]})),
        ),
    ] {
        assert_eq!(strategic("Pod", &have, &patch), Ok(want), "{what}");
    }
}

#[test]
fn strategic_errors() {
    let have = pod(json!({"containers":[{"name":"a"}]}));
    let rejected = "422 the server rejected our request due to an error in our request";
    for (patch, want) in [
        (pod(json!({"containers":[{"image":"a"}]})), "500 map: map[image:a] does not contain declared merge key: name"),
        (
            pod(json!({"containers":[{"image":"a","$patch":"delete"}]})),
            "500 map: map[$patch:delete image:a] does not contain declared merge key: name",
        ),
        (pod(json!({"containers":["a"]})), "500 list element types are not identical: [[map[name:a]] [a]]"),
        (pod(json!({"containers":[[]]})), rejected),
        (pod(json!({"$patch":"sing"})), "500 unknown patch type: sing in map: map[$patch:sing]"),
        (
            pod(json!({"containers":[{"name":"a","$patch":"sing"}]})),
            "500 unknown patch type: sing in map: map[$patch:sing name:a]",
        ),
        (pod(json!({"$retainKeys":"a"})), "400 invalid patch format of retainKeys"),
        (pod(json!({"$retainKeys":["a"],"hostPID":true})), "400 invalid patch format of retainKeys"),
        (
            pod(json!({"$setElementOrder/containers":"b","containers":[{"name":"a"}]})),
            "500 expected a []interface {}, but received a string",
        ),
        (
            pod(json!({"$setElementOrder/containers":[{"name":"b"}],"containers":[{"name":"a"}]})),
            "500 The order in patch list:\n[map[name:a]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n",
        ),
        (json!([]), "400 invalid JSON document"),
    ] {
        assert_eq!(strategic("Pod", &have, &patch), Err(want.to_owned()), "{patch}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3i64..3).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map("[a-c]", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn merge_patch_is_idempotent(object in any_json(), patch in any_json()) {
        let mut once = object;
        merge_patch(&mut once, &patch);
        let mut twice = once.clone();
        merge_patch(&mut twice, &patch);
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn added_values_are_found(value in any_json()) {
        let mut object = json!({"x": [1, 2]});
        let patch = json!([{"op": "add", "path": "/x/1", "value": value}, {"op": "test", "path": "/x/1", "value": value},
            {"op": "remove", "path": "/x/1"}]);
        json_patch(&mut object, &patch).expect("the patch fits");
        prop_assert_eq!(object, json!({"x": [1, 2]}));
    }

    /// Patching containers twice is patching them once, and every container the patch names is there, in its order.
    #[test]
    fn strategic_merge_is_idempotent(have in prop::collection::hash_set("[a-f]", 0..5), names in prop::collection::hash_set("[a-f]", 0..5)) {
        let have: Vec<Value> = have.iter().map(|n| json!({"name": n, "image": "old", "tty": true})).collect();
        let patch: Vec<Value> = names.iter().map(|n| json!({"name": n, "image": "new"})).collect();
        let patch = json!({"spec": {"containers": patch}});
        let once = strategic("Pod", &json!({"spec": {"containers": have}}), &patch).expect("merges");
        prop_assert_eq!(&strategic("Pod", &once, &patch).expect("merges"), &once);
        let images = once["spec"]["containers"].as_array().into_iter().flatten();
        let new: Vec<&str> = images.filter(|c| c["image"] == "new").filter_map(|c| c["name"].as_str()).collect();
        prop_assert_eq!(new, names.iter().map(String::as_str).collect::<Vec<_>>());
    }
}
