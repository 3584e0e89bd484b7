//! Defaults must be what they would be for: known to the schema, and valid by themselves.

use pilothouse_api::field::{Error, ErrorList, Path};

use super::{property_at, prune, validate_default};
use crate::schema::{Node, Schema};

/// Judges all defaults of a schema.
pub fn lint(schema: &Schema, path: &Path, errors: &mut ErrorList) {
    let Some(rules) = &schema.rules else { return };
    if let Some(default) = &rules.default {
        let at = path.child("default");
        let mut pruned = default.clone();
        prune(schema, &mut pruned);
        if pruned != *default {
            errors.push(Error::invalid(at.clone(), default.clone(), "must not have unknown fields"));
        }
        for error in validate_default(schema, &pruned) {
            let field = match error.field.as_str() {
                "" => at.clone(),
                inner if inner.starts_with('[') => Path::new(&format!("{at}{inner}")),
                inner => at.child(inner),
            };
            errors.push(Error { field, ..error });
        }
    }
    // Below `additionalProperties` upstream does not look.
    match &schema.node {
        Node::Struct(of) => {
            for field in &of.fields {
                lint(field.schema.get(), &property_at(path, &field.name), errors);
            }
        }
        Node::List(list) => lint(list.of.get(), &path.child("items"), errors),
        _ => {}
    }
}
