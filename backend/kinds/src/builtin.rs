//! The table of built-in kinds: rows from `facts/discovery.tsv` (GA versions) and of our own group, behaviour from
//! `kinds::ALL`.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};

use crate::{
    kind::{Behaviour, Kind, Subresource},
    kinds,
    strategy::{Field, Strategy},
};

const DISCOVERY: &str = include_str!("../facts/discovery.tsv");

/// Rows of our own group, in the shape of the facts.
const OWN: &str = concat!(
    "pilothouse.io/v1\taddons\tAddon\tCluster\tcreate,delete,deletecollection,get,list,patch,update,watch\t\tpilothouse\n",
    "pilothouse.io/v1\taddons/status\tAddon\tCluster\tget,patch,update\t\t\n",
    "pilothouse.io/v1\tusers\tUser\tCluster\tcreate,delete,deletecollection,get,list,patch,update,watch\t\tpilothouse",
);

static PLAIN: Strategy = Strategy::PLAIN;

/// Every resource of the GA group versions and of our own group, in the order of discovery.
pub fn builtin() -> &'static [Arc<Kind>] {
    static ALL: LazyLock<Vec<Arc<Kind>>> = LazyLock::new(|| parse(&[DISCOVERY, OWN]));
    &ALL
}

fn parse(tables: &'static [&'static str]) -> Vec<Arc<Kind>> {
    let mut all: Vec<Kind> = Vec::new();
    for line in tables.iter().flat_map(|table| table.lines()).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let mut cells = line.split('\t');
        let mut cell = || cells.next().unwrap_or_default();
        let (group_version, resource, kind, scope) = (cell(), cell(), cell(), cell());
        let (verbs, short, categories) = (list(cell()), list(cell()), list(cell()));
        let (group, version) = group_version.split_once('/').unwrap_or(("", group_version));
        if version.contains("alpha") || version.contains("beta") {
            continue;
        }
        if let Some((plural, name)) = resource.split_once('/') {
            let (kind_group, kind_version) = kind_of_subresource(group, version, kind);
            let parent = all.iter_mut().rfind(|k| k.group == group && k.version == version && k.plural == plural);
            if let Some(parent) = parent {
                parent.subresources.push(Subresource {
                    name: name.into(),
                    kind: kind.into(),
                    group: kind_group.into(),
                    version: kind_version.into(),
                    verbs,
                });
            }
            continue;
        }
        let strategy = kinds::find(storage_group(group, resource), resource).unwrap_or(&PLAIN);
        all.push(Kind {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            list_kind: format!("{kind}List").into(),
            plural: resource.into(),
            singular: kind.to_lowercase().into(),
            namespaced: scope == "Namespaced",
            short,
            categories,
            verbs,
            subresources: Vec::new(),
            storage: pilothouse_api::status::group_resource(storage_group(group, resource), resource).into(),
            fields: served_fields(strategy, group_version),
            behaviour: Behaviour::Builtin(strategy),
        });
    }
    all.into_iter().map(Arc::new).collect()
}

/// The names of the selectable fields in this version.
fn served_fields(strategy: &Strategy, api_version: &str) -> Vec<Cow<'static, str>> {
    let versions = strategy.versions.as_ref().filter(|v| v.stored != api_version);
    let renamed = versions.map_or(&[][..], |v| v.fields);
    let served =
        |field: &Field| renamed.iter().find(|(_, stored)| *stored == field.name).map_or(field.name, |(n, _)| *n);
    strategy.fields.iter().map(served).filter(|name| !name.is_empty()).map(Cow::Borrowed).collect()
}

fn list(cell: &'static str) -> Vec<Cow<'static, str>> {
    cell.split(',').filter(|part| !part.is_empty()).map(Cow::Borrowed).collect()
}

/// Both groups of Events are one storage.
fn storage_group<'a>(group: &'a str, resource: &str) -> &'a str {
    if group == "events.k8s.io" && resource == "events" { "" } else { group }
}

/// Group and version of the kind that a subresource speaks, where they are not the parent's.
fn kind_of_subresource<'a>(group: &'a str, version: &'a str, kind: &str) -> (&'a str, &'a str) {
    match kind {
        "Scale" => ("autoscaling", "v1"),
        "Eviction" => ("policy", "v1"),
        "TokenRequest" => ("authentication.k8s.io", "v1"),
        _ => (group, version),
    }
}
