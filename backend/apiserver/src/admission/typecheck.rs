//! `status.typeChecking` of ValidatingAdmissionPolicies: expressions are compiled once more, now with the types of what
//! the policy says it is about. What does not fit is a warning: the policy works as far as it goes.
//! Source: <https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#type-checking>

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use pilothouse_api::Status;
use pilothouse_cel::{Field, ObjectType, Type, escape};
use pilothouse_kinds::Kind;
use pilothouse_kinds::expressions::{Names, Wanted, expression};
use pilothouse_schema::{Node, Schema};
use pilothouse_storage::WatchItem;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::bootstrap::apply;
use crate::registry::{self, metadata};
use crate::server::ApiServer;

const POLICIES: &str = "validatingadmissionpolicies.admissionregistration.k8s.io";
const COLLECTION: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const MANAGER: &str = "pilothouse-admission";
/// Kinds that one policy is checked against.
const MAX_KINDS: usize = 10;
const RETRY: Duration = Duration::from_secs(1);
/// How often it is looked without a change.
const PERIOD: Duration = Duration::from_secs(60);

pub async fn keep(api: ApiServer, shutdown: CancellationToken) {
    loop {
        let revision = api.0.store.revision();
        let outcome = round(&api).await;
        if let Err(status) = &outcome {
            warn!(%status, "the types of an admission policy could not be checked");
        }
        tokio::select! {
            () = changed(&api, revision), if outcome.is_ok() => {}
            () = tokio::time::sleep(if outcome.is_ok() { PERIOD } else { RETRY }) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn changed(api: &ApiServer, revision: u64) {
    if let Ok(mut watcher) = api.0.store.watch(POLICIES, None, None, revision) {
        loop {
            match watcher.next().await {
                WatchItem::Progress(_) => {}
                WatchItem::Closed => break,
                _ => return,
            }
        }
    }
    std::future::pending().await
}

async fn round(api: &ApiServer) -> Result<(), Status> {
    for stored in &api.0.store.list(POLICIES, None).items {
        let policy = stored.value();
        let generation = &policy["metadata"]["generation"];
        if policy["status"]["observedGeneration"] == *generation && policy["status"]["typeChecking"].is_object() {
            continue;
        }
        let warnings = warnings(api, &policy);
        let checking = if warnings.is_empty() { json!({}) } else { json!({"expressionWarnings": warnings}) };
        let name = metadata::text(&policy, "name");
        let object = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name, "uid": policy["metadata"]["uid"]},
            "status": {"observedGeneration": generation, "typeChecking": checking}});
        match apply(api, &format!("{COLLECTION}/{name}/status?fieldManager={MANAGER}&force=true"), &object).await {
            // It went away, or came back as another one.
            Err(status) if matches!(status.code, 404 | 409) => {}
            other => drop(other?),
        }
    }
    Ok(())
}

/// The kinds that the policy names; none for one that is about everything.
fn kinds(api: &ApiServer, policy: &Value) -> Vec<Arc<Kind>> {
    let rules = super::rules::Rule::all(&policy["spec"]["matchConstraints"]["resourceRules"]);
    let named = rules.iter().flat_map(super::rules::Rule::named);
    let found = named.filter_map(|(group, version, resource)| api.0.kinds.get(group, version, resource));
    found.take(MAX_KINDS).collect()
}

fn warnings(api: &ApiServer, policy: &Value) -> Vec<Value> {
    let kinds = kinds(api, policy);
    let spec = &policy["spec"];
    let params = param_type(api, &spec["paramKind"]);
    let mut found: BTreeMap<(usize, String), String> = BTreeMap::new();
    for kind in &kinds {
        let object = type_of(&registry::schema(kind));
        let names = Names {
            params: spec["paramKind"].is_object(),
            namespace_object: true,
            authorizer: true,
            variables: Some(Vec::new()),
            object: Some(object),
            params_type: params.clone(),
        };
        check(spec, names, |place, field, why| {
            let line = format!("{}, Kind={}: {why}\n", kind.api_version(), kind.kind);
            found.entry((place, field)).or_default().push_str(&line);
        });
    }
    found.into_iter().map(|((_, field), warning)| json!({"fieldRef": field, "warning": warning})).collect()
}

/// Compiles every expression; tells what is wrong with which, and where it comes in the order of the policy.
fn check(spec: &Value, mut names: Names, mut wrong: impl FnMut(usize, String, String)) {
    let items = |list: &str| spec[list].as_array().cloned().unwrap_or_default();
    let mut place = 0;
    let mut one = |source: &Value, field: String, names: &Names, wanted: Wanted| {
        place += 1;
        let source = source.as_str().filter(|source| !source.trim().is_empty())?;
        match expression(source, names, wanted) {
            Ok(program) => Some(program.result().clone()),
            Err(why) => {
                wrong(place, field, why);
                None
            }
        }
    };
    for (index, variable) in items("variables").iter().enumerate() {
        let field = format!("spec.variables[{index}].expression");
        let of = one(&variable["expression"], field, &names, Wanted::Anything).unwrap_or(Type::Dyn);
        let name = variable["name"].as_str().unwrap_or_default().to_owned();
        names.variables.get_or_insert_default().push((name, of));
    }
    let quiet = Names { authorizer: false, ..names.clone() };
    for (index, validation) in items("validations").iter().enumerate() {
        let field = |name: &str| format!("spec.validations[{index}].{name}");
        one(&validation["expression"], field("expression"), &names, Wanted::Bool);
        one(&validation["messageExpression"], field("messageExpression"), &quiet, Wanted::Text);
    }
    let conditions = Names { variables: None, namespace_object: false, ..names.clone() };
    for (index, condition) in items("matchConditions").iter().enumerate() {
        let field = format!("spec.matchConditions[{index}].expression");
        one(&condition["expression"], field, &conditions, Wanted::Bool);
    }
}

fn param_type(api: &ApiServer, param_kind: &Value) -> Option<Type> {
    let (api_version, name) = (param_kind["apiVersion"].as_str()?, param_kind["kind"].as_str()?);
    let all = api.0.kinds.all();
    let kind = all.iter().find(|kind| *kind.kind == *name && kind.api_version() == api_version)?;
    Some(type_of(&registry::schema(kind)))
}

/// The type that expressions see of a schema.
fn type_of(schema: &Schema) -> Type {
    Types::default().of(schema)
}

/// Types of named definitions, each made once. Inside itself a definition can be anything: types are finite.
#[derive(Default)]
struct Types(HashMap<String, Option<Type>>);

impl Types {
    fn of(&mut self, schema: &Schema) -> Type {
        let Some(name) = schema.name.as_deref() else { return self.made(schema) };
        match self.0.get(name) {
            Some(known) => known.clone().unwrap_or(Type::Dyn),
            None => {
                self.0.insert(name.to_owned(), None);
                let of = self.made(schema);
                self.0.insert(name.to_owned(), Some(of.clone()));
                of
            }
        }
    }

    fn made(&mut self, schema: &Schema) -> Type {
        match &schema.node {
            Node::Struct(of) => {
                let mut fields = BTreeMap::new();
                for field in &of.fields {
                    let Some(name) = escape(&field.name) else { continue };
                    let of = self.of(field.schema.get());
                    fields.insert(name, Field { name: field.name.to_string(), of });
                }
                let name = schema.name.as_deref().unwrap_or("object").to_owned();
                Type::Object(Arc::new(ObjectType { name, fields }))
            }
            Node::Map(of) => Type::map(Type::STRING, self.of(of.get())),
            Node::List(list) => Type::list(self.of(list.of.get())),
            Node::String | Node::Quantity => Type::STRING,
            Node::Bytes => Type::BYTES,
            Node::Boolean => Type::Bool,
            Node::Int32 | Node::Int64 => Type::Int,
            Node::Number => Type::Double,
            Node::Time | Node::MicroTime => Type::Timestamp,
            Node::Any { .. } | Node::IntOrString | Node::OneOf(_) => Type::Dyn,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recursive_definitions_end() {
        let schema =
            pilothouse_schema::builtin().gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition").unwrap();
        let names = Names { object: Some(type_of(schema)), ..Names::default() };
        let typed = |source: &str| expression(source, &names, Wanted::Bool).err().unwrap_or_default();
        assert_eq!(typed("object.spec.versions.all(v, v.served)"), "");
        assert_eq!(typed("object.spec.versions[0].schema.openAPIV3Schema.properties['a'].anything == 1"), "");
        assert!(typed("object.spec.versions == 'x'").contains("found no matching overload"));
    }
}
