//! Images without a registry: packing a few files into an OCI archive, and sending any archive to every node.

pub mod import;
pub mod pack;
