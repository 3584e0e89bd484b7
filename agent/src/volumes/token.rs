//! Service account tokens bound to their pod, from the TokenRequest API.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use parking_lot::Mutex;

use crate::objects::message;

const DEFAULT_SECONDS: i64 = 3600;
/// A token is renewed when it has lived this share of its time, or a day.
const RENEW_PERCENT: i64 = 80;
const RENEW_AFTER: SignedDuration = SignedDuration::from_hours(24);

struct Token {
    text: String,
    renew_at: Timestamp,
}

/// The tokens of the pods on this node, by pod uid, audience and lifetime.
#[derive(Default)]
pub struct Tokens {
    known: Mutex<HashMap<(String, String, i64), Token>>,
}

fn renew_at(asked: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.duration_since(asked);
    let share = SignedDuration::from_secs(life.as_secs() * RENEW_PERCENT / 100);
    asked + share.min(RENEW_AFTER)
}

impl Tokens {
    /// The token of this projection, as old as allowed.
    ///
    /// # Errors
    /// What the API said.
    pub async fn get(
        &self,
        client: &kube::Client,
        pod: &Pod,
        projection: &ServiceAccountTokenProjection,
    ) -> Result<String, String> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let audience = projection.audience.clone().unwrap_or_default();
        let seconds = projection.expiration_seconds.unwrap_or(DEFAULT_SECONDS);
        let (key, asked) = ((uid.clone(), audience.clone(), seconds), Timestamp::now());
        if let Some(token) = self.known.lock().get(&key).filter(|token| token.renew_at > asked) {
            return Ok(token.text.clone());
        }
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        let account = account.filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned());
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let request = TokenRequest {
            metadata: ObjectMeta::default(),
            spec: Some(TokenRequestSpec {
                audiences: Some(audience).filter(|audience| !audience.is_empty()).map(|audience| vec![audience]),
                expiration_seconds: Some(seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: pod.metadata.name.clone(),
                    uid: Some(uid),
                }),
            }),
            status: None,
        };
        let api: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
        let answer = api.create_token_request(&account, &PostParams::default(), &request).await;
        let answer = answer.map_err(|error| format!("failed to fetch token: {}", message(&error)))?;
        let status = answer.status.unwrap_or_default();
        let (Some(text), Some(expires)) = (status.token, status.expiration_timestamp) else {
            return Err("failed to fetch token: the answer has none".to_owned());
        };
        let token = Token { text: text.clone(), renew_at: renew_at(asked, expires.0) };
        self.known.lock().insert(key, token);
        Ok(text)
    }

    pub fn forget(&self, pod_uid: &str) {
        self.known.lock().retain(|(uid, ..), _| uid != pod_uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_in_time() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        for (life_hours, after_minutes) in [(1, 48), (24, 24 * 48), (24 * 365, 24 * 60)] {
            let at = renew_at(now, now + SignedDuration::from_hours(life_hours));
            assert_eq!(at.duration_since(now).as_mins(), after_minutes, "a life of {life_hours} hours");
        }
    }
}
