//! All that a user may do in a namespace: the answer to `SelfSubjectRulesReview`.

use serde::Serialize;

use super::rbac::Index;
use crate::{UserInfo, groups};

/// The `status` of a `SelfSubjectRulesReview`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RulesReview {
    pub resource_rules: Vec<ResourceRule>,
    pub non_resource_rules: Vec<NonResourceRule>,
    /// True when a part of the chain cannot list its rules (the node authorizer).
    pub incomplete: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub evaluation_error: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceRule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NonResourceRule {
    pub verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<String>,
}

fn all() -> Vec<String> {
    vec!["*".to_owned()]
}

pub(super) fn rules_for(index: &Index, user: &UserInfo, namespace: &str) -> RulesReview {
    let mut review = RulesReview::default();
    if user.in_group(groups::MASTERS) {
        review.resource_rules.push(ResourceRule {
            verbs: all(),
            api_groups: all(),
            resources: all(),
            resource_names: Vec::new(),
        });
        review.non_resource_rules.push(NonResourceRule { verbs: all(), non_resource_urls: all() });
    }
    for rule in index.rules(user, namespace) {
        if rule.resources.is_empty() {
            let urls = rule.non_resource_urls;
            review.non_resource_rules.push(NonResourceRule { verbs: rule.verbs, non_resource_urls: urls });
        } else {
            review.resource_rules.push(ResourceRule {
                verbs: rule.verbs,
                api_groups: rule.api_groups,
                resources: rule.resources,
                resource_names: rule.resource_names,
            });
        }
    }
    if user.node_name().is_some() {
        review.incomplete = true;
        review.evaluation_error = "node authorizer does not support user rule resolution".to_owned();
    }
    review
}
