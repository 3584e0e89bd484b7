//! Nobody grants more than they hold.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping>

use pilothouse_api::Status;
use serde_json::Value;

use super::rbac::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, GROUP, ROLE_BINDINGS, ROLES, RoleRef, rules_of};
use super::rule::url_matches;
use super::{Attributes, Authorizer, PolicyRule};
use crate::{UserInfo, groups, name_of, namespace_of};

pub(super) fn check(
    authorizer: &Authorizer,
    user: &UserInfo,
    resource: &str,
    object: &Value,
    old: Option<&Value>,
) -> Result<(), Status> {
    let plural = match resource {
        ROLES => "roles",
        CLUSTER_ROLES => "clusterroles",
        ROLE_BINDINGS => "rolebindings",
        CLUSTER_ROLE_BINDINGS => "clusterrolebindings",
        _ => return Ok(()),
    };
    if user.in_group(groups::MASTERS) || old.is_some_and(|old| only_garbage_fields_changed(object, old)) {
        return Ok(());
    }
    let case = Case { authorizer, user, plural, name: name_of(object), namespace: namespace_of(object) };
    match resource {
        ROLES | CLUSTER_ROLES => case.role(object, old),
        _ => case.binding(object, old),
    }
}

struct Case<'a> {
    authorizer: &'a Authorizer,
    user: &'a UserInfo,
    plural: &'a str,
    name: &'a str,
    namespace: &'a str,
}

impl Case<'_> {
    fn forbidden(&self, why: &str) -> Status {
        Status::forbidden(GROUP, self.plural, self.name, why)
    }

    fn may(&self, verb: &str, resource: &str, name: &str) -> bool {
        let asked = Attributes::resource(self.user, verb, GROUP, "*", resource).namespace(self.namespace).name(name);
        self.authorizer.authorize(&asked).allowed
    }

    fn role(&self, role: &Value, old: Option<&Value>) -> Result<(), Status> {
        if self.may("escalate", self.plural, self.name) {
            return Ok(());
        }
        self.covers(&rules_of(role))?;
        if self.plural == "clusterroles" && (aggregates(role) || old.is_some_and(aggregates)) {
            self.covers(&everything())
                .map_err(|_| self.forbidden("must have cluster-admin privileges to use the aggregationRule"))?;
        }
        Ok(())
    }

    fn binding(&self, binding: &Value, old: Option<&Value>) -> Result<(), Status> {
        // Subjects that are only taken away grant nothing, but upstream checks every update that is not the garbage
        // collector's, and so do we.
        let _ = old;
        let Some(reference) = RoleRef::of(binding) else {
            return Err(self.forbidden("roleRef names no role of this cluster"));
        };
        let resource = if reference.cluster { "clusterroles" } else { "roles" };
        if self.may("bind", resource, &reference.name) {
            return Ok(());
        }
        let rules = self.authorizer.rbac.read().role(&reference, self.namespace).cloned();
        match rules {
            Some(rules) => self.covers(&rules),
            None => Err(Status::not_found(GROUP, resource, &reference.name)),
        }
    }

    /// Every right the rules grant is one the user has, in this namespace.
    fn covers(&self, rules: &[PolicyRule]) -> Result<(), Status> {
        let own = self.authorizer.rbac.read().rules(self.user, self.namespace);
        let missing: Vec<PolicyRule> = rules
            .iter()
            .flat_map(break_down)
            .filter(|right| !own.iter().any(|rule| rule_covers(rule, right)))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let groups: Vec<String> = self.user.groups.iter().map(|g| format!("{g:?}")).collect();
        let missing = compact(&missing).join("\n");
        Err(self.forbidden(&format!(
            "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{missing}",
            self.user.name,
            groups.join(" ")
        )))
    }
}

fn aggregates(role: &Value) -> bool {
    role.pointer("/aggregationRule/clusterRoleSelectors").and_then(Value::as_array).is_some_and(|s| !s.is_empty())
}

fn everything() -> [PolicyRule; 2] {
    let all = || vec!["*".to_owned()];
    [
        PolicyRule { verbs: all(), api_groups: all(), resources: all(), ..PolicyRule::default() },
        PolicyRule { verbs: all(), non_resource_urls: all(), ..PolicyRule::default() },
    ]
}

/// The garbage collector may take away owners and finalizers of roles it could not have written.
fn only_garbage_fields_changed(new: &Value, old: &Value) -> bool {
    let strip = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
                metadata.remove(field);
            }
        }
        object
    };
    strip(new) == strip(old)
}

/// One rule per verb, group, resource and name, so that each is covered by one rule or by none.
fn break_down(rule: &PolicyRule) -> Vec<PolicyRule> {
    let one = |text: &String| vec![text.clone()];
    let mut all = Vec::new();
    for verb in &rule.verbs {
        for (group, resource) in rule.api_groups.iter().flat_map(|g| rule.resources.iter().map(move |r| (g, r))) {
            let right = PolicyRule {
                verbs: one(verb),
                api_groups: one(group),
                resources: one(resource),
                ..PolicyRule::default()
            };
            if rule.resource_names.is_empty() {
                all.push(right);
            } else {
                all.extend(rule.resource_names.iter().map(|n| PolicyRule { resource_names: one(n), ..right.clone() }));
            }
        }
        all.extend(rule.non_resource_urls.iter().map(|url| PolicyRule {
            verbs: one(verb),
            non_resource_urls: one(url),
            ..PolicyRule::default()
        }));
    }
    all
}

fn covers_all(owned: &[String], asked: &[String]) -> bool {
    owned.iter().any(|o| o == "*") || asked.iter().all(|a| owned.contains(a))
}

fn rule_covers(owner: &PolicyRule, right: &PolicyRule) -> bool {
    let resource = |asked: &String| {
        owner.resources.iter().any(|owned| {
            owned == "*"
                || owned == asked
                || asked.split_once('/').is_some_and(|(_, sub)| owned.strip_prefix("*/") == Some(sub))
        })
    };
    covers_all(&owner.verbs, &right.verbs)
        && covers_all(&owner.api_groups, &right.api_groups)
        && right.resources.iter().all(resource)
        && (owner.resource_names.is_empty()
            || (!right.resource_names.is_empty()
                && right.resource_names.iter().all(|n| owner.resource_names.contains(n))))
        && right.non_resource_urls.iter().all(|url| owner.non_resource_urls.iter().any(|own| url_matches(own, url)))
}

/// The missing rights as upstream prints them, those that differ only in the verb joined, sorted:
/// `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get" "list"]}`.
fn compact(rights: &[PolicyRule]) -> Vec<String> {
    let mut joined: Vec<PolicyRule> = Vec::new();
    for right in rights {
        let same = |other: &&mut PolicyRule| {
            other.api_groups == right.api_groups
                && other.resources == right.resources
                && other.resource_names == right.resource_names
                && other.non_resource_urls == right.non_resource_urls
        };
        match joined.iter_mut().find(same) {
            Some(other) => other.verbs.extend(right.verbs.iter().cloned()),
            None => joined.push(right.clone()),
        }
    }
    let mut texts: Vec<String> = joined.iter().map(print).collect();
    texts.sort();
    texts
}

fn print(rule: &PolicyRule) -> String {
    let list = |items: &[String]| {
        let quoted: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
        format!("[{}]", quoted.join(" "))
    };
    let mut parts = Vec::new();
    for (name, items) in [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("ResourceNames", &rule.resource_names),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("Verbs", &rule.verbs),
    ] {
        if !items.is_empty() {
            parts.push(format!("{name}:{}", list(items)));
        }
    }
    format!("{{{}}}", parts.join(", "))
}
