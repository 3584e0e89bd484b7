//! Images: whether to pull, with whose credentials, and what to say when it fails.
//! Source: <https://kubernetes.io/docs/concepts/containers/images/>

use std::collections::BTreeMap;
use std::time::Instant;

use base64::Engine;
use k8s_openapi::api::core::v1::{Pod, PodSpec, Secret};
use pilothouse_cri::v1;
use serde_json::Value;

use super::context::Context;
use super::memory::Waiting;
use crate::events::{Subject, Type};

/// Why there is no image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub waiting: Waiting,
    /// A pull was tried, so the next one waits.
    pub pulled: bool,
}

fn failure(reason: &str, message: String) -> Failure {
    Failure { waiting: Waiting { reason: reason.to_owned(), message }, pulled: false }
}

/// The reference with its tag, or `None` when it is no image's name.
/// Source of the grammar: the distribution specification's reference format.
#[must_use]
pub fn normalize(image: &str) -> Option<String> {
    if image.is_empty() || image.len() > 512 || image.trim() != image {
        return None;
    }
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    if let Some(digest) = digest {
        let (algorithm, hex) = digest.split_once(':')?;
        let fine = !algorithm.is_empty() && hex.len() >= 32 && hex.chars().all(|c| c.is_ascii_hexdigit());
        if !fine {
            return None;
        }
    }
    let slash = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[slash..].find(':') {
        Some(at) => (&rest[..slash + at], Some(&rest[slash + at + 1..])),
        None => (rest, None),
    };
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if let Some(tag) = tag {
        let fine =
            tag.len() <= 128 && tag.starts_with(is_word) && tag.chars().all(|c| is_word(c) || c == '.' || c == '-');
        if !fine {
            return None;
        }
    }
    let parts: Vec<&str> = name.split('/').collect();
    let has_domain = parts.len() > 1
        && parts.first().is_some_and(|first| {
            first.contains(['.', ':']) || *first == "localhost" || first.chars().any(|c| c.is_ascii_uppercase())
        });
    for (index, part) in parts.iter().enumerate() {
        let domain = index == 0 && has_domain;
        let fine = part.chars().all(|c| match c {
            'a'..='z' | '0'..='9' | '.' | '-' => true,
            '_' => !domain,
            'A'..='Z' | ':' | '[' | ']' => domain,
            _ => false,
        });
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || (domain && "[]".contains(c)));
        if !fine || !edge(part.chars().next()) || !edge(part.chars().next_back()) {
            return None;
        }
    }
    Some(if tag.is_none() && digest.is_none() { format!("{image}:latest") } else { image.to_owned() })
}

/// The registry that an image is pulled from.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

/// The credentials in a pull secret for this image.
fn credentials(secret: &Secret, image: &str) -> Vec<v1::AuthConfig> {
    let data = |key: &str| secret.data.as_ref()?.get(key).map(|bytes| bytes.0.as_slice());
    let parsed: Option<Value> = match (data(".dockerconfigjson"), data(".dockercfg")) {
        (Some(bytes), _) => serde_json::from_slice::<Value>(bytes).ok().map(|mut value| value["auths"].take()),
        (None, Some(bytes)) => serde_json::from_slice(bytes).ok(),
        (None, None) => None,
    };
    let wanted = registry(image);
    let mut found = Vec::new();
    for (server, entry) in parsed.as_ref().and_then(Value::as_object).into_iter().flatten() {
        let bare = server.trim_start_matches("https://").trim_start_matches("http://");
        let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
        let docker = wanted == "docker.io" && matches!(host, "index.docker.io" | "docker.io");
        let inside = path.is_empty()
            || path.starts_with("v1")
            || path.starts_with("v2")
            || image[wanted.len().min(image.len())..].trim_start_matches('/').starts_with(path);
        if !(docker || (host == wanted && inside)) {
            continue;
        }
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let mut auth = v1::AuthConfig {
            username: text("username"),
            password: text("password"),
            server_address: server.clone(),
            identity_token: text("identitytoken"),
            registry_token: text("registrytoken"),
            ..Default::default()
        };
        let both = base64::engine::general_purpose::STANDARD.decode(text("auth")).ok();
        let both = both.and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some((user, password)) = both.as_deref().and_then(|both| both.split_once(':')) {
            user.clone_into(&mut auth.username);
            password.trim_end_matches('\0').clone_into(&mut auth.password);
        }
        found.push(auth);
    }
    found
}

async fn pull_secrets(context: &Context, pod: &Pod, spec: &PodSpec, image: &str) -> Vec<v1::AuthConfig> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut all = Vec::new();
    for reference in spec.image_pull_secrets.iter().flatten() {
        match context.objects.secret(namespace, &reference.name, crate::objects::SETTLED).await {
            Ok(secret) => match &*secret {
                Some(secret) => all.extend(credentials(secret, image)),
                None => context.recorder.tell(
                    Subject::pod(pod),
                    Type::Warning,
                    "FailedToRetrieveImagePullSecret",
                    format!("Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.", reference.name),
                ),
            },
            Err(error) => tracing::warn!(secret = reference.name, error, "a pull secret was not read"),
        }
    }
    all
}

/// Makes sure that an image is on the node; its id as the runtime knows it.
///
/// # Errors
/// The container's waiting state: `ErrImagePull`, `ErrImageNeverPull`, `InvalidImageName`, `ImageInspectError`.
pub async fn ensure(
    context: &Context,
    pod: &Pod,
    spec: &PodSpec,
    (wanted, policy): (&str, Option<&str>),
    subject: &Subject,
    sandbox_config: &v1::PodSandboxConfig,
) -> Result<v1::Image, Failure> {
    let tell = |type_, reason: &str, message: String| context.recorder.tell(subject.clone(), type_, reason, message);
    let Some(image) = normalize(wanted) else {
        let message = format!(
            "Failed to apply default image tag {wanted:?}: couldn't parse image name {wanted:?}: invalid reference format"
        );
        tell(Type::Warning, "InspectFailed", message.clone());
        return Err(failure("InvalidImageName", message));
    };
    let default = if image.ends_with(":latest") { "Always" } else { "IfNotPresent" };
    let policy = policy.unwrap_or(default);
    let present = context.runtime.image_status(&image).await.map_err(|error| {
        let message = format!("Failed to inspect image {wanted:?}: {error}");
        tell(Type::Warning, "InspectFailed", message.clone());
        failure("ImageInspectError", message)
    })?;
    match (present, policy) {
        (Some(found), "IfNotPresent" | "Never") => {
            tell(
                Type::Normal,
                "Pulled",
                format!("Container image {wanted:?} already present on machine and can be accessed by the pod"),
            );
            return Ok(found);
        }
        (None, "Never") => {
            let message = format!("Container image {wanted:?} is not present with pull policy of Never");
            tell(Type::Warning, "ErrImageNeverPull", message.clone());
            return Err(failure("ErrImageNeverPull", message));
        }
        _ => {}
    }
    tell(Type::Normal, "Pulling", format!("Pulling image {wanted:?}"));
    let begun = Instant::now();
    let mut attempts: Vec<Option<v1::AuthConfig>> =
        pull_secrets(context, pod, spec, &image).await.into_iter().map(Some).collect();
    if attempts.is_empty() {
        attempts.push(None);
    }
    let mut last = String::new();
    for auth in attempts {
        match context.runtime.pull_image(&image, auth, sandbox_config.clone()).await {
            Ok(reference) => {
                context.node.look.notify_one();
                let found = context.runtime.image_status(&reference).await.ok().flatten();
                let found = match found {
                    Some(found) => found,
                    None => context
                        .runtime
                        .image_status(&image)
                        .await
                        .ok()
                        .flatten()
                        .unwrap_or(v1::Image { id: reference, ..Default::default() }),
                };
                let took = begun.elapsed();
                let message = format!(
                    "Successfully pulled image {wanted:?} in {took:.3?} ({took:.3?} including waiting). Image size: {} bytes.",
                    found.size
                );
                tell(Type::Normal, "Pulled", message);
                return Ok(found);
            }
            Err(error) => last = error.to_string(),
        }
    }
    tell(Type::Warning, "Failed", format!("Failed to pull image {wanted:?}: {last}"));
    tell(Type::Warning, "Failed", "Error: ErrImagePull".to_owned());
    Err(Failure { waiting: Waiting { reason: "ErrImagePull".to_owned(), message: last }, pulled: true })
}

/// The user an image runs as: its number, or why it is not known.
///
/// # Errors
/// In the words of `CreateContainerConfigError`, for a container that must not be root.
pub fn check_not_root(image: &v1::Image, pod: &str, container: &str) -> Result<(), String> {
    match &image.uid {
        Some(uid) if uid.value == 0 => {
            Err(format!("container has runAsNonRoot and image will run as root (pod: {pod:?}, container: {container})"))
        }
        Some(_) => Ok(()),
        None if image.username.is_empty() || image.username == "root" => {
            Err(format!("container has runAsNonRoot and image will run as root (pod: {pod:?}, container: {container})"))
        }
        None => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root (pod: {pod:?}, container: {container})",
            image.username
        )),
    }
}

/// How many containers use each image, for garbage collection.
#[must_use]
pub fn in_use(containers: &[v1::Container]) -> BTreeMap<String, usize> {
    let mut used = BTreeMap::new();
    for container in containers {
        for name in [&container.image_ref, &container.image_id] {
            if !name.is_empty() {
                *used.entry(name.clone()).or_default() += 1;
            }
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references() {
        for (image, want) in [
            ("nginx", Some("nginx:latest")),
            ("nginx:1.25", Some("nginx:1.25")),
            ("pilothouse.local/demo:1", Some("pilothouse.local/demo:1")),
            ("localhost:5000/a/b_c", Some("localhost:5000/a/b_c:latest")),
            ("r.io/x@sha256:0123456789abcdef0123456789abcdef", Some("r.io/x@sha256:0123456789abcdef0123456789abcdef")),
            ("", None),
            (" nginx", None),
            ("Nginx", None),
            ("nginx:", None),
            ("nginx:b@d", None),
            ("a//b", None),
            ("-x", None),
            ("x@sha256:12", None),
            ("FAKE_IMAGE:1", None),
        ] {
            assert_eq!(normalize(image).as_deref(), want, "{image:?}");
        }
    }

    #[test]
    fn credentials_fit_their_registry() {
        let config = json!({"auths": {
            "https://r.io/v1/": {"auth": base64::engine::general_purpose::STANDARD.encode("u:p:w")},
            "other.io": {"username": "x", "password": "y"}}});
        let secret: Secret = serde_json::from_value(json!({"data": {".dockerconfigjson":
            base64::engine::general_purpose::STANDARD.encode(config.to_string())}}))
        .unwrap();
        let found = credentials(&secret, "r.io/app:1");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].username.as_str(), found[0].password.as_str()), ("u", "p:w"));
        assert_eq!(credentials(&secret, "other.io/a:1")[0].username, "x");
        assert!(credentials(&secret, "nginx:1").is_empty());
        assert!(credentials(&Secret::default(), "r.io/app:1").is_empty());
    }

    #[test]
    fn root_is_refused_where_it_must_not_be() {
        let image = |uid: Option<i64>, username: &str| v1::Image {
            uid: uid.map(|value| v1::Int64Value { value }),
            username: username.to_owned(),
            ..Default::default()
        };
        assert!(check_not_root(&image(Some(0), ""), "p", "c").is_err());
        assert!(check_not_root(&image(None, ""), "p", "c").is_err());
        assert!(check_not_root(&image(None, "nobody"), "p", "c").is_err());
        assert!(check_not_root(&image(Some(1000), ""), "p", "c").is_ok());
    }
}
