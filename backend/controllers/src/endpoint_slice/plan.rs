//! How endpoints are packed into slices with few writes.
//!
//! Invariant: pure; after the actions the slices hold exactly the wanted endpoints, each once, and no slice more than
//! `MAX_ENDPOINTS`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;

/// Upstream's default; small slices make small updates.
pub const MAX_ENDPOINTS: usize = 100;

/// Endpoints that share slices.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// `IPv4` or `IPv6`
    pub family: String,
    pub ports: Vec<EndpointPort>,
    pub endpoints: Vec<Endpoint>,
}

/// What all slices of one owner have in common.
pub struct Owner<'a> {
    pub namespace: &'a str,
    pub generate_name: String,
    pub reference: OwnerReference,
    pub labels: BTreeMap<String, String>,
    pub annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug)]
pub enum Action {
    Create(EndpointSlice),
    Update(Arc<EndpointSlice>, EndpointSlice),
    Delete(Arc<EndpointSlice>),
}

/// What tells endpoints apart: the pod, or else the address.
fn identity(endpoint: &Endpoint) -> String {
    let pod = endpoint.target_ref.as_ref().and_then(|t| t.uid.clone()).unwrap_or_default();
    format!("{pod} {}", endpoint.addresses.join(","))
}

fn sorted(ports: &[EndpointPort]) -> BTreeSet<String> {
    ports.iter().map(|p| format!("{:?} {:?} {:?} {:?}", p.name, p.port, p.protocol, p.app_protocol)).collect()
}

pub fn plan(owner: &Owner<'_>, groups: Vec<Group>, existing: Vec<Arc<EndpointSlice>>) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut unused = existing;
    unused.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    for group in groups {
        let ports = sorted(&group.ports);
        let fits = |s: &Arc<EndpointSlice>| {
            s.address_type == group.family && sorted(s.ports.as_deref().unwrap_or_default()) == ports
        };
        let (mine, rest): (Vec<_>, Vec<_>) = unused.into_iter().partition(fits);
        unused = rest;
        actions.extend(pack(owner, group, mine));
    }
    actions.extend(unused.into_iter().map(Action::Delete));
    actions
}

struct Draft {
    old: Arc<EndpointSlice>,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

fn pack(owner: &Owner<'_>, group: Group, existing: Vec<Arc<EndpointSlice>>) -> Vec<Action> {
    let mut wanted: BTreeMap<String, Endpoint> = group.endpoints.iter().map(|e| (identity(e), e.clone())).collect();
    let mut drafts: Vec<Draft> = Vec::with_capacity(existing.len());
    for old in existing {
        let have = old.endpoints.as_deref().unwrap_or_default();
        // What stays stays where it is, in its new form.
        let keep: Vec<Endpoint> = have.iter().filter_map(|e| wanted.remove(&identity(e))).collect();
        let changed = keep != have || !is_current(owner, &old);
        drafts.push(Draft { old, endpoints: keep, changed });
    }
    let mut rest: Vec<Endpoint> = wanted.into_values().collect();
    // New ones go first where a write is due anyway, then where they all fit, then into new slices.
    for draft in drafts.iter_mut().filter(|d| d.changed) {
        fill(&mut draft.endpoints, &mut rest);
    }
    if !rest.is_empty() {
        let room = |d: &&mut Draft| MAX_ENDPOINTS.saturating_sub(d.endpoints.len()) >= rest.len();
        if let Some(draft) = drafts.iter_mut().filter(room).max_by_key(|d| d.endpoints.len()) {
            fill(&mut draft.endpoints, &mut rest);
            draft.changed = true;
        }
    }
    let mut actions = Vec::new();
    let placeholder = group.endpoints.is_empty();
    let mut kept_placeholder = false;
    for draft in drafts {
        if draft.endpoints.is_empty() && (!placeholder || kept_placeholder) {
            actions.push(Action::Delete(draft.old));
            continue;
        }
        kept_placeholder |= draft.endpoints.is_empty();
        if draft.changed {
            let new = slice(owner, &group, draft.endpoints, Some(&draft.old));
            actions.push(Action::Update(draft.old, new));
        }
    }
    while !rest.is_empty() {
        let mut endpoints = Vec::new();
        fill(&mut endpoints, &mut rest);
        actions.push(Action::Create(slice(owner, &group, endpoints, None)));
    }
    if placeholder && !kept_placeholder {
        actions.push(Action::Create(slice(owner, &group, Vec::new(), None)));
    }
    actions
}

fn fill(into: &mut Vec<Endpoint>, from: &mut Vec<Endpoint>) {
    let count = from.len().min(MAX_ENDPOINTS.saturating_sub(into.len()));
    into.extend(from.drain(..count));
}

fn is_current(owner: &Owner<'_>, slice: &EndpointSlice) -> bool {
    slice.metadata.labels.as_ref() == Some(&owner.labels)
        && slice.metadata.owner_references.iter().flatten().any(|r| r.uid == owner.reference.uid)
        && slice.endpoints.as_ref().is_none_or(|e| e.len() <= MAX_ENDPOINTS)
        && owner.annotations.as_ref().is_none_or(|a| slice.metadata.annotations.as_ref() == Some(a))
}

fn slice(owner: &Owner<'_>, group: &Group, endpoints: Vec<Endpoint>, old: Option<&EndpointSlice>) -> EndpointSlice {
    let mut metadata = match old {
        Some(old) => old.metadata.clone(),
        None => ObjectMeta {
            generate_name: Some(owner.generate_name.clone()),
            namespace: Some(owner.namespace.to_owned()),
            ..Default::default()
        },
    };
    metadata.labels = Some(owner.labels.clone());
    metadata.owner_references = Some(vec![owner.reference.clone()]);
    if owner.annotations.is_some() {
        metadata.annotations.clone_from(&owner.annotations);
    }
    EndpointSlice {
        metadata,
        address_type: group.family.clone(),
        ports: Some(group.ports.clone()),
        endpoints: Some(endpoints),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;
    use proptest::prelude::*;

    use super::*;

    fn owner() -> Owner<'static> {
        Owner {
            namespace: "ns",
            generate_name: "web-".into(),
            reference: OwnerReference { uid: "s".into(), ..Default::default() },
            labels: [("a".to_owned(), "b".to_owned())].into(),
            annotations: None,
        }
    }

    fn endpoint(id: usize) -> Endpoint {
        Endpoint {
            addresses: vec![format!("10.0.{}.{}", id / 250, id % 250)],
            target_ref: Some(ObjectReference { uid: Some(id.to_string()), ..Default::default() }),
            ..Default::default()
        }
    }

    fn group(ids: impl IntoIterator<Item = usize>) -> Group {
        let port = EndpointPort { name: Some(String::new()), port: Some(80), ..Default::default() };
        Group { family: "IPv4".into(), ports: vec![port], endpoints: ids.into_iter().map(endpoint).collect() }
    }

    fn apply(slices: &mut Vec<Arc<EndpointSlice>>, actions: Vec<Action>, serial: &mut usize) -> usize {
        let count = actions.len();
        for action in actions {
            match action {
                Action::Create(mut slice) => {
                    *serial += 1;
                    slice.metadata.name = Some(format!("web-{serial:05}"));
                    slices.push(Arc::new(slice));
                }
                Action::Update(old, new) => {
                    slices.retain(|s| s.metadata.name != old.metadata.name);
                    slices.push(Arc::new(new));
                }
                Action::Delete(old) => slices.retain(|s| s.metadata.name != old.metadata.name),
            }
        }
        count
    }

    fn content(slices: &[Arc<EndpointSlice>]) -> Vec<String> {
        let mut all: Vec<String> = slices.iter().flat_map(|s| s.endpoints.iter().flatten()).map(identity).collect();
        all.sort();
        all
    }

    #[test]
    fn no_endpoints_make_one_empty_slice() {
        let (mut slices, mut serial) = (Vec::new(), 0);
        apply(&mut slices, plan(&owner(), vec![group([])], Vec::new()), &mut serial);
        assert_eq!((slices.len(), slices[0].endpoints.as_ref().unwrap().len()), (1, 0));
        assert!(plan(&owner(), vec![group([])], slices.clone()).is_empty(), "and then nothing is to do");
        let actions = plan(&owner(), vec![group(0..3)], slices.clone());
        assert_eq!(apply(&mut slices, actions, &mut serial), 1);
        assert_eq!(slices.len(), 1);
    }

    #[test]
    fn a_change_of_ports_moves_all() {
        let (mut slices, mut serial) = (Vec::new(), 0);
        apply(&mut slices, plan(&owner(), vec![group(0..150)], Vec::new()), &mut serial);
        assert_eq!(slices.len(), 2);
        let mut moved = group(0..150);
        moved.ports[0].port = Some(81);
        let actions = plan(&owner(), vec![moved], slices.clone());
        apply(&mut slices, actions, &mut serial);
        assert!(slices.iter().all(|s| s.ports.as_ref().unwrap()[0].port == Some(81)));
        assert_eq!(content(&slices).len(), 150);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]
        #[test]
        fn exactly_the_wanted_endpoints_and_few_writes(
            steps in proptest::collection::vec(proptest::collection::btree_set(0usize..400, 0..350), 1..8),
        ) {
            let (mut slices, mut serial) = (Vec::new(), 0);
            for wanted in steps {
                let actions = plan(&owner(), vec![group(wanted.iter().copied())], slices.clone());
                apply(&mut slices, actions, &mut serial);
                let mut expect: Vec<String> = wanted.iter().map(|i| identity(&endpoint(*i))).collect();
                expect.sort();
                prop_assert_eq!(content(&slices), expect);
                prop_assert!(slices.iter().all(|s| s.endpoints.as_ref().unwrap().len() <= MAX_ENDPOINTS));
                prop_assert!(plan(&owner(), vec![group(wanted.iter().copied())], slices.clone()).is_empty());
                // One endpoint less is one write.
                if let Some(first) = wanted.first() {
                    let less = wanted.iter().copied().filter(|i| i != first);
                    prop_assert_eq!(plan(&owner(), vec![group(less)], slices.clone()).len(), 1);
                }
            }
        }
    }
}
