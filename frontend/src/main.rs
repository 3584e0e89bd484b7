//! Pilothouse's dashboard: a client of the Kubernetes API that runs in the browser.
//!
//! Invariants: it talks only HTTP to the server it came from; it knows no more than its user may; all that is shown
//! is live. `api` talks, `model` thinks (and is tested without a browser), `components` and `pages` show.

// The host builds and tests what needs no browser; nothing there uses all of it.
#![cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]

mod api;
#[cfg(target_arch = "wasm32")]
mod app;
#[cfg(target_arch = "wasm32")]
mod browser;
#[cfg(target_arch = "wasm32")]
mod components;
#[cfg(target_arch = "wasm32")]
mod link;
mod model;
#[cfg(target_arch = "wasm32")]
mod pages;
mod routes;
mod testids;

#[cfg(target_arch = "wasm32")]
fn main() {
    leptos::mount::mount_to_body(app::Dashboard);
}

#[cfg(not(target_arch = "wasm32"))]
fn main() {
    eprintln!("The dashboard runs in a browser; scripts/build-dashboard builds it.");
    std::process::exit(2);
}
