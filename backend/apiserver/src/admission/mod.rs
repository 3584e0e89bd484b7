//! Admission as a whole: the built-in plugins of the access crate, and what users bring: policies in CEL and webhooks.
//!
//! ```text
//! mutating:   plugins ─► MutatingAdmissionPolicies ─► webhooks ─┐ (once more, if one of them changed something)
//! validating: plugins ─► ValidatingAdmissionPolicies ─► webhooks ─► quota
//! ```
//!
//! Invariants: configurations are those of the watch cache at the moment of the request; nothing here is asked about
//! webhook configurations and policies themselves; a request without any of them passes at the cost of a few look-ups.

pub mod catalog;
mod conditions;
mod expression;
mod forms;
mod policies;
mod rules;
mod selectors;
mod typecheck;
mod webhooks;

use std::collections::HashSet;
use std::sync::Arc;

use pilothouse_access::admission::{Operation, Request};
use pilothouse_api::Status;
use pilothouse_kinds::Kind;
use pilothouse_schema::Schema;
use pilothouse_schema::decode::{FieldValidation, check};
use pilothouse_storage::Store;
use serde_json::{Value, json};
use tracing::{Instrument, trace_span};

use self::forms::Form;
use self::policies::Policies;
use self::rules::Asked;
use self::webhooks::Webhooks;
use crate::server::{Call, Server};
use crate::subresources::scale;
use crate::{registry, traces};

pub use typecheck::keep as keep_types;

/// Most warnings of one request: whoever sends more has said enough.
const MAX_WARNINGS: usize = 64;

/// What users have configured.
#[derive(Default)]
pub struct Dynamic {
    policies: Policies,
    webhooks: Webhooks,
}

/// What the rounds of mutation remember of each other.
#[derive(Default)]
struct Memory {
    /// Those to be asked again if the object changes after they have seen it.
    seen: HashSet<String>,
    /// Those to be asked in the second round.
    due: HashSet<String>,
    /// What the first round left.
    left: Option<Value>,
}

impl Memory {
    /// The object has changed: who has seen it before is due.
    fn object_changed(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        self.due.extend(seen);
    }
}

/// A request on its way through what users have configured.
struct Passage<'a> {
    server: &'a Arc<Server>,
    kind: &'a Arc<Kind>,
    request: Request,
    /// As it came.
    form: Form,
    /// `CreateOptions` and the like.
    options: Value,
}

impl Passage<'_> {
    fn store(&self) -> &Store {
        &self.server.store
    }

    /// The object is one of the resource itself, whole.
    fn is_whole(&self) -> bool {
        *self.kind.kind == self.form.kind && *self.kind.group == self.form.kind_group
    }

    /// The objects of the request in a form; null where there is none.
    async fn shown(&self, form: &Form) -> Result<(Value, Value), Status> {
        let object = self.request.object.clone().unwrap_or_default();
        let old = self.request.old.as_deref().cloned().unwrap_or_default();
        Ok((
            forms::convert(self.server, &self.form, form, object).await?,
            forms::convert(self.server, &self.form, form, old).await?,
        ))
    }

    /// Takes a changed object over, decoded and defaulted as if it had come in. True: it is another one.
    ///
    /// # Errors
    /// 500 when it no longer is an object of its kind.
    fn take_over(&mut self, object: Value) -> Result<bool, Status> {
        let mut object = match self.schema() {
            Some(schema) => {
                let decoded = check(&schema, object, FieldValidation::Ignore);
                decoded.map_err(|status| Status::internal(status.message))?.object
            }
            None => object,
        };
        if self.is_whole() {
            self.kind.default(&mut object);
        }
        let changed = self.request.object.as_ref() != Some(&object);
        self.request.object = Some(object);
        Ok(changed)
    }

    fn schema(&self) -> Option<Arc<Schema>> {
        if self.is_whole() {
            return Some(registry::schema(self.kind));
        }
        let Form { kind_group, kind_version, kind, .. } = &self.form;
        pilothouse_schema::builtin().gvk(kind_group, kind_version, kind).cloned()
    }
}

/// The options of a request, as reviews carry them.
pub fn options(call: &Call, operation: Operation) -> Value {
    let kind = match (operation, call.info.verb.as_str()) {
        (Operation::Create, "patch") | (Operation::Update, "patch") => "PatchOptions",
        (Operation::Create, _) => "CreateOptions",
        (Operation::Update, _) => "UpdateOptions",
        (Operation::Delete, _) => "DeleteOptions",
        (Operation::Connect, _) => return Value::Null,
    };
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    for field in ["fieldManager", "fieldValidation"] {
        if let Some(text) = call.query.get(field).filter(|text| !text.is_empty()) {
            options[field] = json!(text);
        }
    }
    if call.query.get("force").is_some() {
        options["force"] = json!(call.query.flag("force"));
    }
    if call.query.all("dryRun").any(|value| value == "All") {
        options["dryRun"] = json!(["All"]);
    }
    options
}

#[derive(Clone, Copy)]
enum Stage {
    Mutate,
    Validate,
}

/// Runs a stage on the request as users' admission sees it: a scale as a Scale. True: the object has changed.
async fn pass(
    server: &Arc<Server>,
    kind: &Arc<Kind>,
    request: &mut Request,
    options: &Value,
    stage: Stage,
) -> Result<bool, Status> {
    let form = Form::new(kind, &request.subresource);
    let scaled = kind.scale().filter(|_| request.subresource == "scale");
    let mut own = request.clone();
    if let Some(paths) = &scaled {
        own.object = request.object.as_ref().map(|object| scale::of(paths, object));
        own.old = request.old.as_ref().map(|old| Arc::new(scale::of(paths, old)));
    }
    let before = own.object.clone();
    let mut passage = Passage { server, kind, request: own, form, options: options.clone() };
    let outcome = match stage {
        Stage::Mutate => server.dynamic.mutate(&mut passage).await,
        Stage::Validate => server.dynamic.validate(&mut passage).await,
    };
    let own = passage.request;
    (request.warnings, request.audit) = (own.warnings, own.audit);
    let changed = own.object != before;
    if changed {
        match (&scaled, own.object) {
            (Some(paths), Some(object)) => {
                let replicas = json!(object["spec"]["replicas"].as_i64().unwrap_or(0));
                if let Some(whole) = &mut request.object {
                    scale::set(whole, &paths.spec_replicas, replicas);
                }
            }
            (_, object) => request.object = object,
        }
    }
    outcome.map(|()| changed)
}

impl Dynamic {
    /// Whether users' admission is asked: not about its own configurations, and not about writes that follow from
    /// another request (the budget that an eviction spends, the pod that a binding binds), which was asked about.
    fn concerns(&self, store: &Store, call: &Call, request: &Request) -> bool {
        let follows = call.info.subresource != request.subresource
            || (request.subresource == "binding" && request.operation == Operation::Update);
        !follows
            && !Asked::of(request).is_exempt()
            && (self.webhooks.are_there(store) || self.policies.are_there(store))
    }

    async fn mutate(&self, passage: &mut Passage<'_>) -> Result<(), Status> {
        let (mut of_policies, mut of_webhooks) = (Memory::default(), Memory::default());
        let policies = self.policies.mutate(passage, &mut of_policies, false).await?;
        let webhooks = self.webhooks.mutate(passage, &mut of_webhooks, false).await?;
        if policies || webhooks {
            // Plugins, policies and webhooks see once what the others have made of it.
            passage.server.admission.admit(&mut passage.request)?;
            self.policies.mutate(passage, &mut of_policies, true).await?;
            self.webhooks.mutate(passage, &mut of_webhooks, true).await?;
        }
        Ok(())
    }

    async fn validate(&self, passage: &mut Passage<'_>) -> Result<(), Status> {
        self.policies.validate(passage).await?;
        self.webhooks.validate(passage).await
    }
}

/// The mutating half. Warnings go to the call, whatever comes of it. True: what users have configured has changed the
/// object.
///
/// # Errors
/// The first refusal.
pub async fn admit(
    server: &Arc<Server>,
    call: &mut Call,
    kind: &Arc<Kind>,
    request: &mut Request,
    options: &Value,
) -> Result<bool, Status> {
    half(server, call, kind, request, options, Stage::Mutate).await
}

/// The validating half, on the object as it will be stored.
///
/// # Errors
/// The first refusal.
pub async fn validate(
    server: &Arc<Server>,
    call: &mut Call,
    kind: &Arc<Kind>,
    request: &mut Request,
    options: &Value,
) -> Result<(), Status> {
    half(server, call, kind, request, options, Stage::Validate).await.map(drop)
}

async fn half(
    server: &Arc<Server>,
    call: &mut Call,
    kind: &Arc<Kind>,
    request: &mut Request,
    options: &Value,
    stage: Stage,
) -> Result<bool, Status> {
    let name = match stage {
        Stage::Mutate => "mutate",
        Stage::Validate => "validate",
    };
    let work = async {
        match stage {
            Stage::Mutate => server.admission.admit(request)?,
            Stage::Validate => server.admission.validate(request)?,
        }
        let concerned = server.dynamic.concerns(&server.store, call, request);
        let changed = concerned && pass(server, kind, request, options, stage).await?;
        // What is charged is what will be stored.
        if matches!(stage, Stage::Validate) {
            server.admission.charge(request)?;
        }
        Ok(changed)
    };
    let outcome = work.instrument(trace_span!(target: traces::TARGET, "admission", stage = name)).await;
    warn_of(call, request);
    outcome
}

/// Both halves, where nothing lies between them.
///
/// # Errors
/// The first refusal.
pub async fn run(
    server: &Arc<Server>,
    call: &mut Call,
    kind: &Arc<Kind>,
    request: &mut Request,
    options: &Value,
) -> Result<(), Status> {
    admit(server, call, kind, request, options).await?;
    validate(server, call, kind, request, options).await
}

/// All of admission for what is created without being stored: a review, or something posted to a subresource. Gives the
/// object as it may be used.
///
/// # Errors
/// The first refusal.
pub async fn create(
    server: &Arc<Server>,
    call: &mut Call,
    kind: &Arc<Kind>,
    subresource: &str,
    name: &str,
    object: Value,
) -> Result<Value, Status> {
    let mut request = registry::create::admission_request(call, kind, Operation::Create, subresource, name);
    request.dry_run = registry::options::dry_run(call)?;
    request.object = Some(object);
    let sent = options(call, Operation::Create);
    run(server, call, kind, &mut request, &sent).await?;
    Ok(request.object.take().unwrap_or_default())
}

/// Gives the call the request's warnings, each once.
fn warn_of(call: &mut Call, request: &mut Request) {
    for warning in request.warnings.drain(..) {
        if call.warnings.len() < MAX_WARNINGS && !call.warnings.contains(&warning) {
            call.warnings.push(warning);
        }
    }
}
