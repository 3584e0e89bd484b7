//! The parameters of a policy that a binding names.

use std::sync::Arc;

use pilothouse_api::selector::LabelSelector;
use pilothouse_kinds::Kind;
use serde_json::Value;

use super::policy::{Binding, Policy};
use crate::admission::Passage;
use crate::registry::render;

/// Most parameters that a selector may choose.
const MAX_PARAMS: usize = 1000;

/// The objects to evaluate the policy with, one after the other; one that is absent where none is needed, none at all
/// where none was found and that is well.
///
/// # Errors
/// What is wrong with the binding, or that nothing was found although something must be.
pub fn collect(passage: &Passage<'_>, policy: &Policy, binding: &Binding) -> Result<Vec<Option<Value>>, String> {
    let (Some((api_version, name)), true) = (&policy.param_kind, binding.params.is_object()) else {
        return Ok(vec![None]);
    };
    let kind = find(passage, api_version, name)?;
    let text = |field: &str| binding.params[field].as_str().unwrap_or_default();
    let (own, object) = (text("namespace"), text("name"));
    let namespace = match (kind.namespaced, own, passage.request.namespace.as_str()) {
        (false, "", _) => "",
        (false, ..) => return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into()),
        (true, "", "") => {
            return Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".into());
        }
        (true, "", namespace) => namespace,
        (true, own, _) => own,
    };
    let view = passage.store().view(&kind.storage);
    let found: Vec<Option<Value>> = if object.is_empty() {
        let selector = LabelSelector::from_json(&binding.params["selector"])?;
        let scope = kind.namespaced.then_some(namespace);
        view.iter(scope, None)
            .filter(|stored| selector.matches(|label| stored.label(label)))
            .take(MAX_PARAMS)
            .map(|stored| Some(render::value(&kind, stored)))
            .collect()
    } else {
        view.get(namespace, object).map(|stored| Some(render::value(&kind, stored))).into_iter().collect()
    };
    if found.is_empty() && text("parameterNotFoundAction") == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
    }
    Ok(found)
}

fn find(passage: &Passage<'_>, api_version: &str, name: &str) -> Result<Arc<Kind>, String> {
    let all = passage.server.kinds.all();
    let found = all.into_iter().find(|kind| *kind.kind == *name && kind.api_version() == api_version);
    found.ok_or_else(|| format!("failed to find resource referenced by paramKind: '{api_version}, Kind={name}'"))
}
