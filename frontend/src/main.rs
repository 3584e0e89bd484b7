//! Pilothouse's dashboard: a client of the Kubernetes API that runs in the browser.
//!
//! Invariants: it talks only HTTP to the server it came from; it knows no more than its user may; all that is shown
//! is live. `api` talks, `model` thinks (and is tested without a browser), `components` and `pages` show.

// Natively only the tests use what the browser's build uses.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

mod api;
mod app;
mod browser;
mod components;
mod link;
mod model;
mod pages;
mod routes;
mod testids;

fn main() {
    leptos::mount::mount_to_body(app::Dashboard);
}
