//! CRI v1 (`runtime.v1`): the messages and clients generated from `proto/runtime.proto`, nothing else.

/// Kubernetes' Container Runtime Interface, version 1.
pub mod v1 {
    #![allow(clippy::all, clippy::pedantic, rustdoc::all)]
    tonic::include_proto!("runtime.v1");
}
