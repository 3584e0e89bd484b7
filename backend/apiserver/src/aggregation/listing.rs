//! What extension servers serve, in the words of discovery.

use serde_json::{Value, json};

use super::Listed;

/// One group of extension servers, its versions in the order of their priorities.
pub struct RemoteGroup {
    pub name: String,
    /// `{groupVersion, version}` of the plain form.
    pub versions: Vec<Value>,
    /// Of the aggregated form.
    pub aggregated: Vec<Value>,
}

/// Sorts what is listed into groups, those of high priority first.
pub fn groups(listed: Vec<Listed>) -> Vec<RemoteGroup> {
    let mut listed = listed;
    listed.sort_by(|a, b| {
        let by = |l: &Listed| (-l.remote.group_priority, l.remote.group.clone(), -l.remote.version_priority);
        by(a).cmp(&by(b)).then_with(|| b.remote.version.cmp(&a.remote.version))
    });
    let mut groups: Vec<RemoteGroup> = Vec::new();
    for Listed { remote, offer } in listed {
        let freshness = if remote.available { "Current" } else { "Stale" };
        let version =
            json!({"groupVersion": format!("{}/{}", remote.group, remote.version), "version": remote.version});
        let resources = aggregated(&remote.group, &remote.version, &offer.resources);
        let all = json!({"version": remote.version, "resources": resources, "freshness": freshness});
        let at = groups.iter().position(|group| group.name == remote.group).unwrap_or_else(|| {
            groups.push(RemoteGroup { name: remote.group.clone(), versions: Vec::new(), aggregated: Vec::new() });
            groups.len() - 1
        });
        groups[at].versions.push(version);
        groups[at].aggregated.push(all);
    }
    groups
}

/// The resources of an APIResourceList in the aggregated form.
fn aggregated(group: &str, version: &str, resources: &[Value]) -> Vec<Value> {
    let response = |resource: &Value| {
        let or = |field: &str, default: &str| {
            resource[field].as_str().filter(|t| !t.is_empty()).unwrap_or(default).to_owned()
        };
        json!({"group": or("group", group), "version": or("version", version), "kind": resource["kind"]})
    };
    let name = |resource: &Value| resource["name"].as_str().unwrap_or_default().to_owned();
    let mut all: Vec<Value> = Vec::new();
    for resource in resources.iter().filter(|resource| !name(resource).contains('/')) {
        let mut item = json!({
            "resource": resource["name"], "responseKind": response(resource), "verbs": resource["verbs"],
            "scope": if resource["namespaced"] == true { "Namespaced" } else { "Cluster" },
            "singularResource": resource["singularName"],
        });
        for field in ["shortNames", "categories"] {
            if resource[field].is_array() {
                item[field] = resource[field].clone();
            }
        }
        let prefix = format!("{}/", name(resource));
        let below: Vec<Value> = resources
            .iter()
            .filter_map(|sub| {
                let name = name(sub);
                let own = name.strip_prefix(&prefix)?;
                Some(json!({"subresource": own, "responseKind": response(sub), "verbs": sub["verbs"]}))
            })
            .collect();
        if !below.is_empty() {
            item["subresources"] = json!(below);
        }
        all.push(item);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregation::{Offer, services};

    #[test]
    fn resources_are_put_into_the_other_form() {
        let service = |version: &str, priority: i64, available: bool| {
            let status = if available { "True" } else { "False" };
            services::remote(&json!({"metadata": {"name": format!("{version}.wardle.example.com")},
                "spec": {"group": "wardle.example.com", "version": version, "groupPriorityMinimum": 2000,
                    "versionPriority": priority, "service": {"namespace": "a", "name": "b"}},
                "status": {"conditions": [{"type": "Available", "status": status}]}}))
            .unwrap()
        };
        let resources = vec![
            json!({"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get"], "shortNames": ["fl"]}),
            json!({"name": "flunders/status", "singularName": "", "namespaced": true, "kind": "Flunder", "verbs": ["update"]}),
        ];
        let listed = vec![
            Listed { remote: service("v1alpha1", 10, true), offer: Offer { resources, ..Offer::default() } },
            Listed { remote: service("v1", 20, false), offer: Offer::default() },
        ];
        let groups = groups(listed);
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].versions[0]["version"], "v1");
        assert_eq!(groups[0].aggregated[0], json!({"version": "v1", "resources": [], "freshness": "Stale"}));
        let kind = json!({"group": "wardle.example.com", "version": "v1alpha1", "kind": "Flunder"});
        assert_eq!(
            groups[0].aggregated[1]["resources"],
            json!([{"resource": "flunders", "responseKind": kind, "verbs": ["get"], "scope": "Namespaced",
                "singularResource": "flunder", "shortNames": ["fl"],
                "subresources": [{"subresource": "status", "responseKind": kind, "verbs": ["update"]}]}])
        );
    }
}
