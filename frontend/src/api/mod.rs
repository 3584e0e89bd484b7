//! The dashboard's client of the Kubernetes API.
//!
//! Invariants: everything shown comes from a list followed by a watch (`live`), never from polling; every change goes
//! through `mutate`, which records the call so that the user can see it.

pub mod access;
pub mod call;
#[cfg(target_arch = "wasm32")]
pub mod collections;
pub mod decode;
pub mod discovery;
#[cfg(target_arch = "wasm32")]
pub mod http;
pub mod lines;
#[cfg(target_arch = "wasm32")]
pub mod live;
#[cfg(target_arch = "wasm32")]
pub mod mutate;
pub mod objects;
#[cfg(target_arch = "wasm32")]
pub mod session;
pub mod table;
pub mod watch;
