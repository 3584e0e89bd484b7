//! What the user may do, from SelfSubjectRulesReview: actions that would be refused are not offered.
//!
//! Invariant: this only decides what is shown. The server decides what is done.

use serde::Deserialize;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rules {
    pub resource_rules: Vec<Rule>,
    pub non_resource_rules: Vec<serde_json::Value>,
    /// The server could not tell everything: then nothing is hidden.
    pub incomplete: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub resource_names: Vec<String>,
}

/// A question: may I `verb` this? `resource` is a group resource, `subresource` may be empty, `name` too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ask {
    pub verb: &'static str,
    pub resource: String,
    pub subresource: &'static str,
    pub name: String,
}

impl Ask {
    pub fn new(verb: &'static str, resource: &str) -> Self {
        Self { verb, resource: resource.to_owned(), ..Self::default() }
    }

    #[must_use]
    pub fn sub(mut self, subresource: &'static str) -> Self {
        self.subresource = subresource;
        self
    }

    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Why a button is disabled.
    pub fn refusal(&self) -> String {
        let slash = if self.subresource.is_empty() { "" } else { "/" };
        format!("Your roles do not allow “{}” on {}{slash}{}", self.verb, self.resource, self.subresource)
    }
}

impl Rule {
    fn allows(&self, ask: &Ask) -> bool {
        let (resource, group) = ask.resource.split_once('.').unwrap_or((&ask.resource, ""));
        let any = |list: &[String], wanted: &str| list.iter().any(|entry| entry == "*" || entry == wanted);
        let full =
            if ask.subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{}", ask.subresource) };
        let all_of_sub = !ask.subresource.is_empty()
            && self.resources.iter().any(|entry| entry.strip_prefix("*/") == Some(ask.subresource));
        any(&self.verbs, ask.verb)
            && any(&self.api_groups, group)
            && (any(&self.resources, &full) || all_of_sub)
            && (self.resource_names.is_empty() || (!ask.name.is_empty() && self.resource_names.contains(&ask.name)))
    }
}

impl Rules {
    pub fn allow(&self, ask: &Ask) -> bool {
        self.resource_rules.iter().any(|rule| rule.allows(ask)) || self.incomplete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        serde_json::from_str(
            r#"{"resourceRules":[
            {"verbs":["get","list"],"apiGroups":[""],"resources":["pods","pods/log"]},
            {"verbs":["*"],"apiGroups":["apps"],"resources":["*"]},
            {"verbs":["update"],"apiGroups":[""],"resources":["configmaps"],"resourceNames":["one"]},
            {"verbs":["patch"],"apiGroups":["*"],"resources":["*/scale"]}]}"#,
        )
        .unwrap()
    }

    #[test]
    fn rules_are_matched_as_rbac_does() {
        let rules = rules();
        let cases = [
            (Ask::new("get", "pods"), true),
            (Ask::new("delete", "pods"), false),
            (Ask::new("get", "pods").sub("log"), true),
            (Ask::new("create", "pods").sub("exec"), false),
            (Ask::new("delete", "deployments.apps"), true),
            (Ask::new("patch", "deployments.apps").sub("scale"), true),
            (Ask::new("patch", "replicationcontrollers").sub("scale"), true),
            (Ask::new("update", "configmaps").named("one"), true),
            (Ask::new("update", "configmaps").named("two"), false),
            (Ask::new("update", "configmaps"), false),
            (Ask::new("get", "pods.metrics.k8s.io"), false),
        ];
        for (ask, allowed) in cases {
            assert_eq!(rules.allow(&ask), allowed, "{ask:?}");
        }
    }

    #[test]
    fn an_incomplete_answer_hides_nothing() {
        let rules = Rules { incomplete: true, ..Rules::default() };
        assert!(rules.allow(&Ask::new("delete", "nodes")));
    }
}
