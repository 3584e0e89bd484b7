//! The surface of all kinds: a change of it is seen in review.

use expect_test::expect_file;
use pilothouse_kinds::builtin;

#[test]
fn all_kinds() {
    let mut text = String::new();
    for kind in builtin() {
        let list = |items: &[std::borrow::Cow<'static, str>]| items.join(",");
        let scope = if kind.namespaced { "Namespaced" } else { "Cluster" };
        text += &format!("{} {} {} {scope}\n", kind.api_version(), kind.plural, kind.kind);
        text += &format!("  verbs: {}\n", list(&kind.verbs));
        for (what, items) in [("short", &kind.short), ("categories", &kind.categories)] {
            if !items.is_empty() {
                text += &format!("  {what}: {}\n", list(items));
            }
        }
        for sub in &kind.subresources {
            text += &format!("  /{}: {} ({}/{}) {}\n", sub.name, sub.kind, sub.group, sub.version, list(&sub.verbs));
        }
        let columns: Vec<String> = kind
            .columns()
            .iter()
            .map(|c| format!("{}:{}{}", c.name, c.type_, if c.priority > 0 { "+" } else { "" }))
            .collect();
        text += &format!("  columns: {}\n", columns.join(" | "));
        if !kind.selectable_names().is_empty() {
            text += &format!("  fields: {}\n", list(kind.selectable_names()));
        }
        let mut traits = Vec::new();
        if kind.scale().is_some() {
            traits.push("scale");
        }
        if kind.allows_create_on_update() {
            traits.push("create on update");
        }
        if !kind.allows_unconditional_update() {
            traits.push("no unconditional update");
        }
        if kind.default_propagation() == pilothouse_kinds::Propagation::Orphan {
            traits.push("orphans dependents");
        }
        if !traits.is_empty() {
            text += &format!("  {}\n", traits.join(", "));
        }
    }
    expect_file!["surface.txt"].assert_eq(&text);
}

/// A row has a cell for each column, whatever the object lacks, and nothing here ever panics on damaged objects.
#[test]
fn empty_and_damaged_objects() {
    let now = "2026-01-01T00:00:00Z".parse().expect("a time");
    let damaged = [
        serde_json::json!({}),
        serde_json::json!(null),
        serde_json::json!([1]),
        serde_json::json!({"metadata": 1, "spec": "x", "status": []}),
        serde_json::json!({"metadata": {"name": 1, "labels": [], "annotations": 1, "ownerReferences": {}, "finalizers": [1]},
            "spec": {"template": [], "selector": 1, "ports": [1], "containers": [1, {}], "rules": [1], "volumes": [1, {}],
                "versions": [1, {}], "metrics": [1, {}], "taints": [1], "limits": [1, {}], "devices": {"requests": [1, {}]}},
            "status": {"conditions": [1, {}], "containerStatuses": [1], "allocation": 1}, "rules": [1, {}], "webhooks": [1, {}],
            "subjects": [1, {}], "subsets": [1, {}], "endpoints": [1, {}], "data": 1, "type": 1}),
    ];
    for kind in builtin() {
        for object in &damaged {
            assert_eq!(kind.row(object, now).len(), kind.columns().len(), "{} {object}", kind.group_resource());
            let mut changed = object.clone();
            kind.default(&mut changed);
            kind.prepare_create(&mut changed);
            let _ = kind.validate(&changed);
            let old = changed.clone();
            for subresource in ["", "status", "approval", "finalize", "resize", "ephemeralcontainers"] {
                kind.prepare_update(&mut changed, &old, subresource);
                let _ = kind.validate_update(&changed, &old, subresource);
            }
            assert!(kind.selectable(&changed).len() >= kind.selectable_names().len());
            let _ = (kind.grace_period(&changed), kind.from_storage(kind.to_storage(changed)));
        }
    }
}

/// Defaults are complete after one pass: a second changes nothing.
#[test]
fn defaults_are_idempotent() {
    for kind in builtin() {
        let mut object = serde_json::json!({
            "apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": "a"},
            "spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
                "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "1"}}}], "ports": [{"port": 80}]}});
        kind.default(&mut object);
        let once = object.clone();
        kind.default(&mut object);
        assert_eq!(object, once, "{}", kind.group_resource());
    }
}
