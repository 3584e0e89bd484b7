//! Policies and their bindings, as they are used.

use pilothouse_cel::Type;
use pilothouse_kinds::expressions::{Names, Wanted};
use serde_json::Value;

use crate::admission::conditions::Conditions;
use crate::admission::expression::{Compiled, Variable, compiled};
use crate::admission::rules::Rule;
use crate::admission::selectors::Selectors;

/// `matchConstraints` of a policy, `matchResources` of a binding.
pub struct Match {
    pub rules: Vec<Rule>,
    pub excluded: Vec<Rule>,
    pub selectors: Selectors,
    pub equivalent: bool,
}

impl Match {
    fn of(resources: &Value) -> Self {
        Self {
            rules: Rule::all(&resources["resourceRules"]),
            excluded: Rule::all(&resources["excludeResourceRules"]),
            selectors: Selectors::of(resources),
            equivalent: resources["matchPolicy"] != "Exact",
        }
    }
}

pub struct Policy {
    pub name: String,
    /// `failurePolicy: Ignore`.
    pub fails_open: bool,
    pub constraints: Match,
    pub conditions: Conditions,
    /// `apiVersion` and `kind`.
    pub param_kind: Option<(String, String)>,
    pub variables: Vec<Variable>,
    pub again_if_needed: bool,
    pub validations: Vec<Validation>,
    pub audit: Vec<(String, Compiled)>,
    pub mutations: Vec<Mutation>,
}

pub struct Validation {
    pub source: String,
    pub program: Compiled,
    pub message: String,
    pub message_program: Option<Compiled>,
    pub reason: String,
}

pub enum Mutation {
    Apply(Compiled),
    Patch(Compiled),
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

pub fn policy(object: &Value) -> Policy {
    let spec = &object["spec"];
    let param_kind = spec["paramKind"].is_object();
    let fails_open = spec["failurePolicy"] == "Ignore";
    let conditions = Names { params: param_kind, authorizer: true, ..Names::default() };
    let mut names = Names { namespace_object: true, variables: Some(Vec::new()), ..conditions.clone() };
    let mut variables = Vec::new();
    for variable in items(&spec["variables"]) {
        // A variable may name those before it.
        let program = compiled(&variable["expression"], &names, Wanted::Anything);
        let of = program.as_ref().map_or(Type::Dyn, |program| program.result().clone());
        names.variables.get_or_insert_default().push((text(&variable["name"]), of));
        variables.push(Variable { name: text(&variable["name"]), program });
    }
    let without_authorizer = Names { authorizer: false, ..names.clone() };
    let validation = |validation: &Value| Validation {
        source: text(&validation["expression"]).trim().to_owned(),
        program: compiled(&validation["expression"], &names, Wanted::Bool),
        message: text(&validation["message"]).trim().to_owned(),
        message_program: validation["messageExpression"]
            .as_str()
            .filter(|source| !source.is_empty())
            .map(|_| compiled(&validation["messageExpression"], &without_authorizer, Wanted::Text)),
        reason: text(&validation["reason"]),
    };
    let mutation = |mutation: &Value| match mutation["patchType"].as_str() {
        Some("JSONPatch") => Mutation::Patch(compiled(&mutation["jsonPatch"]["expression"], &names, Wanted::Patch)),
        _ => {
            let source = &mutation["applyConfiguration"]["expression"];
            Mutation::Apply(compiled(source, &names, Wanted::Configuration))
        }
    };
    Policy {
        name: text(&object["metadata"]["name"]),
        fails_open,
        constraints: Match::of(&spec["matchConstraints"]),
        conditions: Conditions::of(&spec["matchConditions"], fails_open, &conditions),
        param_kind: param_kind.then(|| (text(&spec["paramKind"]["apiVersion"]), text(&spec["paramKind"]["kind"]))),
        again_if_needed: spec["reinvocationPolicy"] == "IfNeeded",
        validations: items(&spec["validations"]).map(validation).collect(),
        audit: items(&spec["auditAnnotations"])
            .map(|audit| {
                let program = compiled(&audit["valueExpression"], &names, Wanted::TextOrNull);
                (text(&audit["key"]), program)
            })
            .collect(),
        mutations: items(&spec["mutations"]).map(mutation).collect(),
        variables,
    }
}

pub struct Binding {
    pub name: String,
    pub policy: String,
    /// None: everything that the policy is about.
    pub resources: Option<Match>,
    /// `paramRef`; null when there is none.
    pub params: Value,
    pub denies: bool,
    pub warns: bool,
    pub audits: bool,
}

pub fn binding(object: &Value) -> Binding {
    let spec = &object["spec"];
    let acts = |action: &str| items(&spec["validationActions"]).any(|own| own == action);
    Binding {
        name: text(&object["metadata"]["name"]),
        policy: text(&spec["policyName"]),
        resources: spec["matchResources"].is_object().then(|| Match::of(&spec["matchResources"])),
        params: spec["paramRef"].clone(),
        denies: acts("Deny"),
        warns: acts("Warn"),
        audits: acts("Audit"),
    }
}
