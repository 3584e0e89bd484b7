//! What a new cluster holds before anybody came: namespaces, default roles and bindings, priority classes, flow
//! schemas. Written at start-up when missing; roles and bindings are reconciled (missing rules and subjects are added)
//! unless annotated `rbac.authorization.kubernetes.io/autoupdate: "false"`.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings>

use serde_json::Value;

use crate::authz::PolicyRule;

/// What every node may do, whichever it is: the rules of `system:node`.
pub(crate) fn node_rules() -> Vec<PolicyRule> {
    Vec::new()
}

/// Every object of a new cluster, in the order to create them.
pub fn bootstrap_objects() -> Vec<Value> {
    Vec::new()
}

/// Brings a stored default object up to date: `Some(merged)` when it lacks rules or subjects of the default, None when
/// nothing is to be done.
pub fn reconcile(_stored: &Value, _default: &Value) -> Option<Value> {
    None
}

/// ClusterRoles whose `rules` have to change so that they are the union of the roles their aggregationRule selects.
/// `roles` are all ClusterRoles; the result holds only the changed ones.
pub fn aggregate(_roles: &[Value]) -> Vec<Value> {
    Vec::new()
}
