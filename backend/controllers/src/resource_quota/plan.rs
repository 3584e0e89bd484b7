//! What a quota's status says, given what is there. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ResourceQuota, ResourceQuotaStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use pilothouse_api::quantity::Quantity;
use pilothouse_api::quota::usage;
use pilothouse_api::resources::{Resources, add};

/// The resources whose objects are measured one by one; of all others only the number matters.
pub const MEASURED: &[&str] = &["persistentvolumeclaims", "pods", "services"];

pub fn hard(quota: &ResourceQuota) -> impl Iterator<Item = &String> {
    quota.spec.iter().flat_map(|s| s.hard.iter().flatten()).map(|(name, _)| name)
}

/// The resource a limit is about (`pods`, `deployments.apps`); none if it is nothing that can be counted.
pub fn resource_of(limit: &str) -> Option<&str> {
    if let Some(resource) = limit.strip_prefix("count/") {
        return Some(resource);
    }
    let measured = MEASURED.iter().copied().find(|resource| usage::concerns(resource, limit));
    measured.or_else(|| usage::concerns(limit, limit).then_some(limit))
}

/// The resources that are counted as a whole for this quota.
pub fn counted(quota: &ResourceQuota) -> BTreeSet<&str> {
    hard(quota).filter_map(|limit| resource_of(limit)).filter(|resource| !MEASURED.contains(resource)).collect()
}

/// What is used of what the quota limits. `counts`: how many there are of each counted resource; what is missing there
/// is not known (yet), and the status keeps what it said of it.
pub fn status(quota: &ResourceQuota, measured: &[Resources], counts: &BTreeMap<&str, usize>) -> ResourceQuotaStatus {
    let mut total = Resources::new();
    measured.iter().for_each(|of_one| add(&mut total, of_one));
    let old = quota.status.as_ref().and_then(|s| s.used.as_ref());
    let used = hard(quota).filter_map(|limit| {
        let resource = resource_of(limit)?;
        let amount = if MEASURED.contains(&resource) {
            Text(total.get(limit).copied().unwrap_or(Quantity::ZERO).to_string())
        } else {
            let now = counts.get(resource).map(|count| Text(count.to_string()));
            now.or_else(|| old.and_then(|used| used.get(limit)).cloned())?
        };
        Some((limit.clone(), amount))
    });
    let used = used.collect();
    ResourceQuotaStatus { hard: quota.spec.as_ref().and_then(|s| s.hard.clone()), used: Some(used) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_and_what_they_are_about() {
        for (limit, resource) in [
            ("pods", Some("pods")),
            ("requests.cpu", Some("pods")),
            ("limits.memory", Some("pods")),
            ("requests.nvidia.com/gpu", Some("pods")),
            ("services.nodeports", Some("services")),
            ("gold.storageclass.storage.k8s.io/requests.storage", Some("persistentvolumeclaims")),
            ("configmaps", Some("configmaps")),
            ("count/deployments.apps", Some("deployments.apps")),
            ("count/pods", Some("pods")),
            ("deployments.apps", None),
        ] {
            assert_eq!(resource_of(limit), resource, "{limit}");
        }
    }

    #[test]
    fn sums_counts_and_the_unknown() {
        let quota: ResourceQuota = serde_json::from_value(json!({
            "spec": {"hard": {"pods": "5", "requests.cpu": "2", "configmaps": "4", "count/replicasets.apps": "3",
                "count/widgets.example.com": "9", "nonsense": "1"}},
            "status": {"used": {"count/widgets.example.com": "7"}},
        }))
        .unwrap();
        assert_eq!(counted(&quota), ["configmaps", "replicasets.apps", "widgets.example.com"].into());
        let pod = |cpu: &str| {
            let spec = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]});
            usage::of("pods", &json!({"spec": spec}), false)
        };
        let counts = [("configmaps", 1), ("replicasets.apps", 0)].into();
        let status = status(&quota, &[pod("500m"), pod("1")], &counts);
        let used: BTreeMap<String, String> = status.used.unwrap().into_iter().map(|(k, v)| (k, v.0)).collect();
        let expect = [
            ("configmaps", "1"),
            ("count/replicasets.apps", "0"),
            ("count/widgets.example.com", "7"),
            ("pods", "2"),
            ("requests.cpu", "1500m"),
        ];
        assert_eq!(used, expect.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert_eq!(status.hard, quota.spec.unwrap().hard);
    }
}
