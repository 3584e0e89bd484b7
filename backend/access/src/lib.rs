//! Who you are, what you may do, and what may come in.
//!
//! ```text
//! connection ─► pki (TLS, client certificates) ─► authn (who) ─► authz (may they) ─► admission (may this object in)
//! ```
//!
//! Invariants:
//! - Deny by default: whatever is not granted by a rule that was found is refused, and an error is a refusal.
//! - No I/O. Everything is read through [`Reader`] (the watch cache) or fed through `apply`/`delete`; time and
//!   randomness are arguments of everything below the outermost functions.
//! - No secret (key, token, password, hash) is ever logged or put into an error text.

pub mod admission;
pub mod authn;
pub mod authz;
pub mod pki;
pub mod policy;
mod reader;
pub mod session;
pub mod tokens;
mod user;

pub use reader::{Reader, name_of, namespace_of, text, uid_of};
pub use user::{UserInfo, groups, names};

#[cfg(test)]
pub(crate) mod testing;
