//! Deleting: at once, gracefully, or when the finalizers are through.
//! Source: <https://kubernetes.io/docs/concepts/architecture/garbage-collection/>

use std::sync::Arc;

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use pilothouse_access::admission::Operation as AdmissionOperation;
use pilothouse_api::field::{Error as FieldError, Path};
use pilothouse_api::{Status, limits};
use pilothouse_kinds::{Kind, Propagation};
use pilothouse_schema::decode::{self, FieldValidation};
use pilothouse_storage::{Error as StoreError, Expect, Mutation, Obj};
use serde_json::{Value, json};

use super::create::{admission_request, durability, encoded, pretend};
use super::list::{self, Found};
use super::read::{key, newest, subject};
use super::{metadata, options, render, services};
use crate::admission;
use crate::body::{self, Body, full};
use crate::custom;
use crate::error::from_store;
use crate::negotiate;
use crate::server::{Answer, Call, Server, with_status};

const OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
const ATTEMPTS: usize = 6;
/// Objects of a deletecollection that are deleted at once.
const COLLECTION_PARALLEL: usize = 16;

/// `DeleteOptions`, from the body or the query.
#[derive(Clone, Debug, Default)]
pub struct Options {
    grace_period_seconds: Option<i64>,
    propagation: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    dry_run: bool,
    /// Asked in the old way for dependents to go too: who has to wait is told that it was accepted only.
    cascades: bool,
}

impl Options {
    pub async fn read(call: &Call, body: Body) -> Result<Self, Status> {
        let bytes = body::collect(body, limits::MAX_BODY_BYTES).await?;
        let sent = typed(negotiate::decode_options(&call.parts.headers, &bytes)?)?;
        let mut asked = sent.as_object().cloned().unwrap_or_default();
        for name in ["propagationPolicy", "gracePeriodSeconds", "orphanDependents"] {
            let Some(text) = call.query.get(name).filter(|_| !asked.contains_key(name)) else { continue };
            let value = match name {
                "gracePeriodSeconds" => json!(call.query.number::<i64>(name)?),
                "orphanDependents" => json!(call.query.flag(name)),
                _ if text.is_empty() => continue,
                _ => json!(text),
            };
            asked.insert(name.to_owned(), value);
        }
        let mut options = Self::checked(&Value::Object(asked))?;
        options.dry_run |= options::dry_run(call)?;
        Ok(options)
    }

    /// Of options that are of their types.
    ///
    /// # Errors
    /// 422 for what they must not say, so that what was meant to change nothing does not.
    pub fn checked(sent: &Value) -> Result<Self, Status> {
        let invalid = |error| Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &vec![error]));
        let field = || Path::new("propagationPolicy");
        let propagation = match (sent["propagationPolicy"].as_str(), sent["orphanDependents"].as_bool()) {
            (Some(policy), Some(_)) => {
                let why = "orphanDependents and deletionPropagation cannot be both set";
                return invalid(FieldError::invalid(field(), policy, why));
            }
            (Some(policy @ ("Orphan" | "Background" | "Foreground")), None) => Some(policy),
            (Some(other), None) => {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                return invalid(FieldError::not_supported(field(), other, &supported));
            }
            (None, Some(true)) => Some("Orphan"),
            (None, Some(false)) => Some("Background"),
            (None, None) => None,
        };
        let asked = sent["dryRun"].as_array().map(Vec::as_slice).unwrap_or_default();
        if asked.iter().any(|value| value != "All") {
            return invalid(FieldError::not_supported(Path::new("dryRun"), sent["dryRun"].clone(), &["All"]));
        }
        let precondition = |name: &str| sent["preconditions"][name].as_str().map(str::to_owned);
        Ok(Self {
            grace_period_seconds: sent["gracePeriodSeconds"].as_i64(),
            propagation: propagation.map(str::to_owned),
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            dry_run: !asked.is_empty(),
            cascades: sent["orphanDependents"] == false,
        })
    }

    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// The same, changing nothing.
    #[must_use]
    pub fn trial(self, dry_run: bool) -> Self {
        Self { dry_run: self.dry_run || dry_run, ..self }
    }

    /// As reviews carry them.
    fn as_sent(&self) -> Value {
        let mut options = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        if let Some(seconds) = self.grace_period_seconds {
            options["gracePeriodSeconds"] = json!(seconds);
        }
        if let Some(policy) = &self.propagation {
            options["propagationPolicy"] = json!(policy);
        }
        for (field, value) in [("uid", &self.uid), ("resourceVersion", &self.resource_version)] {
            if let Some(value) = value {
                options["preconditions"][field] = json!(value);
            }
        }
        if self.dry_run {
            options["dryRun"] = json!(["All"]);
        }
        options
    }
}

/// Options with every field of its type, in Go's words where one is not. Any group may lend its version to them.
fn typed(sent: Value) -> Result<Value, Status> {
    if sent.is_null() {
        return Ok(sent);
    }
    let text = |field: &str| sent[field].as_str().unwrap_or_default();
    if !matches!(text("kind"), "" | "DeleteOptions") {
        let (kind, version) = (text("kind"), text("apiVersion"));
        return Err(Status::bad_request(format!(
            "no kind {kind:?} is registered for version {version:?} in scheme \
             \"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27\""
        )));
    }
    let schema = pilothouse_schema::builtin()
        .definition(OPTIONS)
        .ok_or_else(|| Status::internal("the schema of DeleteOptions is missing"))?;
    let checked = decode::check(schema, sent, FieldValidation::Ignore);
    checked.map(|checked| checked.object).map_err(|status| {
        let why = status.message.split_once("cannot be handled as a DeleteOptions: ");
        Status::bad_request(why.map_or(status.message.as_str(), |(_, why)| why))
    })
}

/// Whether nothing holds the object any more: no finalizer, no grace left, and for namespaces no content.
pub fn may_go(kind: &Kind, object: &Value) -> bool {
    let held_by_spec = kind.plural == "namespaces"
        && kind.group.is_empty()
        && object["spec"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty());
    let grace = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    metadata::finalizers(object).is_empty() && !held_by_spec && (grace == 0 || kind.graceful(object, None).is_none())
}

/// What a deletion does to the object's finalizers.
fn set_finalizers(kind: &Kind, object: &mut Value, options: &Options) {
    let mut all: Vec<String> = metadata::finalizers(object).into_iter().map(str::to_owned).collect();
    let policy = match options.propagation.as_deref() {
        Some(policy) => policy,
        // Finalizers that are there already say what was asked before.
        None if all.iter().any(|f| f == ORPHAN) => "Orphan",
        None if all.iter().any(|f| f == FOREGROUND) => "Foreground",
        None => match kind.default_propagation() {
            Propagation::Orphan => "Orphan",
            Propagation::Background => "Background",
        },
    };
    all.retain(|finalizer| finalizer != ORPHAN && finalizer != FOREGROUND);
    match policy {
        "Orphan" => all.push(ORPHAN.into()),
        "Foreground" => all.push(FOREGROUND.into()),
        _ => {}
    }
    let fields = metadata::map(object);
    if all.is_empty() {
        fields.remove("finalizers");
    } else {
        fields.insert("finalizers".into(), json!(all));
    }
}

enum Fate {
    /// It is gone; this was its last state.
    Gone(Obj),
    /// It is on its way out.
    Going(Obj),
}

/// One deletion, once.
async fn attempt(
    server: &Arc<Server>,
    call: &Call,
    kind: &Arc<Kind>,
    stored: &Obj,
    options: &Options,
) -> Result<Fate, StoreError> {
    let mut object = render::value(kind, stored);
    let was_deleting = metadata::is_deleting(&object);
    let asked = options.grace_period_seconds;
    let graceful = kind.graceful(&object, asked);
    let grace = graceful.unwrap_or(0);
    let is_namespace = kind.plural == "namespaces" && kind.group.is_empty();
    set_finalizers(kind, &mut object, options);
    let before = object["metadata"]["deletionGracePeriodSeconds"].as_i64();
    let mut changed = metadata::finalizers(&object) != metadata::finalizers(&stored.value());
    if !was_deleting {
        let time = Timestamp::now().saturating_add(SignedDuration::from_secs(grace)).unwrap_or(Timestamp::MAX);
        let fields = metadata::map(&mut object);
        fields.insert("deletionTimestamp".into(), json!(metadata::stamp(time)));
        // A namespace goes when it is empty, whatever the time.
        if !is_namespace {
            fields.insert("deletionGracePeriodSeconds".into(), json!(grace));
        }
        if let Some(generation) = fields.get("generation").and_then(Value::as_i64) {
            fields.insert("generation".into(), json!(generation + 1));
        }
        if is_namespace {
            object["status"]["phase"] = json!("Terminating");
        }
        if &*kind.storage == custom::DEFINITIONS {
            custom::mark_deleted(&mut object);
        }
        changed = true;
    } else if asked.is_some() && before.is_some_and(|before| grace < before) {
        // A shorter period may replace a longer one, never the other way round.
        let time = Timestamp::now().saturating_add(SignedDuration::from_secs(grace)).unwrap_or(Timestamp::MAX);
        let fields = metadata::map(&mut object);
        fields.insert("deletionTimestamp".into(), json!(metadata::stamp(time)));
        fields.insert("deletionGracePeriodSeconds".into(), json!(grace));
        changed = true;
    }
    let gone = may_go(kind, &object);
    let key = key(kind, &stored.key.namespace, &stored.key.name);
    let expect = Expect::Revision(stored.revision);
    let user = call.user.name.as_str();
    if gone && !was_deleting && graceful.is_none() {
        // Deleted at once: its last state carries no trace of waiting. What could have waited says that it did not.
        let fields = metadata::map(&mut object);
        fields.remove("deletionTimestamp");
        fields.remove("deletionGracePeriodSeconds");
    }
    let internal = |status: Status| StoreError::Internal(status.message);
    if !gone && !changed {
        return Ok(Fate::Going(Arc::clone(stored)));
    }
    let to_store = custom::to_storage(server, kind, object.clone()).await.map_err(internal)?;
    let bytes = encoded(kind, to_store).map_err(internal)?;
    if options.dry_run {
        let object = pretend(key, &bytes, stored.revision).map_err(internal)?;
        let object = custom::serve_one(server, kind, object).await.map_err(internal)?;
        return Ok(if gone { Fate::Gone(object) } else { Fate::Going(object) });
    }
    let mut mutation =
        if gone { Mutation::delete(key, expect, bytes, user) } else { Mutation::update(key, expect, bytes, user) };
    mutation.durability = durability(kind);
    let mut unit = if gone { services::release(server, kind, &object) } else { Vec::new() };
    let object = if unit.is_empty() {
        server.store.write(mutation).await?
    } else {
        unit.insert(0, mutation);
        server
            .store
            .write_all(unit)
            .await?
            .into_iter()
            .next()
            .ok_or_else(|| StoreError::Internal("a unit came back empty".into()))?
    };
    let object = custom::serve_one(server, kind, object).await.map_err(internal)?;
    Ok(if gone { Fate::Gone(object) } else { Fate::Going(object) })
}

/// Deletes on the server's own account: nobody is asked.
pub async fn purge(server: &Arc<Server>, call: &mut Call, kind: &Arc<Kind>) -> Result<(), Status> {
    let name = call.info.name.clone();
    for round in 1.. {
        let key = key(kind, &call.info.namespace, &name);
        let stored = server.store.get(&key).ok_or_else(|| Status::not_found(&kind.group, &kind.plural, &name))?;
        match attempt(server, call, kind, &stored, &Options::default()).await {
            Err(StoreError::Conflict { .. }) if round < ATTEMPTS => {}
            Err(error) => return Err(from_store(error, subject(kind, &name))),
            Ok(_) => return Ok(()),
        }
    }
    unreachable!("the loop ends with its last attempt")
}

fn preconditions(kind: &Kind, stored: &Obj, options: &Options) -> Result<(), Status> {
    let name = &*stored.key.name;
    if let Some(uid) = options.uid.as_deref().filter(|uid| **uid != *stored.uid) {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            stored.uid
        );
        return Err(Status::conflict(&kind.group, &kind.kind, name, &why));
    }
    let revision = stored.revision.to_string();
    if let Some(version) = options.resource_version.as_deref().filter(|version| *version != revision) {
        let why = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({revision}). The object might have been modified"
        );
        return Err(Status::conflict(&kind.group, &kind.kind, name, &why));
    }
    Ok(())
}

async fn delete_one(
    server: &Arc<Server>,
    call: &mut Call,
    kind: &Arc<Kind>,
    name: &str,
    options: &Options,
) -> Result<Fate, Status> {
    for round in 1.. {
        let stored = newest(server, kind, &call.info.namespace, name).await?;
        preconditions(kind, &stored, options)?;
        let mut request = admission_request(call, kind, AdmissionOperation::Delete, "", name);
        request.old = Some(Arc::new(render::value(kind, &stored)));
        request.dry_run = options.dry_run;
        // An eviction was admitted as what it is.
        if call.info.subresource.is_empty() {
            let sent = options.as_sent();
            admission::run(server, call, kind, &mut request, &sent).await?;
        }
        match attempt(server, call, kind, &stored, options).await {
            Err(StoreError::Conflict { .. }) if round < ATTEMPTS && options.resource_version.is_none() => {}
            Err(error) => return Err(from_store(error, subject(kind, name))),
            Ok(fate) => return Ok(fate),
        }
    }
    unreachable!("the loop ends with its last attempt")
}

/// Kinds whose delete answers with the object although it is gone.
fn answers_with_object(kind: &Kind) -> bool {
    kind.group.is_empty()
        && matches!(
            &*kind.plural,
            "pods"
                | "services"
                | "persistentvolumes"
                | "persistentvolumeclaims"
                | "podtemplates"
                | "serviceaccounts"
                | "resourcequotas"
        )
}

pub async fn delete(server: &Arc<Server>, call: &mut Call, kind: &Arc<Kind>, body: Body) -> Answer {
    let wanted = negotiate::accept(&call.parts)?;
    let options = Options::read(call, body).await?;
    let name = call.info.name.clone();
    match delete_one(server, call, kind, &name, &options).await? {
        Fate::Gone(object) if !answers_with_object(kind) => {
            let status = Status::success(&name, &kind.group, &kind.plural, &object.uid);
            Ok(render::document(&json!(status), wanted, StatusCode::OK))
        }
        Fate::Going(object) if options.cascades => {
            render::with(kind, &object, wanted, &call.query, StatusCode::ACCEPTED)
        }
        Fate::Gone(object) | Fate::Going(object) => render::object(kind, &object, wanted, &call.query),
    }
}

/// Deletes for an eviction: 201 with a Status.
pub async fn evict(server: &Arc<Server>, call: &mut Call, kind: &Arc<Kind>, options: Options) -> Answer {
    let name = call.info.name.clone();
    delete_one(server, call, kind, &name, &options).await?;
    let mut status = Status::success("", "", "", "");
    status.details = None;
    status.code = 201;
    Ok(with_status(StatusCode::CREATED, "application/json", full(json!(status).to_string())))
}

pub async fn delete_collection(server: &Arc<Server>, call: &mut Call, kind: &Arc<Kind>, body: Body) -> Answer {
    let wanted = negotiate::accept(&call.parts)?;
    let asked = list::asked(call, kind)?;
    let options = Options::read(call, body).await?;
    let view = list::view(server, call, kind, asked.token.as_ref(), None).await?;
    let selection = asked.selection;
    let victims = list::selected(server, kind, &view, &selection).await?;
    for chunk in victims.chunks(COLLECTION_PARALLEL) {
        // Together, so that they are committed together.
        let deletions = chunk.iter().map(|victim| {
            let (mut call, options) = (call.in_namespace(&victim.key.namespace), &options);
            async move {
                let done = delete_one(server, &mut call, kind, &victim.key.name, options).await;
                (done.map(|_| ()), call.warnings)
            }
        });
        for (done, warnings) in futures::future::join_all(deletions).await {
            call.warnings.extend(warnings);
            done.or_else(|status| if status.code == 404 { Ok(()) } else { Err(status) })?;
        }
    }
    let gone = Found { revision: server.store.revision(), items: victims, next: None, remaining: None };
    list::rendered(kind, gone, wanted, &call.query)
}
