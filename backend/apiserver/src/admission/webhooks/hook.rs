//! One webhook of a configuration, as it is used.

use std::time::Duration;

use pilothouse_kinds::expressions::Names;
use serde_json::Value;

use super::review::Version;
use crate::admission::conditions::Conditions;
use crate::admission::rules::Rule;
use crate::admission::selectors::Selectors;

/// What a webhook without `timeoutSeconds` gets.
const DEFAULT_SECONDS: u64 = 10;
/// Most seconds a webhook may ask for.
const MAX_SECONDS: u64 = 30;

pub struct Hook {
    pub configuration: String,
    pub name: String,
    /// Its place among the webhooks of its configuration: names need not be unique across configurations.
    pub id: String,
    pub rules: Vec<Rule>,
    /// `matchPolicy: Equivalent`.
    pub equivalent: bool,
    pub selectors: Selectors,
    pub conditions: Conditions,
    /// `failurePolicy: Ignore`.
    pub fails_open: bool,
    pub timeout: Duration,
    pub free_of_side_effects: bool,
    /// `reinvocationPolicy: IfNeeded`.
    pub again_if_needed: bool,
    pub client_config: Value,
    /// The first version of reviews it takes that we know.
    pub version: Option<Version>,
}

/// The webhooks of a configuration.
pub fn compile(configuration: &Value) -> Vec<Hook> {
    let name = configuration["metadata"]["name"].as_str().unwrap_or_default();
    let webhooks = configuration["webhooks"].as_array().into_iter().flatten();
    webhooks.enumerate().map(|(index, webhook)| hook(name, index, webhook)).collect()
}

fn hook(configuration: &str, index: usize, webhook: &Value) -> Hook {
    let versions = webhook["admissionReviewVersions"].as_array().into_iter().flatten();
    let seconds = webhook["timeoutSeconds"].as_u64().unwrap_or(DEFAULT_SECONDS).clamp(1, MAX_SECONDS);
    let fails_open = webhook["failurePolicy"] == "Ignore";
    Hook {
        configuration: configuration.to_owned(),
        name: webhook["name"].as_str().unwrap_or_default().to_owned(),
        id: format!("{configuration}/{index}"),
        rules: Rule::all(&webhook["rules"]),
        equivalent: webhook["matchPolicy"] != "Exact",
        selectors: Selectors::of(webhook),
        conditions: Conditions::of(&webhook["matchConditions"], fails_open, &Names::of_webhook()),
        fails_open,
        timeout: Duration::from_secs(seconds),
        free_of_side_effects: matches!(webhook["sideEffects"].as_str(), Some("None" | "NoneOnDryRun")),
        again_if_needed: webhook["reinvocationPolicy"] == "IfNeeded",
        client_config: webhook["clientConfig"].clone(),
        version: versions.filter_map(Value::as_str).find_map(Version::parse),
    }
}
