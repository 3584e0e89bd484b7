//! Pure concepts of the Kubernetes API that the control plane, the agent and the browser share.
//!
//! Invariant: no I/O, no clock, no randomness; everything here builds for wasm32.

pub mod cron;
pub mod field;
pub mod limits;
pub mod names;
pub mod quantity;
pub mod quota;
pub mod resources;
pub mod selector;
pub mod status;

pub use status::{Result, Status};
