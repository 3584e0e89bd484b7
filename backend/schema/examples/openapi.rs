//! Shows the OpenAPI documents of the resources in a table, or serves them so that kubectl can be pointed at them:
//!
//! ```text
//! openapi resources.tsv v2 | v2.pb | v3 | v3/apis/apps/v1
//! openapi resources.tsv serve 127.0.0.1:8080
//! ```
//! The table has tab-separated columns: group version (`apps/v1`), resource (`deployments` or `deployments/scale`),
//! kind, scope (`Namespaced` or `Cluster`), comma-separated verbs, short names.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use pilothouse_schema::openapi::{ApiResource, ApiSubresource, Definition, Document, OpenApi};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [table, what, rest @ ..] = args.as_slice() else { return Err("usage: openapi TABLE WHAT".into()) };
    let resources = read(&std::fs::read_to_string(table)?);
    let openapi = OpenApi::new(resources.clone());
    if what == "serve" {
        let address = rest.first().map_or("127.0.0.1:0", String::as_str);
        return serve(TcpListener::bind(address)?, &openapi, &resources);
    }
    let document = document(&openapi, &format!("/openapi/{what}"), what == "v2.pb").ok_or("no such document")?;
    std::io::stdout().write_all(&document.bytes)?;
    Ok(())
}

fn document(openapi: &OpenApi, path: &str, protobuf: bool) -> Option<Document> {
    match path.strip_prefix("/openapi/")? {
        "v2" | "v2.pb" if protobuf => Some(openapi.v2_protobuf()),
        "v2" => Some(openapi.v2_json()),
        "v3" => Some(openapi.v3_index()),
        path => openapi.v3_document(path.strip_prefix("v3/")?),
    }
}

fn read(table: &str) -> Vec<ApiResource> {
    let mut out: Vec<ApiResource> = Vec::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<String> = line.split('\t').map(str::to_owned).collect();
        let [group_version, name, kind, scope, verbs, ..] = cells.as_slice() else { continue };
        let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
        let verbs = verbs.split(',').map(|verb| verb.to_owned().into()).collect();
        match name.split_once('/') {
            None => out.push(ApiResource {
                group: group.to_owned().into(),
                version: version.to_owned().into(),
                kind: kind.clone().into(),
                list_kind: "".into(),
                name: name.clone().into(),
                namespaced: scope == "Namespaced",
                verbs,
                definition: Definition::Builtin,
                subresources: Vec::new(),
            }),
            Some((of, sub)) => {
                let (group, version) = match kind.as_str() {
                    "Scale" => ("autoscaling", "v1"),
                    "Eviction" => ("policy", "v1"),
                    "TokenRequest" => ("authentication.k8s.io", "v1"),
                    _ => (group, version),
                };
                let sub = ApiSubresource {
                    name: sub.to_owned().into(),
                    group: group.to_owned().into(),
                    version: version.to_owned().into(),
                    kind: kind.clone().into(),
                    verbs,
                };
                if let Some(resource) = out.iter_mut().rev().find(|r| r.name == of) {
                    resource.subresources.push(sub);
                }
            }
        }
    }
    out
}

fn serve(
    listener: TcpListener,
    openapi: &OpenApi,
    resources: &[ApiResource],
) -> Result<(), Box<dyn std::error::Error>> {
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    for stream in listener.incoming() {
        if let Err(error) = answer(stream?, openapi, resources) {
            writeln!(std::io::stderr(), "{error}")?;
        }
    }
    Ok(())
}

/// Answers the one request of a connection.
fn answer(stream: TcpStream, openapi: &OpenApi, resources: &[ApiResource]) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut protobuf = false;
    for line in lines {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        protobuf |= line.starts_with("accept:") && line.contains("openapi.spec.v2@v1.0+protobuf");
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let (code, of, body) = match document(openapi, path, protobuf) {
        Some(document) if path == "/openapi/v2" && protobuf => {
            (200, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf", document.bytes.to_vec())
        }
        Some(document) => (200, "application/json", document.bytes.to_vec()),
        None => match discovery(path, resources) {
            Some(value) => (200, "application/json", value.to_string().into_bytes()),
            None => (
                404,
                "application/json",
                json!({"kind": "Status", "apiVersion": "v1", "code": 404, "status": "Failure", "reason": "NotFound"})
                    .to_string()
                    .into_bytes(),
            ),
        },
    };
    writeln!(std::io::stderr(), "{request} -> {code}, {} bytes", body.len())?;
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {code} OK\r\nContent-Type: {of}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)
}

fn discovery(path: &str, resources: &[ApiResource]) -> Option<Value> {
    let mut versions: Vec<(&str, &str)> = resources.iter().map(|r| (&*r.group, &*r.version)).collect();
    versions.dedup();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    Some(match parts.as_slice() {
        ["version"] => json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0"}),
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"]}),
        ["apis"] => {
            let groups: Vec<Value> = versions
                .iter()
                .filter(|(group, _)| !group.is_empty())
                .map(|(group, version)| {
                    let version = json!({"groupVersion": format!("{group}/{version}"), "version": version});
                    json!({"name": group, "versions": [version], "preferredVersion": version})
                })
                .collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["api", version] => resource_list("", version, resources),
        ["apis", group, version] => resource_list(group, version, resources),
        _ => return None,
    })
}

fn resource_list(group: &str, version: &str, resources: &[ApiResource]) -> Value {
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let list: Vec<Value> = resources
        .iter()
        .filter(|r| r.group == group && r.version == version)
        .map(|r| json!({"name": r.name, "singularName": "", "namespaced": r.namespaced, "kind": r.kind, "verbs": r.verbs}))
        .collect();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list})
}
