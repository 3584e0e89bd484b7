//! What to do when an object changed on the server while its YAML was being edited.

use serde_json::Value;

use super::diff;

#[derive(Debug, PartialEq, Eq)]
pub enum Rebase {
    /// Only what the server itself writes has changed: save again on the new version.
    SaveAgain { text: String },
    /// Someone else edited other lines: this is both edits together, to be looked at again.
    Merged { text: String },
    /// Both changed the same lines.
    Conflict,
}

/// The object without what controllers write.
fn intent(object: &Value) -> Value {
    let mut copy = object.clone();
    if let Some(map) = copy.as_object_mut() {
        map.remove("status");
    }
    if let Some(meta) = copy.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in ["resourceVersion", "managedFields", "generation"] {
            meta.remove(key);
        }
    }
    copy
}

/// Carries `mine`, an edit of `base_text` (the YAML of `base`), over to the object as it is now.
pub fn rebase(base: &Value, base_text: &str, latest: &Value, latest_text: &str, mine: &str) -> Rebase {
    let version = |object: &Value| super::json::text(object, "metadata/resourceVersion").to_owned();
    if intent(base) == intent(latest) {
        return Rebase::SaveAgain { text: with_resource_version(mine, &version(base), &version(latest)) };
    }
    match diff::merge(base_text, mine, latest_text) {
        Some(text) => Rebase::Merged { text: with_resource_version(&text, &version(base), &version(latest)) },
        None => Rebase::Conflict,
    }
}

/// Puts the new version in the first `resourceVersion` line that holds the old one.
pub fn with_resource_version(text: &str, old: &str, new: &str) -> String {
    let (from, to) = (format!("resourceVersion: \"{old}\""), format!("resourceVersion: \"{new}\""));
    text.replacen(&from, &to, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::yaml;
    use serde_json::json;

    fn object(version: &str, replicas: i64, paused: bool, ready: i64) -> Value {
        json!({"kind": "D", "metadata": {"name": "a", "resourceVersion": version}, "spec": {"replicas": replicas, "middle": 1, "paused": paused}, "status": {"ready": ready}})
    }

    #[test]
    fn status_changes_do_not_disturb_an_edit() {
        let (base, latest) = (object("5", 1, false, 0), object("8", 1, false, 1));
        let mine = yaml::print(&base).replace("replicas: 1", "replicas: 3");
        let Rebase::SaveAgain { text } = rebase(&base, &yaml::print(&base), &latest, &yaml::print(&latest), &mine)
        else {
            panic!()
        };
        assert!(text.contains("resourceVersion: \"8\"") && text.contains("replicas: 3"), "{text}");
    }

    #[test]
    fn the_same_line_edited_twice_is_a_conflict() {
        let (base, latest) = (object("5", 1, false, 0), object("8", 2, false, 0));
        let mine = yaml::print(&base).replace("replicas: 1", "replicas: 3");
        assert_eq!(rebase(&base, &yaml::print(&base), &latest, &yaml::print(&latest), &mine), Rebase::Conflict);
    }

    #[test]
    fn different_lines_are_merged() {
        let spread = |version: &str, replicas: i64, z: &str| json!({"kind": "D", "metadata": {"name": "a", "resourceVersion": version}, "spec": {"a": replicas, "b": 1, "c": 2, "z": z}});
        let (base, latest) = (spread("5", 1, "old"), spread("8", 1, "new"));
        let mine = yaml::print(&base).replace("  a: 1", "  a: 3");
        let Rebase::Merged { text } = rebase(&base, &yaml::print(&base), &latest, &yaml::print(&latest), &mine) else {
            panic!()
        };
        assert!(
            text.contains("  a: 3") && text.contains("z: new") && text.contains("resourceVersion: \"8\""),
            "{text}"
        );
    }
}
