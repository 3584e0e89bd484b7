//! Generates the messages and the clients of CRI v1.

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=proto/runtime.proto");
    tonic_prost_build::configure().build_server(false).compile_protos(&["proto/runtime.proto"], &["proto"])
}
