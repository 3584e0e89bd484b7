//! The tunnel between a node and the backend: the agent dials out, the backend asks for byte streams through it.
//!
//! Invariants: a node's name comes from its verified client certificate and from nothing else; every buffer is bounded
//! (a stream that nobody reads stops its sender, not its neighbours); a stream that broke reads as an error, never as
//! a clean end.

mod client;
mod identity;
mod server;
mod stream;

use std::time::Duration;

pub use client::{Dialer, connect};
pub use identity::node_name;
pub use server::Tunnels;
pub use stream::TunnelStream;

/// The messages and the service on the wire.
mod wire {
    #![allow(clippy::all, clippy::unwrap_used)]
    tonic::include_proto!("pilothouse.tunnel.v1");
}

/// The most bytes that travel in one chunk.
const MAX_CHUNK: usize = 64 * 1024;
/// A message is a chunk and a few bytes of framing.
const MAX_MESSAGE: usize = MAX_CHUNK + 64;
/// Streams that one agent carries at once.
const MAX_STREAMS: u32 = 512;
/// Unread bytes of one stream. The connection's window is the sum over all streams, so that none can starve another.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
/// Both sides send heartbeats this often, and give the other this long to answer one.
const HEARTBEAT: Duration = Duration::from_secs(10);
const HEARTBEAT_PATIENCE: Duration = Duration::from_secs(10);
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No agent of this node is attached to this backend now.
    #[error("node {0:?} is not connected")]
    NotConnected(String),
    /// The agent is attached, but did not take the stream in time.
    #[error("node {0:?} did not answer within {1:?}")]
    TimedOut(String, Duration),
    #[error("the tunnel's listener failed: {0}")]
    Listen(#[from] std::io::Error),
    #[error("the tunnel's server failed: {0}")]
    Serve(#[from] tonic::transport::Error),
}
