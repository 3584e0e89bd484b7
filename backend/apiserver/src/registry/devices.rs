//! Administrators' access to devices that others use: only claims in namespaces that are labelled for it may ask for
//! it or be given it.
//! Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/dynamic-resource-allocation/#admin-access>

use pilothouse_api::field::{Error, ErrorList, Path};
use pilothouse_kinds::Kind;
use pilothouse_storage::Key;
use serde_json::Value;

use super::metadata;
use crate::server::Server;

const LABEL: &str = "resource.kubernetes.io/admin-access";

/// What a new claim or template may not ask for.
pub fn asked(server: &Server, kind: &Kind, object: &Value) -> ErrorList {
    let spec = match (&*kind.group, &*kind.plural) {
        ("resource.k8s.io", "resourceclaims") => &object["spec"],
        ("resource.k8s.io", "resourceclaimtemplates") => &object["spec"]["spec"],
        _ => return ErrorList::new(),
    };
    let requests = spec["devices"]["requests"].as_array().map(Vec::as_slice).unwrap_or_default();
    // Upstream's path, for a template too.
    let path = Path::new("spec").child("devices").child("requests");
    let first = requests.iter().position(|request| request["exactly"]["adminAccess"] == true);
    refused(server, object, first.map(|index| path.index(index)))
}

/// What a claim's status may not be given, if it was not before.
pub fn given(server: &Server, kind: &Kind, new: &Value, old: &Value) -> ErrorList {
    if (&*kind.group, &*kind.plural) != ("resource.k8s.io", "resourceclaims") {
        return ErrorList::new();
    }
    let first = |claim: &Value| {
        let results = claim["status"]["allocation"]["devices"]["results"].as_array();
        results.and_then(|results| results.iter().position(|result| result["adminAccess"] == true))
    };
    let path = Path::new("status").child("allocation").child("devices").child("results");
    let index = first(new).filter(|_| first(old).is_none());
    refused(server, new, index.map(|index| path.index(index)))
}

fn refused(server: &Server, object: &Value, at: Option<Path>) -> ErrorList {
    let Some(at) = at else { return ErrorList::new() };
    let namespace = server.store.get(&Key::new("namespaces", "", metadata::text(object, "namespace")));
    if namespace.is_some_and(|namespace| namespace.value()["metadata"]["labels"][LABEL] == "true") {
        return ErrorList::new();
    }
    let why = format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
    vec![Error::forbidden(at.child("adminAccess"), why)]
}
