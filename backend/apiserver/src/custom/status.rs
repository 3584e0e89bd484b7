//! Writes what [`naming`] decides, one definition after the other, so that no name is given away twice.

use std::collections::{BTreeSet, HashMap};

use http::Method;
use pilothouse_storage::Key;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::naming::{self, Taken};
use super::{DEFINITIONS, FINALIZER, RETRY, cleanup};
use crate::bootstrap::send;
use crate::registry::metadata;
use crate::server::ApiServer;

/// A write that fails is tried again this often before the next change has to bring it back.
const ATTEMPTS: usize = 20;

/// What is known of a definition that is there.
struct Known {
    group: String,
    accepted: Value,
    /// It waits for a name that another one has.
    refused: bool,
}

#[derive(Default)]
struct Index {
    known: HashMap<String, Known>,
    groups: HashMap<String, BTreeSet<String>>,
}

impl Index {
    fn put(&mut self, name: &str, known: Known) {
        self.groups.entry(known.group.clone()).or_default().insert(name.to_owned());
        self.known.insert(name.to_owned(), known);
    }

    /// Those of the group that waited for a name, and may have it now.
    fn remove(&mut self, name: &str) -> Vec<String> {
        let Some(gone) = self.known.remove(name) else { return Vec::new() };
        if let Some(group) = self.groups.get_mut(&gone.group) {
            group.remove(name);
            if group.is_empty() {
                self.groups.remove(&gone.group);
            }
        }
        self.waiting(&gone.group)
    }

    fn waiting(&self, group: &str) -> Vec<String> {
        let members = self.groups.get(group).into_iter().flatten();
        members.filter(|name| self.known.get(*name).is_some_and(|known| known.refused)).cloned().collect()
    }

    fn taken(&self, group: &str, but: &str) -> Taken {
        let mut taken = Taken::default();
        for name in self.groups.get(group).into_iter().flatten().filter(|name| *name != but) {
            if let Some(known) = self.known.get(name) {
                taken.add(&known.accepted);
            }
        }
        taken
    }
}

/// Looks at every definition that changed, until the feed ends.
pub async fn run(api: &ApiServer, mut changes: mpsc::UnboundedReceiver<String>) {
    let mut index = Index::default();
    for stored in &api.0.store.list(DEFINITIONS, None).items {
        let definition = stored.value();
        let group = definition["spec"]["group"].as_str().unwrap_or_default().to_owned();
        let accepted = definition["status"]["acceptedNames"].clone();
        let refused = !super::holds(&definition, "NamesAccepted");
        index.put(&stored.key.name, Known { group, accepted, refused });
    }
    while let Some(name) = changes.recv().await {
        let mut pending = vec![name];
        while let Some(name) = pending.pop() {
            pending.extend(settle(api, &mut index, &name).await);
        }
    }
}

/// Brings one definition's status to what it should be; gives those that have to be looked at in turn.
async fn settle(api: &ApiServer, index: &mut Index, name: &str) -> Vec<String> {
    for _ in 0..ATTEMPTS {
        let Some(stored) = api.0.store.get(&Key::new(DEFINITIONS, "", name)) else { return index.remove(name) };
        let mut definition = stored.value();
        if definition["metadata"]["deletionTimestamp"].is_string() {
            if metadata::finalizers(&definition).contains(&FINALIZER) {
                cleanup::start(api, name);
            }
            return Vec::new();
        }
        let group = definition["spec"]["group"].as_str().unwrap_or_default().to_owned();
        let wanted = naming::status(&definition, &index.taken(&group, name), &metadata::now());
        let changed = wanted.is_some();
        if let Some(status) = wanted {
            definition["status"] = status;
            let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}/status");
            match send(api, Method::PUT, &path, Some(&definition)).await {
                Ok(written) => definition = written,
                Err(status) if matches!(status.code, 404 | 409) => {
                    debug!(name, %status, "a definition changed while its status was computed");
                    continue;
                }
                Err(status) => {
                    warn!(name, %status, "the status of a definition cannot be written; trying again");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
        }
        let refused = !super::holds(&definition, "NamesAccepted");
        let accepted = definition["status"].get("acceptedNames").cloned().unwrap_or(json!({}));
        index.put(name, Known { group: group.clone(), accepted, refused });
        // A name that was given up may be what another one waits for.
        return if changed {
            index.waiting(&group).into_iter().filter(|other| other != name).collect()
        } else {
            Vec::new()
        };
    }
    warn!(name, "the status of a definition could not be written");
    Vec::new()
}
