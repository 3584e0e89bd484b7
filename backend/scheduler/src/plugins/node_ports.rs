//! A host port can be had once per node.

use super::{Plugin, Prepared, Reason};
use crate::queue::Happened;

pub const PLUGIN: Plugin = Plugin {
    helped_by: Happened::NODE_ADDED.or(Happened::POD_LEFT),
    prepare: |cycle| if cycle.pod.host_ports.is_empty() { Prepared::Skip } else { Prepared::Filter },
    filter: |cycle, node| {
        let taken = cycle.pod.host_ports.iter().any(|port| node.host_ports.iter().any(|used| used.conflicts(port)));
        if taken { Err(vec![Reason::of("node(s) didn't have free ports for the requested pod ports")]) } else { Ok(()) }
    },
    ..Plugin::NONE
};
