//! Pods: from what the API wants to what the runtime runs, and back as status.
//!
//! The flow of one pod: [`manager`] (watch, relist) → [`worker`] → [`observed`] (look) → [`plan`] (pure) → [`execute`]
//! (calls) → [`status`] (pure) → [`report`].

pub mod admit;
pub mod containers;
pub mod context;
pub mod cri_config;
pub mod dns;
pub mod downward;
pub mod env;
pub mod execute;
pub mod images;
pub mod manager;
pub mod memory;
pub mod messages;
pub mod observed;
pub mod plan;
pub mod ports;
pub mod report;
pub mod resize;
pub mod resources;
pub mod status;
pub mod worker;
