//! The tables of rules.

use std::collections::BTreeMap;

use crate::authz::PolicyRule;

const CLUSTER_ROLES: &str = include_str!("../../facts/cluster-roles.tsv");
const CONTROLLER_ROLES: &str = include_str!("../../facts/controller-roles.tsv");
const NAMESPACE_ROLES: &str = include_str!("../../facts/namespace-roles.tsv");
const OWN_ROLES: &str = include_str!("../../facts/pilothouse-roles.tsv");

type Rules = BTreeMap<String, Vec<PolicyRule>>;

fn list(text: &str) -> Vec<String> {
    let word = |word: &str| if word == "core" { String::new() } else { word.to_owned() };
    text.split(' ').filter(|text| *text != "-").map(word).collect()
}

/// One rule from its four columns: verbs, groups, resources or URLs, names.
fn rule(columns: &[&str]) -> Option<PolicyRule> {
    let [verbs, groups, resources, names] = columns else { return None };
    let verbs = list(verbs);
    Some(if *groups == "-" {
        PolicyRule { verbs, non_resource_urls: list(resources), ..PolicyRule::default() }
    } else {
        PolicyRule {
            verbs,
            api_groups: list(groups),
            resources: list(resources),
            resource_names: list(names),
            non_resource_urls: Vec::new(),
        }
    })
}

fn lines(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    table.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(|line| line.split('\t').collect())
}

fn roles(table: &'static str) -> Rules {
    let mut all = Rules::new();
    for columns in lines(table) {
        if let Some((name, rest)) = columns.split_first()
            && let Some(rule) = rule(rest)
        {
            all.entry((*name).to_owned()).or_default().push(rule);
        }
    }
    all
}

pub(super) fn cluster_roles() -> Rules {
    let mut all = roles(CLUSTER_ROLES);
    all.extend(roles(OWN_ROLES));
    all
}

/// Without the prefix `system:controller:`, which is the name of the service account.
pub(super) fn controller_roles() -> Rules {
    let short = |(name, rules): (String, Vec<PolicyRule>)| {
        (name.strip_prefix("system:controller:").unwrap_or(&name).to_owned(), rules)
    };
    roles(CONTROLLER_ROLES).into_iter().map(short).collect()
}

/// By namespace and name.
pub(super) fn namespace_roles() -> BTreeMap<(String, String), Vec<PolicyRule>> {
    let mut all: BTreeMap<_, Vec<PolicyRule>> = BTreeMap::new();
    for columns in lines(NAMESPACE_ROLES) {
        if let [namespace, name, rest @ ..] = columns.as_slice()
            && let Some(rule) = rule(rest)
        {
            all.entry(((*namespace).to_owned(), (*name).to_owned())).or_default().push(rule);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_rule() {
        for (table, columns) in [(CLUSTER_ROLES, 5), (CONTROLLER_ROLES, 5), (OWN_ROLES, 5), (NAMESPACE_ROLES, 6)] {
            for line in lines(table) {
                assert_eq!(line.len(), columns, "{line:?}");
                assert!(line.iter().all(|column| !column.is_empty()), "{line:?}");
            }
        }
    }
}
