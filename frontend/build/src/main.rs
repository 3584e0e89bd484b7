//! Turns the compiled dashboard into a module that browsers load: `pilothouse-dashboard-build IN.wasm OUT_DIR`
//! writes `pilothouse.js` and `pilothouse_bg.wasm`.
//!
//! Invariant: the library's version is pinned to that of the `wasm-bindgen` crate in Cargo.lock, so a fresh
//! machine needs no tool installed for it.

use anyhow::{Context, Result, bail};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output] = arguments.as_slice() else {
        bail!("usage: pilothouse-dashboard-build IN.wasm OUT_DIR");
    };
    let mut bindgen = Bindgen::new();
    bindgen
        .input_path(input)
        .out_name("pilothouse")
        .typescript(false)
        .remove_name_section(true)
        .remove_producers_section(true);
    bindgen.web(true)?;
    bindgen.generate(output).with_context(|| format!("cannot bind {input} into {output}"))
}
