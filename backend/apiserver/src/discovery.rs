//! What is served: both forms of discovery, and `/version`.
//! Source: <https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api>

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use base64::Engine;
use bytes::Bytes;
use http::StatusCode;
use http::header::{ETAG, IF_NONE_MATCH, VARY};
use parking_lot::Mutex;
use pilothouse_api::Status;
use pilothouse_kinds::{Kind, Subresource};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::aggregation::{self, RemoteGroup};
use crate::body;
use crate::negotiate::{self, Media, accepts};
use crate::registry::Kinds;
use crate::registry::kinds::Group;
use crate::registry::render::document;
use crate::server::{Answer, Call, Server, with_status};

/// The API version we serve; `pilothouse version` and the metrics say which build it is.
pub const MAJOR: &str = "1";
pub const MINOR: &str = "36";

pub fn version() -> Value {
    json!({
        "major": MAJOR, "minor": MINOR, "gitVersion": format!("v{MAJOR}.{MINOR}.0+pilothouse.{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none (rust)",
        "compiler": "rustc", "platform": "linux/amd64",
        "emulationMajor": MAJOR, "emulationMinor": MINOR, "minCompatibilityMajor": MAJOR, "minCompatibilityMinor": "35",
    })
}

/// Groups in upstream's order of preference come first; the others follow by name.
const GROUP_ORDER: [&str; 20] = [
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

fn priority(version: &str) -> (u8, std::cmp::Reverse<u32>, std::cmp::Reverse<u32>) {
    let rest = version.strip_prefix('v').unwrap_or_default();
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (major, stage) = rest.split_at(digits);
    let number = |text: &str| std::cmp::Reverse(text.parse().unwrap_or(0));
    match (stage.strip_prefix("beta"), stage.strip_prefix("alpha")) {
        _ if stage.is_empty() => (0, number(major), number("")),
        (Some(minor), _) => (1, number(major), number(minor)),
        (_, Some(minor)) => (2, number(major), number(minor)),
        _ => (3, number(major), number("")),
    }
}

/// What discovery says of one group.
struct GroupDocuments {
    name: String,
    stamp: u64,
    /// The `APIGroup`, without `kind` and `apiVersion`.
    group: Value,
    /// By version, preferred first: the `APIResourceList`.
    versions: Vec<(String, Bytes)>,
    /// The group's item of the aggregated form.
    aggregated: String,
}

impl GroupDocuments {
    fn new(group: &Group) -> Self {
        let mut by_version: BTreeMap<&str, Vec<&Kind>> = BTreeMap::new();
        for kind in &group.kinds {
            by_version.entry(&kind.version).or_default().push(kind);
        }
        let mut versions: Vec<(&str, Vec<&Kind>)> = by_version.into_iter().collect();
        // autoscaling prefers v2 by this rule; everything GA sorts by number.
        versions.sort_by_key(|(version, _)| priority(version));
        let list = |version: &str, kinds: &[&Kind]| {
            resource_list(&group_version(&group.name, version), kinds).to_string().into()
        };
        Self {
            name: group.name.clone(),
            stamp: group.stamp,
            group: api_group(&group.name, &versions),
            aggregated: aggregated(&group.name, &versions).to_string(),
            versions: versions.iter().map(|(version, kinds)| ((*version).to_owned(), list(version, kinds))).collect(),
        }
    }
}

impl GroupDocuments {
    fn empty(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            stamp: 0,
            group: json!({"name": name, "versions": []}),
            versions: Vec::new(),
            aggregated: json!({"metadata": {"name": name, "creationTimestamp": null}, "versions": []}).to_string(),
        }
    }

    /// With the versions that extension servers serve behind our own. What they serve in each, they say themselves.
    fn with(&self, remote: &RemoteGroup) -> Self {
        let mut group = self.group.clone();
        let mut aggregated: Value = serde_json::from_str(&self.aggregated).unwrap_or_default();
        let own = |version: &Value| self.versions.iter().any(|(known, _)| version["version"] == known.as_str());
        for (to, from) in [(&mut group, &remote.versions), (&mut aggregated, &remote.aggregated)] {
            if let Some(versions) = to["versions"].as_array_mut() {
                versions.extend(from.iter().filter(|version| !own(version)).cloned());
            }
        }
        group["preferredVersion"] = group["versions"][0].clone();
        Self {
            name: self.name.clone(),
            stamp: 0,
            group,
            versions: self.versions.clone(),
            aggregated: aggregated.to_string(),
        }
    }
}

/// An aggregated document and its `ETag`.
#[derive(Clone)]
struct Aggregated {
    text: Bytes,
    etag: String,
}

/// All of discovery, as long as nothing changes.
struct Whole {
    /// Of our own kinds, and of what extension servers serve.
    stamp: (u64, u64),
    /// In the order they are listed.
    groups: Vec<Arc<GroupDocuments>>,
    /// Of `/api` and `/apis`, in both versions of the form.
    aggregated: [OnceLock<Aggregated>; 4],
}

/// What discovery last said. Invariant: a group that did not change is not put into words again.
#[derive(Default)]
pub struct Documents(Mutex<Option<Arc<Whole>>>);

impl Documents {
    fn whole(&self, server: &Server) -> Arc<Whole> {
        let kinds: &Kinds = &server.kinds;
        let mut kept = self.0.lock();
        let stamp = (kinds.stamp(), server.aggregator.stamp(&server.store));
        if let Some(whole) = kept.as_ref().filter(|whole| whole.stamp == stamp) {
            return Arc::clone(whole);
        }
        let before: HashMap<&str, &Arc<GroupDocuments>> =
            kept.iter().flat_map(|whole| &whole.groups).map(|group| (group.name.as_str(), group)).collect();
        let mut remote = aggregation::groups(server.aggregator.listed(&server.store));
        let is_remote = |name: &str, remote: &[RemoteGroup]| remote.iter().any(|group| group.name == name);
        // What others add to is made anew each time: there are few of them.
        let known = |group: &Group| {
            let known = before.get(group.name.as_str()).filter(|known| known.stamp == group.stamp);
            known.filter(|_| !is_remote(&group.name, &remote))
        };
        let mut groups: Vec<Arc<GroupDocuments>> = kinds
            .groups()
            .iter()
            .map(|group| known(group).map_or_else(|| Arc::new(GroupDocuments::new(group)), |known| Arc::clone(known)))
            .collect();
        for group in remote.drain(..) {
            match groups.iter_mut().find(|known| known.name == group.name) {
                Some(known) => *known = Arc::new(known.with(&group)),
                None => groups.push(Arc::new(GroupDocuments::empty(&group.name).with(&group))),
            }
        }
        let place = |group: &str| GROUP_ORDER.iter().position(|known| *known == group).unwrap_or(GROUP_ORDER.len());
        groups.sort_by(|a, b| place(&a.name).cmp(&place(&b.name)).then_with(|| a.name.cmp(&b.name)));
        let whole = Arc::new(Whole { stamp, groups, aggregated: Default::default() });
        *kept = Some(Arc::clone(&whole));
        whole
    }
}

impl Whole {
    fn group(&self, name: &str) -> Option<&GroupDocuments> {
        self.groups.iter().map(|group| &**group).find(|group| group.name == name)
    }

    fn aggregated(&self, core: bool, version: &str) -> &Aggregated {
        let place = 2 * usize::from(core) + usize::from(version == "v2");
        self.aggregated[place].get_or_init(|| {
            let items: Vec<&str> = self
                .groups
                .iter()
                .filter(|group| group.name.is_empty() == core)
                .map(|group| group.aggregated.as_str())
                .collect();
            let text = format!(
                "{{\"kind\":\"APIGroupDiscoveryList\",\"apiVersion\":\"apidiscovery.k8s.io/{version}\",\"metadata\":{{}},\"items\":[{}]}}",
                items.join(",")
            );
            let digest = Sha256::digest(text.as_bytes());
            let digest: String = digest.iter().take(16).map(|byte| format!("{byte:02X}")).collect();
            Aggregated { text: text.into(), etag: format!("\"{digest}\"") }
        })
    }
}

fn storage_version_hash(kind: &Kind) -> String {
    let text = format!("{}/{}/{}", kind.group, kind.version, kind.kind);
    base64::engine::general_purpose::STANDARD.encode(&Sha256::digest(text.as_bytes())[..8])
}

fn resource(kind: &Kind) -> Value {
    let mut value = json!({"name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
                           "kind": kind.kind, "verbs": kind.verbs});
    if !kind.short.is_empty() {
        value["shortNames"] = json!(kind.short);
    }
    if !kind.categories.is_empty() {
        value["categories"] = json!(kind.categories);
    }
    if kind.is_stored() {
        value["storageVersionHash"] = json!(storage_version_hash(kind));
    }
    value
}

fn subresource(kind: &Kind, sub: &Subresource) -> Value {
    let mut value = json!({"name": format!("{}/{}", kind.plural, sub.name), "singularName": "",
                           "namespaced": kind.namespaced, "kind": sub.kind, "verbs": sub.verbs});
    if sub.group != kind.group || sub.version != kind.version {
        if !sub.group.is_empty() {
            value["group"] = json!(sub.group);
        }
        value["version"] = json!(sub.version);
    }
    value
}

/// Resources whose only form is a subresource of nothing stored (`pods/eviction` and the like) are in their parents.
fn resource_list(group_version: &str, kinds: &[&Kind]) -> Value {
    let mut resources = Vec::new();
    for kind in kinds {
        resources.push(resource(kind));
        resources.extend(kind.subresources.iter().map(|sub| subresource(kind, sub)));
    }
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn api_group(group: &str, versions: &[(&str, Vec<&Kind>)]) -> Value {
    let all: Vec<Value> =
        versions.iter().map(|(v, _)| json!({"groupVersion": group_version(group, v), "version": v})).collect();
    json!({"name": group, "versions": all, "preferredVersion": all.first()})
}

fn aggregated_resource(kind: &Kind) -> Value {
    let response = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut value = json!({
        "resource": kind.plural, "responseKind": response(&kind.group, &kind.version, &kind.kind),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" }, "singularResource": kind.singular, "verbs": kind.verbs,
    });
    if !kind.short.is_empty() {
        value["shortNames"] = json!(kind.short);
    }
    if !kind.categories.is_empty() {
        value["categories"] = json!(kind.categories);
    }
    if !kind.subresources.is_empty() {
        let all: Vec<Value> = kind
            .subresources
            .iter()
            .map(|sub| {
                json!({"subresource": sub.name, "responseKind": response(&sub.group, &sub.version, &sub.kind), "verbs": sub.verbs})
            })
            .collect();
        value["subresources"] = json!(all);
    }
    value
}

fn aggregated(group: &str, versions: &[(&str, Vec<&Kind>)]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|(version, kinds)| {
            let resources: Vec<Value> = kinds.iter().map(|kind| aggregated_resource(kind)).collect();
            json!({"version": version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    let metadata = if group.is_empty() {
        json!({"creationTimestamp": null})
    } else {
        json!({"name": group, "creationTimestamp": null})
    };
    json!({"metadata": metadata, "versions": versions})
}

/// The aggregated form, when the client names it.
fn aggregated_version(call: &Call) -> Option<&'static str> {
    ["v2", "v2beta1"].into_iter().find(|version| {
        accepts(
            &call.parts.headers,
            "application/json",
            &[("g", "apidiscovery.k8s.io"), ("v", *version), ("as", "APIGroupDiscoveryList")],
        )
    })
}

/// A document in what the client reads.
fn shown(call: &Call, value: &Value) -> Answer {
    Ok(document(value, negotiate::accept_object(&call.parts)?, StatusCode::OK))
}

fn aggregated_answer(call: &Call, version: &'static str, document: &Aggregated) -> Answer {
    let media = if version == "v2" {
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    } else {
        "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
    };
    let known = call.parts.headers.get(IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == document.etag.as_bytes());
    let mut response = if known {
        with_status(StatusCode::NOT_MODIFIED, media, body::empty())
    } else {
        with_status(StatusCode::OK, media, body::full(document.text.clone()))
    };
    let headers = response.headers_mut();
    headers.insert(VARY, http::HeaderValue::from_static("Accept"));
    if let Ok(etag) = http::HeaderValue::from_str(&document.etag) {
        headers.insert(ETAG, etag);
    }
    Ok(response)
}

/// Answers discovery paths; none for any other.
pub fn answer(server: &Server, call: &Call) -> Option<Answer> {
    let parts: Vec<&str> = call.info.path.split('/').filter(|part| !part.is_empty()).collect();
    let discovery = matches!(parts.as_slice(), ["api" | "apis"] | ["api", _] | ["apis", _] | ["apis", _, _]);
    if !discovery {
        return None;
    }
    // Groups are told whatever the method, as upstream tells them; versions are not.
    let groups_only = matches!(parts.as_slice(), ["apis"] | ["apis", _]);
    let refused = call.info.verb != "get" && !groups_only;
    let whole = server.discovery.whole(server);
    let resources = |group: &str, version: &str| {
        let versions = &whole.group(group)?.versions;
        let (_, list) = versions.iter().find(|(own, _)| own == version)?;
        Some(plain(call, list))
    };
    let answer = match parts.as_slice() {
        ["api"] | ["apis"] if aggregated_version(call).is_some() => {
            let core = parts[0] == "api";
            aggregated_version(call).map(|version| aggregated_answer(call, version, whole.aggregated(core, version)))
        }
        ["api"] => {
            let address = server.config.advertise.map_or(String::new(), |(ip, port)| format!("{ip}:{port}"));
            Some(shown(
                call,
                &json!({"kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]}),
            ))
        }
        ["api", version] => resources("", version),
        ["apis"] => {
            let named = whole.groups.iter().filter(|group| !group.name.is_empty());
            let groups: Vec<&Value> = named.map(|group| &group.group).collect();
            Some(shown(call, &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})))
        }
        ["apis", group] => whole.group(group).map(|group| {
            let mut value = group.group.clone();
            value["kind"] = json!("APIGroup");
            value["apiVersion"] = json!("v1");
            shown(call, &value)
        }),
        ["apis", group, version] => resources(group, version),
        _ => None,
    };
    if refused { answer.map(|_| Err(Status::method_not_allowed())) } else { answer }
}

/// A document that is JSON already.
fn plain(call: &Call, list: &Bytes) -> Answer {
    let wanted = negotiate::accept_object(&call.parts)?;
    if wanted.media == Media::Json {
        return Ok(with_status(StatusCode::OK, "application/json", body::full(list.clone())));
    }
    let value: Value = serde_json::from_slice(list).map_err(Status::internal)?;
    Ok(document(&value, wanted, StatusCode::OK))
}
