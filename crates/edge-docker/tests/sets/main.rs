//! Release sets on a device: taking, showing, committing, and what they let through.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod fleet;
#[path = "../pulled/mod.rs"]
mod pulled;
mod revoked;
mod taking;
mod versions;
