//! The whole server in process, on a real PostgreSQL: what clients send, what they get.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod aggregation;
mod applying;
mod bad_input;
mod cbor;
mod crud;
mod custom_resources;
mod deleting;
mod devices;
mod discovery;
mod fairness;
mod hooks;
mod listing;
mod outage;
mod patching;
mod policies;
mod services;
mod subresources;
mod support;
mod traces;
mod warnings;
mod watching;
mod webhooks;
