//! ServiceAccount. Source: <https://kubernetes.io/docs/concepts/security/service-accounts/>

use serde_json::Value;

use crate::{
    columns::{NAME_AGE, name_age_row},
    strategy::Strategy,
    value::Look,
};

const ENFORCE_MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";

pub(crate) static STRATEGY: Strategy = Strategy {
    warn: |new, old, warnings| {
        let has = |account: &Value| !account.at("metadata.annotations")[ENFORCE_MOUNTABLE].is_null();
        if has(new) && !old.is_some_and(has) {
            warnings.push(format!("metadata.annotations[{ENFORCE_MOUNTABLE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"));
        }
    },
    columns: NAME_AGE,
    row: name_age_row,
    ..Strategy::PLAIN
};
