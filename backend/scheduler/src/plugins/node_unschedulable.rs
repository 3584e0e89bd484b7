//! Cordoned nodes take only pods that tolerate it.

use super::taint_toleration::tolerates;
use super::{Plugin, Prepared, Reason};
use crate::api::Taint;
use crate::queue::Happened;

pub const TAINT: &str = "node.kubernetes.io/unschedulable";

pub const PLUGIN: Plugin = Plugin {
    helped_by: Happened::NODE_ADDED.or(Happened::NODE_CHANGED),
    prepare: |_| Prepared::Filter,
    filter: |cycle, node| {
        if !node.unschedulable {
            return Ok(());
        }
        let taint = Taint { key: TAINT.into(), value: String::new(), effect: "NoSchedule".into() };
        if cycle.pod.tolerations.iter().any(|t| tolerates(t, &taint)) {
            return Ok(());
        }
        Err(vec![Reason::fixed("node(s) were unschedulable")])
    },
    ..Plugin::NONE
};
