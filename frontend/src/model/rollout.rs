//! Deployments and their revisions.

use serde_json::{Value, json};

use super::json::{at, list, number, text};

pub const REVISION: &str = "deployment.kubernetes.io/revision";
const HASH: &str = "pod-template-hash";

/// A revision of a Deployment: one of its ReplicaSets.
#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    pub number: i64,
    pub replica_set: String,
    pub created: String,
    pub images: Vec<String>,
    pub cause: String,
    pub desired: i64,
    pub ready: i64,
    pub template: Value,
}

fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    at(object, "metadata/annotations").get(key).and_then(Value::as_str).unwrap_or_default()
}

pub fn is_owned_by(object: &Value, uid: &str) -> bool {
    list(object, "metadata/ownerReferences").iter().any(|owner| text(owner, "uid") == uid)
}

/// The revisions of a Deployment, newest first.
pub fn revisions<'a>(deployment: &Value, replica_sets: impl Iterator<Item = &'a Value>) -> Vec<Revision> {
    let uid = text(deployment, "metadata/uid");
    let mut all: Vec<Revision> = replica_sets.filter(|set| is_owned_by(set, uid)).map(revision).collect();
    all.sort_by_key(|revision| std::cmp::Reverse(revision.number));
    all
}

fn revision(set: &Value) -> Revision {
    Revision {
        number: annotation(set, REVISION).parse().unwrap_or_default(),
        replica_set: text(set, "metadata/name").to_owned(),
        created: text(set, "metadata/creationTimestamp").to_owned(),
        images: images(at(set, "spec/template")),
        cause: annotation(set, "kubernetes.io/change-cause").to_owned(),
        desired: number(set, "spec/replicas"),
        ready: number(set, "status/readyReplicas"),
        template: template_without_hash(at(set, "spec/template")),
    }
}

pub fn images(template: &Value) -> Vec<String> {
    list(template, "spec/containers").iter().map(|container| text(container, "image").to_owned()).collect()
}

/// A ReplicaSet's template as the Deployment had it.
pub fn template_without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH);
    }
    template
}

/// The JSON patch that rolls back, as `kubectl rollout undo` does it: the template is replaced whole.
pub fn rollback_patch(revision: &Revision) -> Value {
    json!([{"op": "replace", "path": "/spec/template", "value": revision.template}])
}

/// How far a rollout is: parts of the desired replicas, for a bar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub desired: i64,
    pub updated: i64,
    pub available: i64,
    pub old: i64,
    pub unavailable: i64,
}

pub fn progress(deployment: &Value) -> Progress {
    let status = |field: &str| number(deployment, &format!("status/{field}"));
    // Until the controller has seen the present spec, all that is counted is of older versions.
    let seen = status("observedGeneration") >= number(deployment, "metadata/generation");
    let updated = if seen { status("updatedReplicas") } else { 0 };
    Progress {
        desired: at(deployment, "spec/replicas").as_i64().unwrap_or(1),
        updated,
        available: status("availableReplicas"),
        old: (status("replicas") - updated).max(0),
        unavailable: status("unavailableReplicas"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_controller_has_not_seen_is_old() {
        let status = json!({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3});
        let at_generation = |generation: i64| {
            progress(&json!({"metadata": {"generation": generation}, "spec": {"replicas": 4}, "status": status}))
        };
        assert_eq!(at_generation(1), Progress { desired: 4, updated: 3, available: 3, old: 0, unavailable: 0 });
        assert_eq!(at_generation(2), Progress { desired: 4, updated: 0, available: 3, old: 3, unavailable: 0 });
    }

    #[test]
    fn revisions_are_the_owned_replica_sets_newest_first() {
        let deployment = json!({"metadata": {"uid": "d"}});
        let set = |name: &str, owner: &str, number: &str, image: &str| {
            json!({"metadata": {"name": name, "annotations": {REVISION: number}, "ownerReferences": [{"uid": owner}]},
                "spec": {"replicas": 2, "template": {"metadata": {"labels": {"app": "x", HASH: "1"}}, "spec": {"containers": [{"image": image}]}}}})
        };
        let sets = [set("a", "d", "9", "demo:1"), set("b", "d", "10", "demo:2"), set("c", "other", "11", "demo:3")];
        let found = revisions(&deployment, sets.iter());
        assert_eq!(
            found.iter().map(|r| (r.number, r.images[0].as_str())).collect::<Vec<_>>(),
            [(10, "demo:2"), (9, "demo:1")]
        );
        assert_eq!(at(&found[0].template, "metadata/labels"), &json!({"app": "x"}));
        assert_eq!(rollback_patch(&found[1])[0]["value"]["spec"]["containers"][0]["image"], "demo:1");
    }
}
