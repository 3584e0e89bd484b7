//! ComponentStatus: the health of the control plane, computed when asked.

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    columns::{Column, NAME, name},
    strategy::Strategy,
    value::Look,
};

pub(crate) static STRATEGY: Strategy = Strategy {
    deprecated: Some("v1 ComponentStatus is deprecated in v1.19+"),
    columns: &[NAME, Column::text("Status"), Column::text("Message"), Column::text("Error")],
    row,
    ..Strategy::PLAIN
};

fn row(component: &Value, _now: Timestamp) -> Vec<Value> {
    let healthy = component.list("conditions").iter().find(|c| c.text("type") == "Healthy");
    let Some(condition) = healthy else { return vec![name(component), "Unknown".into(), "".into(), "".into()] };
    let status = if condition.text("status") == "True" { "Healthy" } else { "Unhealthy" };
    vec![name(component), status.into(), condition.text("message").into(), condition.text("error").into()]
}
