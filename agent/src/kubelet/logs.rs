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
    // While a container waits for its next start, its newest instance is the one that ended: the last, not the previous.
    let Some(found) = found.into_iter().nth(usize::from(previous)) else {
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
