//! Is this token good, here and now?

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::ServiceAccountTokens;
use super::cache::{self, Entry};
use super::claims::{Claims, Reference};
use crate::{Reader, UserInfo, text, uid_of};

/// Longest bearer token that is looked at; ours are about 1 KiB.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Clocks differ by this much, and objects are taken for alive this long after they were deleted. Upstream's leeway.
const LEEWAY: Duration = Duration::from_secs(60);

/// A token that verified.
#[derive(Clone, Debug)]
pub struct Verified {
    pub user: Arc<UserInfo>,
    /// The asked audiences that the token carries.
    pub audiences: Vec<String>,
}

/// Why a token is refused. For `TokenReview` and the log; an API request gets a plain 401.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a token of ours: another kind, another issuer, or not signed by one of our keys.
    #[error("the token is not one of this cluster's service account tokens")]
    Foreign,
    #[error("service account token has expired")]
    Expired,
    #[error("service account token is not valid yet")]
    NotYet,
    #[error("token audiences {0:?} is invalid for the target audiences {1:?}")]
    Audience(Vec<String>, Vec<String>),
    #[error("service account token has been invalidated")]
    Invalidated,
}

impl ServiceAccountTokens {
    /// Verifies signature, issuer, audience (any of `audiences`; when empty, the API server's), times, and that the
    /// account and the objects the token is bound to still live.
    pub fn verify(
        &self,
        reader: &dyn Reader,
        token: &str,
        audiences: &[String],
        now: Timestamp,
    ) -> Result<Verified, Refused> {
        if token.len() > MAX_TOKEN_BYTES || token.split('.').count() != 3 {
            return Err(Refused::Foreign);
        }
        let key = cache::key(token);
        let known = self.cache.get(&key);
        let (claims, user) = match &known {
            Some(entry) => (entry.claims.clone(), entry.user.clone()),
            None => {
                let claims = self.keys.open(token).ok_or(Refused::Foreign)?;
                let user = user(&claims);
                (Arc::new(claims), Arc::new(user))
            }
        };
        if claims.iss != self.config.issuer {
            return Err(Refused::Foreign);
        }
        let carried = self.check_audience(&claims, audiences)?;
        check_times(&claims, now)?;
        if known.is_none_or(|entry| now.duration_since(entry.alive).unsigned_abs() > cache::FRESH) {
            check_alive(reader, &claims, now)?;
            self.cache.put(key, Entry { claims, user: user.clone(), alive: now });
        }
        Ok(Verified { user, audiences: carried })
    }

    fn check_audience(&self, claims: &Claims, asked: &[String]) -> Result<Vec<String>, Refused> {
        let asked = if asked.is_empty() { &self.config.audiences } else { asked };
        let carried: Vec<String> = asked.iter().filter(|a| claims.aud.contains(a)).cloned().collect();
        if carried.is_empty() { Err(Refused::Audience(claims.aud.clone(), asked.to_vec())) } else { Ok(carried) }
    }
}

fn check_times(claims: &Claims, now: Timestamp) -> Result<(), Refused> {
    let (now, leeway) = (now.as_second(), LEEWAY.as_secs() as i64);
    // No leeway for the end: the holder refreshes long before it.
    if now >= claims.exp {
        return Err(Refused::Expired);
    }
    if now + leeway < claims.nbf || now + leeway < claims.iat {
        return Err(Refused::NotYet);
    }
    Ok(())
}

/// Each object the token hangs on exists, is the same one, and was not deleted longer ago than the leeway.
fn check_alive(reader: &dyn Reader, claims: &Claims, now: Timestamp) -> Result<(), Refused> {
    let about = &claims.kubernetes;
    let alive = |resource: &str, namespace: &str, reference: &Reference| {
        let object = reader.get(resource, namespace, &reference.name).ok_or(Refused::Invalidated)?;
        let deleted = text(&object, "/metadata/deletionTimestamp");
        let gone = match deleted.parse::<Timestamp>() {
            Ok(at) => at < now - LEEWAY,
            Err(_) => !deleted.is_empty(),
        };
        if gone || uid_of(&object) != reference.uid { Err(Refused::Invalidated) } else { Ok(()) }
    };
    alive("serviceaccounts", &about.namespace, &about.serviceaccount)?;
    match (&about.secret, &about.pod, &about.node) {
        (Some(secret), ..) => alive("secrets", &about.namespace, secret),
        // The node of a bound pod is information only.
        (None, Some(pod), _) => alive("pods", &about.namespace, pod),
        (None, None, Some(node)) => alive("nodes", "", node),
        (None, None, None) => Ok(()),
    }
}

fn user(claims: &Claims) -> UserInfo {
    let about = &claims.kubernetes;
    let account = &about.serviceaccount;
    let mut user = UserInfo::service_account(&about.namespace, &account.name, &account.uid);
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() {
            user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        }
    };
    if let Some(pod) = &about.pod {
        add("pod-name", &pod.name);
        add("pod-uid", &pod.uid);
    }
    if let Some(node) = &about.node {
        add("node-name", &node.name);
        add("node-uid", &node.uid);
    }
    if !claims.jti.is_empty() {
        add("credential-id", &format!("JTI={}", claims.jti));
    }
    user
}
