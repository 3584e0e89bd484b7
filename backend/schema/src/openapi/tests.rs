use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

fn verbs(list: &str) -> Vec<Text> {
    list.split(' ').map(|verb| verb.to_owned().into()).collect()
}

const ALL_VERBS: &str = "create delete deletecollection get list patch update watch";

fn resource(group: &'static str, kind: &'static str, name: &'static str, namespaced: bool) -> ApiResource {
    ApiResource {
        group: group.into(),
        version: "v1".into(),
        kind: kind.into(),
        list_kind: "".into(),
        name: name.into(),
        namespaced,
        verbs: verbs(ALL_VERBS),
        definition: Definition::Builtin,
        subresources: Vec::new(),
    }
}

fn sub(name: &'static str, group: &'static str, kind: &'static str, list: &str) -> ApiSubresource {
    ApiSubresource {
        name: name.into(),
        group: group.into(),
        version: "v1".into(),
        kind: kind.into(),
        verbs: verbs(list),
    }
}

fn widget(schema: Value) -> ApiResource {
    let definition = Definition::Custom { seal: schema.to_string().into(), schema: Arc::new(schema) };
    ApiResource { definition, ..resource("shop.example.com", "Widget", "widgets", true) }
}

fn served() -> OpenApi {
    let mut deployments = resource("apps", "Deployment", "deployments", true);
    deployments.subresources =
        vec![sub("scale", "autoscaling", "Scale", "get patch update"), sub("status", "apps", "Deployment", "get")];
    let mut pods = resource("", "Pod", "pods", true);
    pods.subresources = vec![
        sub("eviction", "policy", "Eviction", "create"),
        sub("exec", "", "PodExecOptions", "create get"),
        sub("log", "", "Pod", "get"),
        sub("proxy", "", "PodProxyOptions", "get delete"),
    ];
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["size"], "properties": {
        "size": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 9, "default": 3},
        "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        "extra": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "string"}}},
        "mode": {"type": "string", "enum": ["a", "b"], "nullable": true}
    }}}});
    OpenApi::new(vec![deployments, pods, resource("", "Node", "nodes", false), widget(schema)])
}

fn parsed(document: &Document) -> Value {
    serde_json::from_slice(&document.bytes).expect("JSON")
}

fn check(value: &Value, pointer: &str, expect: Expect) {
    let found = value.pointer(pointer).unwrap_or_else(|| panic!("nothing at {pointer}"));
    expect.assert_eq(&serde_json::to_string_pretty(found).expect("JSON"));
}

#[test]
fn the_index_names_all_documents() {
    let openapi = served();
    let index = parsed(&openapi.v3_index());
    let paths: Vec<&str> = index["paths"].as_object().expect("paths").keys().map(String::as_str).collect();
    assert_eq!(paths, ["api/v1", "apis/apps/v1", "apis/shop.example.com/v1"]);
    for path in paths {
        let document = openapi.v3_document(path).expect("a document");
        let url = index["paths"][path]["serverRelativeURL"].as_str().expect("a URL");
        assert_eq!(url, format!("/openapi/v3/{path}?hash={}", document.hash));
    }
    assert!(openapi.v3_document("apis/none/v1").is_none());
}

#[test]
fn hashes_follow_the_content() {
    let hash = |resources: Vec<ApiResource>| {
        OpenApi::new(resources).v3_document("apis/shop.example.com/v1").expect("a document").hash
    };
    let one = hash(vec![widget(json!({"type": "object"}))]);
    assert_eq!(one, hash(vec![widget(json!({"type": "object"}))]));
    assert_ne!(one, hash(vec![widget(json!({"type": "object", "description": "x"}))]));
    assert_ne!(one, hash(vec![widget(json!({"type": "object"})), resource("apps", "Deployment", "deployments", true)]));
}

/// Every reference in a document leads somewhere.
fn check_references(document: &Value) {
    fn walk(value: &Value, document: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    let pointer = reference.trim_start_matches('#');
                    assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
                }
                fields.values().for_each(|field| walk(field, document));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, document)),
            _ => {}
        }
    }
    walk(document, document);
}

#[test]
fn references_lead_somewhere() {
    let openapi = served();
    check_references(&parsed(&openapi.v2_json()));
    for path in ["api/v1", "apis/apps/v1", "apis/shop.example.com/v1"] {
        check_references(&parsed(&openapi.v3_document(path).expect("a document")));
    }
}

#[test]
fn paths_and_operations() {
    let openapi = served();
    let core = parsed(&openapi.v3_document("api/v1").expect("a document"));
    let lines: Vec<String> = core["paths"]
        .as_object()
        .expect("paths")
        .iter()
        .flat_map(|(path, item)| {
            let operations = item.as_object().expect("a path").iter().filter(|(method, _)| *method != "parameters");
            operations.map(move |(method, o)| {
                let kind = o["x-kubernetes-group-version-kind"]["kind"].as_str().unwrap_or("-");
                let action = o["x-kubernetes-action"].as_str().unwrap_or("-");
                format!("{path} {method} {} {action} {kind}", o["operationId"].as_str().unwrap_or("-"))
            })
        })
        .collect();
    expect![[r#"
        /api/v1/ get getCoreV1APIResources - -
        /api/v1/namespaces/{namespace}/pods delete deleteCoreV1CollectionNamespacedPod deletecollection Pod
        /api/v1/namespaces/{namespace}/pods get listCoreV1NamespacedPod list Pod
        /api/v1/namespaces/{namespace}/pods post createCoreV1NamespacedPod post Pod
        /api/v1/namespaces/{namespace}/pods/{name} delete deleteCoreV1NamespacedPod delete Pod
        /api/v1/namespaces/{namespace}/pods/{name} get readCoreV1NamespacedPod get Pod
        /api/v1/namespaces/{namespace}/pods/{name} patch patchCoreV1NamespacedPod patch Pod
        /api/v1/namespaces/{namespace}/pods/{name} put replaceCoreV1NamespacedPod put Pod
        /api/v1/namespaces/{namespace}/pods/{name}/eviction post createCoreV1NamespacedPodEviction post Eviction
        /api/v1/namespaces/{namespace}/pods/{name}/exec get connectCoreV1GetNamespacedPodExec connect PodExecOptions
        /api/v1/namespaces/{namespace}/pods/{name}/exec post connectCoreV1PostNamespacedPodExec connect PodExecOptions
        /api/v1/namespaces/{namespace}/pods/{name}/log get readCoreV1NamespacedPodLog get Pod
        /api/v1/namespaces/{namespace}/pods/{name}/proxy delete connectCoreV1DeleteNamespacedPodProxy connect PodProxyOptions
        /api/v1/namespaces/{namespace}/pods/{name}/proxy get connectCoreV1GetNamespacedPodProxy connect PodProxyOptions
        /api/v1/namespaces/{namespace}/pods/{name}/proxy/{path} delete connectCoreV1DeleteNamespacedPodProxyWithPath connect PodProxyOptions
        /api/v1/namespaces/{namespace}/pods/{name}/proxy/{path} get connectCoreV1GetNamespacedPodProxyWithPath connect PodProxyOptions
        /api/v1/nodes delete deleteCoreV1CollectionNode deletecollection Node
        /api/v1/nodes get listCoreV1Node list Node
        /api/v1/nodes post createCoreV1Node post Node
        /api/v1/nodes/{name} delete deleteCoreV1Node delete Node
        /api/v1/nodes/{name} get readCoreV1Node get Node
        /api/v1/nodes/{name} patch patchCoreV1Node patch Node
        /api/v1/nodes/{name} put replaceCoreV1Node put Node
        /api/v1/pods get listCoreV1PodForAllNamespaces list Pod"#]]
    .assert_eq(&lines.join("\n"));
    // What kubectl looks for before it sends `fieldValidation` and `dryRun`.
    let patch = &core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    let names: Vec<&str> =
        patch["parameters"].as_array().expect("parameters").iter().filter_map(|p| p["name"].as_str()).collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    let v2 = parsed(&openapi.v2_json());
    let patch = &v2["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    let names: Vec<&str> =
        patch["parameters"].as_array().expect("parameters").iter().filter_map(|p| p["name"].as_str()).collect();
    assert_eq!(names, ["body", "dryRun", "fieldValidation"]);
}

#[test]
fn definitions_of_built_in_types() {
    let openapi = served();
    let v3 = parsed(&openapi.v3_document("apis/apps/v1").expect("a document"));
    check(
        &v3,
        "/components/schemas/io.k8s.api.apps.v1.DeploymentSpec/properties/strategy",
        expect![[r##"
        {
          "allOf": [
            {
              "$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentStrategy"
            }
          ],
          "default": {},
          "description": "The deployment strategy to use to replace existing pods with new ones.",
          "x-kubernetes-patch-strategy": "retainKeys"
        }"##]],
    );
    check(
        &v3,
        "/components/schemas/io.k8s.api.core.v1.Container/properties/ports",
        expect![[r##"
        {
          "description": "List of ports to expose from the container. Not specifying a port here DOES NOT prevent that port from being exposed. Any port which is listening on the default \"0.0.0.0\" address inside a container will be accessible from the network. Modifying this array with strategic merge patch may corrupt the data. For more information See https://github.com/kubernetes/kubernetes/issues/108255. Cannot be updated.",
          "items": {
            "$ref": "#/components/schemas/io.k8s.api.core.v1.ContainerPort"
          },
          "type": "array",
          "x-kubernetes-list-map-keys": [
            "containerPort",
            "protocol"
          ],
          "x-kubernetes-list-type": "map",
          "x-kubernetes-patch-merge-key": "containerPort",
          "x-kubernetes-patch-strategy": "merge"
        }"##]],
    );
    check(
        &v3,
        "/components/schemas/io.k8s.api.apps.v1.DeploymentList/x-kubernetes-group-version-kind",
        expect![[r#"
        [
          {
            "group": "apps",
            "kind": "DeploymentList",
            "version": "v1"
          }
        ]"#]],
    );
    check(
        &v3,
        "/components/schemas/io.k8s.apimachinery.pkg.util.intstr.IntOrString/oneOf",
        expect![[r#"
        [
          {
            "type": "integer"
          },
          {
            "type": "string"
          }
        ]"#]],
    );
    assert!(v3.pointer("/components/schemas/io.k8s.api.apps.v1.Deployment/required").is_none());
    assert_eq!(
        v3["components"]["schemas"]["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]["default"],
        "TCP"
    );
    let v2 = parsed(&openapi.v2_json());
    check(
        &v2,
        "/definitions/io.k8s.api.apps.v1.DeploymentSpec/properties/strategy",
        expect![[r##"
        {
          "$ref": "#/definitions/io.k8s.api.apps.v1.DeploymentStrategy",
          "description": "The deployment strategy to use to replace existing pods with new ones.",
          "x-kubernetes-patch-strategy": "retainKeys"
        }"##]],
    );
    assert_eq!(v2["definitions"]["io.k8s.apimachinery.pkg.api.resource.Quantity"]["type"], "string");
}

#[test]
fn definitions_of_custom_resources() {
    let openapi = served();
    let v3 = parsed(&openapi.v3_document("apis/shop.example.com/v1").expect("a document"));
    check(
        &v3,
        "/components/schemas/com.example.shop.v1.Widget/properties/spec/properties/size",
        expect![[r#"
        {
          "default": 3,
          "format": "int32",
          "maximum": 9,
          "minimum": 1,
          "type": "integer"
        }"#]],
    );
    assert!(v3.pointer("/components/schemas/com.example.shop.v1.WidgetList").is_some());
    let v2 = parsed(&openapi.v2_json());
    check(
        &v2,
        "/definitions/com.example.shop.v1.Widget/properties/spec",
        expect![[r#"
        {
          "properties": {
            "extra": {
              "x-kubernetes-preserve-unknown-fields": true
            },
            "mode": {
              "enum": [
                "a",
                "b"
              ]
            },
            "port": {
              "x-kubernetes-int-or-string": true
            },
            "size": {
              "format": "int32",
              "maximum": 9,
              "minimum": 1,
              "type": "integer"
            }
          },
          "required": [
            "size"
          ],
          "type": "object"
        }"#]],
    );
}

/// A field of a protobuf message: its number and, if it has a length, its bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = bytes.split_first().expect("a byte");
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                varint(&mut bytes);
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut bytes)).expect("a length"),
            other => panic!("wire type {other}"),
        };
        let (value, rest) = bytes.split_at(length);
        bytes = rest;
        out.push((key >> 3, value));
    }
    out
}

fn inner<'b>(bytes: &'b [u8], path: &[u64]) -> Vec<&'b [u8]> {
    path.iter().fold(vec![bytes], |found, number| {
        found.iter().flat_map(|bytes| fields(bytes)).filter(|(n, _)| n == number).map(|(_, value)| value).collect()
    })
}

#[test]
fn protobuf_says_what_json_says() {
    let openapi = served();
    let (json, protobuf) = (parsed(&openapi.v2_json()), openapi.v2_protobuf());
    let names = |path: &[u64]| -> Vec<&str> {
        inner(&protobuf.bytes, path).into_iter().map(|n| std::str::from_utf8(n).expect("text")).collect()
    };
    let keys =
        |name: &str| -> Vec<&str> { json[name].as_object().expect("an object").keys().map(String::as_str).collect() };
    assert_eq!(names(&[1]), ["2.0"]);
    assert_eq!(names(&[8, 2, 1]), keys("paths"));
    assert_eq!(names(&[9, 1, 1]), keys("definitions"));
    assert_eq!(names(&[10, 1, 1]), keys("parameters"));
    // The strategy of a deployment: property, reference, extension with its YAML.
    let spec = inner(&protobuf.bytes, &[9, 1])
        .into_iter()
        .find(|d| inner(d, &[1]) == [b"io.k8s.api.apps.v1.DeploymentSpec"])
        .expect("the definition");
    let strategy =
        inner(spec, &[2, 25, 1]).into_iter().find(|p| inner(p, &[1]) == [b"strategy"]).expect("the property");
    assert_eq!(inner(strategy, &[2, 1]), [b"#/definitions/io.k8s.api.apps.v1.DeploymentStrategy"]);
    assert_eq!(inner(strategy, &[2, 31, 1]), [b"x-kubernetes-patch-strategy"]);
    assert_eq!(inner(strategy, &[2, 31, 2, 2]), [b"\"retainKeys\"\n"]);
    // The query parameter that kubectl looks for.
    let item = inner(&protobuf.bytes, &[8, 2])
        .into_iter()
        .find(|p| inner(p, &[1]) == [b"/api/v1/nodes/{name}"])
        .expect("the path");
    assert_eq!(inner(item, &[2, 8, 8, 1, 2, 3, 4]), [b"dryRun".as_slice(), b"fieldValidation"]);
}
