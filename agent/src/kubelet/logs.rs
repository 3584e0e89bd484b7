//! `/containerLogs/{namespace}/{pod}/{container}`.

use bytes::Bytes;
use futures::StreamExt;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use pilothouse_cri::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Answer, Query, Refusal, refuse};
use crate::cri::labels;
use crate::logs::{self, Wanted};
use crate::pods::context::Context;
use crate::pods::cri_config::log_path;

const QUEUE: usize = 4;

fn wanted(query: &Query) -> Result<Wanted, Refusal> {
    let bad = |text: String| Refusal(StatusCode::BAD_REQUEST, text);
    let since = match (query.number("sinceSeconds")?, query.get("sinceTime")) {
        (Some(_), Some(_)) => return Err(bad("at most one of sinceTime or sinceSeconds may be specified".to_owned())),
        (Some(seconds), None) => {
            let ago = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            Some(Timestamp::now().checked_sub(ago).unwrap_or(Timestamp::MIN))
        }
        (None, Some(time)) => Some(time.parse().map_err(|error| bad(format!("sinceTime {time:?}: {error}")))?),
        (None, None) => None,
    };
    let stdout = match query.get("stream") {
        Some("Stdout") => Some(true),
        Some("Stderr") => Some(false),
        _ => None,
    };
    Ok(Wanted {
        tail: query.number("tailLines")?,
        since,
        limit_bytes: query.number("limitBytes")?,
        timestamps: query.flag(["timestamps", "timestamps"]),
        stdout,
    })
}

fn status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten().find(|status| status.name == container)
}

/// Why there is no log yet, in the kubelet's words.
fn absence(pod: &Pod, container: &str, previous: bool) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    if previous {
        return format!("previous terminated container {container:?} in pod {name:?} not found");
    }
    let waiting = status(pod, container).and_then(|status| status.state.as_ref()?.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or("ContainerCreating");
    let reason = match reason {
        "ErrImagePull" => "image can't be pulled",
        "ImagePullBackOff" => "trying and failing to pull image",
        other => other,
    };
    format!("container {container:?} in pod {name:?} is waiting to start: {reason}")
}

/// The container's instances, newest first.
async fn instances(context: &Context, uid: &str, container: &str) -> Result<Vec<v1::Container>, Refusal> {
    let all = context.runtime.list_containers(Some(uid)).await;
    let mut all = all.map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    all.retain(|found| found.labels.get(labels::CONTAINER_NAME).is_some_and(|name| name == container));
    all.sort_by_key(|found| std::cmp::Reverse(found.created_at));
    Ok(all)
}

/// The instance that `--previous` means: the one that ended before what the container's status shows as its state.
/// While it waits for its next start that is its newest, and so it is when the one before has been removed already.
fn previous<'a>(found: &'a [v1::Container], status: Option<&ContainerStatus>) -> Option<&'a v1::Container> {
    let is = |instance: &v1::Container, id: Option<&str>| {
        id.and_then(|id| id.split_once("://")).is_some_and(|(_, id)| id == instance.id)
    };
    let last = status.and_then(|status| status.last_state.as_ref()?.terminated.as_ref()?.container_id.as_deref());
    if let Some(last) = found.iter().find(|instance| is(instance, last)) {
        return Some(last);
    }
    let newest = found.first()?;
    let shown = status.and_then(|status| status.state.as_ref()?.terminated.as_ref()?.container_id.as_deref());
    if newest.state == i32::from(v1::ContainerState::ContainerRunning) {
        return found.get(1);
    }
    if status.is_none_or(|status| status.restart_count == 0) && is(newest, shown) {
        return found.get(1);
    }
    found.get(1).filter(|_| is(newest, shown)).or(Some(newest))
}

pub(super) async fn answer(
    context: &Context,
    (namespace, pod, container): (&str, &str, &str),
    query: &Query,
) -> Result<Answer, Refusal> {
    let Some(pod) = context.registry.by_name(namespace, pod) else {
        return refuse(StatusCode::NOT_FOUND, format!("pod {pod:?} does not exist"));
    };
    let spec = pod.spec.as_ref();
    if spec.and_then(|spec| crate::pods::containers::find(spec, container)).is_none() {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        return refuse(StatusCode::NOT_FOUND, format!("container {container:?} not found in pod {name:?}"));
    }
    let (wanted, follow) = (wanted(query)?, query.flag(["follow", "follow"]));
    let previous = query.flag(["previous", "previous"]);
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let mut found = instances(context, &uid, container).await?;
    found.retain(|found| found.state != i32::from(v1::ContainerState::ContainerCreated));
    let chosen = if previous { self::previous(&found, status(&pod, container)) } else { found.first() };
    let Some(found) = chosen.cloned() else {
        return refuse(StatusCode::BAD_REQUEST, absence(&pod, container, previous));
    };
    let count = found.annotations.get(labels::RESTART_COUNT).and_then(|text| text.parse().ok()).unwrap_or(0);
    let path = context.log_dir(&pod).join(log_path(container, count));
    if let Err(error) = tokio::fs::metadata(&path).await {
        return refuse(StatusCode::NOT_FOUND, format!("the log of container {container:?} cannot be read: {error}"));
    }
    let (sender, receiver) = mpsc::channel::<Bytes>(QUEUE);
    let runtime = std::sync::Arc::clone(&context.runtime);
    tokio::spawn(async move {
        let is_over = || {
            let (runtime, id) = (std::sync::Arc::clone(&runtime), found.id.clone());
            async move {
                let running = i32::from(v1::ContainerState::ContainerRunning);
                // A runtime that is away for a moment ends no stream.
                match runtime.container_status(&id).await {
                    Ok(status) => status.state != running,
                    Err(error) => error.is_not_found(),
                }
            }
        };
        if let Err(error) = logs::stream(&path, wanted, follow, is_over, sender).await {
            tracing::debug!(path = %path.display(), %error, "a log was not read to its end");
        }
    });
    let frames = ReceiverStream::new(receiver).map(|bytes| Ok(Frame::data(bytes)));
    let mut answer = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    answer.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated};

    use super::*;

    fn instance(id: &str, running: bool) -> v1::Container {
        let state = if running { v1::ContainerState::ContainerRunning } else { v1::ContainerState::ContainerExited };
        v1::Container { id: id.to_owned(), state: state.into(), ..Default::default() }
    }

    fn ended(id: &str) -> Option<ContainerState> {
        let terminated =
            ContainerStateTerminated { container_id: Some(format!("containerd://{id}")), ..Default::default() };
        Some(ContainerState { terminated: Some(terminated), ..Default::default() })
    }

    #[test]
    fn the_instance_before_the_one_that_is_shown() {
        let status = |state: Option<ContainerState>, last_state, restart_count| ContainerStatus {
            state,
            last_state,
            restart_count,
            ..Default::default()
        };
        let (run, a, b) = (instance("c", true), instance("a", false), instance("b", false));
        let cases = [
            ("it runs for the first time", vec![&run], status(None, None, 0), None),
            ("it runs again", vec![&run, &b], status(None, ended("b"), 1), Some("b")),
            (
                "it runs again, which its status does not say yet",
                vec![&run, &b],
                status(ended("b"), None, 0),
                Some("b"),
            ),
            ("it ended for good", vec![&a], status(ended("a"), None, 0), None),
            ("it waits for its next start", vec![&b, &a], status(None, ended("b"), 1), Some("b")),
            ("it waits, the one before is gone", vec![&b], status(None, ended("b"), 1), Some("b")),
            ("it has just ended again", vec![&b, &a], status(ended("b"), ended("a"), 1), Some("a")),
            ("it has just ended again, the one before is gone", vec![&b], status(ended("b"), ended("a"), 1), Some("b")),
            ("it never ran", vec![], status(None, None, 0), None),
        ];
        for (what, found, status, expected) in cases {
            let found: Vec<v1::Container> = found.into_iter().cloned().collect();
            assert_eq!(previous(&found, Some(&status)).map(|chosen| &*chosen.id), expected, "{what}");
        }
    }
}
