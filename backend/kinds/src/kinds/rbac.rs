//! Roles and their bindings: named as freely as paths allow.

use crate::strategy::{Strategy, path_segment_name};

pub const STRATEGY: Strategy = Strategy { name: path_segment_name, create_on_update: true, ..Strategy::PLAIN };
