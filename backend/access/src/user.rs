//! `UserInfo`: the identity of a request, in the shape of `authentication.k8s.io` (`username`, `uid`, `groups`, `extra`).
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/authentication/>

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Groups with a meaning of their own.
pub mod groups {
    pub const MASTERS: &str = "system:masters";
    pub const AUTHENTICATED: &str = "system:authenticated";
    pub const UNAUTHENTICATED: &str = "system:unauthenticated";
    pub const NODES: &str = "system:nodes";
    pub const BOOTSTRAPPERS: &str = "system:bootstrappers";
    pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
    pub const SERVICE_ACCOUNTS_PREFIX: &str = "system:serviceaccounts:";
    pub const MONITORING: &str = "system:monitoring";
}

/// User names with a meaning of their own.
pub mod names {
    pub const ANONYMOUS: &str = "system:anonymous";
    pub const ADMIN: &str = "kubernetes-admin";
    pub const NODE_PREFIX: &str = "system:node:";
    pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
    pub const BOOTSTRAP_PREFIX: &str = "system:bootstrap:";
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserInfo {
    #[serde(rename = "username", default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A user with exactly these groups; nothing is added.
    pub fn new(name: impl Into<String>, groups: &[&str]) -> Self {
        Self { name: name.into(), groups: groups.iter().map(|g| (*g).to_owned()).collect(), ..Self::default() }
    }

    /// The user of a request that carries no credentials at all.
    pub fn anonymous() -> Self {
        Self::new(names::ANONYMOUS, &[groups::UNAUTHENTICATED])
    }

    /// `system:serviceaccount:NAMESPACE:NAME` with the groups every service account has.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            name: format!("{}{namespace}:{name}", names::SERVICE_ACCOUNT_PREFIX),
            uid: uid.to_owned(),
            groups: vec![
                groups::SERVICE_ACCOUNTS.to_owned(),
                format!("{}{namespace}", groups::SERVICE_ACCOUNTS_PREFIX),
                groups::AUTHENTICATED.to_owned(),
            ],
            extra: BTreeMap::new(),
        }
    }

    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// The node's name when this is a node: user `system:node:NAME` in group `system:nodes`.
    pub fn node_name(&self) -> Option<&str> {
        let name = self.name.strip_prefix(names::NODE_PREFIX)?;
        (!name.is_empty() && self.in_group(groups::NODES)).then_some(name)
    }

    /// `(namespace, name)` when this is a service account.
    pub fn service_account_name(&self) -> Option<(&str, &str)> {
        let (namespace, name) = self.name.strip_prefix(names::SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
        (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
    }

    /// Adds `system:authenticated` unless the user is anonymous or has it already.
    #[must_use]
    pub fn authenticated(mut self) -> Self {
        let settled = self.groups.iter().any(|g| g == groups::AUTHENTICATED || g == groups::UNAUTHENTICATED);
        if self.name != names::ANONYMOUS && !settled {
            self.groups.push(groups::AUTHENTICATED.to_owned());
        }
        self
    }

    /// The first value of an extra.
    pub fn extra(&self, key: &str) -> Option<&str> {
        self.extra.get(key)?.first().map(String::as_str)
    }
}
