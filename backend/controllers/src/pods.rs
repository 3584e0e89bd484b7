//! What controllers ask of pods and how they make them.

use std::future::Future;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or("Pending")
}

pub fn is_deleting(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Succeeded or Failed: it will never run again.
pub fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Neither finished nor on its way out: a replica that counts.
pub fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_deleting(pod)
}

pub fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|c| c.type_ == type_)
}

pub fn ready_condition(pod: &Pod) -> Option<&PodCondition> {
    condition(pod, "Ready")
}

pub fn is_ready(pod: &Pod) -> bool {
    ready_condition(pod).is_some_and(|c| c.status == "True")
}

/// Since when the pod has been ready, if it is.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    ready_condition(pod).filter(|c| c.status == "True").and_then(|c| c.last_transition_time.as_ref()).map(|t| t.0)
}

/// Ready for at least `min_ready_seconds`.
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> bool {
    is_ready(pod) && available_in(pod, min_ready_seconds, now).is_none()
}

/// How long until a ready pod becomes available; none if it is, or is not ready.
pub fn available_in(pod: &Pod, min_ready_seconds: i32, now: Timestamp) -> Option<Duration> {
    if min_ready_seconds <= 0 || !is_ready(pod) {
        return None;
    }
    // A ready pod without a transition time cannot be judged: wait the whole time.
    let since = ready_since(pod).unwrap_or(now);
    let at = since + Duration::from_secs(min_ready_seconds.unsigned_abs().into());
    (at > now).then(|| Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

pub fn node_name(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or("")
}

pub fn restarts(pod: &Pod) -> i32 {
    let status = pod.status.as_ref();
    status.into_iter().flat_map(|s| s.container_statuses.iter().flatten()).map(|c| c.restart_count).max().unwrap_or(0)
}

/// A pod as its template says, generated in name, controlled by `owner`.
pub fn from_template(template: &PodTemplateSpec, owner_name: &str, namespace: &str, owner: OwnerReference) -> Pod {
    let meta = template.metadata.as_ref();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(generate_name(owner_name)),
            namespace: Some(namespace.to_owned()),
            labels: meta.and_then(|m| m.labels.clone()),
            annotations: meta.and_then(|m| m.annotations.clone()),
            finalizers: meta.and_then(|m| m.finalizers.clone()),
            owner_references: Some(vec![owner]),
            ..Default::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// The prefix of generated names; long owners' names are cut so that the result fits a DNS label.
pub fn generate_name(owner_name: &str) -> String {
    const ROOM: usize = 63 - 5 - 1;
    let end = (0..=ROOM.min(owner_name.len())).rev().find(|i| owner_name.is_char_boundary(*i)).unwrap_or(0);
    format!("{}-", &owner_name[..end])
}

/// Runs `count` calls in batches of 1, 2, 4, … and stops after a batch with an error, so that a template the API
/// refuses does not cost hundreds of refusals. Returns how many succeeded and the first error.
pub async fn slow_start<Fut, E>(count: usize, call: impl Fn(usize) -> Fut) -> (usize, Option<E>)
where
    Fut: Future<Output = Result<(), E>>,
{
    let (mut done, mut batch) = (0, 1);
    while done < count {
        let size = batch.min(count - done);
        let results = join_all((done..done + size).map(&call)).await;
        let ok = results.iter().filter(|r| r.is_ok()).count();
        if let Some(error) = results.into_iter().find_map(Result::err) {
            return (done + ok, Some(error));
        }
        done += size;
        batch *= 2;
    }
    (done, None)
}

#[cfg(test)]
pub mod make {
    //! Pods for tests.
    use k8s_openapi::api::core::v1::{PodSpec, PodStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    pub fn pod(name: &str, phase: &str, ready: Option<Timestamp>) -> Pod {
        let condition = PodCondition {
            type_: "Ready".into(),
            status: if ready.is_some() { "True" } else { "False" }.into(),
            last_transition_time: ready.map(Time),
            ..Default::default()
        };
        Pod {
            metadata: ObjectMeta {
                name: Some(name.into()),
                namespace: Some("ns".into()),
                uid: Some(format!("uid-{name}")),
                creation_timestamp: Some(Time(Timestamp::UNIX_EPOCH)),
                ..Default::default()
            },
            spec: Some(PodSpec { node_name: Some("n".into()), ..Default::default() }),
            status: Some(PodStatus {
                phase: Some(phase.into()),
                conditions: Some(vec![condition]),
                ..Default::default()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn availability_needs_time() {
        let start = Timestamp::UNIX_EPOCH;
        let pod = make::pod("a", "Running", Some(start));
        let after = |s| start + Duration::from_secs(s);
        assert!(is_available(&pod, 0, start));
        assert!(!is_available(&pod, 10, after(9)));
        assert_eq!(available_in(&pod, 10, after(4)), Some(Duration::from_secs(6)));
        assert!(is_available(&pod, 10, after(10)));
        assert!(!is_available(&make::pod("b", "Running", None), 0, start));
    }

    #[tokio::test]
    async fn a_refusal_stops_the_batches() {
        let calls = AtomicUsize::new(0);
        let result = slow_start(100, |i| {
            calls.fetch_add(1, Ordering::Relaxed);
            async move { if i == 4 { Err("refused") } else { Ok(()) } }
        })
        .await;
        assert_eq!(result, (6, Some("refused")));
        assert_eq!(calls.load(Ordering::Relaxed), 7);
        assert_eq!(slow_start(5, |_| async { Ok::<_, ()>(()) }).await, (5, None));
    }
}
