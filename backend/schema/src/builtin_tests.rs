use crate::facts::Facts;
use crate::schema::{ListKind, Node, Ref};
use crate::{builtin, facts, raw, roots};
use serde_json::Value;
use std::collections::BTreeMap;

fn definitions() -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    raw::each(|_| true, |name, value| assert!(out.insert(name.to_owned(), value).is_none(), "{name} twice"));
    out
}

#[test]
fn every_root_has_a_schema() {
    for root in roots::ALL {
        let schema = builtin().gvk(root.group, root.version, root.kind).expect(root.kind);
        assert_eq!(schema.name.as_deref(), Some(&*(root.name)()));
        assert!(schema.field("kind").is_some() && schema.field("apiVersion").is_some(), "{}", root.kind);
    }
}

/// A row of the tables that names no field would be a fact that is never used.
#[test]
fn every_fact_is_about_something() {
    let raw = definitions();
    let by_short: std::collections::HashMap<&str, _> =
        raw.iter().map(|(name, value)| (facts::short(name), value)).collect();
    let mut stray: Vec<String> = Facts::load()
        .subjects()
        .filter(|(of, field)| match by_short.get(of) {
            Some(definition) => *field != "*" && definition["properties"].get(*field).is_none(),
            None => true,
        })
        .map(|(of, field)| format!("{of} {field}"))
        .collect();
    stray.sort();
    // Types that the API has but nobody sends: discovery, versions no longer served.
    stray.retain(|row| !row.starts_with("meta.v1."));
    assert!(stray.is_empty(), "{stray:#?}");
}

fn list(definition: &str, field: &str) -> (ListKind, Option<String>) {
    let schema = builtin().definition(definition).expect(definition);
    match &schema.field(field).expect(field).schema.get().node {
        Node::List(list) => (list.kind.clone(), list.patch_merge_key.as_deref().map(str::to_owned)),
        other => panic!("{definition}.{field} is {other:?}"),
    }
}

#[test]
fn lists_are_what_the_facts_say() {
    let map = |keys: &[&str]| ListKind::Map(keys.iter().map(|k| (*k).into()).collect());
    for (definition, field, kind, merge_key) in [
        ("io.k8s.api.core.v1.PodSpec", "containers", map(&["name"]), Some("name")),
        ("io.k8s.api.core.v1.Container", "ports", map(&["containerPort", "protocol"]), Some("containerPort")),
        ("io.k8s.api.core.v1.PodSpec", "tolerations", ListKind::Atomic, None),
        ("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "finalizers", ListKind::Set, None),
        ("io.k8s.api.core.v1.PodStatus", "hostIPs", ListKind::Atomic, Some("ip")),
        ("io.k8s.api.networking.v1.NetworkPolicySpec", "ingress", ListKind::Atomic, None),
    ] {
        assert_eq!(list(definition, field), (kind, merge_key.map(str::to_owned)), "{definition}.{field}");
    }
}

#[test]
fn every_reference_is_filled() {
    fn check(of: &Ref) {
        if let Ref::Named(slot) = of {
            assert!(slot.get().is_some());
        }
    }
    for name in definitions().keys() {
        match &builtin().definition(name).expect(name).node {
            Node::Struct(fields) => fields.fields.iter().for_each(|field| check(&field.schema)),
            Node::OneOf(choices) => choices.iter().for_each(check),
            _ => {}
        }
    }
}
