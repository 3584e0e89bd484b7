//! Acting as somebody else, for those who may.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation>

use std::collections::BTreeMap;

use http::HeaderMap;
use pilothouse_api::Status;

use crate::authz::{Attributes, Authorizer};
use crate::{UserInfo, groups, names};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA_PREFIX: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";
/// Most groups and extras together: each costs a decision.
const MAX_PARTS: usize = 256;

/// The user to act as, or None when no `Impersonate-*` header is there. Every part (user or account, each group, the
/// uid, each extra) needs the verb `impersonate`.
/// Errors: 403 for a part the requester may not impersonate, 400 for parts without a user.
pub fn impersonate(
    authorizer: &Authorizer,
    requester: &UserInfo,
    headers: &HeaderMap,
) -> Result<Option<UserInfo>, Status> {
    let wished = wished(headers)?;
    let Some(wished) = wished else { return Ok(None) };
    let may = |group: &str, version: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
        let asked = Attributes::resource(requester, "impersonate", group, version, resource)
            .subresource(subresource)
            .namespace(namespace)
            .name(name);
        authorizer.check(&asked)
    };
    match wished.service_account_name() {
        Some((namespace, name)) => may("", "v1", "serviceaccounts", "", namespace, name)?,
        None => may("", "v1", "users", "", "", &wished.name)?,
    }
    for group in &wished.groups {
        may("", "v1", "groups", "", "", group)?;
    }
    if !wished.uid.is_empty() {
        may(AUTHENTICATION, "v1", "uids", "", "", &wished.uid)?;
    }
    for (key, values) in &wished.extra {
        for value in values {
            may(AUTHENTICATION, "v1", "userextras", key, "", value)?;
        }
    }
    Ok(Some(complete(wished)))
}

/// Exactly what the headers say.
fn wished(headers: &HeaderMap) -> Result<Option<UserInfo>, Status> {
    let readable = |value: &http::HeaderValue| {
        // Names outside ASCII are legal in Kubernetes, so the bytes are read as UTF-8.
        String::from_utf8(value.as_bytes().to_vec())
            .map_err(|_| Status::bad_request("Impersonate headers must be UTF-8"))
    };
    let one = |name: &str| headers.get(name).map(readable).transpose().map(Option::unwrap_or_default);
    let (name, uid) = (one(USER)?, one(UID)?);
    let groups: Vec<String> = headers.get_all(GROUP).iter().map(readable).collect::<Result<_, _>>()?;
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (header, value) in headers {
        if let Some(key) = header.as_str().strip_prefix(EXTRA_PREFIX) {
            extra.entry(unescape(key)).or_default().push(readable(value)?);
        }
    }
    let parts = groups.len() + extra.values().map(Vec::len).sum::<usize>();
    if parts > MAX_PARTS {
        return Err(Status::bad_request(format!("more than {MAX_PARTS} impersonated groups and extras")));
    }
    if name.is_empty() {
        return if parts == 0 && uid.is_empty() {
            Ok(None)
        } else {
            Err(Status::bad_request("requested to impersonate groups, extras or a uid without impersonating a user"))
        };
    }
    Ok(Some(UserInfo { name, uid, groups, extra }))
}

/// The groups that follow from the name.
fn complete(mut user: UserInfo) -> UserInfo {
    if user.groups.is_empty()
        && let Some((namespace, name)) = user.service_account_name()
    {
        user.groups = UserInfo::service_account(namespace, name, "").groups;
    }
    if user.name == names::ANONYMOUS {
        if !user.in_group(groups::UNAUTHENTICATED) {
            user.groups.push(groups::UNAUTHENTICATED.to_owned());
        }
        return user;
    }
    user.authenticated()
}

/// Decodes %-escapes of a header's name; a malformed one stays as it is, as upstream.
fn unescape(key: &str) -> String {
    let decode = || {
        let (mut out, mut rest) = (Vec::new(), key.as_bytes());
        while let Some((&byte, tail)) = rest.split_first() {
            if byte != b'%' {
                out.push(byte);
                rest = tail;
                continue;
            }
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            out.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        }
        String::from_utf8(out).ok()
    };
    decode().unwrap_or_else(|| key.to_owned())
}
