//! The gate before a registry: signed in every way, not signed, and hostile.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

#[path = "../keys/mod.rs"]
mod keys;
mod registries;
#[path = "../server/mod.rs"]
mod server;
mod signatures;
mod team;
