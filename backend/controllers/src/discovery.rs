//! Which resources the API serves, custom ones included: what the namespace controller and the garbage collector
//! work on.

use futures::future::join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::Client;
use kube::api::ApiResource;

use crate::error::{Error, Result};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub kind: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
}

impl Resource {
    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    pub fn api_resource(&self) -> ApiResource {
        ApiResource {
            group: self.group.clone(),
            version: self.version.clone(),
            api_version: self.api_version(),
            kind: self.kind.clone(),
            plural: self.plural.clone(),
        }
    }

    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `pods`, `deployments.apps`
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }
}

#[derive(Debug, Default)]
pub struct Found {
    /// Each resource once, in its group's preferred version where that has it; sorted.
    pub resources: Vec<Resource>,
    /// Groups that could not be read, with the reason: what is in them is unknown.
    pub failures: Vec<String>,
}

/// Asks for the groups and then for each group version's resources.
pub async fn discover(client: &Client) -> Result<Found> {
    let groups = client.list_api_groups().await.map_err(Error::Api)?;
    let mut found = Found::default();
    match client.list_core_api_resources("v1").await {
        Ok(list) => add(&mut found.resources, "", "v1", list),
        Err(error) => found.failures.push(format!("v1: {}", Error::Api(error))),
    }
    let wanted = groups.groups.iter().flat_map(|group| {
        let preferred = group.preferred_version.as_ref().map(|v| v.group_version.clone());
        let rest = group.versions.iter().map(|v| v.group_version.clone()).filter(|v| Some(v) != preferred.as_ref());
        preferred.clone().into_iter().chain(rest.collect::<Vec<_>>())
    });
    let lists = wanted.map(|group_version| async move {
        let list = client.list_api_group_resources(&group_version).await;
        (group_version, list)
    });
    for (group_version, list) in join_all(lists).await {
        let Some((group, version)) = group_version.split_once('/') else { continue };
        match list {
            Ok(list) => add(&mut found.resources, group, version, list),
            Err(error) => found.failures.push(format!("{group_version}: {}", Error::Api(error))),
        }
    }
    found.resources.sort();
    Ok(found)
}

fn add(resources: &mut Vec<Resource>, group: &str, version: &str, list: APIResourceList) {
    for item in list.resources {
        let known = |r: &Resource| r.group == group && r.plural == item.name;
        // The preferred version comes first; another version of the same resource shows the same objects.
        if item.name.contains('/') || resources.iter().any(known) {
            continue;
        }
        resources.push(Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: item.name,
            kind: item.kind,
            namespaced: item.namespaced,
            verbs: item.verbs,
        });
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResource;

    use super::*;

    #[test]
    fn subresources_and_further_versions_are_left_out() {
        let list = |names: &[&str]| APIResourceList {
            group_version: String::new(),
            resources: names.iter().map(|n| APIResource { name: (*n).into(), ..Default::default() }).collect(),
        };
        let mut resources = Vec::new();
        add(
            &mut resources,
            "autoscaling",
            "v2",
            list(&["horizontalpodautoscalers", "horizontalpodautoscalers/status"]),
        );
        add(&mut resources, "autoscaling", "v1", list(&["horizontalpodautoscalers", "olds"]));
        let names: Vec<_> = resources.iter().map(|r| format!("{} {}", r.api_version(), r.group_resource())).collect();
        assert_eq!(names, ["autoscaling/v2 horizontalpodautoscalers.autoscaling", "autoscaling/v1 olds.autoscaling"]);
    }
}
