//! Limits on what arrives, each with its reason.

/// Largest request body: upstream's limit for resource requests (3 MiB), which leaves room for etcd's 1.5 MiB objects.
pub const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;
/// Largest object that is stored, encoded as JSON; upstream's is etcd's request limit.
pub const MAX_OBJECT_BYTES: usize = 1_572_864;
/// Deepest JSON or YAML document that is parsed; deeper ones are only ever attacks.
pub const MAX_JSON_DEPTH: usize = 128;
/// Most operations in one JSON patch (upstream: 10,000).
pub const MAX_JSON_PATCH_OPERATIONS: usize = 10_000;
/// Largest total of `metadata.annotations`, keys and values (upstream: 256 KiB).
pub const MAX_ANNOTATION_BYTES: usize = 256 * 1024;
