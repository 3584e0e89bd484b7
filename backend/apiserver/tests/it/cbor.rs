//! Clients that speak CBOR: <https://github.com/kubernetes/enhancements/tree/master/keps/sig-api-machinery/4222-cbor-serializer>.

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use serde_json::{Value, json};

use crate::support::{TestCluster, names};

const CBOR: &str = "application/cbor";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

/// What upstream's clients would make of the bytes: definite lengths, strings as bytes.
fn read(from: &mut Decoder<'_>) -> Value {
    match from.datatype().unwrap() {
        Type::Tag => {
            assert_eq!(from.tag().unwrap().as_u64(), 55_799, "only what says that this is CBOR is tagged");
            read(from)
        }
        Type::Map => {
            let length = from.map().unwrap().unwrap();
            let field = |_| (String::from_utf8(from.bytes().unwrap().to_vec()).unwrap(), read(from));
            Value::Object((0..length).map(field).collect())
        }
        Type::Array => {
            let length = from.array().unwrap().unwrap();
            Value::Array((0..length).map(|_| read(from)).collect())
        }
        Type::Bytes => Value::String(String::from_utf8(from.bytes().unwrap().to_vec()).unwrap()),
        Type::Bool => Value::Bool(from.bool().unwrap()),
        Type::Null => {
            from.null().unwrap();
            Value::Null
        }
        _ => Value::from(i64::try_from(from.int().unwrap()).unwrap()),
    }
}

fn all(bytes: &[u8]) -> Vec<Value> {
    let mut from = Decoder::new(bytes);
    let mut documents = Vec::new();
    while from.position() < bytes.len() {
        assert!(bytes[from.position()..].starts_with(b"\xd9\xd9\xf7"), "each document says what it is");
        documents.push(read(&mut from));
    }
    documents
}

fn one(bytes: &[u8]) -> Value {
    let mut documents = all(bytes);
    assert_eq!(documents.len(), 1);
    documents.remove(0)
}

fn write(out: &mut Encoder<Vec<u8>>, value: &Value) {
    match value {
        Value::Object(fields) => {
            out.map(fields.len() as u64).unwrap();
            for (name, field) in fields {
                out.str(name).unwrap();
                write(out, field);
            }
        }
        Value::String(text) => drop(out.bytes(text.as_bytes()).unwrap()),
        Value::Number(number) => drop(out.i64(number.as_i64().unwrap()).unwrap()),
        other => panic!("no test writes {other}"),
    }
}

fn cbor(value: &Value) -> Vec<u8> {
    let mut out = Encoder::new(Vec::new());
    write(&mut out, value);
    out.into_writer()
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_lists_tables_and_watches() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let both = [("content-type", CBOR), ("accept", CBOR)];
    let made = admin.send("POST", MAPS, &both, cbor(&config_map("one"))).await;
    assert_eq!((made.status, made.header("content-type")), (201, CBOR));
    let made = one(&made.body);
    assert_eq!(made, admin.get(&format!("{MAPS}/one")).await.expect(200));

    // Bytes are bytes, not base64.
    let mut out = Encoder::new(Vec::new());
    out.map(4).unwrap();
    for (name, text) in [("apiVersion", "v1"), ("kind", "Secret")] {
        out.str(name).unwrap().str(text).unwrap();
    }
    out.str("metadata").unwrap().map(1).unwrap().str("name").unwrap().str("s").unwrap();
    out.str("data").unwrap().map(1).unwrap().str("key").unwrap();
    out.tag(minicbor::data::Tag::new(22)).unwrap().bytes(&[0xff, 0, 1]).unwrap();
    let secret = admin.send("POST", SECRETS, &[("content-type", CBOR)], out.into_writer()).await.expect(201);
    assert_eq!(secret["data"]["key"], "/wAB");

    let list = one(&admin.send("GET", MAPS, &[("accept", CBOR)], "").await.body);
    assert!(list["kind"] == "ConfigMapList" && names(&list).contains(&"one"), "{list}");
    let table = "application/cbor;as=Table;v=v1;g=meta.k8s.io";
    let table = one(&admin.send("GET", &format!("{MAPS}/one"), &[("accept", table)], "").await.body);
    assert_eq!(table["rows"][0]["cells"][0], "one");

    let watch = format!("{MAPS}?watch=true&fieldSelector=metadata.name%3Done&timeoutSeconds=1");
    let watch = admin.send("GET", &watch, &[("accept", CBOR)], "").await;
    assert_eq!(watch.header("content-type"), "application/cbor-seq");
    assert_eq!(all(&watch.body), [json!({"type": "ADDED", "object": made})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_and_bad_documents() {
    let cluster = TestCluster::start().await;
    let admin = cluster.admin();
    let apply = [("content-type", "application/apply-patch+cbor")];
    let path = format!("{MAPS}/applied?fieldManager=me");
    let applied = admin.send("PATCH", &path, &apply, cbor(&config_map("applied"))).await.expect(201);
    assert_eq!(applied["metadata"]["managedFields"][0]["operation"], "Apply");

    let mut unknown = config_map("unknown");
    unknown["nonsense"] = json!(1);
    let strict = format!("{MAPS}?fieldValidation=Strict");
    let reply = admin.send("POST", &strict, &[("content-type", CBOR)], cbor(&unknown)).await;
    assert!(reply.status == 400 && reply.message().contains("unknown field \"nonsense\""), "{}", reply.text());
    for body in [&b"\xa1\x61a"[..], b"\xff\xff", b"{\"kind\":\"ConfigMap\"}"] {
        let reply = admin.send("POST", MAPS, &[("content-type", CBOR)], body.to_vec()).await;
        assert_eq!(reply.said(), "400 BadRequest", "{body:x?}");
    }
}
