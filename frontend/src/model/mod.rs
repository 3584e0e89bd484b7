//! What the dashboard knows without a browser: pure functions over the API's objects.
//!
//! Invariant: nothing here touches the DOM, the network or the clock, so all of it is tested on the host.

pub mod capacity;
pub mod change;
pub mod columns;
pub mod deploy;
pub mod diff;
pub mod expose;
pub mod family;
pub mod filter;
pub mod health;
pub mod json;
pub mod log;
pub mod manifest;
pub mod nav;
pub mod pod;
pub mod rollout;
pub mod time;
pub mod yaml;
pub mod yaml_lines;
