//! Deletes expired bootstrap tokens.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};

use crate::error::{Error, Next, Result};
use crate::key::Key;
use crate::run::{Context, Controller, Reconcile, reconciler};

pub const CONTROLLER: Controller = Controller { name: "token-cleaner", workers: 1, start };

fn start(cx: Context) -> Reconcile {
    cx.caches.bootstrap_tokens.on(cx.enqueue());
    reconciler(cx, reconcile)
}

/// How long the token still holds, zero when it is over; none if for ever.
fn left(secret: &Secret, now: Timestamp) -> Option<Duration> {
    let text = secret.data.as_ref()?.get("expiration")?;
    // What cannot be read cannot be honoured either: such a token is not accepted, and does not stay.
    let until: Timestamp = std::str::from_utf8(&text.0).ok().and_then(|t| t.parse().ok()).unwrap_or(Timestamp::MIN);
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

async fn reconcile(cx: Arc<Context>, key: Key) -> Result<Next> {
    let Some(secret) = cx.caches.bootstrap_tokens.get(&key) else { return Ok(None) };
    match left(&secret, Timestamp::now()) {
        None => Ok(None),
        Some(left) if !left.is_zero() => Ok(Some(left)),
        Some(_) => {
            let meta = &secret.metadata;
            let preconditions =
                Preconditions { uid: meta.uid.clone(), resource_version: meta.resource_version.clone() };
            let params = DeleteParams { preconditions: Some(preconditions), ..Default::default() };
            let api: Api<Secret> = Api::namespaced(cx.client.clone(), &key.namespace);
            match api.delete(&key.name, &params).await.map_err(Error::from) {
                Err(error) if error.is_not_found() => Ok(None),
                other => other.map(|_| None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    #[test]
    fn expirations() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        for (expiration, expect) in [
            (None, None),
            (Some("2026-01-01T00:01:00Z"), Some(60)),
            (Some("2026-01-01T02:01:00+02:00"), Some(60)),
            (Some("2025-12-31T23:59:59Z"), Some(0)),
            (Some("soon"), Some(0)),
        ] {
            let data = expiration.map(|e| [("expiration".to_owned(), ByteString(e.into()))].into());
            let secret = Secret { data, ..Default::default() };
            assert_eq!(left(&secret, now), expect.map(Duration::from_secs), "{expiration:?}");
        }
    }
}
