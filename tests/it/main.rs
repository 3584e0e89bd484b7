//! The product as its users meet it, end to end.

#![allow(clippy::unwrap_used)]

mod api;
mod browser;
mod faults;
mod kubectl;
mod network;
mod story;
