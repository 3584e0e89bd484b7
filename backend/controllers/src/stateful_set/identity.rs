//! Who a StatefulSet's pod is: its name, its host name, its claims. Pure.
//! Source: <https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#pod-identity>

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::history::REVISION_HASH;
use crate::{owner, pods};

pub const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
pub const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

pub fn set_name(set: &StatefulSet) -> &str {
    set.metadata.name.as_deref().unwrap_or_default()
}

pub fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set_name(set))
}

/// The ordinal of a pod by its name; none if it is no name this set gives.
pub fn ordinal_of(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let rest = pod.metadata.name.as_deref()?.strip_prefix(set_name(set))?.strip_prefix('-')?;
    let plain = rest.bytes().all(|b| b.is_ascii_digit());
    if plain { rest.parse().ok() } else { None }
}

/// The ordinals the set has now: the first, and the one past the last.
pub fn ordinals(set: &StatefulSet) -> (i32, i32) {
    let spec = set.spec.as_ref();
    let start = spec.and_then(|s| s.ordinals.as_ref()).and_then(|o| o.start).unwrap_or(0);
    (start, start.saturating_add(spec.and_then(|s| s.replicas).unwrap_or(1)))
}

fn labels(set: &StatefulSet, ordinal: i32) -> [(String, String); 2] {
    [(POD_NAME.into(), pod_name(set, ordinal)), (POD_INDEX.into(), ordinal.to_string())]
}

/// A pod whose labels do not say who it is, with labels that do.
pub fn corrected(set: &StatefulSet, ordinal: i32, pod: &Pod) -> Option<Pod> {
    let wanted = labels(set, ordinal);
    let there = pod.metadata.labels.as_ref();
    if wanted.iter().all(|(key, value)| there.and_then(|l| l.get(key)) == Some(value)) {
        return None;
    }
    let mut pod = pod.clone();
    pod.metadata.labels.get_or_insert_default().extend(wanted);
    Some(pod)
}

/// The pod of an ordinal, made of a revision's template.
pub fn pod(set: &StatefulSet, template: &PodTemplateSpec, revision: &str, ordinal: i32) -> Pod {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let mut pod = pods::from_template(template, set_name(set), namespace, owner::controller_ref(set));
    let name = pod_name(set, ordinal);
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    let map = pod.metadata.labels.get_or_insert_default();
    map.extend(labels(set, ordinal));
    map.insert(REVISION_HASH.into(), revision.to_owned());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name);
    spec.subdomain = set.spec.as_ref().and_then(|s| s.service_name.clone()).filter(|s| !s.is_empty());
    let claims = claims(set, ordinal);
    if !claims.is_empty() {
        let volumes = spec.volumes.get_or_insert_default();
        volumes.retain(|v| claims.iter().all(|(template, _)| *template != v.name));
        volumes.extend(claims.into_iter().map(|(template, claim)| Volume {
            name: template.to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim.metadata.name.unwrap_or_default(),
                ..Default::default()
            }),
            ..Default::default()
        }));
    }
    pod
}

/// The claims of an ordinal, each with the name of its template.
pub fn claims(set: &StatefulSet, ordinal: i32) -> Vec<(&str, PersistentVolumeClaim)> {
    let Some(spec) = &set.spec else { return Vec::new() };
    let templates = spec.volume_claim_templates.iter().flatten();
    let claim = |template: &'_ PersistentVolumeClaim| {
        let name = template.metadata.name.as_deref().unwrap_or_default();
        let mut claim = template.clone();
        claim.metadata.name = Some(format!("{name}-{}", pod_name(set, ordinal)));
        claim.metadata.namespace = set.metadata.namespace.clone();
        let selected = spec.selector.match_labels.clone().unwrap_or_default();
        claim.metadata.labels.get_or_insert_default().extend(selected);
        claim.status = None;
        claim
    };
    templates.map(|t| (t.metadata.name.as_deref().unwrap_or_default(), claim(t))).collect()
}

/// The owners a claim is to have by the set's retention policy, when they are not those it has. `pod` is none when
/// there is no pod yet.
pub fn owners(
    set: &StatefulSet,
    ordinal: i32,
    pod: Option<&Pod>,
    claim: &PersistentVolumeClaim,
) -> Option<Vec<OwnerReference>> {
    let policy = set.spec.as_ref().and_then(|s| s.persistent_volume_claim_retention_policy.as_ref());
    let deletes = |when: Option<&String>| when.is_some_and(|w| w == "Delete");
    let when_deleted = deletes(policy.and_then(|p| p.when_deleted.as_ref()));
    let when_scaled = deletes(policy.and_then(|p| p.when_scaled.as_ref()));
    let before = claim.metadata.owner_references.clone().unwrap_or_default();
    let is_pod = |r: &OwnerReference| r.kind == "Pod" && r.api_version == "v1" && r.name == pod_name(set, ordinal);
    let is_set =
        |r: &OwnerReference| r.kind == "StatefulSet" && r.api_version.starts_with("apps/") && r.name == set_name(set);
    let mut after: Vec<OwnerReference> = before.iter().filter(|r| !is_pod(r) && !is_set(r)).cloned().collect();
    // Somebody else decides on a claim that has another controller.
    if !after.iter().any(|r| r.controller == Some(true)) {
        let (start, end) = ordinals(set);
        let scaled_down = !(start..end).contains(&ordinal);
        if when_scaled && scaled_down {
            after.extend(pod.map(owner::controller_ref));
        } else if when_deleted && !(when_scaled && scaled_down) {
            after.push(owner::controller_ref(set));
        }
    }
    (after != before).then_some(after)
}

/// Still the claim of an earlier pod of this name, on its way out with it.
pub fn is_stale(set: &StatefulSet, ordinal: i32, pod: Option<&Pod>, claim: &PersistentVolumeClaim) -> bool {
    let references = claim.metadata.owner_references.iter().flatten();
    let uid = pod.and_then(|p| p.metadata.uid.as_ref());
    references
        .into_iter()
        .any(|r| r.kind == "Pod" && r.api_version == "v1" && r.name == pod_name(set, ordinal) && Some(&r.uid) != uid)
}
