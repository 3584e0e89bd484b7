//! The dashboard's client of the Kubernetes API.
//!
//! Invariants: everything shown comes from a list followed by a watch (`live`), never from polling; every change goes
//! through `mutate`, which records the call so that the user can see it.

pub mod access;
pub mod call;
pub mod discovery;
pub mod http;
pub mod lines;
pub mod live;
pub mod mutate;
pub mod objects;
pub mod session;
pub mod table;
pub mod watch;
