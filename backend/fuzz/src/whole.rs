//! Whole requests to a whole server.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use pilothouse_access::{UserInfo, groups};
use pilothouse_apiserver::{ApiServer, InProcess, testing};
use pilothouse_storage::testing::shared;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::damage::Program;
use crate::good;

/// Everything is answered sooner, watches of a second included.
const PATIENCE: Duration = Duration::from_secs(30);
const METHODS: [&str; 8] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW"];
const CONTENT_TYPES: [&str; 10] = [
    "application/json",
    "application/yaml",
    "application/cbor",
    "application/vnd.kubernetes.protobuf",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/apply-patch+cbor",
    "text/plain",
];
const ACCEPTS: [&str; 7] = [
    "*/*",
    "application/yaml",
    "application/cbor",
    "application/vnd.kubernetes.protobuf",
    "application/json;as=Table;g=meta.k8s.io;v=v1",
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    "image/png",
];

struct Whole {
    runtime: Runtime,
    api: ApiServer,
}

static WHOLE: LazyLock<Whole> = LazyLock::new(|| {
    let runtime = Runtime::new().expect("a runtime");
    let api = runtime.block_on(async {
        let url = shared().await.database().await;
        let (api, _, shutdown) = testing::start(pilothouse_storage::Config::new(&url)).await;
        // It lives as long as the process.
        std::mem::forget(shutdown);
        api
    });
    Whole { runtime, api }
});

/// Any request gets an answer: what went well, or a `Status` that says what did not. 500 is ours alone.
pub fn request(input: &[u8]) {
    let mut program = Program::new(input);
    let method = *program.choose(&METHODS);
    let content_type = *program.choose(&CONTENT_TYPES);
    let accept = *program.choose(&ACCEPTS);
    let path = program.document(good::PATHS);
    let bodies: [&[&str]; 5] =
        [good::OBJECTS, good::JSON_PATCHES, good::MERGE_PATCHES, good::DEFINITIONS, good::OPTIONS];
    let good = *program.choose(&bodies);
    let body = program.document(good);
    let Ok(path) = http::Uri::try_from(path) else { return };
    let long = path.query().is_some_and(|query| query.contains("watch=") || query.contains("follow="));
    if long && !path.query().is_some_and(|query| query.contains("timeoutSeconds=1")) {
        return;
    }
    let user = UserInfo::new("admin", &[groups::MASTERS, groups::AUTHENTICATED]);
    let built = Request::builder()
        .method(method)
        .uri(path.clone())
        .header("content-type", content_type)
        .header("accept", accept);
    let Ok(mut request) = built.body(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync())
    else {
        return;
    };
    request.extensions_mut().insert(InProcess(Arc::new(user)));
    let Whole { runtime, api } = &*WHOLE;
    let answer = async {
        let (parts, body) = api.handle(request).await.into_parts();
        (parts.status.as_u16(), parts.headers, body.collect().await.map(|body| body.to_bytes()).unwrap_or_default())
    };
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, answer).await });
    let (code, headers, body) = answer.unwrap_or_else(|_| panic!("no answer to {method} {path}"));
    // A failure comes in the format that the client asked for.
    let status = if code >= 400 { testing::read(&headers, &body).unwrap_or_default() } else { Value::Null };
    let said = String::from_utf8_lossy(&body);
    // Upstream's own 500s, for faults of the client that it has no code of: they have no reason.
    let told = |field: &str| status[field].as_str().unwrap_or_default();
    let owned_up = told("reason").is_empty() && !told("message").is_empty();
    assert!(code < 500 || matches!(code, 501 | 503 | 504) || owned_up, "{method} {path}: {code} {said}");
    if code >= 400 && method != "HEAD" {
        assert_eq!(status["kind"], "Status", "{method} {path}: {code} {said}");
        assert_eq!(status["code"], code, "{method} {path}: {said}");
    }
}
