//! The kinds: what each says to objects, written as users would write them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod answers;
mod common;
mod core;
mod groups;
mod pods;
mod surface;
mod updates;
mod warnings;
mod workloads;
