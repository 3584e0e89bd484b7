//! An APIService for every group version that we serve ourselves, definitions' included.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use http::Method;
use pilothouse_api::Status;
use pilothouse_storage::WatchItem;
use serde_json::{Value, json};
use tracing::warn;

use super::{RESOURCE, availability};
use crate::bootstrap::{absent_is_fine, accept_race, send};
use crate::registry::metadata;
use crate::server::ApiServer;

/// Says that we made it: `onstart` for built-in groups, `true` for those of definitions.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
const COLLECTION: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
/// How often it is looked whether other kinds are served now.
const PERIOD: Duration = Duration::from_millis(500);
/// APIServices that are written at once.
const AT_ONCE: usize = 16;
/// The priorities of definitions' groups.
const CUSTOM: (i64, i64) = (1000, 100);

/// Priorities of groups and their versions, upstream's.
const PRIORITIES: &[(&str, i64, &[(&str, i64)])] = &[
    ("", 18_000, &[("v1", 1)]),
    ("apps", 17_800, &[("v1", 15)]),
    ("events.k8s.io", 17_750, &[("v1", 15)]),
    ("authentication.k8s.io", 17_700, &[("v1", 15)]),
    ("authorization.k8s.io", 17_600, &[("v1", 15)]),
    ("autoscaling", 17_500, &[("v2", 30), ("v1", 15)]),
    ("batch", 17_400, &[("v1", 15)]),
    ("certificates.k8s.io", 17_300, &[("v1", 15)]),
    ("networking.k8s.io", 17_200, &[("v1", 15)]),
    ("policy", 17_100, &[("v1", 15)]),
    ("rbac.authorization.k8s.io", 17_000, &[("v1", 15)]),
    ("storage.k8s.io", 16_800, &[("v1", 15)]),
    ("apiextensions.k8s.io", 16_700, &[("v1", 15)]),
    ("admissionregistration.k8s.io", 16_700, &[("v1", 15)]),
    ("scheduling.k8s.io", 16_600, &[("v1", 15)]),
    ("coordination.k8s.io", 16_500, &[("v1", 15)]),
    ("node.k8s.io", 16_300, &[("v1", 15)]),
    ("discovery.k8s.io", 16_200, &[("v1", 15)]),
    ("flowcontrol.apiserver.k8s.io", 16_100, &[("v1", 21)]),
    ("resource.k8s.io", 15_900, &[("v1", 15)]),
];

/// The group of APIServices needs none of its own.
const OWN: &str = "apiregistration.k8s.io";

fn wanted(group: &str, version: &str, custom: bool) -> Value {
    let known = PRIORITIES.iter().find(|(name, ..)| *name == group);
    let (group_priority, version_priority) = known.map_or(CUSTOM, |(_, priority, versions)| {
        (*priority, versions.iter().find(|(name, _)| *name == version).map_or(1, |(_, priority)| *priority))
    });
    let mut spec =
        json!({"version": version, "groupPriorityMinimum": group_priority, "versionPriority": version_priority});
    if !group.is_empty() {
        spec["group"] = json!(group);
    }
    let managed = if custom { "true" } else { "onstart" };
    json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("{version}.{group}"), "labels": {(MANAGED): managed}}, "spec": spec})
}

pub async fn run(api: &ApiServer) {
    let mut stamp = None;
    loop {
        let (now, revision) = (api.0.kinds.stamp(), api.0.store.revision());
        match round(api).await {
            Ok(()) => stamp = Some(now),
            Err(status) => warn!(%status, "the APIServices of our own groups could not be kept in order"),
        }
        wait(api, revision, stamp).await;
    }
}

/// Until other kinds are served, or an APIService has changed.
async fn wait(api: &ApiServer, revision: u64, stamp: Option<u64>) {
    let other_kinds = async {
        loop {
            tokio::time::sleep(PERIOD).await;
            if stamp != Some(api.0.kinds.stamp()) {
                return;
            }
        }
    };
    let changed = async {
        if let Ok(mut watcher) = api.0.store.watch(RESOURCE, None, None, revision) {
            loop {
                match watcher.next().await {
                    WatchItem::Progress(_) => {}
                    WatchItem::Closed => break,
                    _ => return,
                }
            }
        }
        std::future::pending().await
    };
    tokio::select! {
        () = other_kinds => {}
        () = changed => {}
    }
}

async fn round(api: &ApiServer) -> Result<(), Status> {
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    for group in api.0.kinds.groups() {
        for kind in group.kinds.iter().filter(|kind| kind.group != OWN) {
            let object = wanted(&kind.group, &kind.version, kind.is_custom());
            all.insert(metadata::text(&object, "name").to_owned(), object);
        }
    }
    let stored: BTreeMap<String, Value> = api
        .0
        .store
        .list(RESOURCE, None)
        .items
        .iter()
        .map(|object| (object.key.name.to_string(), object.value()))
        .collect();
    let writes: Vec<_> = all.iter().map(|(name, wanted)| one(api, stored.get(name), wanted)).collect();
    let mut writes = futures::stream::iter(writes).buffer_unordered(AT_ONCE);
    while let Some(outcome) = writes.next().await {
        outcome?;
    }
    // Groups whose definitions are gone.
    for (name, object) in stored.iter().filter(|(name, _)| !all.contains_key(*name)) {
        if object["metadata"]["labels"][MANAGED].is_string() && object["spec"]["service"].is_null() {
            absent_is_fine(send(api, Method::DELETE, &format!("{COLLECTION}/{name}"), None).await)?;
        }
    }
    Ok(())
}

async fn one(api: &ApiServer, stored: Option<&Value>, wanted: &Value) -> Result<(), Status> {
    let created;
    let stored = match stored {
        Some(stored) => stored,
        None => match send(api, Method::POST, COLLECTION, Some(wanted)).await {
            Ok(object) => {
                created = object;
                &created
            }
            Err(status) => return accept_race(Err(status)),
        },
    };
    if !stored["spec"]["service"].is_null() {
        return Ok(());
    }
    availability::available(api, stored, true, "Local", "Local APIServices are always available").await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_groups() {
        let core = wanted("", "v1", false);
        assert_eq!(core["metadata"]["name"], "v1.");
        assert_eq!(core["spec"], json!({"version": "v1", "groupPriorityMinimum": 18000, "versionPriority": 1}));
        let custom = wanted("example.com", "v1", true);
        assert_eq!(custom["spec"]["groupPriorityMinimum"], 1000);
        assert_eq!(custom["metadata"]["labels"][MANAGED], "true");
        for kind in pilothouse_kinds::builtin() {
            let ours = kind.group == "pilothouse.io" || kind.group == OWN;
            assert!(
                ours || PRIORITIES.iter().any(|(group, ..)| *group == kind.group),
                "{} has no priority",
                kind.group
            );
        }
    }
}
