//! Acting as somebody else, for those who may.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#user-impersonation>

use http::HeaderMap;
use pilothouse_api::Status;

use crate::UserInfo;
use crate::authz::Authorizer;

/// The user to act as, or None when no `Impersonate-*` header is there.
/// Errors: 403 when `requester` may not `impersonate` one of the parts, 500 (as upstream) for parts without a user.
pub fn impersonate(
    _authorizer: &Authorizer,
    _requester: &UserInfo,
    headers: &HeaderMap,
) -> Result<Option<UserInfo>, Status> {
    match headers.get("impersonate-user") {
        None => Ok(None),
        Some(_) => Err(Status::internal("impersonation is not available")),
    }
}
