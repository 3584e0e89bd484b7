//! A Deployment and its ReplicaSets, played without an API: plans are applied, pods become available by and by.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, ReplicaSet, ReplicaSetStatus, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::ObjectMeta;
use proptest::prelude::*;

use super::plan::{Limits, Plan, plan};
use super::{progress, revision};

struct World {
    deployment: Deployment,
    sets: Vec<ReplicaSet>,
    now: Timestamp,
    events: Vec<String>,
}

fn percent(value: &str) -> Option<IntOrString> {
    Some(IntOrString::String(value.into()))
}

impl World {
    fn new(replicas: i32, surge: Option<IntOrString>, unavailable: Option<IntOrString>) -> Self {
        let labels = Some([("app".to_owned(), "web".to_owned())].into());
        let spec = DeploymentSpec {
            replicas: Some(replicas),
            selector: LabelSelector { match_labels: labels.clone(), ..Default::default() },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta { labels, ..Default::default() }),
                spec: Some(PodSpec {
                    containers: vec![Container { name: "c".into(), image: Some("v1".into()), ..Default::default() }],
                    ..Default::default()
                }),
            },
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(RollingUpdateDeployment { max_surge: surge, max_unavailable: unavailable }),
            }),
            progress_deadline_seconds: Some(600),
            revision_history_limit: Some(10),
            ..Default::default()
        };
        let metadata =
            ObjectMeta { name: Some("web".into()), uid: Some("d".into()), generation: Some(1), ..Default::default() };
        let deployment = Deployment { metadata, spec: Some(spec), status: None };
        Self { deployment, sets: Vec::new(), now: Timestamp::UNIX_EPOCH, events: Vec::new() }
    }

    fn spec(&mut self) -> &mut DeploymentSpec {
        self.deployment.metadata.generation = self.deployment.metadata.generation.map(|g| g + 1);
        self.deployment.spec.as_mut().unwrap()
    }

    fn image(&mut self, image: &str) {
        self.spec().template.spec.as_mut().unwrap().containers[0].image = Some(image.into());
    }

    /// One pass of the controller; returns whether anything changed.
    fn pass(&mut self) -> bool {
        let sets: Vec<Arc<ReplicaSet>> = self.sets.iter().cloned().map(Arc::new).collect();
        let running = |s: &ReplicaSet| s.status.as_ref().is_some_and(|s| s.replicas > 0);
        let Plan { create, sets, delete, deployment, .. } = plan(&self.deployment, sets, running, self.now);
        let changed = create.is_some() || !delete.is_empty() || sets.iter().any(|s| *s.before != s.after);
        self.events.extend(sets.iter().flat_map(|s| s.events.clone()));
        self.sets = sets.into_iter().map(|s| s.after).collect();
        self.sets.retain(|s| !delete.iter().any(|d| d.metadata.uid == s.metadata.uid));
        if let Some(mut set) = create {
            set.metadata.uid = set.metadata.name.clone();
            set.metadata.creation_timestamp = Some(Time(self.now));
            self.sets.push(set);
        }
        self.now += Duration::from_secs(1);
        let changed = changed || deployment != self.deployment;
        self.deployment = deployment;
        changed
    }

    /// The ReplicaSets make their pods; `available` says how many of a set's pods are (of the number it has).
    fn pods(&mut self, available: impl Fn(i32) -> i32) {
        for set in &mut self.sets {
            let count = set.spec.as_ref().unwrap().replicas.unwrap();
            let status = set.status.get_or_insert_default();
            status.replicas = count;
            status.available_replicas = Some(available(count).clamp(0, count));
            status.ready_replicas = status.available_replicas;
        }
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            self.pods(|n| n);
            if !self.pass() {
                return;
            }
        }
        panic!("the roll-out does not end: {:?}", self.sizes());
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(|s| s.spec.as_ref().unwrap().replicas.unwrap()).collect()
    }

    fn limits(&self) -> Limits {
        Limits::of(&self.deployment)
    }

    fn reason(&self, type_: &str) -> Option<String> {
        progress::find(self.deployment.status.as_ref()?, type_)?.reason.clone()
    }
}

#[test]
fn percentages_round_in_favour_of_availability_and_never_to_a_standstill() {
    for (replicas, surge, unavailable, expect) in [
        (10, "25%", "25%", (3, 2)),
        (1, "25%", "25%", (1, 0)),
        (3, "0%", "10%", (0, 1)),
        (4, "100%", "0%", (4, 0)),
        (2, "0%", "100%", (0, 2)),
    ] {
        let limits = World::new(replicas, percent(surge), percent(unavailable)).limits();
        assert_eq!((limits.max_surge, limits.max_unavailable), expect, "{replicas} {surge} {unavailable}");
    }
}

#[test]
fn a_first_roll_out_then_an_update_then_an_undo() {
    let mut w = World::new(3, percent("25%"), percent("25%"));
    w.settle();
    assert_eq!(w.sizes(), [3]);
    assert_eq!(w.reason("Progressing").as_deref(), Some("NewReplicaSetAvailable"));
    assert_eq!(w.reason("Available").as_deref(), Some("MinimumReplicasAvailable"));
    let status = w.deployment.status.clone().unwrap();
    assert_eq!((status.replicas, status.updated_replicas, status.available_replicas), (Some(3), Some(3), Some(3)));

    w.image("v2");
    w.settle();
    assert_eq!(w.sizes(), [0, 3]);
    let expect = [
        "Scaled down replica set A from 3 to 2",
        "Scaled up replica set B from 1 to 2",
        "Scaled down replica set A from 2 to 1",
        "Scaled up replica set B from 2 to 3",
        "Scaled down replica set A from 1 to 0",
    ];
    let names: Vec<String> = w.sets.iter().map(|s| s.metadata.name.clone().unwrap()).collect();
    let plain: Vec<String> = w.events.iter().map(|e| e.replace(&names[0], "A").replace(&names[1], "B")).collect();
    assert_eq!(plain, expect);
    assert_eq!(w.deployment.metadata.annotations.as_ref().unwrap()[revision::REVISION], "2");

    w.image("v1");
    w.settle();
    assert_eq!(w.deployment.metadata.annotations.as_ref().unwrap()[revision::REVISION], "3");
    let first = w.sets.iter().find(|s| s.metadata.name.as_ref() == Some(&names[0])).unwrap();
    assert_eq!(first.spec.as_ref().unwrap().replicas, Some(3));
    let annotations = first.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");
    assert_eq!(w.sets.len(), 2);
}

#[test]
fn recreate_waits_for_the_old_pods_to_end() {
    let mut w = World::new(2, None, None);
    w.spec().strategy = Some(DeploymentStrategy { type_: Some("Recreate".into()), rolling_update: None });
    w.settle();
    w.image("v2");
    w.pods(|n| n);
    w.pass();
    assert_eq!(w.sizes(), [0], "old pods are told to go before new ones are made");
    w.pass();
    assert_eq!(w.sizes(), [0], "and they are not gone yet");
    w.settle();
    assert_eq!(w.sizes(), [0, 2]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut w = World::new(2, percent("25%"), percent("25%"));
    w.settle();
    w.image("v2");
    w.spec().paused = Some(true);
    w.spec().replicas = Some(4);
    w.settle();
    assert_eq!(w.sizes(), [4]);
    assert_eq!(w.reason("Progressing").as_deref(), Some("DeploymentPaused"));
    w.spec().paused = Some(false);
    w.settle();
    assert_eq!(w.sizes(), [0, 4]);
}

#[test]
fn scaling_in_the_middle_of_a_roll_out_is_proportional() {
    let mut w = World::new(10, Some(IntOrString::Int(3)), Some(IntOrString::Int(2)));
    w.settle();
    w.image("v2");
    // The new pods never become available.
    for _ in 0..5 {
        w.pods(|n| n);
        if let Some(new) = w.sets.get_mut(1) {
            new.status.as_mut().unwrap().available_replicas = Some(0);
        }
        w.pass();
    }
    assert_eq!(w.sizes(), [8, 5]);
    w.spec().replicas = Some(15);
    w.pass();
    assert_eq!(w.sizes(), [11, 7], "as in the documentation: 15 + 3 in the proportion 8 to 5");
}

#[test]
fn pods_that_a_scaled_down_set_still_reports_do_not_count_as_available() {
    let mut w = World::new(4, Some(IntOrString::Int(2)), Some(IntOrString::Int(1)));
    w.settle();
    w.image("v2");
    for _ in 0..4 {
        w.pods(|n| n);
        w.pass();
    }
    // The template goes back; the first set is the new one again and still reports the pods it is losing.
    w.image("v1");
    for _ in 0..6 {
        w.pass();
        let available = |s: &ReplicaSet| s.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0);
        let stay: i32 = w.sets.iter().map(|s| available(s).min(s.spec.as_ref().unwrap().replicas.unwrap())).sum();
        assert!(stay >= 3, "{:?}", w.sizes());
    }
}

#[test]
fn no_progress_for_the_deadline_is_reported() {
    let mut w = World::new(1, percent("25%"), percent("25%"));
    w.pass();
    w.pods(|_| 0);
    w.pass();
    assert_eq!(w.reason("Progressing").as_deref(), Some("ReplicaSetUpdated"));
    w.now += Duration::from_secs(601);
    w.pass();
    assert_eq!(w.reason("Progressing").as_deref(), Some("ProgressDeadlineExceeded"));
    w.pods(|n| n);
    w.pass();
    assert_eq!(w.reason("Progressing").as_deref(), Some("NewReplicaSetAvailable"));
}

#[test]
fn only_the_limit_of_old_revisions_is_kept() {
    let mut w = World::new(1, percent("25%"), percent("25%"));
    w.spec().revision_history_limit = Some(2);
    for i in 0..6 {
        w.image(&format!("v{i}"));
        w.settle();
    }
    assert_eq!(w.sets.len(), 3);
    assert_eq!(w.deployment.metadata.annotations.as_ref().unwrap()[revision::REVISION], "6");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]
    #[test]
    fn never_over_max_surge_never_below_min_available(
        replicas in 1i32..12,
        surge in 0i32..5,
        unavailable in 0i32..5,
        images in proptest::collection::vec(0u8..3, 1..40),
        health in proptest::collection::vec(0i32..100, 40),
    ) {
        let mut w = World::new(replicas, Some(IntOrString::Int(surge)), Some(IntOrString::Int(unavailable)));
        w.settle();
        let limits = w.limits();
        for (image, health) in images.iter().zip(health) {
            if health % 4 == 0 {
                w.image(&format!("v{image}"));
            }
            let truth = |w: &World| -> i32 {
                // A ReplicaSet removes unavailable pods first.
                let available = |s: &ReplicaSet| s.status.as_ref().map_or(0, |s: &ReplicaSetStatus| s.available_replicas.unwrap_or(0));
                w.sets.iter().map(|s| available(s).min(s.spec.as_ref().unwrap().replicas.unwrap())).sum()
            };
            // Sometimes the ReplicaSets have not caught up, sometimes only a part of the pods is available.
            if health % 3 != 0 {
                w.pods(|n| n * health / 100);
            }
            let before = truth(&w);
            w.pass();
            prop_assert!(w.sizes().iter().sum::<i32>() <= limits.max_total(), "{:?} over {:?}", w.sizes(), limits);
            prop_assert!(truth(&w) >= before.min(limits.min_available()), "{before} -> {} of {:?}", truth(&w), limits);
        }
        w.settle();
        prop_assert_eq!(w.sizes().iter().sum::<i32>(), replicas);
        prop_assert_eq!(w.sizes().iter().filter(|n| **n > 0).count(), 1);
    }
}
