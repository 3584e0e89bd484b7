//! `nodeSelector` and node affinity: which nodes a pod must have, and which it would like.
//! Source: <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/>

use super::{Plugin, Prepared, Reason, proportional};
use crate::api::{NodeRequirement, NodeSelector, NodeSelectorTerm};
use crate::info::{NodeInfo, PodInfo};
use crate::queue::Happened;

pub const PLUGIN: Plugin = Plugin {
    weight: 2,
    helped_by: Happened::NODE_ADDED.or(Happened::NODE_CHANGED),
    prepare: |cycle| match (cycle.pod.has_node_constraints(), cycle.pod.preferred_nodes.is_empty()) {
        (false, true) => Prepared::Skip,
        (true, true) => Prepared::Filter,
        (false, false) => Prepared::Score,
        (true, false) => Prepared::Both,
    },
    filter: |cycle, node| match matches(cycle.pod, node) {
        true => Ok(()),
        false => Err(vec![Reason::fixed("node(s) didn't match Pod's node affinity/selector")]),
    },
    score: |cycle, node| {
        cycle.pod.preferred_nodes.iter().filter(|(_, term)| term.matches_or_empty(node)).map(|(weight, _)| weight).sum()
    },
    normalize: |scores| proportional(scores, false),
};

/// Whether the node is among those the pod must have.
pub fn matches(pod: &PodInfo, node: &NodeInfo) -> bool {
    pod.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
        && pod.required_nodes.as_ref().is_none_or(|terms| terms.iter().any(|t| t.matches(node)))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeTerm {
    labels: Vec<Requirement>,
    /// On `metadata.name`.
    fields: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: Box<str>,
    operator: Operator,
    values: Vec<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Gt,
    Lt,
    /// Never true.
    Unknown,
}

impl Requirement {
    fn new(requirement: &NodeRequirement) -> Self {
        let operator = match requirement.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            "Gt" => Operator::Gt,
            "Lt" => Operator::Lt,
            _ => Operator::Unknown,
        };
        let values = requirement.values.iter().map(|v| v.as_str().into()).collect();
        Self { key: requirement.key.as_str().into(), operator, values }
    }

    fn admits(&self, value: Option<&str>) -> bool {
        let named = || value.is_some_and(|value| self.values.iter().any(|v| **v == *value));
        let compare = |ok: fn(&i64, &i64) -> bool| {
            let than = self.values.first().and_then(|v| v.parse::<i64>().ok());
            let have = value.and_then(|v| v.parse::<i64>().ok());
            matches!((have, than), (Some(have), Some(than)) if ok(&have, &than))
        };
        match self.operator {
            Operator::In => named(),
            Operator::NotIn => !named(),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => compare(i64::gt),
            Operator::Lt => compare(i64::lt),
            Operator::Unknown => false,
        }
    }
}

impl NodeTerm {
    pub fn new(term: &NodeSelectorTerm) -> Self {
        let requirements = |list: &[NodeRequirement]| list.iter().map(Requirement::new).collect();
        Self { labels: requirements(&term.match_expressions), fields: requirements(&term.match_fields) }
    }

    pub fn list(selector: &NodeSelector) -> Vec<Self> {
        selector.node_selector_terms.iter().map(Self::new).collect()
    }

    /// A term without requirements matches no node.
    pub fn matches(&self, node: &NodeInfo) -> bool {
        !(self.labels.is_empty() && self.fields.is_empty()) && self.matches_or_empty(node)
    }

    /// A preference without requirements holds everywhere.
    pub fn matches_or_empty(&self, node: &NodeInfo) -> bool {
        let field = |key: &str| (key == "metadata.name").then_some(&*node.name);
        self.labels.iter().all(|r| r.admits(node.label(&r.key))) && self.fields.iter().all(|r| r.admits(field(&r.key)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn terms() {
        let mut node = NodeInfo { name: "n1".into(), ..Default::default() };
        node.labels = [("zone".into(), "a".into()), ("cores".into(), "16".into())].into();
        let cases: [(Value, bool); 12] = [
            (json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}), true),
            (json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}), false),
            (json!({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["b"]}]}), true),
            (json!({"matchExpressions": [{"key": "rack", "operator": "NotIn", "values": ["b"]}]}), true),
            (json!({"matchExpressions": [{"key": "rack", "operator": "Exists"}]}), false),
            (json!({"matchExpressions": [{"key": "rack", "operator": "DoesNotExist"}]}), true),
            (json!({"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["8"]}]}), true),
            (json!({"matchExpressions": [{"key": "cores", "operator": "Lt", "values": ["8"]}]}), false),
            (json!({"matchExpressions": [{"key": "zone", "operator": "Gt", "values": ["8"]}]}), false),
            (json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}), true),
            (json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}), false),
            (json!({}), false),
        ];
        for (term, expect) in cases {
            let parsed: NodeSelectorTerm = serde_json::from_value(term.clone()).unwrap();
            assert_eq!(NodeTerm::new(&parsed).matches(&node), expect, "{term}");
        }
    }
}
