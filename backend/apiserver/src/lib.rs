//! The API server: a `tower::Service` from HTTP requests to the store, with two doors, the socket and in process.
//!
//! ```text
//! door ─► server (authenticate ─► fairness ─► authorize) ─► registry, subresources (admit ─► strategy ─► store)
//!                                                       └► discovery, openapi, paths
//! ```
//!
//! Invariants: nothing skips a stage, whichever door it came in by; every failure is a `Status`; nothing a client sends
//! makes the process panic or hold more than a bounded amount of memory.

mod admission;
mod aggregation;
mod body;
pub mod bootstrap;
mod cbor;
mod compress;
mod custom;
mod discovery;
pub mod door;
mod error;
mod expiry;
mod fairness;
mod feed;
mod metrics;
mod negotiate;
mod openapi;
mod paths;
mod protobuf;
mod reader;
mod registry;
mod request;
mod server;
mod setup;
mod subresources;
#[cfg(feature = "testing")]
pub mod testing;
pub mod traces;
mod warnings;
mod webhook;

pub use body::Body;
pub use bootstrap::{Error, INTERNAL, Secrets};
pub use discovery::{MAJOR, MINOR};
pub use reader::StoreReader;
pub use server::{ApiServer, Config, InProcess, Peer};
pub use setup::{Deps, indexer};
