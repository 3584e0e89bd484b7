//! Bootstrap tokens: `ID.SECRET`, kept in Secret `kube-system/bootstrap-token-ID`, for nodes that join.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use crate::{Reader, UserInfo, groups, names, text};

const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// A new random token, `[a-z0-9]{6}.[a-z0-9]{16}`.
pub fn generate() -> String {
    use rand::Rng;
    let mut rng = rand::rng();
    let mut text: String =
        (0..ID_LENGTH + SECRET_LENGTH).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect();
    text.insert(ID_LENGTH, '.');
    text
}

/// (id, secret) of a well-formed token.
pub fn split(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str, length: usize| text.len() == length && text.bytes().all(|b| ALPHABET.contains(&b));
    (plain(id, ID_LENGTH) && plain(secret, SECRET_LENGTH)).then_some((id, secret))
}

/// The Secret that makes a token good for joining nodes; None for a malformed token. Without `expires` it never ends.
pub fn secret(token: &str, expires: Option<Timestamp>, description: &str) -> Option<Value> {
    let (id, secret) = split(token)?;
    let encoded = |text: &str| STANDARD.encode(text);
    let mut data = json!({
        "token-id": encoded(id),
        "token-secret": encoded(secret),
        "description": encoded(description),
        "usage-bootstrap-authentication": encoded("true"),
        "usage-bootstrap-signing": encoded("true"),
    });
    if let Some(at) = expires {
        data["expiration"] = json!(encoded(&at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()));
    }
    Some(json!({
        "apiVersion": "v1", "kind": "Secret", "type": SECRET_TYPE,
        "metadata": {"name": format!("bootstrap-token-{id}"), "namespace": "kube-system"},
        "data": data,
    }))
}

/// The user of a bootstrap token: `system:bootstrap:ID` in `system:bootstrappers` and the token's extra groups. None
/// when the token is malformed, unknown, wrong, expired, being deleted or not meant for authentication.
pub fn verify(reader: &dyn Reader, token: &str, now: Timestamp) -> Option<UserInfo> {
    let (id, secret) = split(token)?;
    let stored = reader.get("secrets", "kube-system", &format!("bootstrap-token-{id}"))?;
    let data = |key: &str| {
        let encoded = stored.get("data")?.get(key)?.as_str()?;
        String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
    };
    let same = data("token-secret").is_some_and(|s| bool::from(s.as_bytes().ct_eq(secret.as_bytes())));
    if !same
        || text(&stored, "/type") != SECRET_TYPE
        || !text(&stored, "/metadata/deletionTimestamp").is_empty()
        || data("token-id").as_deref() != Some(id)
        || data("usage-bootstrap-authentication").as_deref() != Some("true")
    {
        return None;
    }
    if let Some(expiration) = data("expiration") {
        // An expiration that cannot be read has passed.
        if expiration.parse::<Timestamp>().ok()? <= now {
            return None;
        }
    }
    let mut user = UserInfo::new(format!("{}{id}", names::BOOTSTRAP_PREFIX), &[groups::BOOTSTRAPPERS]);
    if let Some(extra) = data("auth-extra-groups") {
        for group in extra.split(',').map(str::trim).filter(|g| !g.is_empty()) {
            // One bad group spoils the token, as upstream.
            user.groups.push(bootstrap_group(group)?.to_owned());
        }
    }
    Some(user.authenticated())
}

/// `system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]`
fn bootstrap_group(group: &str) -> Option<&str> {
    let rest = group.strip_prefix("system:bootstrappers:")?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let good = rest.len() <= 256
        && rest.bytes().all(|b| plain(b) || b == b':' || b == b'-')
        && rest.bytes().last().is_some_and(plain);
    good.then_some(group)
}
