//! The store against a real PostgreSQL.

#![allow(clippy::unwrap_used)]

mod basics;
mod compaction;
mod concurrency;
mod faults;
mod history;
mod proxy;
mod soak;
mod support;
mod watching;
