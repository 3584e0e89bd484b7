//! Generates the tunnel's messages and both ends of its service.

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=proto/tunnel.proto");
    tonic_prost_build::configure().bytes(".").compile_protos(&["proto/tunnel.proto"], &["proto"])
}
