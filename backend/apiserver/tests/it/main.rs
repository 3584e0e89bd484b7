//! The whole server in process, on a real PostgreSQL: what clients send, what they get.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crud;
mod support;
