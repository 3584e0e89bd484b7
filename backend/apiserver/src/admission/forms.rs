//! The versions in which an object can be shown: a webhook for `apps/v1beta1` is asked about what comes as `apps/v1`
//! too, in its own version (`matchPolicy: Equivalent`).

use std::sync::Arc;

use pilothouse_access::admission::Request;
use pilothouse_api::Status;
use pilothouse_kinds::Kind;
use pilothouse_schema::Schema;
use pilothouse_storage::Key;
use serde_json::Value;

use super::rules::{Asked, Rule};
use crate::custom;
use crate::registry::{self, metadata};
use crate::server::Server;

/// A resource in one group version, and the kind of the objects that go through there.
#[derive(Clone, Debug)]
pub struct Form {
    pub group: String,
    pub version: String,
    pub kind_group: String,
    pub kind_version: String,
    pub kind: String,
    /// The resource's own kind.
    of: Arc<Kind>,
}

impl Form {
    pub fn new(kind: &Arc<Kind>, subresource: &str) -> Self {
        let (kind_group, kind_version, name) = match kind.subresource(subresource) {
            Some(sub) => (&sub.group, &sub.version, &sub.kind),
            None => (&kind.group, &kind.version, &kind.kind),
        };
        Self {
            group: kind.group.to_string(),
            version: kind.version.to_string(),
            kind_group: kind_group.to_string(),
            kind_version: kind_version.to_string(),
            kind: name.to_string(),
            of: Arc::clone(kind),
        }
    }

    fn is(&self, other: &Self) -> bool {
        self.group == other.group && self.version == other.version
    }

    /// Whether its objects are of the resource's own kind, and so have versions.
    fn is_versioned(&self) -> bool {
        self.kind_group == self.group && self.kind_version == self.version && self.kind == *self.of.kind
    }
}

/// The form in which the rules want to see the request: as it is if they can, else an equivalent one. None: they are
/// not about it.
pub fn matching(server: &Server, rules: &[Rule], equivalent: bool, own: &Form, request: &Request) -> Option<Form> {
    let asked = Asked::of(request);
    if rules.iter().any(|rule| rule.matches(&asked)) {
        return Some(own.clone());
    }
    if !equivalent {
        return None;
    }
    let others = others(server, own, &request.subresource);
    rules.iter().find_map(|rule| {
        let same = |form: &&Form| rule.matches(&Asked { group: &form.group, version: &form.version, ..asked });
        others.iter().find(same).cloned()
    })
}

/// The other group versions of the same resource.
fn others(server: &Server, own: &Form, subresource: &str) -> Vec<Form> {
    let same = |kind: &&Arc<Kind>| kind.storage == own.of.storage && kind.plural == own.of.plural;
    let form = |kind: &Arc<Kind>| Form::new(kind, subresource);
    let all: Vec<Form> = if own.of.is_custom() {
        let served = server.kinds.definition(&own.of.storage);
        served.iter().flat_map(|served| &served.kinds).filter(same).map(form).collect()
    } else {
        pilothouse_kinds::builtin().iter().filter(same).map(form).collect()
    };
    all.into_iter().filter(|form| !form.is(own)).collect()
}

/// The object in another form.
///
/// # Errors
/// When it cannot be converted.
pub async fn convert(server: &Server, from: &Form, to: &Form, object: Value) -> Result<Value, Status> {
    if from.is(to) || object.is_null() || !from.is_versioned() || !to.is_versioned() {
        return Ok(object);
    }
    if !from.of.is_custom() {
        return Ok(to.of.from_storage(from.of.to_storage(object)));
    }
    let stored = custom::to_storage(server, &from.of, object).await?;
    let (namespace, name) = (metadata::text(&stored, "namespace"), metadata::text(&stored, "name"));
    let key = Key::new(&*from.of.storage, namespace, name);
    let entry = registry::create::pretend(key, &from.of.to_storage(stored).to_string().into_bytes(), 0)?;
    Ok(custom::serve_one(server, &to.of, entry).await?.value())
}

impl Form {
    /// The schema of the objects that go through there.
    pub fn schema(&self) -> Option<Arc<Schema>> {
        if self.is_versioned() {
            return Some(registry::schema(&self.of));
        }
        pilothouse_schema::builtin().gvk(&self.kind_group, &self.kind_version, &self.kind).cloned()
    }
}
