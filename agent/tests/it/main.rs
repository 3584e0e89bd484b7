//! The agent with an API in memory: on the in-memory runtime, and on a real containerd in namespaces of its own.

#![allow(clippy::unwrap_used)]

mod api;
mod archive;
mod containerd;
mod fake;
mod harness;
mod kubelet;
