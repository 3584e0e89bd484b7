//! A pod that names its node fits only there.

use super::{Plugin, Prepared, Reason};
use crate::queue::Happened;

pub const PLUGIN: Plugin = Plugin {
    helped_by: Happened::NODE_ADDED,
    prepare: |cycle| if cycle.pod.node_name.is_some() { Prepared::Filter } else { Prepared::Skip },
    filter: |cycle, node| match &cycle.pod.node_name {
        Some(name) if *name != node.name => Err(vec![Reason::fixed("node(s) didn't match the requested node name")]),
        _ => Ok(()),
    },
    ..Plugin::NONE
};
